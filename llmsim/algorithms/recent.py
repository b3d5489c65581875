"""A quantile of what was observed lately."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

__all__ = ["RecentQuantile"]


class RecentQuantile:
    """A quantile of the observations of the last `window_s` seconds, of at most `most` of them.

    Parameters
    ----------
    quantile
        In [0, 1]; the smallest observation that at least this share does not exceed.
    window_s
        Seconds after which an observation is forgotten.
    most
        How many are kept; the oldest go first. 100 are the least that have a 99th percentile.

    Examples
    --------
    >>> median = RecentQuantile(0.5, window_s=60.0)
    >>> for second, sample in enumerate([5.0, 1.0, 3.0]):
    ...     median.observe(sample, now=second)
    >>> median.value(2.0), median.value(61.5), median.value(99.0)
    (3.0, 3.0, nan)
    """

    __slots__ = ("_most", "_order", "_quantile", "_sorted", "_window_s")

    def __init__(self, quantile: float, window_s: float, most: int = 100) -> None:
        assert 0 <= quantile <= 1, "a quantile is a share"
        assert window_s > 0, "a window has a length"
        self._quantile = quantile
        self._window_s = window_s
        self._most = most
        self._order: deque[tuple[float, float]] = deque()  # (when, what), oldest first
        self._sorted: list[float] = []

    def observe(self, sample: float, now: float) -> None:
        """Something was measured at `now`."""
        self._expire(now)
        if len(self._order) == self._most:
            self._forget()
        self._order.append((now, sample))
        insort(self._sorted, sample)

    def value(self, now: float) -> float:
        """The quantile at `now`; NaN if nothing was observed lately."""
        self._expire(now)
        count = len(self._sorted)
        return self._sorted[max(math.ceil(self._quantile * count), 1) - 1] if count else math.nan

    def _expire(self, now: float) -> None:
        while self._order and self._order[0][0] <= now - self._window_s:
            self._forget()

    def _forget(self) -> None:
        _, sample = self._order.popleft()
        del self._sorted[bisect_left(self._sorted, sample)]
