"""How far two samples are apart, request by request and as distributions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Apart", "ks_band", "ks_band_of_pairs", "ks_distance", "per_request", "ranks"]

Floats = NDArray[np.float64]

_SWAPS = 1000
_SEED = 20_240_601  #: of the swapping: equal results have equal bands
_CELLS = 4_000_000  #: of one block of swaps, so that memory stays bounded


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
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def ranks(values: Floats) -> Floats:
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

    The asymptotic value (Smirnov 1948), 1.358 · √((n + m) / (n · m)).
    """
    return 1.358 * math.sqrt((n + m) / (n * m)) if n and m else math.nan


def ks_band_of_pairs(one: Floats, other: Floats) -> float:
    """Distance that two samples of one distribution stay below 95 times in 100 although they come in pairs.

    Pairs (a long answer is long in both) are closer than independent samples, so `ks_band` would let too much pass. If
    the two have one distribution, it does not matter which of a pair is called which: the band is what swapping within
    pairs gives (a permutation test; asymptotically also where the two of a pair are not exchangeable).

    Examples
    --------
    >>> both = np.linspace(1.0, 2.0, 50)
    >>> float(ks_band_of_pairs(both, both * 1.001)) < ks_band(50, 50)
    True
    """
    n = len(one)
    if n < 2:
        return math.nan
    both = np.concatenate([one, other])
    order = np.argsort(both, kind="stable")
    ordered = both[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of equal values, only after all of them is the step whole
    of_pair, side = order % n, np.where(order < n, 1.0, -1.0)
    generator = np.random.Generator(np.random.PCG64(_SEED))
    rows = max(1, min(_SWAPS, _CELLS // (2 * n)))
    found: list[Floats] = []
    while sum(map(len, found)) < _SWAPS:
        swapped = generator.choice(np.array([-1.0, 1.0]), size=(rows, n))
        steps = np.cumsum(swapped[:, of_pair] * side, axis=1)[:, last]
        found.append(np.abs(steps).max(axis=1) / n)
    return float(np.quantile(np.concatenate(found), 0.95, method="higher"))
