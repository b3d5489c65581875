"""What caches with other thresholds would have made of the same questions: one run, replayed for all of them at once.

A run in which a cache has nothing (`RecordedStores`) shows who asks what, when, and when the upstream's answer is
complete. None of that depends on the threshold, so it is worked out once; what does depend on it (what is kept, what
is near enough) is replayed for each threshold from the same events.

What a replay takes for granted, and what it does not:

- Answers take as long as they took in a run without hits: an upstream that is less loaded because of the cache would
  be faster, and one that throttles would throttle less.
- Answers are kept when they are complete and written (which takes as long as it does on average), so a question that
  comes before that is a miss here too. Calls that failed keep nothing.
- Each replica has its cache, or all have one: as in the run.
- A call that another one with the same words was waiting for (`single_flight`) is waited for here, too.
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

__all__ = ["EXACT", "MISS", "SEMANTIC", "Cache", "Replayed", "Stream", "bounds", "replay"]

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
    capacity_bytes: float = _INF
    eviction: str = "lru"


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
        Equal: one answer serves both. Below 0 nothing says so: -1 is never called wrong; -2 and below are words without
        a label, of which only the same are known to have one answer.
    changed_s
        When the right answer last changed, up to when it is asked; -inf: never.
    probes
        What an index compares, one for each.
    size
        Bytes that its answer takes when it is kept: what storage is billed by.
    own
        Least cosine of a hit where a question has one of its own; NaN: that of the cache. None: none has.
    weight, cost_usd
        What `Cache.capacity_bytes` and eviction by cost go by. None: nothing weighs or costs anything.
    write_s
        From when an answer is complete until it can be found.
    """

    asked_s: Floats
    kept_s: Floats
    cache: Ints
    place: Ints
    partition: Ints
    answer: Ints
    changed_s: Floats
    probes: Sequence[Probe]
    size: Floats
    own: Floats | None = None
    weight: Floats | None = None
    cost_usd: Floats | None = None
    write_s: float = 0.0

    def __len__(self) -> int:
        return len(self.asked_s)

    @cached_property
    def events(self) -> tuple[list[int], list[float]]:
        """What happens, in order, and when: ``i``: question i is asked; ``~i``: the answer to it is complete."""
        n = len(self)
        kept = np.flatnonzero(np.isfinite(self.kept_s))
        times = np.concatenate([self.kept_s[kept] + self.write_s, self.asked_s])
        events = np.concatenate([~kept, np.arange(n)])
        order = np.argsort(times, kind="stable")  # at one instant, what is complete is kept before the next asks
        return events[order].tolist(), times[order].tolist()

    @property
    def caches(self) -> int:
        """How many caches were asked."""
        return int(self.cache.max(initial=-1)) + 1

    def lasts(self, cache: Cache) -> bool:
        """Whether nothing that such a cache keeps would leave it before the end."""
        times = self.events[1]
        if not times:
            return True
        room = cache.capacity >= self._most_places and cache.capacity_bytes >= self._most_bytes
        return room and times[-1] - times[0] < cache.ttl_s

    def least(self, threshold: float) -> Floats:
        """The least cosine of a hit for each question."""
        if self.own is None:
            return np.full(len(self), threshold)
        return np.where(np.isnan(self.own), threshold, self.own)

    @cached_property
    def _most_bytes(self) -> float:
        """All answers together."""
        return 0.0 if self.weight is None else float(self.weight.sum())

    @cached_property
    def _most_places(self) -> int:
        """Different questions that one cache is asked, at most."""
        _, first = np.unique(self.place, return_index=True)
        return int(np.bincount(self.cache[first]).max(initial=0))

    def forget_lists(self) -> None:
        """Let go of what is made of the arrays again when it is needed."""
        for name in ("events", "columns"):
            self.__dict__.pop(name, None)

    @cached_property
    def columns(self) -> _Columns:
        """What a loop needs of each question, as lists."""
        names = [(str(number),) for number in range(int(self.partition.max(initial=-1)) + 1)]
        return _Columns(
            self.cache.tolist(),
            self.place.tolist(),
            [names[number] for number in self.partition.tolist()],
            [str(number) for number in range(len(self))],
            *([0.0] * len(self) if one is None else one.tolist() for one in (self.weight, self.cost_usd)),
        )


