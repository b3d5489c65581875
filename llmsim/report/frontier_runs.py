"""One run of a scenario with an empty cache, and what it says about caches with any threshold."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.gateway.registry import kind_of
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.stores.frontier import EXACT, MISS, Cache, Replayed, Stream, bounds, replay
from llmsim.stores.index import Index
from llmsim.stores.recorded import Asked, Kept, RecordedStores
from llmsim.stores.simulated import SimulatedStores
from llmsim.telemetry.percentiles import percentile
from llmsim.telemetry.recorder import Replication, TableData

if TYPE_CHECKING:
    from llmsim.traffic.meanings import Meaning
    from llmsim.traffic.prompts import Prompt
    from llmsim.traffic.truth import World

__all__ = ["Observed", "Tally", "cache_of", "observe", "usual_cache"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_INF = float("inf")
_NEVER = Kept(_INF, 0, 0, 0.0)


class Tally(NamedTuple):
    """What a cache came to in one replication, over the measured requests."""

    requests: int
    hits: int
    exact: int  #: of these, by equal words
    wrong: int  #: of these, another question's answer, or an outdated one
    outdated: int  #: of these, the outdated ones
    unknown: int  #: hits of which nobody can tell: prompts of a log without intents, in other words
    wrong_squares: (
        int  #: of those that ask the same, to the letter, the wrong ones squared: how much they come in groups
    )
    bill_usd: float  #: of the upstreams, without the cache
    saved_usd: float  #: of it, for calls that are no longer made
    embedding_usd: float
    store_usd: float
    ttft_mean_s: float  #: of those that got an answer
    ttft_p95_s: float

    @property
    def net_usd(self) -> float:
        """What is saved after the cache itself is paid."""
        return self.saved_usd - self.embedding_usd - self.store_usd


def cache_of(scenario: Scenario) -> SemanticCache:
    """The semantic cache of a scenario's gateway.

    Raises
    ------
    LlmsimError
        If there is none, or more than one, or none whose threshold matters; says what to write.
    """
    found = [spec for spec in scenario.gateway.policies if isinstance(spec, SemanticCache)]
    if not found:
        raise LlmsimError(
            f"{scenario.name} has no semantic cache whose threshold could be chosen; put one first among its policies, "
            "e.g. gateway: {policies: [{semantic_cache: {threshold: 0.92}}, …]}"
        )
    if len(found) > 1:
        raise LlmsimError(f"{scenario.name} has {len(found)} semantic caches; leave the one whose threshold is wanted")
    if found[0].backend == "exact":
        raise LlmsimError(
            f"{kind_of(found[0])} of {scenario.name} has backend: exact, which compares no meanings; write memory"
        )
    if scenario.traffic.topics is None:
        raise LlmsimError(
            f"{scenario.name} does not say what requests mean, so nothing is like anything else; write e.g. "
            "traffic: {topics: {zipf: {s: 1.0, unique: 5000}, paraphrases: 30%, traps: 3%}}"
        )
    return found[0]


def usual_cache(scenario: Scenario) -> Cache:
    """The scenario's own cache, as a replay knows it."""
    policy = cache_of(scenario)
    return Cache(
        policy.threshold,
        _INF if policy.ttl is None else policy.ttl,
        min(policy.capacity, scenario.store.capacity or policy.capacity),
        sliding=policy.ttl_from == "used",
        capacity_bytes=policy.capacity_bytes or _INF,
        eviction=policy.eviction,
    )


