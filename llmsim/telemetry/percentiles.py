"""The percentile that is meant: the least value with at least that share of the samples at or below it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest_rank", "percentile", "samples_needed"]

# 100 / (100 - 99.9) is 1000.0000000000057 in floats: what differs from a whole number by less is that number.
_ROUNDING = 1e-9


def samples_needed(percent: float) -> int:
    """The fewest samples from which a percentile is told.

    With n samples the tail beyond p(q) holds n(1 - q) of them. Below one, the nearest rank is the largest sample
    (below the median: the smallest) whatever it is, and the number says nothing about the percentile
    (Hyndman & Fan 1996, definition 1: the rank ``ceil(n q)`` is n exactly when ``n < 1 / (1 - q)``).

    Examples
    --------
    >>> [samples_needed(percent) for percent in (1, 50, 90, 95, 99, 99.9)]
    [100, 2, 10, 20, 100, 1000]
    """
    return math.ceil(100.0 / min(percent, 100.0 - percent) - _ROUNDING)


def nearest_rank(percent: float, samples: int) -> int:
    """Position, from 1, of a percentile among that many sorted samples.

    Examples
    --------
    >>> nearest_rank(95, 20), nearest_rank(50, 5), nearest_rank(7, 100)
    (19, 3, 7)
    """
    return max(1, math.ceil(percent / 100.0 * samples - _ROUNDING))


def percentile(ascending: NDArray[np.float64], percent: float) -> float:
    """A percentile of sorted samples by nearest rank; NaN where there are too few.

    ``percentile(x, q) <= bound`` is true exactly when at least q % of the samples are within the bound, which is
    what an SLO says. Nothing is interpolated, so that +inf (a failure) stays what it is.

    Examples
    --------
    >>> percentile(np.array([1.0] * 19 + [np.inf]), 95), percentile(np.array([1.0] * 18 + [np.inf] * 2), 95)
    (1.0, inf)
    >>> percentile(np.array([1.0] * 19), 95)
    nan
    """
    samples = len(ascending)
    if samples < samples_needed(percent):
        return math.nan
    return float(ascending[nearest_rank(percent, samples) - 1])
