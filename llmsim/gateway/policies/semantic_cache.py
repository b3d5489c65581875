"""Answer what was asked before, in the same words or in others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmsim.gateway.caching import CacheUse, Entry, Question, StoreError, StoreSpec
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._question import Cacheable, Scope, check_question
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Tap, Usage, WholeAnswer
from llmsim.units import PositiveCount, PositiveDuration, Ratio

__all__ = ["SemanticCache"]


@register("semantic_cache")
@dataclass(frozen=True, kw_only=True)
class SemanticCache:
    """Exact match first, then the nearest question in meaning, if it is near enough.

    **Protects from** paying and waiting twice for what was asked before, in these words or in others.

    **Costs** an embedding and a search for all that is no exact match; and wrong answers: a negation or another
    number is often nearer to a question than an honest paraphrase.

    **Makes things worse** when the threshold is chosen by its hit rate alone.

    Parameters
    ----------
    threshold
        Least cosine similarity of two questions that get the same answer.
    ttl
        Seconds an answer is good for, from the moment it was complete.
    capacity
        Most answers it holds.
    backend
        Where they are kept: ``memory``, ``redis``, or ``exact`` (in memory, equal questions only, no embeddings).
    scope
        Who may be given whose answers: ``tenant`` (default: nothing crosses tenants), ``user`` (of a tenant), or
        ``global``.
    cacheable
        ``unsampled`` (default): requests with no temperature or with 0. ``temperature_0``: only those that say 0.
        ``all``: whatever the temperature.
    shared
        One cache for all replicas of the gateway instead of one each.

    Examples
    --------
    >>> SemanticCache(threshold=0.92).backend
    'memory'
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    threshold: Ratio = 0.92
    ttl: PositiveDuration | None = 3600.0
    capacity: PositiveCount = 50_000
    backend: Literal["memory", "redis", "exact"] = "memory"
    scope: Scope = "tenant"
    cacheable: Cacheable = "unsampled"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check_question("semantic_cache", self.scope, self.cacheable)

    def start(self, run: Run) -> Handler:
        """Fresh state: a store of its own, empty unless it is one that lasts."""
        return _SemanticCacheHandler(self, run)


class _SemanticCacheHandler:
    def __init__(self, spec: SemanticCache, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._store = run.open_store(StoreSpec(spec.backend, spec.capacity, name=run.name))
        self._writes: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        question = self._question(request)
        if question is None:
            return await call_next(request)
        exchange = current_exchange.get()
        use = exchange.cache = exchange.cache or CacheUse()
        try:
            answer = await self._find(question, use)
        except StoreError:
            answer = None
        if answer is not None:
            return self._replay(answer, use)
        response = await call_next(request)
        fill = _Fill(self, question, use, response)
        response.tap(fill)
        response.on_end(fill)
        return response

    def _question(self, request: Request) -> Question | None:
        if not request.messages or request.messages[-1].role != "user" or (request.temperature or 0.0) > 0:
            return None
        *history, last = request.messages
        partition = (
            "" if self._spec.scope == "global" else request.tenant,
            request.user if self._spec.scope == "user" else "",
            request.upstream or "",
            request.model or "",
            request.response_schema or "",
            repr(history),
            repr((request.max_tokens, request.tools)),
        )
        return Question(request, partition, last.content, last.content)

    def _now(self) -> float:
        return self._run.epoch_s + self._run.now()

    async def _find(self, question: Question, use: CacheUse) -> Entry | None:
        now_s = self._now()
        entry = await self._store.exact(question, now_s)
        if entry is not None:
            use.match, use.nearest = "exact", 1.0
        else:
            match = await self._store.nearest(question, now_s, use)
            if match is None:
                return None
            use.nearest = match.similarity
            if match.similarity < self._spec.threshold:
                return None
            use.match, entry = "semantic", match.entry
        await self._store.touch(entry, now_s)
        return entry

    def _replay(self, entry: Entry, use: CacheUse) -> Response:
        use.made_for, use.made_s = entry.request_id, entry.stored_s - self._run.epoch_s
        text = "".join(chunk.text for chunk in entry.chunks)
        whole = WholeAnswer(text, entry.tokens, entry.usage)
        return Response(whole, upstream="cache", model=entry.model, served_from="cache", origin=entry.origin)

    def keep(self, question: Question, use: CacheUse, response: Response, tap: Tap, usage: Usage) -> None:
        """Keep a complete answer, off the caller's path."""
        now_s = self._now()
        until_s = float("inf") if self._spec.ttl is None else now_s + self._spec.ttl
        entry = Entry(
            question.request.id,
            question.partition,
            question.key,
            question.words,
            tuple(tap.chunks),
            usage,
            response.model,
            response.origin,
            question.request.id,
            now_s,
            until_s,
            until_s,
        )
        task = asyncio.create_task(self._put(question, entry, use))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        try:
            await self._store.put(question, entry, use)
        except StoreError:
            pass


class _Fill(Tap):
    """An answer on its way into the cache; called when it has ended."""

    __slots__ = ("_cache", "_question", "_response", "_use")

    def __init__(self, cache: _SemanticCacheHandler, question: Question, use: CacheUse, response: Response) -> None:
        self.chunks = []
        self._cache = cache
        self._question = question
        self._use = use
        self._response = response

    def __call__(self, outcome: Outcome, usage: Usage) -> None:
        response = self._response
        if outcome.kind == "ok" and response.finish_reason == "stop" and response.served_from != "flight":
            self._cache.keep(self._question, self._use, response, self, usage)