class _Columns(NamedTuple):
    cache: list[int]
    place: list[int]
    partition: list[tuple[str, ...]]
    entry: list[str]  #: id of the entry that its answer would become
    weight: list[float]
    cost_usd: list[float]


class Replayed(NamedTuple):
    """What a cache did with each question of a stream; arrays have shape ``(n,)``."""

    match: NDArray[np.int8]  #: `MISS`, `EXACT` or `SEMANTIC`
    made_for: Ints  #: number of the question whose answer was given; -1: none was
    wrong: NDArray[np.bool_]  #: another question's answer, or an outdated one
    outdated: NDArray[np.bool_]  #: of these, the outdated ones
    unknown: NDArray[np.bool_]  #: an answer of which nobody can say whether it is another question's
    semantic: bool  #: whether it compared meanings
    entry_s: Floats  #: ∫ entries dt over the time that was asked for, by partition
    byte_s: float  #: ∫ bytes dt over it


def replay(
    stream: Stream,
    cache: Cache,
    index: Callable[[], Index] | None,
    *,
    most: Floats | None = None,
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
    most
        Of `bounds`: where it is below the threshold, nothing is looked for.
    between_s
        The time over which entries and bytes are added up.
    """
    semantic = index is not None and cache.threshold <= 1.0
    n = len(stream)
    least = stream.least(cache.threshold)
    worth = [semantic] * n if most is None else ((most >= least) & semantic).tolist()
    indices = [index() if index is not None and semantic else None for _ in range(stream.caches)]
    course = _Course(bytearray(n), [-1] * n, {})
    if stream.lasts(cache):
        _replay_lasting(stream, least.tolist(), indices, worth, course)
    else:
        _Replay(stream, cache, least.tolist(), indices, worth, course).run()
    return _judged(stream, course, between_s, semantic=semantic)


class _Course(NamedTuple):
    """What happened in a replay, question by question."""

    match: bytearray
    made_for: list[int]
    left_s: dict[int, float]  #: when an entry went


def _replay_lasting(
    stream: Stream, least: list[float], indices: Sequence[Index | None], worth: list[bool], course: _Course
) -> None:
    """Where nothing leaves before the end but what is replaced by an answer to the same words."""
    which, places, partitions, entries, *_ = stream.columns
    probes = stream.probes
    match, made_for, left_s = course
    stands = [-1] * (int(stream.place.max(initial=-1)) + 1)
    for event, now_s in zip(*stream.events, strict=True):
        if event >= 0:
            number = stands[places[event]]
            if number >= 0:
                match[event] = EXACT
                made_for[event] = number
            elif worth[event]:
                index = indices[which[event]]
                assert index is not None
                found = index.nearest(partitions[event], probes[event])
                if found is not None and found.similarity >= least[event]:
                    match[event] = SEMANTIC
                    made_for[event] = int(found.id)
        elif not match[~event]:
            number = ~event
            before, stands[places[number]] = stands[places[number]], number
            if before >= 0:
                left_s[before] = now_s
            index = indices[which[number]]
            if index is not None:
                index.add(partitions[number], entries[number], probes[number])
                if before >= 0:
                    index.remove(partitions[before], entries[before])


class _Replay:
    """With all that makes entries leave. A test holds this and `LocalStore` to each other."""

    def __init__(
        self,
        stream: Stream,
        cache: Cache,
        least: list[float],
        indices: Sequence[Index | None],
        worth: list[bool],
        course: _Course,
    ) -> None:
        self._columns = stream.columns
        self._events = stream.events
        self._probes = stream.probes
        self._cache = cache
        self._least = least
        self._life_s = cache.ttl_s - stream.write_s  # it is dated by when it was complete
        self._indices = indices
        self._worth = worth
        self._course = course
        self._shelves = [Shelf(cache.capacity, cache.capacity_bytes, cache.eviction) for _ in indices]

    def run(self) -> None:
        """From the first event to the last."""
        which, places, _, entries, *_ = self._columns
        match, made_for, _ = self._course
        renewed_s = self._cache.ttl_s if self._cache.sliding else None
        for event, now_s in zip(*self._events, strict=True):
            number = event if event >= 0 else ~event
            if event < 0:
                if not match[number]:
                    self._keep(number, entries[number], now_s)
                continue
            shelf = self._shelves[which[number]]
            entry, how = shelf.find(places[number], now_s), EXACT
            if entry is None and self._worth[number]:  # who is not compared meets nothing that has expired
                for gone in shelf.expire(now_s):
                    self._forget(gone, self._indices[which[number]], now_s)
                entry, how = self._nearest(number), SEMANTIC
            if entry is not None:
                match[number], made_for[number] = how, int(entry)
                shelf.touch(entry, None if renewed_s is None else now_s + renewed_s)

    def _nearest(self, number: int) -> str | None:
        index = self._indices[self._columns.cache[number]]
        assert index is not None
        found = index.nearest(self._columns.partition[number], self._probes[number])
        return found.id if found is not None and found.similarity >= self._least[number] else None

    def _keep(self, number: int, entry: str, now_s: float) -> None:
        caches, places, partitions, _, weights, costs_usd = self._columns
        which = caches[number]
        index = self._indices[which]
        if index is not None:
            index.add(partitions[number], entry, self._probes[number])
        for gone in self._shelves[which].put(
            entry,
            places[number],
            expires_s=now_s + self._life_s,
            now_s=now_s,
            size=weights[number],
            cost=costs_usd[number],
        ):
            self._forget(gone, index, now_s)

    def _forget(self, entry: str, index: Index | None, now_s: float) -> None:
        number = int(entry)
        self._course.left_s[number] = now_s
        if index is not None:
            index.remove(self._columns.partition[number], entry)


def _judged(stream: Stream, course: _Course, between_s: tuple[float, float], *, semantic: bool) -> Replayed:
    """Whose answers were wrong, which no cache knows, and how much was kept for how long."""
    match, made_for = np.frombuffer(course.match, dtype=np.int8), np.array(course.made_for, dtype=np.int64)
    hit = match != MISS
    answer, given = stream.answer, stream.answer[made_for]
    differs = hit & (answer != given)
    other = differs & (answer >= 0) & (given >= 0)
    unknown = differs & ~other & (answer != -1) & (given != -1)
    outdated = hit & ~other & ~unknown & (stream.changed_s > stream.kept_s[made_for])
    left_s = np.full(len(stream), _INF)
    left_s[list(course.left_s)] = list(course.left_s.values())
    begin_s, end_s = between_s
    lasted_s = np.where(hit, 0.0, np.minimum(left_s, end_s) - np.maximum(stream.kept_s + stream.write_s, begin_s))
    lasted_s = np.maximum(lasted_s, 0.0)
    entry_s = np.zeros(int(stream.partition.max(initial=-1)) + 1)
    np.add.at(entry_s, stream.partition, lasted_s)
    wrong, byte_s = other | outdated, float((lasted_s * stream.size).sum())
    return Replayed(match, made_for, wrong, outdated, unknown, semantic, entry_s, byte_s)


def bounds(stream: Stream, index: Callable[[], Index]) -> Floats:
    """How near anything could be to each question, whatever a cache keeps; shape ``(n,)``.

    That is how near the nearest would be if every answer had been kept by then and none had left, since an index finds
    nothing that is further away when it has more to choose from. Who asks what others have asked to the letter is
    compared with all there is at the end, as it matters only where those got somebody else's answer.
    """
    which, places, partitions, entries, *_ = stream.columns
    probes = stream.probes
    indices = [index() for _ in range(stream.caches)]
    most = np.full(len(stream), -1.0)
    stands: dict[int, int] = {}
    often = np.bincount(stream.place)[stream.place] > 1
    alone = (~often).tolist()
    for event in stream.events[0]:
        number = event if event >= 0 else ~event
        everything = indices[which[number]]
        if event < 0:
            if stands.setdefault(places[number], number) == number:
                everything.add(partitions[number], entries[number], probes[number])
        elif alone[number]:
            found = everything.nearest(partitions[number], probes[number])
            if found is not None:
                most[number] = found.similarity
    by_place = np.full(int(stream.place.max(initial=-1)) + 1, -1.0)
    for number in np.unique(np.where(often, stream.place, -1), return_index=True)[1].tolist():
        if not often[number]:
            continue
        everything, before = indices[which[number]], stands.get(places[number])
        if before is not None:
            everything.remove(partitions[before], entries[before])
        found = everything.nearest(partitions[number], probes[number])
        if found is not None:
            by_place[places[number]] = found.similarity
        if before is not None:
            everything.add(partitions[before], entries[before], probes[before])
    return np.where(often, by_place[stream.place], most)
