"""What caches with other thresholds would have made of the same questions: one run, replayed for all of them at once.

A run in which a cache has nothing (`RecordedStores`) shows who asks what, when, and when the upstream's answer is
complete. None of that depends on the threshold, so it is worked out once; what does depend on it (what is kept, what
is near enough) is replayed for each threshold from the same events.

What a replay takes for granted, and what it does not:

- Answers take as long as they took in a run without hits: an upstream that is less loaded because of the cache would
  be faster, and one that throttles would throttle less.
- Answers are kept when they are complete, so a question that comes before that is a miss here too. Calls that failed
  keep nothing.
- Each replica has its cache, or all have one: as in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.algorithms.shelf import Shelf
from llmsim.stores.index import Index, Probe

__all__ = ["EXACT", "MISS", "SEMANTIC", "Cache", "Replayed", "Stream", "replay"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MISS, EXACT, SEMANTIC = 0, 1, 2

_INF = float("inf")


class Cache(NamedTuple):
    """A cache to replay."""

    threshold: float  #: least cosine of a hit; inf: equal questions only
    ttl_s: float = _INF
    capacity: int = 1 << 62
    sliding: bool = False  #: a hit renews the time to live


@dataclass(eq=False)
class Stream:
    """Questions in the order in which they came. Arrays have shape ``(n,)``.

    Parameters
    ----------
    asked_s, kept_s
        When it was asked, and when the upstream's answer would be kept; inf: never.
    cache
        Number of the cache that was asked, from 0.
    place
        Equal: the same question to the letter, in the same partition of the same cache.
    partition
        Equal: may share answers.
    answer
        Equal: one answer serves both; -1: unknown, and so never called wrong.
    version, kept_version
        Which right answer it is by then, if that changes: when it is asked, and when the upstream's is kept.
    probes
        What an index compares, one for each.
    size
        Bytes that its answer takes when it is kept.
    """

    asked_s: Floats
    kept_s: Floats
    cache: Ints
    place: Ints
    partition: Ints
    answer: Ints
    version: Ints
    kept_version: Ints
    probes: Sequence[Probe]
    size: Floats

    def __len__(self) -> int:
        return len(self.asked_s)

    @cached_property
    def events(self) -> tuple[list[int], list[float]]:
        """What happens, in order, and when: ``i``: question i is asked; ``~i``: the answer to it is complete."""
        n = len(self)
        kept = np.flatnonzero(np.isfinite(self.kept_s))
        times = np.concatenate([self.kept_s[kept], self.asked_s])
        events = np.concatenate([~kept, np.arange(n)])
        order = np.argsort(times, kind="stable")  # at one instant, what is complete is kept before the next asks
        return events[order].tolist(), times[order].tolist()

    @cached_property
    def columns(self) -> _Columns:
        """What a loop needs of each question, as lists."""
        names = [(str(number),) for number in range(int(self.partition.max(initial=-1)) + 1)]
        return _Columns(
            self.cache.tolist(),
            self.place.tolist(),
            [names[number] for number in self.partition.tolist()],
            [str(number) for number in range(len(self))],
            self.size.tolist(),
        )


class _Columns(NamedTuple):
    cache: list[int]
    place: list[int]
    partition: list[tuple[str, ...]]
    entry: list[str]  #: id of the entry that its answer would become
    size: list[float]


class Replayed(NamedTuple):
    """What a cache did with each question of a stream; arrays have shape ``(n,)``."""

    match: NDArray[np.int8]  #: `MISS`, `EXACT` or `SEMANTIC`
    made_for: Ints  #: number of the question whose answer was given; -1: none was
    wrong: NDArray[np.bool_]  #: another question's answer, or an outdated one
    outdated: NDArray[np.bool_]  #: of these, the outdated ones
    entry_s: float  #: ∫ entries dt over the time that was asked for
    byte_s: float  #: ∫ bytes dt over it


def replay(
    stream: Stream,
    cache: Cache,
    index: Callable[[], Index] | None,
    *,
    reach: Floats | None = None,
    between_s: tuple[float, float] = (0.0, 0.0),
) -> Replayed:
    """Ask a cache everything that was asked in a run.

    Parameters
    ----------
    stream
        Of the run.
    cache
        Its threshold and how it keeps.
    index
        Makes the index of a cache, empty; None: equal questions only.
    reach
        Shape ``(n,)``: no entry can be nearer to a question than this, whatever is kept. Where it is below the
        threshold, nothing is looked for.
    between_s
        The time over which entries and bytes are added up.
    """
    semantic = index is not None and cache.threshold <= 1.0
    n = len(stream)
    caches = range(int(stream.cache.max(initial=-1)) + 1)
    columns = stream.columns
    which, places, partitions = columns.cache, columns.place, columns.partition
    held = [_Kept(cache, index() if index is not None and semantic else None, columns, between_s) for _ in caches]
    match, made_for = bytearray(n), [-1] * n
    worth = [semantic] * n if reach is None else (semantic & (reach >= cache.threshold)).tolist()
    probes = stream.probes
    for event, now_s in zip(*stream.events, strict=True):
        if event < 0:
            if not match[~event]:
                held[which[~event]].put(~event, probes[~event], now_s)
            continue
        kept = held[which[event]]
        entry = kept.find(places[event], now_s)
        if entry is not None:
            match[event] = EXACT
        else:
            entry = kept.nearest(partitions[event], probes[event], now_s) if worth[event] else None
            if entry is None:
                continue
            match[event] = SEMANTIC
        made_for[event] = int(entry)
    matches, made = np.frombuffer(match, dtype=np.int8), np.array(made_for, dtype=np.int64)
    areas = [kept.areas() for kept in held]
    return _judged(stream, matches, made, sum(one for one, _ in areas), sum(two for _, two in areas))


def _judged(stream: Stream, match: NDArray[np.int8], made_for: Ints, entry_s: float, byte_s: float) -> Replayed:
    """Whose answers were wrong, which no cache knows."""
    hit = match != MISS
    answer, given = stream.answer, stream.answer[made_for]
    other = hit & (answer >= 0) & (given >= 0) & (answer != given)
    outdated = hit & ~other & (answer >= 0) & (stream.version != stream.kept_version[made_for])
    return Replayed(match, made_for, other | outdated, outdated, entry_s, byte_s)


class _Kept:
    """What one cache holds, as `LocalStore` would: a test holds the two to each other."""

    __slots__ = (
        "_area",
        "_begin_s",
        "_byte_area",
        "_bytes",
        "_columns",
        "_end_s",
        "_index",
        "_shelf",
        "_since_s",
        "_sliding",
        "_threshold",
        "_ttl_s",
    )  # fmt: skip

    def __init__(self, cache: Cache, index: Index | None, columns: _Columns, between_s: tuple[float, float]) -> None:
        self._shelf = Shelf(cache.capacity)
        self._index = index
        self._columns = columns
        self._threshold = cache.threshold
        self._ttl_s = cache.ttl_s
        self._sliding = cache.sliding
        self._begin_s, self._end_s = between_s
        self._since_s = self._begin_s
        self._bytes = self._area = self._byte_area = 0.0

    def find(self, place: int, now_s: float) -> str | None:
        entry = self._shelf.find(place, now_s)
        if entry is not None:
            self._shelf.touch(entry, now_s + self._ttl_s if self._sliding else None)
        return entry

    def nearest(self, partition: tuple[str, ...], probe: Probe, now_s: float) -> str | None:
        index, shelf = self._index, self._shelf
        assert index is not None
        while (found := index.nearest(partition, probe)) is not None:
            if shelf.lives(found.id, now_s):
                if found.similarity < self._threshold:
                    return None
                shelf.touch(found.id, now_s + self._ttl_s if self._sliding else None)
                return found.id
            self._count(now_s)
            shelf.drop(found.id)
            self._forget(found.id)
        return None

    def put(self, number: int, probe: Probe, now_s: float) -> None:
        self._count(now_s)
        columns = self._columns
        entry = columns.entry[number]
        if self._index is not None:
            self._index.add(columns.partition[number], entry, probe)
        self._bytes += columns.size[number]
        for gone in self._shelf.put(entry, columns.place[number], expires_s=now_s + self._ttl_s):
            self._forget(gone)

    def _forget(self, entry: str) -> None:
        number = int(entry)
        self._bytes -= self._columns.size[number]
        if self._index is not None:
            self._index.remove(self._columns.partition[number], entry)

    def _count(self, now_s: float) -> None:
        """What it holds is about to change."""
        if now_s > self._since_s:
            passed_s = min(now_s, self._end_s) - self._since_s
            if passed_s > 0:
                self._area += len(self._shelf) * passed_s
                self._byte_area += self._bytes * passed_s
                self._since_s = now_s

    def areas(self) -> tuple[float, float]:
        """∫ entries dt and ∫ bytes dt up to the end."""
        self._count(self._end_s)
        return self._area, self._byte_area
