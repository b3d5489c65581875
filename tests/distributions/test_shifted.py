"""Shifted lognormal, log-logistic and Weibull against scipy."""

import numpy as np
import pytest
from scipy import stats

from llmsim.distributions import LogLogistic, ShiftedLognormal, Weibull

U = np.linspace(0.0005, 0.9995, 2001)


def weibull(mean, cv):
    """Scipy's, with the exponent found by scipy's own moments."""
    from scipy.optimize import brentq

    shape = brentq(lambda k: stats.weibull_min(k).std() / stats.weibull_min(k).mean() - cv, 0.2, 60)
    return stats.weibull_min(shape, scale=mean / stats.weibull_min(shape).mean())


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        # Anyscale's Llama 2 70B on the LLMPerf leaderboard: sigma .995, shift .171, scale .050.
        (
            ShiftedLognormal(shift=0.171, p50=0.221, p99=0.171 + 0.05 * np.exp(0.995 * stats.norm.ppf(0.99))),
            stats.lognorm(s=0.995, loc=0.171, scale=0.05),
            1e-12,
        ),
        (LogLogistic(p50=0.5, shape=5.11), stats.fisk(5.11, scale=0.5), 1e-10),
        (LogLogistic(p50=0.5, shape=2.43, shift=0.1), stats.fisk(2.43, loc=0.1, scale=0.4), 1e-10),
        *[(Weibull(mean=0.02, cv=cv), weibull(0.02, cv), 1e-8) for cv in (0.1, 0.4, 1.0, 3.0)],
    ],
    ids=lambda value: None if hasattr(value, "ppf") else repr(value),  # that of scipy has an address in it
)
def test_quantiles_cdfs_and_means(ours, theirs, tolerance):
    assert ours.quantile(U) == pytest.approx(theirs.ppf(U), rel=tolerance)
    x = theirs.ppf(U)
    assert ours.cdf(x) == pytest.approx(theirs.cdf(x), abs=1e-9)
    assert ours.cdf(np.array([0.0]))[0] == 0
    assert ours.mean == pytest.approx(theirs.mean(), rel=1e-8)


@pytest.mark.parametrize("cv", [0.02, 0.5, 10.0])
def test_the_weibull_has_the_cv_it_was_given(cv):
    theirs = stats.weibull_min(Weibull(mean=1.0, cv=cv).shape)
    assert theirs.std() / theirs.mean() == pytest.approx(cv, rel=1e-6)
