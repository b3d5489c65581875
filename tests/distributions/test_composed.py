"""Mixture, contention and empirical: against root finding, closed forms, simulation and numpy."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from llmsim.distributions import (
    Constant,
    Contention,
    Empirical,
    Exponential,
    Lognormal,
    Mixture,
    Part,
    Uniform,
    parse_distribution,
)
from llmsim.luck import Luck
from llmsim.units import DURATION


def lognormal(mu, sigma):
    return Lognormal(float(np.exp(mu)), float(np.exp(mu + sigma * stats.norm.ppf(0.99))))


# All providers of thefastest.ai together, ratio to the median: .575 LN(-.005, .121) + .425 LN(.109, .761).
POOLED = Mixture((Part(0.575, lognormal(-0.005, 0.121)), Part(0.425, lognormal(0.109, 0.761))))


def test_a_mixture_is_the_inverse_of_its_exact_cdf():
    u = np.array([1e-9, 1e-4, 0.03, 0.3, 0.5, 0.9, 0.99, 1 - 1e-4, 1 - 1e-9])

    def cdf(x, at):
        parts = ((0.575, -0.005, 0.121), (0.425, 0.109, 0.761))
        return sum(w * stats.norm.cdf((np.log(x) - mu) / sigma) for w, mu, sigma in parts) - at

    exact = [brentq(cdf, 1e-6, 1e4, args=(at,), xtol=1e-15, rtol=1e-14) for at in u]
    assert POOLED.quantile(u) == pytest.approx(exact, rel=1e-5)


def test_a_mixture_of_values_has_jumps_and_nothing_between():
    three = Mixture((Part(1, Constant(1.0)), Part(2, Constant(5.0)), Part(1, Constant(2.0))))
    u = np.array([1e-12, 0.2499, 0.2501, 0.4999, 0.5001, 1 - 1e-12])
    assert three.quantile(u).tolist() == pytest.approx([1, 1, 2, 2, 5, 5])
    assert three.mean == 3.25
    assert three.cdf(np.array([0.9, 1.0, 4.9, 5.0])).tolist() == [0, 0.25, 0.5, 1]
    assert Mixture((Part(0.3, Constant(2.0)),)).quantile(u).tolist() == [2.0] * 6


def test_a_flush_next_to_a_paced_stream():
    """A jump at 0 next to something spread out: what an inter-token gap is."""
    both = Mixture((Part(0.4, Constant(0.0)), Part(0.6, Uniform(1.0, 2.0))))
    u = np.array([0.0001, 0.3999, 0.4001, 0.7, 0.9999])
    assert both.quantile(u) == pytest.approx([0, 0, 1 + 0.0001 / 0.6, 1.5, 1 + 0.5999 / 0.6], abs=1e-4)


def test_a_distribution_of_ones_own_can_be_a_part():
    class Square:
        mean = 1 / 3

        def quantile(self, u):
            return u**2

    assert Mixture((Part(1, Square()),)).quantile(np.array([0.3, 0.9])) == pytest.approx([0.09, 0.81], abs=1e-4)


@pytest.mark.parametrize("base", [Constant(0.4), Uniform(0.2, 0.6), Lognormal(0.4, 1.1), POOLED], ids=repr)
def test_contention_is_the_sum_it_says(base):
    sum_of_both = Contention(base, probability=0.26, extra=0.71)
    n = 400_000
    luck = Luck(3)
    draws = [luck.series("contention", name).array(0, n) for name in ("base", "late", "extra")]
    simulated = base.quantile(draws[0]) + np.where(draws[1] < 0.26, Exponential(0.71).quantile(draws[2]), 0.0)
    assert sum_of_both.mean == pytest.approx(base.mean + 0.26 * 0.71)
    x = np.quantile(simulated, [0.05, 0.3, 0.5, 0.8, 0.95, 0.999]) * (1 + 1e-9)  # just above the jump of a constant
    shares = np.searchsorted(np.sort(simulated), x, side="right") / n
    assert sum_of_both.cdf(x) == pytest.approx(shares, abs=4 * 0.5 / n**0.5)
    u = np.array([0.01, 0.3, 0.74, 0.76, 0.9, 0.999])
    error = 4 * np.sqrt(u * (1 - u) / n)
    low, high = np.quantile(simulated, u - error), np.quantile(simulated, u + error)
    assert (low * (1 - 1e-9) <= sum_of_both.quantile(u)).all() and (sum_of_both.quantile(u) <= high * (1 + 1e-9)).all()


def test_contention_of_a_value_in_closed_form():
    spike = Contention(Constant(0.65), probability=0.15, extra=1.27)
    u = np.array([0.5, 0.85, 0.9, 0.99])
    assert spike.quantile(u) == pytest.approx([0.65, 0.65, 0.65 + 1.27 * np.log(1.5), 0.65 + 1.27 * np.log(15)])
    assert Contention(Constant(1.0), probability=0, extra=1).quantile(u).tolist() == [1.0] * 4


def test_an_empirical_table_has_numpys_quantiles():
    sample = Lognormal(0.4, 2.0).quantile(Luck(1).series("sample").array(0, 148))
    u = np.linspace(0, 1, 501)
    assert Empirical.of(sample).quantile(u) == pytest.approx(np.quantile(sample, u), rel=1e-12)


def test_an_empirical_table_makes_up_no_tails():
    table = Empirical(((5.0, 0.2), (50.0, 0.4), (95.0, 1.0)))
    assert table.quantile(np.array([1e-9, 0.05, 0.275, 0.95, 0.999999])).tolist() == pytest.approx(
        [0.2, 0.2, 0.3, 1, 1]
    )
    assert table.mean == pytest.approx(0.05 * 0.2 + 0.45 * 0.3 + 0.45 * 0.7 + 0.05 * 1.0)
    assert table.cdf(np.array([0.19, 0.2, 0.3, 0.99999, 1.0])) == pytest.approx([0, 0.05, 0.275, 0.95, 1], abs=1e-4)


def test_repeated_quantiles():
    table = Empirical(((0.0, 1.0), (40.0, 2.0), (60.0, 2.0), (100.0, 3.0)))
    assert table.cdf(np.array([1.999999, 2.0, 2.5])) == pytest.approx([0.4, 0.6, 0.8], abs=1e-5)


def test_spellings():
    mixture = {"mixture": [{"weight": "11%", "constant": 0}, {"weight": 3, "gamma": {"mean": "20ms", "cv": 0.4}}]}
    with pytest.raises(ValueError, match="at most 1"):
        parse_distribution(mixture, DURATION)
    mixture["mixture"][1]["weight"] = 0.89
    parsed = parse_distribution(mixture, DURATION)
    assert parsed.mean == pytest.approx(0.89 * 0.02)
    quantiles = parse_distribution({"empirical": {"p0": "200ms", "p99.9": "2s"}}, DURATION)
    assert quantiles == Empirical(((0.0, 0.2), (99.9, 2.0)))
    assert parse_distribution({"empirical": {"values": ["2s", "1s"]}}, DURATION) == Empirical(
        ((0.0, 1.0), (100.0, 2.0))
    )
    nested = {"contention": {"base": mixture, "probability": "15%", "extra": "1.2s"}}
    assert parse_distribution(nested, DURATION) == Contention(parsed, probability=0.15, extra=1.2)


@pytest.mark.parametrize(
    ("raw", "says", "at"),
    [
        ({"mixture": []}, "a list of distributions", ("mixture",)),
        ({"mixture": [{"weight": "80%"}]}, "a weight and a family", ("mixture", 0)),
        ({"mixture": [{"weight": "8s", "constant": "1s"}]}, "not a ratio", ("mixture", 0, "weight")),
        ({"mixture": [{"weight": 1, "gama": {}}]}, "did you mean 'gamma'", ("mixture", 0, "gama")),
        (
            {"mixture": [{"weight": 1, "constant": "1s"}, {"weight": 1, "lognormal": {"p50": "1", "p99": "2s"}}]},
            "'1' is not a duration",
            ("mixture", 1, "lognormal", "p50"),
        ),
        ({"mixture": [{"weight": 1, "mixture": []}]}, "cannot stand inside of mixture", ("mixture", 0, "mixture")),
        ({"mixture": [{"weight": 0, "constant": "1s"}]}, "add up to nothing", ("mixture",)),
        ({"contention": {"base": "1s"}}, "contention takes base, probability, extra", ("contention",)),
        (
            {"contention": {"base": {"contention": {}}, "probability": 0.1, "extra": "1s"}},
            "cannot stand inside of contention",
            ("contention", "base", "contention"),
        ),
        (
            {"contention": {"base": "1s", "probability": "120%", "extra": "1s"}},
            "out of range",
            ("contention", "probability"),
        ),
        ({"empirical": {"p50": "1s", "p10": "2s"}}, "must rise", ("empirical",)),
        ({"empirical": {"p101": "1s"}}, "at most p100", ("empirical",)),
        ({"empirical": {"median": "1s"}}, "is no quantile", ("empirical", "median")),
        ({"empirical": {"values": ["1s", "x"]}}, "not a duration", ("empirical", "values", 1)),
        ({"log_logistic": {"p50": "1s", "shape": 0.5}}, "shape between", ("log_logistic",)),
        ({"log_logistic": {"p50": "1s"}}, "takes p50, shape and may take shift", ("log_logistic",)),
        ({"shifted_lognormal": {"shift": "2s", "p50": "1s", "p99": "3s"}}, "shift < p50", ("shifted_lognormal",)),
        ({"weibull": {"mean": "1s", "cv": "1s"}}, "plain number", ("weibull", "cv")),
    ],
)
def test_refused(raw, says, at):
    with pytest.raises(ValueError, match=says) as caught:
        parse_distribution(raw, DURATION)
    assert caught.value.at == at
