"""Maximum likelihood fits of every family to a sample of positive values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import (
    Contention,
    Distribution,
    Empirical,
    Exponential,
    Gamma,
    LogLogistic,
    Lognormal,
    Mixture,
    Part,
    ShiftedLognormal,
    Weibull,
)
from llmsim.distributions.plain import Z99

__all__ = ["FAMILIES", "Fit", "fit", "ks_distance", "ks_of_ordered", "quantile_of_ordered", "table_of"]

Floats = NDArray[np.float64]

_SIGMA_FLOOR = 0.01  # of the log: a component on a single point has infinite likelihood
_SHIFTS = 40  # profiled places of a floor, denser towards the smallest value
_MOST_AT_ONCE = 100_000  # numbers in a table of them
_PERCENTS = (0, 1, 2.5, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97.5, 99, 100)


@dataclass(frozen=True)
class Fit:
    """A family fitted to a sample.

    Parameters
    ----------
    family
        Its key in `FAMILIES`.
    distribution
        With the parameters found.
    log_likelihood
        Of the sample.
    parameters
        How many were free.
    """

    family: str
    distribution: Distribution
    log_likelihood: float
    parameters: int

    @property
    def aic(self) -> float:
        """Akaike's criterion: the lower, the better the fit for its number of parameters."""
        return 2 * self.parameters - 2 * self.log_likelihood


def fit(family: str, sample: Floats) -> Fit:
    """The member of a family under which the sample is likeliest.

    Parameters
    ----------
    family
        One of `FAMILIES`.
    sample
        At least 10 values above 0, shape ``(n,)``.

    Examples
    --------
    >>> from llmsim.luck import Luck
    >>> sample = Lognormal(p50=0.4, p99=1.5).quantile(Luck(1).series("sample").array(0, 4000))
    >>> round(fit("lognormal", sample).distribution.p50, 2)
    0.4
    """
    sample = np.sort(np.asarray(sample, dtype=np.float64))
    if len(sample) < 10 or sample[0] <= 0:
        raise ValueError("a fit needs at least 10 values, all above 0")
    distribution, log_likelihood, parameters = FAMILIES[family](sample)
    return Fit(family, distribution, float(log_likelihood), parameters)


def ks_distance(one: Floats, other: Floats) -> float:
    """Largest difference of the shares at or below a value, between two samples (Kolmogorov-Smirnov).

    Examples
    --------
    >>> ks_distance(np.array([1.0, 2.0]), np.array([1.5, 3.0]))
    0.5
    """
    return ks_of_ordered(np.sort(one), np.sort(other))


