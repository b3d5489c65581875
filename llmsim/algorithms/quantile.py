"""Live quantiles: of the last so many values, or of the last so many seconds; exact."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

__all__ = ["RecentQuantile", "RollingQuantile"]


class RollingQuantile:
    """The quantile of the latest `size` values.

    They are kept in order of arrival and in order of size: adding one is a binary search and a shift of at most 8 kB
    (a thousand floats). Weighed against it: P² (Jain and Chlamtac, 1985) needs five numbers but never forgets, so it
    cannot follow an upstream that becomes slower; a histogram forgets by the bucket, and its answer is as coarse as its
    buckets, where hedging wants the value itself.

    Parameters
    ----------
    quantile
        Which, in (0, 1).
    size
        How many values it looks back.

    Examples
    --------
    >>> p75 = RollingQuantile(0.75, size=4)
    >>> for value in (9.0, 1.0, 2.0, 3.0, 4.0):
    ...     p75.add(value)
    >>> p75.value, p75.count
    (3.0, 4)
    """

    __slots__ = ("_order", "_quantile", "_size", "_sorted")

    def __init__(self, quantile: float, size: int) -> None:
        assert 0 < quantile < 1 and size >= 1, "a quantile is in (0, 1), of at least one value"
        self._quantile = quantile
        self._size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def count(self) -> int:
        """How many values it holds."""
        return len(self._sorted)

    @property
    def value(self) -> float:
        """The smallest value that at least `quantile` of them do not exceed (numpy: ``inverted_cdf``); NaN for none."""
        count = len(self._sorted)
        if not count:
            return math.nan
        # 0.95 * 100 is 95, and not a rounding error more.
        return self._sorted[max(0, math.ceil(self._quantile * count - 1e-9) - 1)]

    def add(self, value: float) -> None:
        """Take in a value, and forget the oldest once there are more than `size`."""
        if len(self._order) == self._size:
            self.forget()
        self._order.append(value)
        insort(self._sorted, value)

    def forget(self) -> None:
        """Forget the oldest."""
        del self._sorted[bisect_left(self._sorted, self._order.popleft())]


class RecentQuantile:
    """A quantile of the observations of the last `window_s` seconds, of at most `most` of them.

    Parameters
    ----------
    quantile
        In (0, 1).
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

    __slots__ = ("_most", "_times", "_values", "_window_s")

    def __init__(self, quantile: float, window_s: float, most: int = 100) -> None:
        assert window_s > 0, "a window has a length"
        self._most = most
        self._window_s = window_s
        self._values = RollingQuantile(quantile, most)
        self._times: deque[float] = deque()

    def observe(self, sample: float, now: float) -> None:
        """Something was measured at `now`."""
        self._expire(now)
        if len(self._times) == self._most:
            self._times.popleft()
        self._times.append(now)
        self._values.add(sample)

    def value(self, now: float) -> float:
        """The quantile at `now`; NaN if nothing was observed lately."""
        self._expire(now)
        return self._values.value

    def _expire(self, now: float) -> None:
        while self._times and self._times[0] <= now - self._window_s:
            self._times.popleft()
            self._values.forget()
