"""What is kept, for how long, and what has to go: the bookkeeping of a cache, without its content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Literal

__all__ = ["Eviction", "Shelf"]

Eviction = Literal["lru", "lfu", "cost"]
_KINDS = ("lru", "lfu", "cost")
_SWEPT = 64  #: items for nothing that a heap may always have: short ones are not worth sweeping
_Rank = tuple[float, int]  #: what goes first is the least


class _Slot:
    """One entry."""

    __slots__ = ("cost", "expires_s", "place", "rank", "size", "uses")

    def __init__(self, place: Hashable, expires_s: float, size: float, cost: float) -> None:
        self.place = place
        self.expires_s = expires_s
        self.size = size
        self.cost = cost
        self.uses = 1
        self.rank: _Rank = (0.0, 0)


class Shelf:
    """Ids of entries by the place where they stand, within a capacity, and each for its time.

    What has to go when there is no room: first everything that has expired, then by `eviction`:

    - ``lru``: what was not used for longest. O(1).
    - ``lfu``: what was used least often, of equals what was not used for longest. It never forgets what was popular
      once. O(log n).
    - ``cost``: GreedyDual-Size-Frequency (Cherkasova, *Improving WWW Proxies Performance with
      Greedy-Dual-Size-Frequency Caching Policy*, HP Laboratories, HPL-98-69, 1998): the least
      ``clock + uses × cost / size``, where the clock is what the last one had that went, so that what was valuable
      long ago goes after all. O(log n).

    Expiry is lazy for who asks (`find` and `lives` compare times) and exact for room: a heap of times lets `put` throw
    out all that is over before anything that lives has to go.

    Parameters
    ----------
    capacity
        Most entries.
    capacity_bytes
        Most that their sizes may come to. What is larger than that by itself is not kept.
    eviction
        See above.

    Attributes
    ----------
    bytes
        Of all that stands there, expired or not: the sum of what `put` was told.

    Examples
    --------
    >>> shelf = Shelf(capacity=2)
    >>> shelf.put("a", "question 1", expires_s=60.0), shelf.put("b", "question 2", expires_s=60.0)
    ([], [])
    >>> shelf.touch("a")
    >>> shelf.put("c", "question 3", expires_s=60.0)
    ['b']
    >>> shelf.find("question 1", now_s=59.9), shelf.find("question 1", now_s=60.0)
    ('a', None)
    """

    __slots__ = (
        "_by_rank",
        "_by_time",
        "_capacity",
        "_capacity_bytes",
        "_clock",
        "_ids",
        "_kind",
        "_slots",
        "_tick",
        "bytes",
    )

    def __init__(self, capacity: int, capacity_bytes: float = inf, eviction: str = "lru") -> None:
        assert capacity >= 1, "a cache holds at least one entry"
        assert capacity_bytes > 0, "a cache holds at least something"
        assert eviction in _KINDS, eviction
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._kind = eviction
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._ids: dict[Hashable, str] = {}
        # Both heaps hold what was true when it was pushed. Expiries and ranks only ever grow, so the top is never
        # later than the truth: what has moved on is pushed again when it comes up.
        self._by_time: list[tuple[float, str]] = []
        self._by_rank: list[tuple[_Rank, str]] = []
        self._clock = 0.0
        self._tick = 0
        self.bytes = 0.0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, entry: str) -> bool:
        return entry in self._slots

    def find(self, place: Hashable, now_s: float) -> str | None:
        """The living entry at this place."""
        entry = self._ids.get(place)
        return entry if entry is not None and self.lives(entry, now_s) else None

    def lives(self, entry: str, now_s: float) -> bool:
        """Whether it is there and its time has not come."""
        slot = self._slots.get(entry)
        return slot is not None and now_s < slot.expires_s

    def put(
        self,
        entry: str,
        place: Hashable,
        *,
        expires_s: float,
        now_s: float = -inf,
        size: float = 0.0,
        cost: float = 0.0,
    ) -> list[str]:
        """Keep it.

        Parameters
        ----------
        entry
            A new id, or one that stands there and is replaced.
        place
            Where it stands: one entry each.
        expires_s
            From then on it is gone.
        now_s
            What has expired by now goes first.
        size
            Bytes.
        cost
            To have it again; for ``cost``.

        Returns
        -------
        list of str
            What had to go, in order: what stood at its place, what had expired, what room forced out. The entry itself
            is among them if there is no room for it at all. One that is replaced under its own id is not.
        """
        gone = []
        before = self._ids.get(place)
        if before is not None:
            self.drop(before)
            if before != entry:
                gone.append(before)
        self.drop(entry)  # from another place
        gone += self.expire(now_s)
        if size > self._capacity_bytes:
            return [*gone, entry]
        while self._slots and (len(self._slots) >= self._capacity or self.bytes + size > self._capacity_bytes):
            gone.append(self._evict())
        slot = self._slots[entry] = _Slot(place, expires_s, size, cost)
        self._ids[place] = entry
        self.bytes += size
        self._used(entry, slot)
        if self._kind != "lru":
            heappush(self._by_rank, (slot.rank, entry))
        if expires_s < inf:
            heappush(self._by_time, (expires_s, entry))
        return gone

    def touch(self, entry: str, expires_s: float | None = None) -> None:
        """It was used; with `expires_s` it lives on until then (its time is never shortened)."""
        slot = self._slots.get(entry)
        if slot is None:
            return
        slot.uses += 1
        self._used(entry, slot)
        if expires_s is not None and expires_s > slot.expires_s:
            slot.expires_s = expires_s

    def _used(self, entry: str, slot: _Slot) -> None:
        self._tick += 1
        if self._kind == "lru":
            self._slots.move_to_end(entry)
        elif self._kind == "lfu":
            slot.rank = (slot.uses, self._tick)
        else:
            slot.rank = (self._clock + slot.uses * slot.cost / max(slot.size, 1.0), self._tick)

    def drop(self, entry: str) -> bool:
        """Let it go; whether it was there."""
        slot = self._slots.pop(entry, None)
        if slot is None:
            return False
        del self._ids[slot.place]
        # An empty one is empty: no remainder of adding and subtracting what is no whole number.
        self.bytes = self.bytes - slot.size if self._slots else 0.0
        self._sweep()
        return True

    def expire(self, now_s: float) -> list[str]:
        """Let everything go whose time has come; what that was, in the order of when it was said to."""
        gone, heap = [], self._by_time
        while heap and heap[0][0] <= now_s:
            _, entry = heappop(heap)
            slot = self._slots.get(entry)
            if slot is None:
                continue
            if slot.expires_s > now_s:
                if slot.expires_s < inf:
                    heappush(heap, (slot.expires_s, entry))
            else:
                self.drop(entry)
                gone.append(entry)
        return gone

    def _evict(self) -> str:
        if self._kind == "lru":
            entry = next(iter(self._slots))
            self.drop(entry)
            return entry
        heap = self._by_rank
        while True:
            rank, entry = heappop(heap)
            slot = self._slots.get(entry)
            if slot is None:
                continue
            if slot.rank == rank:
                break
            heappush(heap, (slot.rank, entry))
        if self._kind == "cost":
            self._clock = rank[0]
        self.drop(entry)
        return entry

    def _sweep(self) -> None:
        """Keep what is dropped from filling the heaps: at most twice as long as what stands here, and a little."""
        most = 2 * len(self._slots) + _SWEPT
        if len(self._by_time) > most:
            self._by_time = [(slot.expires_s, entry) for entry, slot in self._slots.items() if slot.expires_s < inf]
            heapify(self._by_time)
        if len(self._by_rank) > most:
            self._by_rank = [(slot.rank, entry) for entry, slot in self._slots.items()]
            heapify(self._by_rank)
