"""Who is turned away first when there is too much: the least important, smoothly."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping

__all__ = ["RecentMean", "Shedding"]


class Shedding:
    """Chance of being turned away, by priority and by how busy it is.

    Each priority has a utilisation at which it begins to be turned away; at that of the next higher one all of it is,
    at 1 all of the highest. Between, the chance grows linearly, so there is no edge to swing about. A more important
    request's chance is above 0 only where that of all less important ones is 1.

    Parameters
    ----------
    starts
        Utilisation (1: full) at which each priority begins to be turned away. Rising, each below 1. Priorities between
        two go with the lower; below the lowest with the lowest.

    Examples
    --------
    >>> shedding = Shedding({0: 0.5, 10: 0.75})
    >>> [shedding.chance(priority, 0.625) for priority in (-1, 0, 9, 10)]
    [0.5, 0.5, 0.5, 0.0]
    >>> [shedding.chance(priority, 0.875) for priority in (0, 10)]
    [1.0, 0.5]
    """

    __slots__ = ("_edges", "_priorities")

    def __init__(self, starts: Mapping[int, float]) -> None:
        self._priorities = sorted(starts)
        self._edges = [*(starts[priority] for priority in self._priorities), 1.0]

    def chance(self, priority: int, utilisation: float) -> float:
        """Between 0 (goes on) and 1 (is turned away)."""
        at = max(bisect_right(self._priorities, priority) - 1, 0)
        start, end = self._edges[at], self._edges[at + 1]
        if utilisation <= start:
            return 0.0
        return 1.0 if utilisation >= end else (utilisation - start) / (end - start)


class RecentMean:
    """The mean of what was seen lately; what is older counts less, and the longer nothing is seen the less it says.

    Parameters
    ----------
    window_s
        Seconds in which weights fall to 1/e.

    Examples
    --------
    >>> mean = RecentMean(10.0)
    >>> mean.add(2.0, now=0.0)
    >>> mean.add(4.0, now=0.0)
    >>> mean.value(0.0), round(mean.value(10.0), 3)
    (3.0, 1.104)
    """

    __slots__ = ("_at_s", "_sum", "_weight", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._at_s = 0.0
        self._sum = self._weight = 0.0

    def add(self, value: float, now: float) -> None:
        """`value` was seen."""
        fades = math.exp((self._at_s - now) / self._window_s)
        self._sum = self._sum * fades + value
        self._weight = self._weight * fades + 1.0
        self._at_s = now

    def value(self, now: float) -> float:
        """The mean as of `now`. Without anything new it goes to 0: so that who is kept out by it is let in again."""
        if not self._weight:
            return 0.0
        return self._sum / self._weight * math.exp((self._at_s - now) / self._window_s)
