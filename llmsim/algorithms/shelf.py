"""What is kept, for how long, and what has to go: the bookkeeping of a cache, without its content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Shelf"]


class _Slot(NamedTuple):
    place: Hashable
    expires_s: float


class Shelf:
    """Ids of entries by the place where they stand, with a capacity and a time to live.

    Parameters
    ----------
    capacity
        Most entries.

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

    __slots__ = ("_capacity", "_ids", "_slots")

    def __init__(self, capacity: int) -> None:
        assert capacity >= 1, "a cache holds at least one entry"
        self._capacity = capacity
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._ids: dict[Hashable, str] = {}

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

    def put(self, entry: str, place: Hashable, *, expires_s: float) -> list[str]:
        """Keep it; what had to go, in order: what stood at its place, then what capacity forced out."""
        gone = []
        before = self._ids.get(place)
        if before is not None:
            self.drop(before)
            gone.append(before)
        self._slots[entry] = _Slot(place, expires_s)
        self._ids[place] = entry
        while len(self._slots) > self._capacity:
            oldest = next(iter(self._slots))
            self.drop(oldest)
            gone.append(oldest)
        return gone

    def touch(self, entry: str, expires_s: float | None = None) -> None:
        """It was used."""
        slot = self._slots.get(entry)
        if slot is not None:
            self._slots.move_to_end(entry)
            if expires_s is not None:
                self._slots[entry] = slot._replace(expires_s=expires_s)

    def drop(self, entry: str) -> bool:
        """Let it go; whether it was there."""
        slot = self._slots.pop(entry, None)
        if slot is None:
            return False
        del self._ids[slot.place]
        return True