@dataclass(frozen=True, eq=False)
class Observed:
    """What one replication showed.

    Parameters
    ----------
    scenario
        Its prices.
    stream
        Questions to the cache.
    row
        Shape ``(n,)``: number of each question's request among the measured ones; -1: it was not measured.
    tokens
        Shape ``(n,)``: of each question's prompt.
    cost_usd, ttft_s
        Shape ``(m,)``, of the measured requests, without a cache. `ttft_s` is inf for those without an answer.
    index
        Makes an empty index.
    begin_s
        When measuring began, on the stream's clock.
    queue_s
        What a call waited for a slot at its upstream, on average.
    """

    scenario: Scenario
    stream: Stream
    row: Ints
    tokens: Ints
    cost_usd: Floats
    ttft_s: Floats
    index: Callable[[], Index]
    most: Floats
    begin_s: float
    queue_s: float = 0.0

    @property
    def failed(self) -> float:
        """Share of the measured requests without an answer."""
        return float(np.isinf(self.ttft_s).mean()) if len(self.ttft_s) else 0.0

    @property
    def changes(self) -> bool:
        """Whether any answer changes in this time."""
        return bool(np.isfinite(self.stream.changed_s).any())

    def replay(self, cache: Cache) -> Replayed:
        """What this cache would have done."""
        between_s = (self.begin_s, self.begin_s + self.scenario.clock.duration)
        return replay(
            self.stream, cache, self.index if cache.threshold <= 1.0 else None, most=self.most, between_s=between_s
        )

    def tally(self, cache: Cache) -> Tally:
        """What it would have come to; that of no cache at all for a threshold of NaN."""
        if np.isnan(cache.threshold):
            return self._tally(None, None)
        return self._tally(cache, self.replay(cache))

    def _tally(self, cache: Cache | None, did: Replayed | None) -> Tally:
        bill = float(self.cost_usd.sum())
        if cache is None or did is None:
            return Tally(len(self.cost_usd), 0, 0, 0, 0, 0, 0, bill, 0.0, 0.0, 0.0, *_ttft(self.ttft_s))
        measured = self.row >= 0
        match, row = did.match[measured], self.row[measured]
        semantic, searched, hit = cache.threshold <= 1.0, match != EXACT, match != MISS
        costs, counts = self.scenario.costs, {}
        kept = (match == MISS) & np.isfinite(self.stream.kept_s[measured])
        counts["embedded"] = float(self.tokens[measured][searched].sum()) if semantic else 0.0
        counts["queries"] = float(searched.sum()) if semantic else 0.0
        counts["writes"] = float(kept.sum()) if semantic else 0.0
        store = costs.vector_store
        store_usd = counts["queries"] * store.queries + counts["writes"] * store.writes
        store_usd += did.byte_s * store.storage if semantic else 0.0
        ttft, waits_s = self.ttft_s.copy(), self._waits_s(did)[measured]
        ttft[row[~hit]] += waits_s[~hit]
        ttft[row[hit]] = waits_s[hit]
        return Tally(
            len(self.cost_usd),
            int(hit.sum()),
            int((match == EXACT).sum()),
            int(did.wrong[measured].sum()),
            int(did.outdated[measured].sum()),
            int(did.unknown[measured].sum()),
            int((np.bincount(self.stream.place[measured][did.wrong[measured]]) ** 2).sum()),
            bill,
            float(self.cost_usd[row[hit]].sum()),
            counts["embedded"] * costs.embeddings.price,
            store_usd,
            *_ttft(ttft),
        )

    def _waits_s(self, did: Replayed) -> Floats:
        """Seconds that each question waits for the cache, on average: equal ones for the store, others to be compared.

        Searches take what they take among as many entries as their partition has on average.
        """
        model, backend = self.scenario.store, cache_of(self.scenario).backend
        waits_s = np.full(len(self.stream), model.mean_round_trip_s(backend))
        if did.semantic:
            entries = np.rint(did.entry_s / self.scenario.clock.duration).astype(np.int64)
            sizes, at = np.unique(entries, return_inverse=True)
            compare_s = model.embedding.latency.mean + np.array([model.mean_lookup_s(backend, n) for n in sizes])
            searched = did.match != EXACT
            waits_s[searched] += compare_s[at][self.stream.partition[searched]]
        return waits_s


def _ttft(ttft_s: Floats) -> tuple[float, float]:
    """Mean over those with an answer, and p95 where the others are never."""
    told = ttft_s[np.isfinite(ttft_s)]
    return float(told.mean()) if len(told) else float("nan"), percentile(np.sort(ttft_s), 95)


