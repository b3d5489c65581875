"""Answer the same question from memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llmsim.algorithms.lru import LruCache
from llmsim.gateway.caching import CacheUse
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.gateway.policies._question import (
    Cacheable,
    Made,
    QuestionKey,
    Scope,
    check_question,
    made_by,
    usage_of_one_call,
)
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Tap, Usage, WholeAnswer
from llmsim.units import PositiveCount, PositiveDuration

__all__ = ["Cache"]


@register("cache")
@dataclass(frozen=True, kw_only=True)
class Cache:
    """Exact-match cache: least recently used, with a time to live.

    **Protects from** paying and waiting twice for the very same request.

    **Costs** memory, and freshness: an answer can be as old as `ttl`.

    **Makes things worse** when answers depend on something that is not in the request (the time, the user's data):
    then `scope`, or no cache. It lowers the load only while it is warm: an upstream that is sized for what the cache
    lets through does not survive an empty one.

    *Same* means: same tenant (see `scope`), upstream, model, messages, max_tokens, temperature, tools and response
    schema. An answer is kept only after a clean finish: it was read to its end and its finish reason is ``stop``
    (not one cut off by ``length``, filtered, broken, abandoned, or a tool call). Requests without messages are never
    cached, for there is nothing to compare. Two equal requests in flight at once both go upstream, unless
    `single_flight` stands inside of it. What a cache further in had is kept, too, as old as it is.

    It is in this process and does nothing but compare, in a few microseconds. `semantic_cache` finds what was asked in
    other words, too, keeps answers where several gateways find them, and has more to say about what is kept and for how
    long; with ``backend: exact`` it has the same hits as this one on requests without tools.

    Parameters
    ----------
    capacity
        Most answers it holds.
    ttl
        Seconds an answer is good for, from the moment it was complete.
    scope
        Who may be given whose answers: ``tenant`` (default: nothing crosses tenants), ``user`` (of a tenant), or
        ``global``.
    cacheable
        ``unsampled`` (default): requests with no temperature or with 0; who asks for a temperature above 0 asks for
        variety. ``temperature_0``: only those that say 0. ``all``: whatever the temperature.
    shared
        One cache for all replicas of the gateway instead of one each.

    Notes
    -----
    Emits nothing (it is on the hot path); ``served_from`` of each request says what was a hit, and the handler counts
    ``hits``, ``misses``, ``skipped`` (not cacheable) and ``stored``.

    Examples
    --------
    >>> Cache(capacity=1000, ttl=60.0).scope
    'tenant'
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    capacity: PositiveCount = 50_000
    ttl: PositiveDuration | None = 3600.0
    scope: Scope = "tenant"
    cacheable: Cacheable = "unsampled"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"cache capacity must be at least 1, not {self.capacity}; leave the cache out for none")
        if self.ttl is not None and not self.ttl > 0:
            raise ValueError(f"cache ttl must be above 0, not {self.ttl!r}; write it like 1h")
        check_question("cache", self.scope, self.cacheable)

    def start(self, run: Run) -> Handler:
        """Fresh state: an empty cache."""
        return _CacheHandler(self, run)


class _Answer(NamedTuple):
    text: str
    tokens: int
    usage: Usage
    model: str
    origin: str
    made: Made


_answer: Callable[[type[_Answer], tuple[Any, ...]], _Answer] = tuple.__new__  # its own constructor is Python code


class _CacheHandler:
    __slots__ = ("_now", "answers", "hits", "key", "misses", "skipped", "stored")

    def __init__(self, spec: Cache, run: Run) -> None:
        self._now = run.now
        self.key = QuestionKey(spec.scope, spec.cacheable)
        self.answers = LruCache[_Answer](spec.capacity, spec.ttl)
        self.hits = 0
        self.misses = 0
        self.skipped = 0
        self.stored = 0

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        key = self.key(request)
        if key is None:
            self.skipped += 1
            return await call_next(request)
        answer = self.answers.get(key, self._now())
        if answer is not None:
            self.hits += 1
            exchange = current_exchange.get(None)
            if exchange is not None:
                use = exchange.cache = exchange.cache or CacheUse()
                use.made_for, use.made_s, use.match, use.nearest = answer.made
            whole = WholeAnswer(answer.text, answer.tokens, answer.usage)
            return Response(whole, upstream="cache", model=answer.model, served_from="cache", origin=answer.origin)
        self.misses += 1
        response = await call_next(request)
        fill = _Fill(self, key, request.id, response, current_exchange.get(None))
        response.tap(fill)
        response.on_end(fill)
        return response

    def store(
        self, key: Hashable, request_id: str, response: Response, tap: Tap, usage: Usage, exchange: Exchange | None
    ) -> None:
        """Keep a complete answer."""
        made = made_by(response, None if exchange is None else exchange.cache, request_id, self._now())
        if made is None:
            return
        self.stored += 1
        # One chunk is what most simulated answers are.
        text, tokens = tap.chunks[0] if len(tap.chunks) == 1 else (tap.text, tap.tokens)
        if response.parents:
            usage = usage_of_one_call(response, usage)
        answer = _answer(_Answer, (text, tokens, usage, response.model, response.origin, made))
        self.answers.put(key, answer, made.at_s)


class _Fill(Tap):
    """An answer on its way into the cache; called when it has ended."""

    __slots__ = ("_cache", "_exchange", "_key", "_request_id", "_response")

    def __init__(
        self, cache: _CacheHandler, key: Hashable, request_id: str, response: Response, exchange: Exchange | None
    ) -> None:
        self.chunks = []
        self._exchange = exchange
        self._cache = cache
        self._key = key
        self._request_id = request_id
        self._response = response

    def __call__(self, outcome: Outcome, usage: Usage) -> None:
        response = self._response
        if outcome.kind == "ok" and response.finish_reason == "stop":
            self._cache.store(self._key, self._request_id, response, self, usage, self._exchange)
