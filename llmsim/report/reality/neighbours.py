"""How alike neighbours in a run are, and what that does to intervals: how long blocks have to be, and what they miss.

Drawing blocks of requests cuts likeness at their ends: a likeness over lags k counts for ``1 - k / length`` only, so
that what is drawn varies less than the truth. With many blocks that is little; with six it is a third of the variance.
How much it is follows from the autocovariances themselves, weighted by a window that is flat at small lags (Politis &
Romano 1995) and therefore has no such bias. That estimate is one of few independent pieces, which Student's t is for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.report.reality.distances import ranks

__all__ = ["ALONE", "FEWEST", "Likeness", "likeness_of", "next_alike", "pulls"]

Floats = NDArray[np.float64]

#: Requests of which anything can be said, an interval too (chosen: a median of 10 has one by order statistics, 6 being
#: the least).
FEWEST = 10
_QUIET = 5  #: lags in a row without likeness, after which there is taken to be none (Politis & White 2004)
_NOISE = 2.0  #: standard errors, times the root of log10(n), below which a likeness is none (ibid.)


class Likeness(NamedTuple):
    """What neighbours have in common.

    Attributes
    ----------
    block
        So many requests in a row have to be drawn together.
    stretch
        Times as much as drawn blocks does the truth vary (standard deviations); 1 or more.
    freedom
        Degrees of freedom of that estimate.
    """

    block: int
    stretch: float
    freedom: float

    def drawn(self, generator: np.random.Generator, n: int, rows: int) -> NDArray[np.int64]:
        """Rows of n positions; blocks begin anywhere, and the end joins the beginning."""
        if self.block == 1:
            return generator.integers(0, n, size=(rows, n))
        starts = generator.integers(0, n, size=(rows, -(-n // self.block)))
        return ((starts[:, :, None] + np.arange(self.block)) % n).reshape(rows, -1)[:, :n]

    def reach(self, miss: float) -> float:
        """Times as far as what was drawn would have it an interval has to reach."""
        from scipy.special import ndtri, stdtrit

        if self is ALONE:
            return 1.0
        return self.stretch * float(stdtrit(self.freedom, 1 - miss / 2)) / -float(ndtri(miss / 2))


ALONE = Likeness(1, 1.0, math.inf)  #: neighbours have nothing in common


def likeness_of(sim: Floats, live: Floats) -> Likeness:
    """Of errors: `ALONE`, unless those of neighbours are alike (lag-1 correlation, one-sided 5 %).

    Parameters
    ----------
    sim, live
        In the order of arrival; of one length (pairs), or one of them empty (a sample by itself).
    """
    if max(len(sim), len(live)) < FEWEST:
        return ALONE
    error, *alone = pulls(sim, live)
    if not next_alike(error) > 1.645 / math.sqrt(len(error)):
        return ALONE
    return _likeness(error, max(map(_last_alike, [error, *alone])))


def pulls(sim: Floats, live: Floats) -> list[Floats]:
    """How far each request pulls the relative error, and the percentiles of which it is made; by ranks.

    What is alike in both cancels, as far as both vary as much: a side that hardly varies says nothing of the other.

    Examples
    --------
    >>> both = np.array([1.0, 2.0, 4.0, 8.0])
    >>> pulls(both, both)[0].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    alone = [ranks(values) for values in (sim, live) if len(values)]
    if len(alone) == 1:
        return alone
    ours, theirs = map(_spread, (sim, live))
    if not (0 < ours < math.inf and 0 < theirs < math.inf):
        ours = theirs = 1.0
    return [ours * alone[0] - theirs * alone[1], *alone]


def _spread(values: Floats) -> float:
    """From the lower to the upper quartile, of logarithms."""
    low, high = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
    return math.log(high / low) if 0 < low <= high < math.inf else math.nan


def next_alike(values: Floats) -> float:
    """Correlation with the next one; 0 if nothing varies."""
    centred = values - values.mean()
    whole = float((centred**2).sum())
    return float((centred[1:] * centred[:-1]).sum()) / whole if whole else 0.0


def _likeness(values: Floats, last: int) -> Likeness:
    """Of a series that is alike up to this lag; blocks as long as Politis and White (2004, 2009) have them."""
    n = len(values)
    lags = np.arange(n // 2)
    whole = _autocovariances(values, len(lags))
    if not whole[0]:
        return ALONE
    reach = min(max(2 * last, 2), n // 4)
    weights = np.clip(2 * (1 - lags / reach), 0.0, 1.0)
    weights[1:] *= 2  # before and behind
    # The mean that is subtracted takes some of every likeness with it, and so do the ends of the series.
    whole = whole * n / (n - lags)
    varies = float(np.sum(weights * whole)) / max(1 - float(weights.sum()) / n, 0.25)
    slope = float(np.sum(weights * lags * whole))
    block = math.ceil(math.pow(1.5 * (slope / varies) ** 2, 1 / 3) * math.pow(n, 1 / 3)) if varies > 0 else 1
    block = max(1, min(n // 5, block))
    drawn = float(whole[0] + 2 * np.sum((1 - lags[1:block] / block) * (whole * (n - lags) / n)[1:block]))
    stretch = math.sqrt(max(1.0, varies / drawn)) if drawn > 0 else 1.0
    return Likeness(block, stretch, max(1.0, min(n / reach * 0.75, n / block - 1)))


def _autocovariances(values: Floats, many: int) -> Floats:
    """Of lags 0, 1, …; each the sum over all pairs, by n."""
    n = len(values)
    spectrum = np.fft.rfft(values - values.mean(), 2 * n)
    found: Floats = np.fft.irfft(np.abs(spectrum) ** 2)[:many] / n
    return found


def _last_alike(values: Floats) -> int:
    """The lag behind which there are `_QUIET` that have no likeness."""
    n = len(values)
    correlations = _autocovariances(values, n // 2)
    if not correlations[0]:
        return 0
    noise = _NOISE * math.sqrt(math.log10(n) / n)
    loud = np.flatnonzero(correlations[1:] / correlations[0] > noise) + 1
    last = 0
    for lag in loud.tolist():
        if lag > last + _QUIET:
            break
        last = lag
    return last
