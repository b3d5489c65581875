"""A bounded memory that forgets what was not used for longest, and everything after a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["LruCache"]

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Least recently used, with a time to live counted from when a value was stored.

    Parameters
    ----------
    capacity
        Most entries it holds.
    ttl_s
        Seconds after which an entry is gone; None: never.

    Examples
    --------
    >>> cache = LruCache[str](capacity=2, ttl_s=60.0)
    >>> cache.put("a", "1", now=0.0)
    >>> cache.put("b", "2", now=0.0)
    >>> cache.get("a", now=1.0)
    '1'
    >>> cache.put("c", "3", now=1.0)
    >>> cache.get("b", now=1.0), cache.get("a", now=59.9), cache.get("a", now=60.0)
    (None, '1', None)
    """

    __slots__ = ("_capacity", "_entries", "_ttl", "evicted", "expired")

    def __init__(self, capacity: int, ttl_s: float | None = None) -> None:
        assert capacity >= 1, "a cache holds at least one entry"
        self._capacity = capacity
        self._ttl = float("inf") if ttl_s is None else ttl_s
        self._entries: OrderedDict[Hashable, tuple[float, Value]] = OrderedDict()
        self.evicted = 0  #: entries that had to go because the cache was full
        self.expired = 0  #: entries that were asked for after their time

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> Value | None:
        """What is stored under `key` and still fresh at `now`, else None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry[0]:
            del self._entries[key]
            self.expired += 1
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: Hashable, value: Value, now: float) -> None:
        """Store `value` under `key` at `now`, making room if need be."""
        entries = self._entries
        before = len(entries)
        entries[key] = (now + self._ttl, value)
        if len(entries) == before:  # hashing a long key again is what costs here
            entries.move_to_end(key)
        elif before == self._capacity:
            entries.popitem(last=False)
            self.evicted += 1
