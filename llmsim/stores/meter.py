"""How much a vector store holds, over time: what its storage is billed by."""

from __future__ import annotations

from collections.abc import Callable

from llmsim.stores.index import Found, Index, Probe

__all__ = ["UNKNOWN", "Meter", "MeteredIndex"]

Partition = tuple[str, ...]

#: Probe of what was embedded and nothing is known about: to be told from what has not been embedded.
UNKNOWN: Probe = object()


class Meter:
    """The integral of stored bytes over the measured time, exact, at a few operations per change.

    Parameters
    ----------
    start_s, end_s
        The measured time, on the clock that the changes are told in.

    Examples
    --------
    >>> meter = Meter(start_s=10.0, end_s=20.0)
    >>> meter.change(0.0, 100.0)  # before: it counts from 10 s on
    >>> meter.change(15.0, 50.0)
    >>> meter.byte_s(18.0), meter.byte_s(99.0)
    (950.0, 1250.0)
    """

    __slots__ = ("_byte_s", "_end_s", "_last_s", "_start_s", "stored_bytes")

    def __init__(self, start_s: float, end_s: float) -> None:
        self._start_s = start_s
        self._end_s = end_s
        self._last_s = start_s  #: up to when it has been added up
        self._byte_s = 0.0
        self.stored_bytes = 0.0

    def change(self, now_s: float, size: float) -> None:
        """From now on so many bytes more (or fewer) are stored."""
        self._byte_s = self.byte_s(now_s)
        self._last_s = min(max(now_s, self._last_s), self._end_s)
        self.stored_bytes += size

    def byte_s(self, now_s: float) -> float:
        """The integral up to now."""
        return self._byte_s + self.stored_bytes * max(0.0, min(now_s, self._end_s) - self._last_s)


class MeteredIndex:
    """An index that knows how many entries its partitions have, and tells a meter what they weigh.

    Parameters
    ----------
    inner
        What finds the nearest.
    meter
        Told of every entry that comes and goes.
    now
        The clock that the meter goes by.
    """

    __slots__ = ("_inner", "_meter", "_now", "_sizes", "entries", "size")

    def __init__(self, inner: Index, meter: Meter, now: Callable[[], float]) -> None:
        self._inner = inner
        self._meter = meter
        self._now = now
        self._sizes: dict[str, float] = {}
        self.entries: dict[Partition, int] = {}  #: by partition
        self.size = 0.0  #: bytes of the entry that is about to be added

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, partition: Partition, entry: str, probe: Probe) -> None:
        before = self._sizes.get(entry)
        if before is None:
            self.entries[partition] = self.entries.get(partition, 0) + 1
        self._sizes[entry] = self.size
        self._meter.change(self._now(), self.size - (before or 0.0))
        self._inner.add(partition, entry, None if probe is UNKNOWN else probe)

    def remove(self, partition: Partition, entry: str) -> None:
        size = self._sizes.pop(entry, None)
        if size is not None:
            self._meter.change(self._now(), -size)
            left = self.entries[partition] - 1
            if left:
                self.entries[partition] = left
            else:
                del self.entries[partition]
        self._inner.remove(partition, entry)

    def nearest(self, partition: Partition, probe: Probe) -> Found | None:
        return self._inner.nearest(partition, None if probe is UNKNOWN else probe)

    def lost(self) -> None:
        """Everything is gone at once."""
        self._meter.change(self._now(), -sum(self._sizes.values()))
        self._sizes.clear()
        self.entries.clear()
