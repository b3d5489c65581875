"""How far two samples of pairs are apart, with intervals that come from resampling the pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Apart", "interval_of", "interval_of_shares", "ks_band", "ks_distance", "per_request"]

Floats = NDArray[np.float64]

_RESAMPLES = 1000
_SEED = 20_240_601  #: of the resampling: equal results have equal intervals
_CELLS = 4_000_000  #: of one block of resamples, so that memory stays bounded


class Apart(NamedTuple):
    """Errors of a simulation, request by request; shares of what was live."""

    pairs: int
    bias: float  #: median of the signed errors: above 0, the simulation was too high
    mdape: float  #: median of the absolute errors
    mape: float  #: their mean
    correlation: float  #: of ranks (Spearman); NaN where one side does not vary


def per_request(sim: Floats, live: Floats) -> Apart:
    """Errors pair by pair; pairs of which the live one is 0 say nothing about shares.

    Examples
    --------
    >>> per_request(np.array([1.1, 2.2, 3.3]), np.array([1.0, 2.0, 3.0]))._replace(correlation=1.0)
    Apart(pairs=3, bias=0.1..., mdape=0.1..., mape=0.1..., correlation=1.0)
    """
    told = live != 0
    errors = (sim[told] - live[told]) / live[told]
    if not len(errors):
        return Apart(0, math.nan, math.nan, math.nan, math.nan)
    sizes = np.abs(errors)
    return Apart(
        len(errors),
        float(np.median(errors)),
        float(np.median(sizes)),
        float(np.mean(sizes)),
        _rank_correlation(sim, live),
    )


def _rank_correlation(one: Floats, other: Floats) -> float:
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)


def ks_distance(one: Floats, other: Floats) -> float:
    """Largest distance between the two empirical distribution functions (Kolmogorov-Smirnov).

    Examples
    --------
    >>> float(ks_distance(np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    1.0
    """
    if not len(one) or not len(other):
        return math.nan
    one, other = np.sort(one), np.sort(other)
    both = np.concatenate([one, other])
    apart = np.searchsorted(one, both, side="right") / len(one) - np.searchsorted(other, both, side="right") / len(
        other
    )
    return float(np.abs(apart).max())


def ks_band(n: int, m: int) -> float:
    """Distance that two independent samples of one distribution stay below 95 times in 100.

    The asymptotic value (Smirnov 1948), 1.358 · √((n + m) / (n · m)). Paired samples are closer than independent ones,
    so a distance above the band is a difference, and one below it is not a proof of none.
    """
    return 1.358 * math.sqrt((n + m) / (n * m)) if n and m else math.nan


def interval_of_shares(sim: Floats, live: Floats) -> tuple[float, float] | None:
    """95 % interval of the difference of two shares of the same requests; of values 0 and 1.

    Agresti and Min (2005, "Simple improved confidence intervals for comparing matched proportions"): half a pair is
    added to each of the four kinds, so that no difference among a few pairs is not taken for a proof of none, as
    resampling would have it. None for fewer than 10 pairs.

    Examples
    --------
    >>> interval_of_shares(np.zeros(98), np.zeros(98))
    (-0.0196, 0.0196)
    """
    n = len(sim)
    if n < 10:
        return None
    only_sim = float(np.sum(sim > live)) + 0.5
    only_live = float(np.sum(sim < live)) + 0.5
    difference = (only_sim - only_live) / (n + 2)
    error = math.sqrt(only_sim + only_live - (only_sim - only_live) ** 2 / (n + 2)) / (n + 2)
    return difference - 1.96 * error, difference + 1.96 * error


def interval_of(statistic: Callable[[Floats, Floats], Floats], sim: Floats, live: Floats) -> tuple[float, float] | None:
    """95 % interval of a statistic of pairs by the percentile bootstrap (Efron 1979); None for fewer than 10 pairs.

    Parameters
    ----------
    statistic
        Of two arrays of shape (resamples, pairs), along the last axis.
    sim, live
        The pairs.
    """
    n = len(sim)
    if n < 10:
        return None
    generator = np.random.Generator(np.random.PCG64(_SEED))
    found: list[Floats] = []
    rows = max(1, min(_RESAMPLES, _CELLS // n))
    while sum(map(len, found)) < _RESAMPLES:
        chosen = generator.integers(0, n, size=(rows, n))
        found.append(statistic(sim[chosen], live[chosen]))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if len(values) < _RESAMPLES // 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
