"""A live quantile: of the last so many values, exact."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

__all__ = ["RollingQuantile"]


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
        order = self._order
        if len(order) == self._size:
            del self._sorted[bisect_left(self._sorted, order.popleft())]
        order.append(value)
        insort(self._sorted, value)
