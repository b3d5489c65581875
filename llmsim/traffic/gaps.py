"""Gaps between arrivals with a mean of 1: families, and the first gap of a process that has always been going on."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Constant, Distribution, Exponential, Gamma
from llmsim.traffic.burstiness import Burstiness

__all__ = ["WeibullGaps", "family_of_gaps", "first_gap"]

Floats = NDArray[np.float64]


class WeibullGaps:
    """Weibull with mean 1.

    Parameters
    ----------
    cv
        Coefficient of variation.

    Examples
    --------
    >>> WeibullGaps(1.0).quantile(np.array([0.5])).round(6).tolist()  # exponential
    [0.693147]
    """

    mean = 1.0

    def __init__(self, cv: float) -> None:
        self.shape = _weibull_shape(cv)
        self.scale = math.exp(-math.lgamma(1 + 1 / self.shape))

    def quantile(self, u: Floats) -> Floats:
        return np.asarray(self.scale * (-np.log1p(-u)) ** (1 / self.shape), dtype=np.float64)


@lru_cache(maxsize=64)
def _weibull_shape(cv: float) -> float:
    """Shape k with Γ(1 + 2/k) / Γ(1 + 1/k)² = 1 + cv², which falls as k grows."""
    low, high = 0.05, 100.0  # cv from 1e5 down to 0.013
    wanted = math.log1p(cv * cv)
    for _ in range(80):
        middle = math.sqrt(low * high)
        if math.lgamma(1 + 2 / middle) - 2 * math.lgamma(1 + 1 / middle) > wanted:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def family_of_gaps(arrivals: str | Burstiness) -> Distribution:
    """Of the gaps, with mean 1."""
    if arrivals == "constant":
        return Constant(1.0)
    if isinstance(arrivals, Burstiness) and arrivals.gamma is not None:
        return Gamma(1.0, arrivals.gamma.cv)
    if isinstance(arrivals, Burstiness) and arrivals.weibull is not None:
        return WeibullGaps(arrivals.weibull.cv)
    return Exponential(1.0)


def first_gap(family: Distribution, u: float, v: float) -> float | None:
    """Time from 0 to the first arrival of a process that began long ago; None where it is like any other gap.

    The moment 0 is met in the middle of a gap, and more often in a long one: what is left is a share `u` of a gap drawn
    in proportion to its length (from `v`). Without this a bursty process begins with a burst: (cv² − 1) / 2 requests
    too many, 50 for a cv of 10.
    """
    if isinstance(family, Constant):
        return u * family.value
    if isinstance(family, Gamma):
        shape = 1 / family.cv**2  # in proportion to its length, a gamma is a gamma with one more shape
        return u * family.mean * _gamma(shape + 1, v) / shape
    if isinstance(family, WeibullGaps):
        # In proportion to its length x, (x / scale)^shape is a gamma of shape 1 + 1 / shape.
        return u * family.scale * float(_gamma(1 + 1 / family.shape, v) ** (1 / family.shape))
    return None


def _gamma(shape: float, v: float) -> float:
    from scipy.special import gammaincinv

    return float(gammaincinv(shape, v))
