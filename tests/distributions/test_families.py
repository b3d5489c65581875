"""What holds for every family: a quantile function that rises, a cdf that undoes it, a mean that is its integral."""

from dataclasses import replace

import numpy as np
import pytest
from distributions.families import all_families
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmsim.distributions import (
    Constant,
    Contention,
    Empirical,
    Geometric,
    Mixture,
    Part,
    Uniform,
    parse_distribution,
    values_of,
)
from llmsim.units import COUNT, DURATION, BadValue

#: What once went wrong: a delay much shorter than the base is wide, one that starts where no table looked, kinks.
HARD = (
    Contention(Uniform(1, 21), 1, 1 / 128),
    Contention(Uniform(1, 73), 1, 1),
    Contention(Empirical.of([1.0]), 1, 1),
    Contention(Empirical.of([1.0, 37.0]), 1, 1),
    Contention(Mixture((Part(1, Constant(1)), Part(1, Constant(100)))), 0.5, 0.01),
    Mixture((Part(1, Empirical.of([1.0, 2.0, 2.125, 3.0])),)),
)


def hard(test):
    for distribution in HARD:
        test = example(distribution)(test)
    return test


# Luck is never nearer to 0 and 1 than this (52 bits and a half).
ENDS = [2.0**-53, 1 - 2.0**-53]
U = np.concatenate([ENDS[:1], np.linspace(0.0005, 0.9995, 1999), ENDS[1:]])


@settings(max_examples=examples(40), deadline=None)
@hard
@given(all_families)
def test_quantiles_rise_and_are_finite(distribution):
    values = distribution.quantile(U)
    assert values.shape == U.shape and values.dtype == np.float64
    assert np.isfinite(values).all() and values[0] >= 0
    assert (np.diff(values) >= -1e-12 * values[1:]).all()


@settings(max_examples=examples(40), deadline=None)
@given(all_families, st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=5))
def test_a_draw_does_not_depend_on_the_others_in_its_block(distribution, uniforms):
    whole = distribution.quantile(np.array(uniforms))
    assert whole.tolist() == [float(distribution.quantile(np.array([u]))[0]) for u in uniforms]


@settings(max_examples=examples(40), deadline=None)
@hard
@given(all_families)
def test_the_cdf_undoes_the_quantile(distribution):
    u = np.linspace(0.01, 0.99, 197)
    values = distribution.quantile(u)
    # F(x) >= u at the quantile, F < u just below it: also where the cdf jumps. Tables and rounding are granted 1e-6.
    assert (distribution.cdf(values * (1 + 1e-6)) >= u - 1e-3).all()
    assert (distribution.cdf(values * (1 - 1e-6)) <= u + 1e-3).all()
    assert (np.diff(distribution.cdf(np.sort(values))) >= -1e-12).all()


@settings(max_examples=examples(40), deadline=None)
@hard
@given(all_families)
def test_the_mean_is_the_integral_of_the_quantile(distribution):
    # Stratified over logit(u): the midpoint rule reaches far into the tails.
    edges = 1 / (1 + np.exp(-np.linspace(-30, 30, 30001)))
    middles = (edges[1:] + edges[:-1]) / 2
    integral = float(np.sum(distribution.quantile(middles) * np.diff(edges)))
    assert integral == pytest.approx(distribution.mean, rel=2e-3)


@settings(max_examples=examples(40), deadline=None)
@hard
@given(all_families)
def test_what_is_written_reads_back(distribution):
    unit = replace(COUNT, whole=False) if "geometric" in repr(values_of(distribution)) else DURATION
    assert parse_distribution(values_of(distribution), unit, si=True) == distribution


def test_geometric_counts_from_one_and_is_no_duration():
    mass = np.diff(Geometric(4.0).cdf(np.arange(5.0)))
    assert mass == pytest.approx([0.25, 0.75 * 0.25, 0.75**2 * 0.25, 0.75**3 * 0.25])
    assert set(Geometric(1.0).quantile(U)) == {1.0}
    with pytest.raises(BadValue, match="geometric is for what is counted; use one of constant"):
        parse_distribution({"geometric": "2s"}, DURATION)
    with pytest.raises(BadValue, match=r"the mean must be at least 1, not 0\.5"):
        parse_distribution({"geometric": 0.5}, replace(COUNT, whole=False))