def observe(scenario: Scenario, number: int, progress: Progress | None = None) -> tuple[Observed, Replication]:
    """Run a replication in which the cache is empty and stays so.

    Raises
    ------
    LlmsimError
        As `cache_of` and a run do.
    """
    policy = cache_of(scenario)
    name = policy.name or kind_of(policy)
    books: list[RecordedStores] = []

    def stores(world: World, others: SimulatedStores) -> RecordedStores:
        books.append(RecordedStores(world, others, name))
        return books[0]

    replication = replicate(scenario, number, progress, stores)
    book = books[0]
    stream = _stream(book, scenario)
    table = replication.tables["requests"]
    arrival_s = table["arrival_s"].values
    measured = (arrival_s >= 0) & (arrival_s < scenario.clock.duration)
    rows = np.where(measured, np.cumsum(measured) - 1, -1)
    ok = table["outcome"].categories or ()
    answered = table["outcome"].values == (ok.index("ok") if "ok" in ok else -1)
    row = rows[_places(table, [one.request_id for one in book.asked])]
    observed = Observed(
        scenario,
        stream,
        row.astype(np.int64),
        np.array([one.tokens for one in book.asked], dtype=np.int64),
        table["cost_usd"].values[measured],
        np.where(answered, table["ttft_s"].values, _INF)[measured],
        book.index,
        bounds(stream, book.index),
        book.epoch_s + scenario.clock.warm_up,
        _queue_s(replication.tables["attempts"]),
    )
    return observed, replication


def _queue_s(attempts: TableData) -> float:
    """Mean time in the queues of upstreams, where it is known."""
    known = attempts["queue_s"].values[attempts["arrival_s"].values >= 0]
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else 0.0


def _stream(book: RecordedStores, scenario: Scenario) -> Stream:
    """What was written down, in columns."""
    asked, world, policy, model = book.asked, book.world, cache_of(scenario), scenario.store
    meanings = [world.meaning(one.request_id) for one in asked]
    kept = [book.kept.get(one.request_id, _NEVER) for one in asked]
    return Stream(
        asked_s=np.array([one.time_s for one in asked], dtype=np.float64),
        kept_s=np.array([one.stored_s for one in kept], dtype=np.float64),
        cache=np.array([one.cache for one in asked], dtype=np.int64),
        place=_codes((one.cache, one.partition, one.key) for one in asked),
        partition=_codes((one.cache, one.partition) for one in asked),
        answer=np.array([_answer(one) for one in meanings], dtype=np.int64),
        changed_s=np.array(
            [
                -_INF if meaning is None else world.changed_s(meaning.answer, one.time_s - book.epoch_s) + book.epoch_s
                for one, meaning in zip(asked, meanings, strict=True)
            ]
        ),
        probes=[one.probe for one in asked],
        size=np.array([model.stored_bytes(one.tokens + it.tokens) for one, it in zip(asked, kept, strict=True)]),
        own=_own(policy, asked),
        weight=np.array([one.bytes for one in kept], dtype=np.float64),
        cost_usd=np.array([one.cost_usd for one in kept], dtype=np.float64),
        write_s=model.mean_write_s(policy.backend, 0),
    )


def _answer(meaning: Meaning | Prompt | None) -> int:
    """-1: nothing is known about it. -2 and below: words without a label, that answer at most themselves."""
    if meaning is None:
        return -1
    return meaning.answer if meaning.answer >= 0 else -2 - meaning.phrase


def _own(policy: SemanticCache, asked: Sequence[Asked]) -> Floats | None:
    """Thresholds of questions on routes that have their own."""
    if not policy.thresholds:
        return None
    return np.array([policy.thresholds.get(one.route, np.nan) for one in asked], dtype=np.float64)


def _codes(values: Iterable[Hashable]) -> Ints:
    """Numbers for values, in the order in which they are first seen."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)


def _places(table: TableData, ids: list[str]) -> NDArray[np.intp]:
    """Rows of a table, which is in the order of ids, by request id."""
    parts = np.array([one.split("/") for one in ids], dtype=np.int64).reshape(-1, 3)
    known = np.stack([table[name].values.astype(np.int64) for name in ("session", "step", "user_retry")], axis=1)
    steps, retries = (1 + int(known[:, column].max(initial=0)) for column in (1, 2))
    code = [(one[:, 0] * steps + one[:, 1]) * retries + one[:, 2] for one in (known, parts)]
    return np.searchsorted(code[0], code[1])
