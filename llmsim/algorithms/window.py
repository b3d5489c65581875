"""Counts over a sliding window, in constant memory and time."""

from __future__ import annotations

__all__ = ["LastCalls", "RollingCounts"]


class RollingCounts:
    """How many events of two kinds, ``all`` and ``marked`` among them, fell into the last `window_s` seconds.

    The window is a ring of buckets: what it covers lies between `window_s` − one bucket and `window_s`. Exact
    timestamps would cost memory in proportion to the rate, for nothing that a threshold could notice.

    Parameters
    ----------
    window_s
        Length of the window in seconds.
    buckets
        Into how many parts it is cut.

    Examples
    --------
    >>> counts = RollingCounts(10.0)
    >>> counts.add(0.0, marked=True)
    >>> counts.add(9.9)
    >>> counts.total, counts.marked
    (2, 1)
    >>> counts.expire(12.0)
    >>> counts.total, counts.marked
    (1, 0)
    """

    __slots__ = ("_all", "_buckets", "_index", "_marked", "_slot", "_until_s", "_width", "marked", "total")

    def __init__(self, window_s: float, buckets: int = 10) -> None:
        assert window_s > 0 and buckets >= 1, "a window has a length and at least one bucket"
        self._width = window_s / buckets
        self._buckets = buckets
        self._all = [0] * buckets
        self._marked = [0] * buckets
        self._index = 0  # number of the newest bucket since time 0
        self._slot = 0  # where it lies in the ring
        self._until_s = self._width  # when it ends
        self.total = 0  #: events in the window, as of the last `add` or `expire`
        self.marked = 0  #: marked events in the window, as of the last `add` or `expire`

    def add(self, now: float, *, marked: bool = False) -> None:
        """Count one event at `now` (seconds; a time before the newest bucket counts into the newest)."""
        if now >= self._until_s:
            self.expire(now)
        self._all[self._slot] += 1
        self.total += 1
        if marked:
            self._marked[self._slot] += 1
            self.marked += 1

    def expire(self, now: float) -> None:
        """Forget what is older than the window at `now`."""
        index = int(now / self._width)
        passed = index - self._index
        if passed <= 0:
            return
        self._index = index
        self._until_s = (index + 1) * self._width
        if passed >= self._buckets:
            self.clear()
            return
        slot = self._slot
        for _ in range(passed):
            slot = slot + 1 if slot + 1 < self._buckets else 0
            self.total -= self._all[slot]
            self.marked -= self._marked[slot]
            self._all[slot] = self._marked[slot] = 0
        self._slot = slot

    def clear(self) -> None:
        """Forget everything."""
        self._all = [0] * self._buckets
        self._marked = [0] * self._buckets
        self.total = self.marked = 0


class LastCalls:
    """How many of the last `size` events were marked: the window of `RollingCounts`, counted in events.

    Parameters
    ----------
    size
        How many events it holds.

    Examples
    --------
    >>> calls = LastCalls(2)
    >>> for marked in (True, True, False):
    ...     calls.add(0.0, marked=marked)
    >>> calls.total, calls.marked
    (2, 1)
    """

    __slots__ = ("_marks", "_slot", "marked", "total")

    def __init__(self, size: int) -> None:
        assert size >= 1, "a window holds at least one event"
        self._marks = [False] * size
        self._slot = 0
        self.total = 0  #: events in the window
        self.marked = 0  #: marked events in the window

    def add(self, now: float, *, marked: bool = False) -> None:
        """Count one event; when it happened makes no difference."""
        marks, slot = self._marks, self._slot
        if self.total < len(marks):
            self.total += 1
        elif marks[slot]:
            self.marked -= 1
        marks[slot] = marked
        if marked:
            self.marked += 1
        self._slot = slot + 1 if slot + 1 < len(marks) else 0

    def clear(self) -> None:
        """Forget everything."""
        self._marks = [False] * len(self._marks)
        self._slot = self.total = self.marked = 0
