"""A store that takes its time, fails, and forgets, in virtual time: the same bookkeeping behind a model of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from llmsim.distributions import Constant, Distribution
from llmsim.gateway.caching import CacheUse, Entry, Match, Question, StoreError, StoreSpec
from llmsim.luck import Luck, Series, request_address
from llmsim.stores.index import Embedder, Index, Probe
from llmsim.stores.local import LocalStore
from llmsim.stores.meter import UNKNOWN, Meter, MeteredIndex
from llmsim.stores.spec import StoreModel

__all__ = ["Draws", "SlowStore", "StoreFault", "Surroundings"]


class StoreFault(Protocol):
    """What goes wrong with a store for a while; `llmsim.providers.faults.Fault` is one."""

    @property
    def name(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def outage(self) -> bool: ...
    @property
    def delay(self) -> Any: ...  #: its time and percentage
    @property
    def abort(self) -> Any: ...  #: its percentage
    def strength(self, time_s: float) -> float: ...  #: from 0 to 1
    def factor(self, word: str, time_s: float) -> float: ...  #: what it multiplies a property by


class Surroundings(NamedTuple):
    """What a store needs to know of its replication."""

    luck: Luck
    now: Callable[[], float]
    zero_s: float  #: the clock's reading at the scenario's 0
    meter: Meter


class Draws:
    """Values of a distribution by request: the n-th of its kind is the same whenever it is drawn.

    Parameters
    ----------
    luck
        Where the numbers come from.
    address
        Of the kind: purpose, store, …
    distribution
        Through whose quantiles they go.
    """

    __slots__ = ("_address", "_constant", "_distribution", "_luck", "_series")

    def __init__(self, luck: Luck, address: tuple[object, ...], distribution: Distribution) -> None:
        self._luck = luck
        self._address = address
        self._distribution = distribution
        self._constant = distribution.value if isinstance(distribution, Constant) else None
        self._series: dict[tuple[int, int, int], Series] = {}

    def __call__(self, request_id: str, n: int = 0) -> float:
        if self._constant is not None:
            return self._constant
        purpose, *address = self._address
        place = request_address(request_id)
        if place is None:  # an id that a policy invented
            u = self._luck.uniform(str(purpose), request_id, *address, n)
            return float(self._distribution.quantile(np.array([u]))[0])
        index, step, retry = place
        series = self._series.get((step, retry, n))
        if series is None:
            series = self._luck.series(
                str(purpose), *address, step, retry, n, block=64, through=self._distribution
            )  # fmt: skip
            self._series[step, retry, n] = series
        return series(index)


class _Known:
    """An embedder for the store inside: what is embedded has been waited and paid for outside."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner

    async def probe(self, question: Question) -> Probe:
        return await self._inner.probe(question)

    def tokens(self, question: Question) -> int:
        return 0


