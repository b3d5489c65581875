"""Intervals of shares: the exact binomial one, and one that knows that wrong answers come in groups."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from llmsim.report.rates import design_effect, share_of


@pytest.mark.parametrize(("count", "total"), [(0, 50), (0, 8000), (3, 8000), (25, 50), (50, 50)])
def test_of_one_replication_it_is_clopper_and_pearson(count, total):
    exact = binomtest(count, total).proportion_ci(0.95, method="exact")
    found = share_of([count], [total])
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.value == count / total


def test_none_of_few_is_not_none():
    assert share_of([0, 0], [1000, 1000]).high == pytest.approx(1 - 0.025 ** (1 / 2000))
    assert share_of([0] * 2, [1000] * 2).least_claim == pytest.approx(share_of([0] * 2, [1000] * 2).high)


def test_nothing_of_nothing():
    found = share_of([0], [0])
    assert math.isnan(found.value)
    assert (found.low, found.high, found.least_claim) == (0.0, 1.0, 1.0)


def test_groups_widen_it():
    even, groups = share_of([5] * 8, [1000] * 8), share_of([0, 20, 0, 0, 0, 20, 0, 0], [1000] * 8)
    assert even.value == groups.value
    assert groups.low < even.low < even.high < groups.high
    assert design_effect([5] * 8, [1000] * 8) == 1.0


def test_an_effect_seen_elsewhere_widens_even_none():
    assert share_of([0] * 4, [1000] * 4, effect=5.0).high > 5 * share_of([0] * 4, [1000] * 4).high


def coverage(groups, replications=10, rounds=1500, share=0.004, size=4000):
    """How often an interval contains the truth where wrong answers come in groups of that size, and a naive one."""
    rng = np.random.default_rng(1)
    inside = naive = 0
    for _ in range(rounds):
        counts = (groups * rng.poisson(share * size / groups, replications)).tolist()
        found, plain = share_of(counts, [size] * replications), share_of([sum(counts)], [size * replications])
        inside += found.low <= share <= found.high
        naive += plain.low <= share <= plain.high
    return inside / rounds, naive / rounds


@pytest.mark.parametrize("groups", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_it_contains_the_truth_as_often_as_it_says(groups):
    inside, naive = coverage(groups, rounds=300 if groups == 1 else 1500)
    assert inside >= 0.94
    if groups > 1:
        assert naive < 0.7
