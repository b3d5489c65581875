"""How the stores of caches, and what embeds and verifies for them, behave in virtual time: the ``store:`` section.

Every default is a measurement with its source. They were made on one machine (2 cores at 2.8 GHz, other jobs running,
so that they are upper bounds to within a factor of two) with vectors of 384 numbers; a hosted embedder or a store
behind a network is slower, and its time is for the scenario to say.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.distributions import Constant, DurationDistribution
from llmsim.units import USD, BadValue, Bytes, Duration, PositiveCount, Ratio

__all__ = ["EmbeddingModel", "JudgeModel", "SizePoint", "StoreModel"]

FORBID = {"extra": "forbid"}

Money = Annotated[float, USD]

# Medians of a search in (entries, seconds), 384 numbers a vector, one thread, in this process. numpy float32 X @ q and
# argmax: 1.77 ms at 10,000 and 16.8 ms at 100,000, so it grows with the entries. hnswlib and faiss HNSW (M = 16,
# ef = 64): 0.34 ms at 10,000, 0.40 ms at 100,000.
_BRUTE_FORCE = ((0, 0.0), (10_000, 1.77e-3), (100_000, 16.8e-3))
_HNSW = ((10_000, 0.34e-3), (100_000, 0.40e-3))
#: Where the memory store goes over from the one to the other (`llmsim.stores`: "numpy brute force to ~20k entries").
_MANY = 20_000
# Redis 8.2 vector set, VSIM over loopback at 10,000 entries: 2.0 ms. No other size was measured.
_REDIS = ((10_000, 2.0e-3),)

# hnswlib: 4.4 s of CPU for 10,000 inserts. A matrix gets a row: nothing to wait for. Redis: VADD took 5 to 5.6 ms.
_INSERT_S = {"memory": 0.44e-3, "redis": 5.3e-3}
# GET of 1 kB from a Redis 8.2 over loopback, from asyncio: median 44 us (95 %: 55 us). In this process: a dict.
_ROUND_TRIP_S = {"redis": 44e-6}
_REFUSED_S = 53e-6  #: median until the kernel says "connection refused", over loopback

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class SizePoint:
    """How long a search takes in a store of one size.

    Parameters
    ----------
    entries
        In the partition that is searched.
    lookup
        Time of a search.
    """

    __pydantic_config__: ClassVar = FORBID

    entries: PositiveCount
    lookup: Duration


@dataclass(frozen=True, kw_only=True)
class EmbeddingModel:
    """What makes questions comparable.

    Parameters
    ----------
    latency
        Time for one text. Default: 9.6 ms, the median of all-MiniLM-L6-v2 (int8, ONNX) in one thread on short
        questions (banking77).
    failures
        Share of the texts that cannot be embedded: the cache treats those as new.
    """

    __pydantic_config__: ClassVar = FORBID

    latency: DurationDistribution = Constant(9.6e-3)
    failures: Ratio = 0.0


@dataclass(frozen=True, kw_only=True)
class JudgeModel:
    """The verifier of the lab: it knows whether an answer fits, and errs as often as is said here.

    Parameters
    ----------
    accept_right
        Share of the fitting answers that it lets through.
    accept_wrong
        Share of the others that it lets through all the same. Neither has a default: measure your verifier, on pairs
        as near as those in the band.
    latency
        Time for a verdict: that of a call to a small model, say.
    price
        Of a verdict.
    """

    __pydantic_config__: ClassVar = FORBID

    accept_right: Ratio
    accept_wrong: Ratio
    latency: DurationDistribution = Constant(0.0)
    price: Money = 0.0


@dataclass(frozen=True, kw_only=True)
class StoreModel:
    """Where `semantic_cache` keeps its answers, in virtual time.

    Who asks waits for the embedding and the search, unless it was an exact hit in memory. Writes are off the caller's
    path: they take as long until others can find the answer. Not modelled: that a search in the gateway's own process
    keeps its event loop from everything else meanwhile.

    In ``memory`` each replica has answers of its own (``shared: true``: one store for all); a ``redis`` is one server
    for all replicas.

    Parameters
    ----------
    embedding
        What makes questions comparable.
    lookup
        Time of a search for the nearest, whatever the size. Default: by backend and size, as measured. ``memory``:
        numpy 1.77 ms at 10,000 entries of the partition, growing with them up to 20,000, from there HNSW, 0.35 to
        0.40 ms. ``redis``: 2.0 ms (VSIM at 10,000).
    lookup_by_size
        In place of `lookup`: the time at some sizes; between them a straight line, beyond them its last slope (one
        size alone: the same for all).
    write
        Time until a new answer can be found. Default: ``memory`` none up to 20,000 entries, then 0.44 ms (an insert
        into HNSW); ``redis`` 5.3 ms (VADD).
    round_trip
        Time of what needs no search: an exact hit, a touch. Default: ``redis`` 44 us (GET of 1 kB over loopback; within
        a data centre it is the network's), ``memory`` none.
    connect
        Time until an operation that fails says so. Default: 53 us (connection refused, over loopback); a host that
        swallows packets takes as long as your client's connect timeout.
    failures
        Share of the operations that fail.
    loss
        Share of the entries that were written and are gone when they are looked for.
    capacity
        Most entries the server holds, whatever its caches would like; None: no limit of its own.
    vector_bytes
        Stored for each vector. Default: 384 numbers of 4 bytes (all-MiniLM-L6-v2).
    entry_bytes
        Stored for each entry beside its vector and the texts: keys, links of the index.
    token_bytes
        Stored for each token of the question and of its answer. Default: 4, the rule of thumb in OpenAI's help for
        English ("1 token ~= 4 chars").
    judge
        The verifier of answers in a cache's uncertainty band (`verify_below`).
    """

    __pydantic_config__: ClassVar = FORBID

    embedding: EmbeddingModel = EmbeddingModel()
    lookup: DurationDistribution | None = None
    lookup_by_size: tuple[SizePoint, ...] = ()
    write: DurationDistribution | None = None
    round_trip: DurationDistribution | None = None
    connect: DurationDistribution = Constant(_REFUSED_S)
    failures: Ratio = 0.0
    loss: Ratio = 0.0
    capacity: PositiveCount | None = None
    vector_bytes: Bytes = 4.0 * 384
    entry_bytes: Bytes = 0.0
    token_bytes: Bytes = 4.0
    judge: JudgeModel | None = None

    def __post_init__(self) -> None:
        if self.lookup is not None and self.lookup_by_size:
            raise BadValue("lookup holds for every size, so lookup_by_size has no effect; remove one", "lookup_by_size")
        sizes = [point.entries for point in self.lookup_by_size]
        if sizes != sorted(set(sizes)):
            raise BadValue("sizes must grow; sort lookup_by_size by entries", "lookup_by_size")

    def usual_lookup_s(self, backend: str, entries: int) -> float:
        """Seconds of a search among so many entries, where no `lookup` says it.

        Examples
        --------
        >>> model = StoreModel()
        >>> [round(model.usual_lookup_s("memory", n) * 1e3, 2) for n in (0, 10_000, 50_000)]
        [0.0, 1.77, 0.37]
        >>> model.usual_lookup_s("redis", 500)
        0.002
        """
        if self.lookup_by_size:
            return _line(tuple((point.entries, point.lookup) for point in self.lookup_by_size), entries)
        if backend == "redis":
            return _line(_REDIS, entries)
        return _line(_BRUTE_FORCE if entries < _MANY else _HNSW, entries)

    def usual_write_s(self, backend: str, entries: int) -> float:
        """Seconds of a write, where no `write` says it."""
        return 0.0 if backend == "memory" and entries < _MANY else _INSERT_S.get(backend, 0.0)

    def usual_round_trip_s(self, backend: str) -> float:
        """Seconds of what needs no search, where no `round_trip` says it."""
        return _ROUND_TRIP_S.get(backend, 0.0)

    def mean_write_s(self, backend: str, entries: int) -> float:
        """Mean seconds until what is written can be found."""
        return self.write.mean if self.write is not None else self.usual_write_s(backend, entries)

    def mean_round_trip_s(self, backend: str) -> float:
        """Mean seconds of what needs no search."""
        return self.round_trip.mean if self.round_trip is not None else self.usual_round_trip_s(backend)

    def stored_bytes(self, tokens: float) -> float:
        """What an entry takes, with the texts of its question and answer."""
        return self.vector_bytes + self.entry_bytes + self.token_bytes * tokens

    def mean_lookup_s(self, backend: str, entries: int) -> float:
        """Mean seconds of a search: what a pass over a stream without an event loop reckons with."""
        return self.lookup.mean if self.lookup is not None else self.usual_lookup_s(backend, entries)


def _line(points: Points, entries: int) -> float:
    """Straight between the points, and on beyond them; never below 0."""
    if len(points) == 1:
        return points[0][1]
    high = min(max(bisect_right(points, entries, key=lambda point: point[0]), 1), len(points) - 1)
    (n0, s0), (n1, s1) = points[high - 1], points[high]
    return max(0.0, s0 + (s1 - s0) * (entries - n0) / (n1 - n0))
