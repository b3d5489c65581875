"""Answers in Redis 8: a store that outlives the gateway, and that all gateways share.

How to run it
-------------
Redis 8.0 or later, for its vector sets (Valkey and Redis 7 have none), with ``pip install 'llmsim[redis]'``::

    redis-server --appendonly yes --maxmemory 4gb --maxmemory-policy noeviction

    stores = LiveStores(embedder=…, redis="redis://:password@10.0.0.5:6379/0?socket_timeout=0.25")
    async with gateway.open(providers, stores=stores) as running:  # of one with - semantic_cache: {backend: redis, …}
        ...

* All gateways with that address and a policy of that name share one cache; ``capacity`` bounds it as a whole, exactly:
  the least of theirs holds. What may not be shared is kept apart by the policy's ``scope``, and what has another
  ``scope``, ``per``, ``compare`` or ``generation`` is another policy's.
* ``noeviction`` or one of ``volatile-*``: with ``allkeys-*`` Redis may throw out the bookkeeping or a whole set of
  vectors. Nothing wrong would be answered, but the cache would be emptier than it looks.
* ``--appendonly yes`` keeps answers over a restart (of the last second some may be missing); without it the cache
  starts empty.
* An ACL needs ``+eval +evalsha +hmget +@hash +@sortedset +time +del +persist +pexpireat +vsim +vadd +vrem +vemb`` on
  ``~llmsim:*``.

What it costs
-------------
Redis 8.2.3 with 10,000 real sentences (banking77, 384 numbers each) and answers of 1 kB, one client on the same machine
of two cores, which other work kept busy (so the 10th percentile, and the CPU time of Redis, say more than the median);
``tests/benchmarks/bench_redis.py`` prints it anew:

=====================  ==========  ==========  ============  =======================================================
step                   p10 (ms)    p50 (ms)    CPU (ms)      beside it, in the same run
=====================  ==========  ==========  ============  =======================================================
``exact``, a hit       0.17        0.18        0.03          PING 0.08
``touch``              0.16        0.17        0.05
``nearest``            1.3         7.8         0.8           VSIM by itself: p10 0.6, p50 0.7, CPU 0.6
``put``                1.1 to 3.9  1.9 to 9.8  1.3 to 1.8    VADD by itself: p10 0.8, p50 1.3, CPU 1.1
=====================  ==========  ==========  ============  =======================================================

With the machine less busy, VSIM took 0.4 ms and VADD 1.0 ms (p50, at 10,000 entries, both in a script). Scripts search
in Redis's main thread: by these figures a miss (a search and a write) takes 2.6 ms of it, so some 400 misses a second
are what one Redis can take; hits cost it next to nothing.

An entry takes 4.8 kB: 1.8 kB its hash (1 kB of that the answer), 2.25 kB its vector with the graph around it (1.5 kB
of that the vector), 0.5 kB the bookkeeping, and the rest Redis's own. ``capacity_bytes`` counts it as its JSON, four
bytes for each number, and `OVERHEAD_BYTES`.

Vectors are kept as float32 (``NOQUANT``). Redis's default of 8 bits would save 1.15 kB of those 2.25, but its
similarities are off by up to 0.0019, and for 14 of 1,000 questions another entry came out as the nearest; and since no
hit may be below the threshold, the true vector would be needed all the same. The cosine that a `Match` bears is
computed here, from the vector that Redis hands over with the answer: Redis's own score is (1 + cosine)/2. A vector is
searched for in an HNSW graph, so the nearest may be missed (of 1,000 real questions among 10,000: one at most); what is
found is never said to be nearer than it is.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

from llmsim.gateway.caching import CacheUse, Entry, Match, Question, StoreError, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.index import Embedder, Probe
from llmsim.stores.redis_codec import canonical, decoded, digest, encoded
from llmsim.stores.redis_link import RedisLink
from llmsim.stores.redis_scripts import DROP, NEAREST, PUT, TOUCH, TRIM

__all__ = ["RedisStore"]

VERSION = 1  #: of the layout; what another version wrote is not looked at

#: Bytes of an entry in Redis besides its JSON and the numbers of its vector: measured, see "What it costs".
OVERHEAD_BYTES = 2000

#: Of letting 128 entries go, after a capacity was made smaller; with still more, the next write goes on.
_LAPS = 1000


class RedisStore:
    """Implements `AnswerStore` on Redis 8.

    One round trip for `exact`, `nearest` (besides the embedding), `put`, `touch` and `drop` each.

    Parameters
    ----------
    spec
        How much it keeps, and what goes first.
    run
        Not needed: the clock that counts is Redis's own, beside that of who asks.
    url
        See `RedisLink`.
    embedder
        Makes questions comparable; None: exact matches only. Its ``name``, if it has one, and the number of dimensions
        keep its vectors apart from those of other embedders: after a change equal questions are found as before, and
        others once an answer has been written again.

    Notes
    -----
    An entry is gone when its time has come by Redis's clock or by the gateway's, whichever is first. What cannot be
    read is dropped, and a miss.

    Raises
    ------
    ValueError
        If the address is none, or redis-py is missing.
    """

    def __init__(self, spec: StoreSpec, run: Run | None, url: str, embedder: Embedder | None) -> None:
        self._spec = spec
        self._embedder = embedder
        self._link = RedisLink(url)
        # Braces: what a cluster keeps together. The name is the user's, and may have some itself.
        self._prefix = f"llmsim:{VERSION}:{{{quote(spec.name, safe='')}}}:"

    def __repr__(self) -> str:
        return f"RedisStore({self._spec.name!r}, {self._link.address!r})"

    async def exact(self, question: Question, now_s: float) -> Entry | None:
        place = _place(question.partition, question.key)
        got = await self._link.fields(f"{self._prefix}e:{place}", "d", "x")
        if got is not None and got[0] is None:
            return None
        entry = None if got is None else _entry(got[0], got[1], question.partition)
        if entry is None or canonical(entry.key) != canonical(question.key):
            await self._link.run(DROP, self._prefix, place, "")
            return None
        return entry if now_s < entry.expires_s else None

    async def nearest(self, question: Question, now_s: float, use: CacheUse) -> Match | None:
        if self._embedder is None:
            return None
        probe = await self._probe(question, use)
        use.queries += 1
        vectors = self._vectors(question.partition, probe)
        for _ in range(4):  # more in a row that cannot be read are no accident; the next request goes on with them
            got = await self._link.run(NEAREST, self._prefix, vectors, _bytes(probe), repr(float(now_s)))
            if not isinstance(got, list) or len(got) != 5:
                return None
            place, match = _match(got, question, probe)
            if match is not None:
                return match
            await self._link.run(DROP, self._prefix, place, "")
        return None

    async def put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        vectors, vector = "", b""
        if self._embedder is not None and question.comparable:
            probe = await self._probe(question, use)
            vectors, vector = self._vectors(entry.partition, probe), _bytes(probe)
        body, told, spec = encoded(entry), repr(float(entry.stored_s)), self._spec
        bounds = (spec.capacity, repr(float(spec.capacity_bytes)), spec.eviction)
        within = await self._link.run(
            PUT,
            self._prefix,
            *_named(entry),
            body,
            _expiry(entry.expires_s),
            told,
            _size(body, len(vector) // 4),
            repr(float(entry.cost_usd)),
            vectors,
            vector,
            *bounds,
        )
        for _ in range(_LAPS):
            if within != 0:
                break
            within = await self._link.run(TRIM, self._prefix, told, *bounds)
        use.writes += bool(vectors)

    async def touch(self, entry: Entry, now_s: float, expires_s: float | None = None) -> None:
        expiry = "as it was" if expires_s is None else _expiry(expires_s)
        await self._link.run(TOUCH, self._prefix, *_named(entry), expiry, self._spec.eviction)

    async def drop(self, entry: Entry) -> None:
        await self._link.run(DROP, self._prefix, *_named(entry))

    async def aclose(self) -> None:
        await self._link.aclose()

    def bytes(self, entry: Entry, dimensions: int) -> int:
        """What an entry counts for in ``capacity_bytes``."""
        return _size(encoded(entry), dimensions)

    async def _probe(self, question: Question, use: CacheUse) -> Probe:
        """The question as a unit vector, float32."""
        import numpy as np

        if question.probe is None:
            assert self._embedder is not None
            question.probe = await self._embedder.probe(question)
            use.embedded_tokens += self._embedder.tokens(question)  # afterwards, since some know only then
        try:
            vector = np.asarray(question.probe, dtype=np.float64)
            length = float(np.linalg.norm(vector)) if vector.ndim == 1 else math.nan
        except (ValueError, TypeError):
            length = math.nan
        if not 0.0 < length < math.inf:
            raise StoreError(f"the embedder made no vector of the question but {_described(question.probe)}")
        return (vector / length).astype(np.float32)

    def _vectors(self, partition: tuple[str, ...], probe: Probe) -> str:
        name = getattr(self._embedder, "name", type(self._embedder).__name__)
        return f"{self._prefix}v:{digest(canonical((str(name), len(probe))))}:{digest(canonical(partition))}"


def _place(partition: tuple[str, ...], key: Any) -> str:
    return digest(canonical((partition, key)))


def _named(entry: Entry) -> tuple[str, str]:
    return _place(entry.partition, entry.key), entry.id


def _size(body: bytes, dimensions: int) -> int:
    return len(body) + 4 * dimensions + OVERHEAD_BYTES


def _expiry(expires_s: float) -> str:
    return "" if expires_s == math.inf else repr(float(expires_s))


def _bytes(probe: Probe) -> bytes:
    return bytes(probe.astype("<f4").tobytes())


def _described(probe: Probe) -> str:
    shape = getattr(probe, "shape", None)
    return type(probe).__name__ if shape is None else f"an array of shape {shape} without a direction"


def _entry(body: Any, expires: Any, partition: tuple[str, ...]) -> Entry | None:
    """An entry that Redis kept; None if it is none, or one of another partition."""
    try:
        expires_s = math.inf if expires == b"" else float(expires)
    except (TypeError, ValueError):
        return None
    entry = decoded(body)
    if entry is None or entry.partition != partition or math.isnan(expires_s):
        return None
    return entry._replace(expires_s=expires_s)


def _match(got: list[Any], question: Question, probe: Probe) -> tuple[str, Match | None]:
    """The place of what was found, and the entry with its true similarity; None if it cannot be read."""
    import numpy as np

    place, body, expires, kind, raw = got
    entry = _entry(body, expires, question.partition)
    if entry is None or kind != b"f32" or not isinstance(raw, bytes) or len(raw) != 4 * len(probe):
        return place, None
    ours, theirs = probe.astype(np.float64), np.frombuffer(raw, dtype="<f4").astype(np.float64)
    length = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    similarity = float(ours @ theirs) / length if length > 0.0 else math.nan
    if math.isnan(similarity):
        return place, None
    return place, Match(entry, min(1.0, max(-1.0, similarity)))
