"""Requests that arrive in bursts, and have something in common for it: the whole burst is one piece of news."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.report.reality.neighbours import pulls

__all__ = ["FEWEST_BURSTS", "Bursts", "as_bursts", "bursts_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_BURSTS = 4  #: of which a spread between them can be told
_TOGETHER_S = 1e-3  #: arrivals that are nearer to each other are at once: clients and clocks tell no more (chosen)
_IN_BURST = 3  #: requests of one on average, at the least (chosen)
#: Times as long as the longest gap within bursts is the shortest between them (chosen: of independent arrivals at
#: random times 1 % of 12 are taken for bursts, 0.2 % of 20 and none of 30 to 1000; of 1500 to 4000 draws each).
_LONGER = 3.0
_SEEN = 0.3


def bursts_of(arrival_s: Floats) -> Ints | None:
    """The number of the burst of each request; None: they do not come in bursts, or in fewer than `FEWEST_BURSTS`.

    Parameters
    ----------
    arrival_s
        Ascending.

    Examples
    --------
    >>> bursts_of(np.repeat([0.0, 10.0, 17.0, 29.0], 3)).tolist()
    [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    >>> bursts_of(np.arange(100.0)) is None
    True
    """
    gaps = np.maximum(np.diff(arrival_s), _TOGETHER_S)
    most = len(arrival_s) // _IN_BURST
    if most < FEWEST_BURSTS:
        return None
    longest = np.sort(gaps)[::-1][: most + 1]
    times = longest[:-1] / longest[1:]
    first = FEWEST_BURSTS - 2  # breaks, but one: an even longer one among them, a weekend, is no reason to see fewer
    at = first + int(np.argmax(times[first:]))
    if times[at] < _LONGER:
        return None
    return np.concatenate([[0], np.cumsum(gaps > longest[at + 1])]).astype(np.int64)


class Bursts(NamedTuple):
    """Bursts of which the requests have something in common.

    Attributes
    ----------
    numbers
        Of the burst of each request, in the order of arrival; shape ``(requests,)``.
    common
        Share of the variance (of ranks) that requests of one burst have in common: their intraclass correlation.
    """

    numbers: Ints
    common: float

    @property
    def pieces(self) -> float:
        """Independent requests that would tell as much (Kish's design effect)."""
        sizes = np.bincount(self.numbers).astype(np.float64)
        return float(sizes.sum() / (1 + (float((sizes**2).sum() / sizes.sum()) - 1) * self.common))

    def drawn(self, generator: np.random.Generator, n: int, rows: int) -> Ints:
        """Rows of n positions, whole bursts one after the other; the last may be cut."""
        sizes = np.bincount(self.numbers)
        starts = np.cumsum(sizes) - sizes
        # So many bursts that they hardly ever are too few; where they are, they begin again.
        chosen = generator.integers(0, len(sizes), size=(rows, math.ceil(1.5 * len(sizes)) + 10))
        lengths = sizes[chosen].ravel()
        ends = np.cumsum(lengths)
        position = np.arange(ends[-1]) + np.repeat(starts[chosen].ravel() - ends + lengths, lengths)
        totals = sizes[chosen].sum(axis=1)
        first = np.cumsum(totals) - totals
        found: Ints = position[first[:, None] + np.arange(n) % totals[:, None]]
        return found

    def reach(self, miss: float) -> float:
        """Times as far as the drawn ones say an interval has to reach: Student's t, as if all were of one size."""
        from scipy.special import ndtri, stdtrit

        sizes = np.bincount(self.numbers).astype(np.float64)
        many = float(sizes.sum() ** 2 / (sizes**2).sum())
        freedom = max(1.0, many - 1)
        return math.sqrt(many / freedom) * float(stdtrit(freedom, 1 - miss / 2)) / -float(ndtri(miss / 2))


def as_bursts(sim: Floats, live: Floats, numbers: Ints | None) -> Bursts | None:
    """What requests of one burst have in common; None: nothing (an analysis of variance of ranks, 30 %).

    What both have in common cancels in the error, which decides whether there is anything. How much is the largest of
    that of the two and of the error: the tail of either is reached by a burst as a whole, or not.

    Parameters
    ----------
    sim, live
        In the order of arrival; of one length (pairs), or one of them empty (a sample by itself).
    numbers
        As `bursts_of` has them; None: no bursts.
    """
    from scipy.special import fdtrc

    if numbers is None:
        return None
    sizes = np.bincount(numbers)
    n, many = len(numbers), len(sizes)
    series = pulls(sim, live)
    between, within = _variances(series[0], numbers)
    if not between > 0 or (within > 0 and fdtrc(many - 1, n - many, between / within) > _SEEN):
        return None
    usual = (n - float((sizes**2).sum()) / n) / (many - 1)
    shares = []
    for values in series:
        between, within = _variances(values, numbers)
        whole = between + (usual - 1) * within
        shares.append((between - within) / whole if whole > 0 else 0.0)
    return Bursts(numbers, min(1.0, max(0.0, *shares)))


def _variances(values: Floats, numbers: Ints) -> tuple[float, float]:
    """Mean squares between bursts and within them."""
    sizes = np.bincount(numbers)
    n, many = len(values), len(sizes)
    centred = values - values.mean()
    squares = float(np.sum(np.bincount(numbers, weights=centred) ** 2 / sizes))
    return squares / (many - 1), max(0.0, float(np.sum(centred**2)) - squares) / (n - many)
