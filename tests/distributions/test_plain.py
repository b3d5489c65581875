"""Distributions against scipy, and their spelling in scenario files."""

import numpy as np
import pytest
from scipy import stats

from llmsim.distributions import Constant, Exponential, Gamma, Lognormal, Uniform, parse_distribution
from llmsim.units import COUNT, DURATION

U = np.linspace(0.0005, 0.9995, 2001)


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        (Exponential(2.0), stats.expon(scale=2.0), 1e-12),
        (Uniform(1.0, 3.0), stats.uniform(1.0, 2.0), 1e-12),
        (Lognormal(p50=0.3, p99=2.0), stats.lognorm(s=np.log(2 / 0.3) / stats.norm.ppf(0.99), scale=0.3), 1e-12),
        *[(Gamma(mean=0.02, cv=cv), stats.gamma(1 / cv**2, scale=0.02 * cv**2), 1e-4) for cv in (0.1, 0.4, 1.0, 3.0)],
    ],
    ids=lambda value: None if hasattr(value, "ppf") else repr(value),  # that of scipy has an address in it
)
def test_quantiles_and_means(ours, theirs, tolerance):
    assert ours.quantile(U) == pytest.approx(theirs.ppf(U), rel=tolerance)
    assert ours.mean == pytest.approx(theirs.mean(), rel=1e-9)


def test_gamma_far_in_the_tails():
    u = np.array([1e-9, 1 - 1e-9, 2.0**-53, 1 - 2.0**-53])
    assert Gamma(mean=1.0, cv=0.4).quantile(u) == pytest.approx(stats.gamma(6.25, scale=0.16).ppf(u), rel=1e-3)


def test_spellings():
    assert parse_distribution("300ms", DURATION) == Constant(0.3)
    assert parse_distribution(8000, COUNT) == Constant(8000)
    assert parse_distribution({"exponential": "2s"}, DURATION) == Exponential(2.0)
    assert parse_distribution({"gamma": {"mean": "20ms", "cv": 0.4}}, DURATION) == Gamma(mean=0.02, cv=0.4)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"lognormal": {"p50": "2s", "p99": "1s"}}, "p50 <= p99"),
        ({"lognormal": {"p50": "2s"}}, "takes p50, p99"),
        ({"lognorm": {}}, "did you mean 'lognormal'"),
        ({"gamma": {"mean": "20ms", "cv": "1s"}}, "plain number"),
        ({"gamma": {"mean": "20ms", "cv": 99}}, "cv between"),
        ({"uniform": {"low": "2s", "high": "1s"}}, "must not be above"),
        ({"constant": 1, "gamma": 2}, "one family"),
    ],
)
def test_refused(raw, says):
    with pytest.raises(ValueError, match=says):
        parse_distribution(raw, DURATION)