def ks_of_ordered(one: Floats, other: Floats) -> float:
    """`ks_distance` of two samples that are in order."""
    values = np.concatenate([one, other])
    shares = [a.searchsorted(values, side="right") / len(a) for a in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def quantile_of_ordered(ascending: Floats, share: float) -> float:
    """What `numpy.quantile` gives, of a sample that is in order; it takes that as long as five such samples.

    Examples
    --------
    >>> quantile_of_ordered(np.array([1.0, 2.0, 4.0]), 0.75)
    3.0
    """
    place = share * (len(ascending) - 1)
    before = math.floor(place)
    low, high = float(ascending[before]), float(ascending[min(before + 1, len(ascending) - 1)])
    # As numpy adds it up, from the nearer end.
    part = place - before
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part


def table_of(sample: Floats) -> Empirical:
    """The sample as a table of 21 quantiles, for where no family fits."""
    return Empirical(tuple(zip(map(float, _PERCENTS), np.percentile(sample, _PERCENTS).tolist(), strict=True)))


_Found = tuple[Distribution, float, int]


def _normal_likelihood(y: Floats) -> tuple[float, float, float]:
    """Mean, sd and log-likelihood of the likeliest normal."""
    mu, sigma = float(y.mean()), max(float(y.std()), _SIGMA_FLOOR)
    squares = float(np.sum((y - mu) ** 2)) / (2 * sigma**2)
    return mu, sigma, -len(y) * math.log(sigma * math.sqrt(2 * math.pi)) - squares


def _lognormal(x: Floats) -> _Found:
    mu, sigma, likelihood = _normal_likelihood(np.log(x))
    return _as_lognormal(mu, sigma), likelihood - float(np.log(x).sum()), 2


def _as_lognormal(mu: float, sigma: float) -> Lognormal:
    return Lognormal(math.exp(mu), math.exp(mu + sigma * Z99))


def _exponential(x: Floats) -> _Found:
    mean = float(x.mean())
    return Exponential(mean), -len(x) * (math.log(mean) + 1), 1


def _gamma(x: Floats) -> _Found:
    from scipy import stats

    shape, _, scale = stats.gamma.fit(x, floc=0)
    likelihood = stats.gamma.logpdf(x, shape, scale=scale).sum()
    return Gamma(mean=float(shape * scale), cv=min(max(float(shape) ** -0.5, 0.02), 10.0)), likelihood, 2


def _weibull(x: Floats) -> _Found:
    from scipy import stats

    shape, _, scale = stats.weibull_min.fit(x, floc=0)
    law = stats.weibull_min(shape, scale=scale)
    cv = min(max(law.std() / law.mean(), 0.02), 10.0)
    return Weibull(mean=float(law.mean()), cv=float(cv)), law.logpdf(x).sum(), 2


def _shifts(x: Floats) -> Floats:
    """Floors to try. As a floor nears the smallest value, the likelihood grows without end: half a typical gap away."""
    room = max((float(np.median(x)) - float(x[0])) / len(x), 1e-6 * float(x[0]))
    return np.asarray(np.maximum(x[0] - np.geomspace(room, float(x[0]), _SHIFTS), 0.0), dtype=np.float64)


def _with_floors(x: Floats, shifts: Floats) -> list[tuple[float, float, float, float]]:
    """Log-likelihood, floor, mean and sd of the likeliest lognormal above each floor."""
    y = np.log(x - shifts[:, None])
    mus = y.mean(axis=1)
    squares = np.sum((y - mus[:, None]) ** 2, axis=1)
    sigmas = np.maximum(np.sqrt(squares / len(x)), _SIGMA_FLOOR)
    normal = -len(x) * np.log(sigmas * math.sqrt(2 * math.pi)) - squares / (2 * sigmas**2)
    return list(zip((normal - y.sum(axis=1)).tolist(), shifts.tolist(), mus.tolist(), sigmas.tolist(), strict=True))


def _shifted_lognormal(x: Floats) -> _Found:
    # All floors at once, a row each: one by one they took a third of a calibration. Of a large sample a few at a time.
    some = max(1, _MOST_AT_ONCE // len(x))
    shifts = _shifts(x)
    found = [one for first in range(0, _SHIFTS, some) for one in _with_floors(x, shifts[first : first + some])]
    likelihood, shift, mu, sigma = max(found)
    above = _as_lognormal(mu, sigma)
    return ShiftedLognormal(shift, shift + above.p50, shift + above.p99), likelihood, 3


def _log_logistic(x: Floats) -> _Found:
    likelihood, mu, scale = _logistic(np.log(x))
    return LogLogistic(math.exp(mu), 1 / scale), likelihood - float(np.log(x).sum()), 2


def _shifted_log_logistic(x: Floats) -> _Found:
    found = []
    for shift in _shifts(x)[::3]:
        y = np.log(x - shift)
        likelihood, mu, scale = _logistic(y)
        found.append((likelihood - float(y.sum()), float(shift), mu, scale))
    likelihood, shift, mu, scale = max(found)
    return LogLogistic(shift + math.exp(mu), 1 / scale, shift), likelihood, 3


def _logistic(y: Floats) -> tuple[float, float, float]:
    """Log-likelihood, location and scale of the likeliest logistic; the scale is kept where there is a mean."""
    from scipy.optimize import minimize

    def negative(parameters: Floats) -> tuple[float, Floats]:
        scale = math.exp(parameters[1])
        z = (y - parameters[0]) / scale
        pull = np.tanh(z / 2)
        value = np.sum(np.abs(z) + 2 * np.log1p(np.exp(-np.abs(z))) + parameters[1])
        return float(value), np.array([-pull.sum() / scale, len(y) - np.sum(z * pull)])

    start = np.array([np.median(y), math.log(max(float(y.std()) * math.sqrt(3) / math.pi, 1e-3))])
    bounds = [(None, None), (math.log(1e-3), math.log(1 / 1.01))]
    best = minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return -float(best.fun), float(best.x[0]), math.exp(best.x[1])


def _mixture(x: Floats) -> _Found:
    """Two lognormals by expectation maximisation, from three starts: two halves, narrow in wide, bulk and tail."""
    y = np.log(x)
    mu, sigma = float(y.mean()), max(float(y.std()), _SIGMA_FLOOR)
    low, high = np.quantile(y, [0.25, 0.75])
    starts = [
        ((0.5, 0.5), (float(low), float(high)), (sigma / 2, sigma / 2)),
        ((0.5, 0.5), (float(np.median(y)), mu), (sigma / 4, sigma * 1.5)),
        ((0.9, 0.1), (float(np.median(y)), float(y[-1])), (sigma / 2, sigma)),
    ]
    likelihood, weights, mus, sigmas = max((_em(y, *start) for start in starts), key=lambda found: found[0])
    found = zip(weights.tolist(), mus.tolist(), sigmas.tolist(), strict=True)
    parts = tuple(Part(weight, _as_lognormal(mu, sigma)) for weight, mu, sigma in found if weight > 1e-6)
    return Mixture(parts), likelihood - float(y.sum()), 5


_Pair = tuple[float, float]


def _em(y: Floats, weights: _Pair, mus: _Pair, sigmas: _Pair) -> tuple[float, Floats, Floats, Floats]:
    w, m, s = np.array(weights), np.array(mus), np.maximum(np.array(sigmas), _SIGMA_FLOOR)
    likelihood = -math.inf
    for _ in range(500):
        density = w * np.exp(-0.5 * ((y[:, None] - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
        total = np.maximum(density.sum(axis=1), 1e-300)
        before, likelihood = likelihood, float(np.log(total).sum())
        if likelihood - before < 1e-7:
            break
        share = density / total[:, None]
        mass = np.maximum(share.sum(axis=0), 1e-9)
        w, m = mass / len(y), (share * y[:, None]).sum(axis=0) / mass
        s = np.maximum(np.sqrt((share * (y[:, None] - m) ** 2).sum(axis=0) / mass), _SIGMA_FLOOR)
    return likelihood, w, m, s


def _contention(x: Floats) -> _Found:
    """A lognormal base and an occasional exponential delay; the density of their sum by quadrature over the base."""
    from scipy.optimize import minimize
    from scipy.special import ndtri

    nodes = ndtri((np.arange(51) + 0.5) / 51)
    logs = np.log(x)

    def negative(p: Floats) -> float:
        mu, sigma = p[0], math.exp(p[1])
        late, extra = 1 / (1 + math.exp(-p[2])), math.exp(p[3])
        z = (logs - mu) / sigma
        alone = np.exp(-0.5 * z**2) / (x * sigma * math.sqrt(2 * math.pi))
        over = (x[:, None] - np.exp(mu + sigma * nodes)) / extra
        delayed = np.where(over > 0, np.exp(-np.maximum(over, 0.0)), 0.0).mean(axis=1) / extra
        return -float(np.log(np.maximum((1 - late) * alone + late * delayed, 1e-300)).sum())

    body = logs[: max(int(0.8 * len(logs)), 5)]
    tail = max(float(x[-len(x) // 5 :].mean() - np.median(x)), 1e-3 * float(np.median(x)))
    spread = math.log(max(float(body.std()), _SIGMA_FLOOR))
    start = np.array([float(body.mean()), spread, math.log(0.25), math.log(tail)])
    floor = math.log(_SIGMA_FLOOR)
    bounds = [(None, None), (floor, 3.0), (-7.0, 7.0), (math.log(1e-3 * tail), None)]
    best = minimize(
        negative, start, method="Nelder-Mead", bounds=bounds, options={"maxiter": 400, "xatol": 1e-3, "fatol": 1e-3}
    )
    mu, sigma, late, extra = best.x
    base = _as_lognormal(float(mu), math.exp(sigma))
    return Contention(base, 1 / (1 + math.exp(-late)), math.exp(extra)), -float(best.fun), 4


#: How each is fitted; the log-logistic twice, without and with a floor.
FAMILIES: dict[str, Callable[[Floats], _Found]] = {
    "exponential": _exponential,
    "gamma": _gamma,
    "weibull": _weibull,
    "lognormal": _lognormal,
    "log_logistic": _log_logistic,
    "shifted_lognormal": _shifted_lognormal,
    "shifted_log_logistic": _shifted_log_logistic,
    "contention": _contention,
    "mixture": _mixture,
}