class SlowStore:
    """Implements `AnswerStore` in virtual time.

    Parameters
    ----------
    spec
        What the policy asked for.
    model
        How the store behaves.
    embedder, make_index
        What makes questions comparable, and an empty index of such; both None: exact matches only.
    faults
        Those of this store.
    around
        Its replication.
    """

    def __init__(
        self,
        spec: StoreSpec,
        model: StoreModel,
        embedder: Embedder | None,
        make_index: Callable[[], Index] | None,
        faults: Sequence[StoreFault],
        around: Surroundings,
    ) -> None:
        if model.capacity is not None and model.capacity < spec.capacity:
            spec = spec._replace(capacity=model.capacity)
        self._spec = spec
        self._model = model
        self._embedder = embedder
        self._make_index = make_index
        self._around = around
        self._index: MeteredIndex | None = None
        self._inner = self._empty()
        self._faults = faults
        self._active: list[StoreFault] = []
        self._delays: dict[tuple[str, str], Draws] = {}
        self._next_change_s = float("-inf")
        self._embed_s = self._draws("embedding", model.embedding.latency)
        self._connect_s = self._draws("connect", model.connect)
        self._lookup_s = None if model.lookup is None else self._draws("lookup", model.lookup)
        self._write_s = None if model.write is None else self._draws("write", model.write)
        usual = Constant(model.usual_round_trip_s(spec.backend))
        self._round_trip_s = self._draws("round_trip", usual if model.round_trip is None else model.round_trip)

    def _draws(self, what: str, distribution: Distribution) -> Draws:
        return Draws(self._around.luck, (f"store.{what}", self._spec.name), distribution)

    def _empty(self) -> LocalStore:
        if self._embedder is None or self._make_index is None:
            return LocalStore(self._spec)
        self._index = MeteredIndex(self._make_index(), self._around.meter, self._around.now)
        return LocalStore(self._spec, _Known(self._embedder), self._index)

    def __len__(self) -> int:
        return len(self._inner)

    def lose_state(self) -> None:
        """All it kept is gone."""
        if self._index is not None:
            self._index.lost()
        self._inner = self._empty()

    # -- what it is asked ----------------------------------------------------------------------------------------------

    async def exact(self, question: Question, now_s: float) -> Entry | None:
        waited_s = await self._operation("read", question.request.id, 0, self._round_trip_s(question.request.id))
        return await self._inner.exact(question, now_s + waited_s)

    async def nearest(self, question: Question, now_s: float, use: CacheUse) -> Match | None:
        if self._index is None:
            return None
        request_id, n = question.request.id, use.queries
        embed_s = await self._embed(question, use)
        if self._lookup_s is not None:
            lookup_s = self._lookup_s(request_id, n)
        else:
            entries = self._index.entries.get(question.partition, 0)
            lookup_s = self._model.usual_lookup_s(self._spec.backend, entries)
        waited_s = await self._operation("lookup", request_id, n, lookup_s, embed_s)
        return await self._inner.nearest(question, now_s + waited_s, use)

    async def put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        index, model, request_id, n = self._index, self._model, question.request.id, use.writes
        if index is None:
            await self._operation("write", request_id, n, 0.0)
            await self._inner.put(question, entry, use)
            return
        embed_s = await self._embed(question, use)
        if self._write_s is not None:
            write_s = self._write_s(request_id, n)
        else:
            write_s = model.usual_write_s(self._spec.backend, len(index))
        await self._operation("write", request_id, n, write_s, embed_s)
        if model.loss and self._hit("loss", model.loss, request_id, n):
            use.writes += 1  # it was paid for
            return
        assert self._index is not None
        texts = entry.usage.input_tokens + entry.tokens
        self._index.size = model.stored_bytes(texts)
        await self._inner.put(question, entry, use)

    async def touch(self, entry: Entry, now_s: float, expires_s: float | None = None) -> None:
        self._refuse_when_out("touch")  # goes along with what is asked next: nobody waits for it
        await self._inner.touch(entry, now_s, expires_s)

    async def drop(self, entry: Entry) -> None:
        self._refuse_when_out("drop")
        await self._inner.drop(entry)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    # -- what that takes -----------------------------------------------------------------------------------------------

    def _hit(self, what: str, share: float, request_id: str, *address: object) -> bool:
        if share >= 1:
            return True
        return self._around.luck.uniform(f"store.{what}", request_id, self._spec.name, *address) < share

    async def _embed(self, question: Question, use: CacheUse) -> float:
        """Make the question comparable, once; the seconds it takes, for the caller to wait with what follows."""
        embedder, model = self._embedder, self._model.embedding
        if embedder is None or question.probe is not None:
            return 0.0
        seconds = self._embed_s(question.request.id, use.queries)
        if model.failures and self._hit("embedding_fails", model.failures, question.request.id, use.queries):
            await self._sleep(seconds)
            raise StoreError(f"{self._spec.name}: the question could not be embedded")
        use.embedded_tokens += embedder.tokens(question)
        probe = await embedder.probe(question)
        question.probe = UNKNOWN if probe is None else probe
        return seconds

    async def _operation(self, what: str, request_id: str, n: int, seconds: float, before_s: float = 0.0) -> float:
        """Wait as long as it takes: the seconds that was. Raises `StoreError` if it fails."""
        fails = self._model.failures > 0 and self._hit(f"{what}_fails", self._model.failures, request_id, n)
        for fault in self._now_active():
            time_s = self._around.now() - self._around.zero_s
            strength = fault.strength(time_s)
            seconds *= fault.factor("latency", time_s)
            delay = fault.delay
            if delay is not None and self._hit(f"{what}_delay", delay.percentage, request_id, fault.name, n):
                seconds += self._held_s(fault, what)(request_id, n) * strength
            abort = fault.abort
            fails = fails or fault.outage
            fails = fails or (
                abort is not None and self._hit(f"{what}_abort", abort.percentage * strength, request_id, fault.name, n)
            )
        if fails:
            seconds = self._connect_s(request_id, n)
        began_s = self._around.now()
        await self._sleep(before_s + seconds)
        if fails:
            raise StoreError(f"{self._spec.name}: {what} failed")
        self._refuse_when_out(what)  # it went down meanwhile
        return self._around.now() - began_s

    def _held_s(self, fault: StoreFault, what: str) -> Draws:
        """How long a fault holds operations of a kind back."""
        found = self._delays.get((fault.name, what))
        if found is None:
            address = ("store.delay_time", self._spec.name, what, fault.name)
            found = self._delays[fault.name, what] = Draws(self._around.luck, address, fault.delay.time)
        return found

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:  # what takes no time needs no timer
            await asyncio.sleep(seconds)

    def _now_active(self) -> list[StoreFault]:
        if not self._faults:
            return self._active
        time_s = self._around.now() - self._around.zero_s
        if time_s >= self._next_change_s:
            edges = [edge for fault in self._faults for edge in (fault.at, fault.end_s) if edge > time_s]
            self._next_change_s = min(edges, default=float("inf"))
            self._active = [fault for fault in self._faults if fault.at <= time_s < fault.end_s]
        return self._active

    def _refuse_when_out(self, what: str) -> None:
        if any(fault.outage for fault in self._now_active()):
            raise StoreError(f"{self._spec.name}: {what} failed")
