"""The families of one scale and at most one shape, positive and without a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Constant", "Distribution", "Exponential", "Gamma", "Geometric", "Lognormal", "Normal", "Uniform"]

Floats = NDArray[np.float64]

Z99 = 2.3263478740408408  # standard normal quantile at 0.99
# Gamma table over logit(u) in ±37: relative error < 1e-4 for cv 0.1 … 3 (tests/distributions/test_plain.py).
_TABLE_POINTS = 4001


@runtime_checkable
class Distribution(Protocol):
    """What every family offers."""

    @property
    def mean(self) -> float:
        """Expected value."""

    def quantile(self, u: Floats) -> Floats:
        """Value below which a share `u` lies; elementwise, `u` in (0, 1)."""

    # All families here have a `cdf` as well. It is not asked of a user's own distribution: nothing is drawn by it.


@dataclass(frozen=True)
class Constant:
    """Always the same value."""

    value: float
    dimensionless: ClassVar[frozenset[str]] = frozenset()

    @property
    def mean(self) -> float:
        return self.value

    def quantile(self, u: Floats) -> Floats:
        return np.full_like(u, self.value)

    def cdf(self, x: Floats) -> Floats:
        return np.where(x < self.value, 0.0, 1.0)


@dataclass(frozen=True)
class Uniform:
    """Evenly between `low` and `high`."""

    low: float
    high: float
    dimensionless: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"uniform: low {self.low:g} must not be above high {self.high:g}; swap them")

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def quantile(self, u: Floats) -> Floats:
        return self.low + (self.high - self.low) * u

    def cdf(self, x: Floats) -> Floats:
        if self.low == self.high:
            return np.where(x < self.low, 0.0, 1.0)
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)


@dataclass(frozen=True)
class Exponential:
    """Memoryless with the given mean."""

    mean: float
    dimensionless: ClassVar[frozenset[str]] = frozenset()

    def quantile(self, u: Floats) -> Floats:
        return -self.mean * np.log1p(-u)

    def cdf(self, x: Floats) -> Floats:
        if self.mean == 0:
            return np.where(x < 0, 0.0, 1.0)
        return -np.expm1(-np.maximum(x, 0.0) / self.mean)


@dataclass(frozen=True)
class Geometric:
    """1, 2, 3, …: after each comes another with the same probability, ``1 - 1 / mean``. For what is counted.

    Examples
    --------
    >>> Geometric(2.0).quantile(np.array([0.4, 0.6, 0.8]))
    array([1., 2., 3.])
    """

    mean: float
    dimensionless: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.mean >= 1:
            raise ValueError(f"geometric: the mean must be at least 1, not {self.mean:g}; there is always one")

    def quantile(self, u: Floats) -> Floats:
        if self.mean == 1:
            return np.ones_like(u)
        return np.maximum(np.ceil(np.log1p(-u) / math.log1p(-1 / self.mean)), 1.0)

    def cdf(self, x: Floats) -> Floats:
        found = -np.expm1(np.floor(np.maximum(x, 0.0)) * math.log1p(-1 / self.mean)) if self.mean > 1 else 1.0
        return np.where(x < 1, 0.0, found)


@dataclass(frozen=True)
class Lognormal:
    """Lognormal given by its median and 99th percentile, the two figures people have.

    Examples
    --------
    >>> round(float(Lognormal(p50=0.3, p99=2.0).quantile(np.array([0.99]))[0]), 6)
    2.0
    """

    p50: float
    p99: float
    dimensionless: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < self.p50 <= self.p99:
            raise ValueError(
                f"lognormal: need 0 < p50 <= p99, got p50 {self.p50:g} and p99 {self.p99:g}; "
                "write the median as p50 and the larger value as p99"
            )

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.p99 / self.p50) / Z99

    @property
    def mean(self) -> float:
        return self.p50 * math.exp(self.sigma**2 / 2)

    def quantile(self, u: Floats) -> Floats:
        from scipy.special import ndtri

        return np.asarray(self.p50 * np.exp(self.sigma * ndtri(u)), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        return lognormal_cdf(x, self.p50, self.sigma)


@dataclass(frozen=True)
class Normal:
    """Standard normal values; not a family of scenario files, where nothing is negative."""

    mean: ClassVar[float] = 0.0

    def quantile(self, u: Floats) -> Floats:
        from scipy.special import ndtri

        return np.asarray(ndtri(u), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        from scipy.special import ndtr

        return np.asarray(ndtr(x), dtype=np.float64)


@dataclass(frozen=True)
class Gamma:
    """Gamma with the given mean and coefficient of variation (1 is exponential)."""

    mean: float
    cv: float
    dimensionless: ClassVar[frozenset[str]] = frozenset({"cv"})

    def __post_init__(self) -> None:
        if self.mean <= 0 or not 0.02 <= self.cv <= 10:
            raise ValueError(
                f"gamma: need mean > 0 and cv between 0.02 and 10, got mean {self.mean:g} and cv {self.cv:g}; "
                "a cv of 1 is exponential, 0.3 is fairly even"
            )

    def quantile(self, u: Floats) -> Floats:
        logit, log_value = _gamma_table(1 / self.cv**2)
        return np.asarray(self.mean * np.exp(np.interp(np.log(u) - np.log1p(-u), logit, log_value)), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        from scipy.special import gammainc

        shape = 1 / self.cv**2
        return np.asarray(gammainc(shape, np.maximum(x, 0.0) * shape / self.mean), dtype=np.float64)


@lru_cache(maxsize=64)
def _gamma_table(shape: float) -> tuple[Floats, Floats]:
    """Log of the unit-mean gamma quantile over logit(u): 101 ns a draw instead of 1 µs for the exact inverse."""
    from scipy.special import expit, gammainccinv, gammaincinv

    logit = np.linspace(-37, 37, _TABLE_POINTS)
    # Above the median the complement keeps the precision that 1 - u would lose.
    quantile = np.where(logit < 0, gammaincinv(shape, expit(logit)), gammainccinv(shape, expit(-logit)))
    with np.errstate(divide="ignore"):
        log_value = np.log(quantile / shape)
    return logit, np.maximum(log_value, -700.0)


def lognormal_cdf(x: Floats, scale: float, sigma: float) -> Floats:
    """Share of a lognormal with this median and log-sd at or below `x`."""
    from scipy.special import ndtr

    if sigma == 0:
        return np.where(x < scale, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(ndtr(np.log(np.maximum(x, 0.0) / scale) / sigma), dtype=np.float64)
