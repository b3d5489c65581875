"""Fits against known truths and against scipy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmsim.calibrate import FAMILIES, fit, ks_distance
from llmsim.calibrate.fit import table_of
from llmsim.distributions import (
    Contention,
    Exponential,
    Gamma,
    LogLogistic,
    Lognormal,
    Mixture,
    Part,
    ShiftedLognormal,
    Weibull,
)
from llmsim.luck import Luck

TRUTHS = {
    "exponential": Exponential(0.4),
    "gamma": Gamma(mean=0.5, cv=0.3),
    "weibull": Weibull(mean=0.5, cv=0.6),
    "lognormal": Lognormal(0.5, 1.4),
    "log_logistic": LogLogistic(0.5, 4.1),
    "shifted_lognormal": ShiftedLognormal(0.25, 0.36, 1.3),
    "shifted_log_logistic": LogLogistic(0.5, 2.4, 0.2),
    "contention": Contention(Lognormal(0.5, 0.65), 0.2, 1.0),
    "mixture": Mixture((Part(0.6, Lognormal(0.3, 0.4)), Part(0.4, Lognormal(0.9, 2.0)))),
}


def sample_of(truth, n=1500, name="sample"):
    return truth.quantile(Luck(4).series(name).array(0, n))


def test_every_family_is_tried():
    assert set(TRUTHS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_found_again(family):
    truth = TRUTHS[family]
    found = fit(family, sample_of(truth))
    u = np.array([0.02, 0.25, 0.5, 0.75, 0.95, 0.99])
    assert found.distribution.quantile(u) == pytest.approx(truth.quantile(u), rel=0.12)
    assert found.distribution.mean == pytest.approx(truth.mean, rel=0.05)


ORACLES = {
    "exponential": lambda d: stats.expon(scale=d.mean),
    "gamma": lambda d: stats.gamma(1 / d.cv**2, scale=d.mean * d.cv**2),
    "weibull": lambda d: stats.weibull_min(d.shape, scale=d.scale),
    "lognormal": lambda d: stats.lognorm(s=d.sigma, scale=d.p50),
    "log_logistic": lambda d: stats.fisk(d.shape, scale=d.p50),
    "shifted_lognormal": lambda d: stats.lognorm(s=d.sigma, loc=d.shift, scale=d.p50 - d.shift),
    "shifted_log_logistic": lambda d: stats.fisk(d.shape, loc=d.shift, scale=d.p50 - d.shift),
}


@pytest.mark.parametrize("family", ORACLES)
def test_the_likelihood_is_scipys_and_no_lower_than_the_truths(family):
    sample = sample_of(TRUTHS[family])
    found = fit(family, sample)
    assert found.log_likelihood == pytest.approx(ORACLES[family](found.distribution).logpdf(sample).sum(), rel=1e-4)
    # The floor is only looked for on a grid, so the truth may be a little likelier.
    truth = ORACLES[family](TRUTHS[family]).logpdf(sample).sum()
    assert found.log_likelihood >= truth - (3.0 if "shifted" in family else 1e-6)


@pytest.mark.parametrize("family", ["mixture", "contention"])
def test_the_likelihood_of_what_has_no_formula(family):
    """The density by differences of the cdf."""
    sample = sample_of(TRUTHS[family])
    found = fit(family, sample)
    step = 1e-4 * sample
    density = (found.distribution.cdf(sample + step) - found.distribution.cdf(sample - step)) / (2 * step)
    assert found.log_likelihood == pytest.approx(np.log(density).sum(), abs=0.01 * len(sample))
    step = 1e-4 * sample
    density = (TRUTHS[family].cdf(sample + step) - TRUTHS[family].cdf(sample - step)) / (2 * step)
    assert found.log_likelihood >= np.log(density).sum() - 2.0


@pytest.mark.parametrize("family", ["gamma", "weibull", "lognormal", "log_logistic", "shifted_lognormal"])
def test_aic_knows_the_family(family):
    sample = sample_of(TRUTHS[family])
    others = [name for name in ORACLES if name not in (family, f"shifted_{family}", "shifted_log_logistic")]
    best = min((fit(name, sample).aic, name) for name in (family, *others))
    assert best[1] == family


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=30),
    st.lists(st.floats(0, 10), min_size=1, max_size=30),
)
def test_the_ks_distance_is_the_largest_difference_of_shares(one, other):
    def share(sample, x):
        return sum(value <= x for value in sample) / len(sample)

    expected = max(abs(share(one, x) - share(other, x)) for x in one + other)
    assert ks_distance(np.array(one), np.array(other)) == pytest.approx(expected)


def test_the_ks_distance_is_scipys():
    one, other = sample_of(TRUTHS["gamma"], 100), sample_of(TRUTHS["lognormal"], 148, "other")
    assert ks_distance(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)


def test_the_table_has_the_samples_quantiles():
    sample = sample_of(TRUTHS["mixture"], 150)
    u = np.array([0.05, 0.5, 0.95])
    assert table_of(sample).quantile(u) == pytest.approx(np.quantile(sample, u))


@pytest.mark.parametrize("wrong", [np.arange(1.0, 9.0), np.zeros(20)])
def test_too_little_to_fit(wrong):
    with pytest.raises(ValueError, match="at least 10 values"):
        fit("lognormal", wrong)


def test_floors_of_a_large_sample_are_tried_without_a_table_of_all_of_them():
    sample = sample_of(TRUTHS["shifted_lognormal"], 50_000)
    tracemalloc.start()
    try:
        fit("shifted_lognormal", sample)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * sample.nbytes


def test_it_does_not_matter_how_many_floors_are_tried_at_once(monkeypatch):
    sample = sample_of(TRUTHS["shifted_lognormal"], 300)
    found = []
    for most in (300, 2_100, 100_000):
        monkeypatch.setitem(fit.__globals__, "_MOST_AT_ONCE", most)  # the module is hidden by its function
        found.append(fit("shifted_lognormal", sample))
    assert found == found[:1] * 3
