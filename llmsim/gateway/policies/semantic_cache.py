"""Answer what was asked before, in the same words or in others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from llmsim.errors import PolicyError
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._question import Cacheable, Per, Scope, check_question
from llmsim.gateway.policies._replay import Pace
from llmsim.gateway.policies._semantic import SemanticCacheHandler
from llmsim.gateway.policies._verdict import Verifier
from llmsim.gateway.policies._words import Listed, on_words, tables
from llmsim.gateway.registry import register
from llmsim.units import Bytes, Duration, PositiveCount, PositiveDuration, Ratio, format_duration

__all__ = ["SemanticCache"]

_PER = ("route", "feature", "session", "user", "tenant")
#: The errors that belong to a request and not to the moment.
Refusal = Literal["bad_request", "context_too_long", "content_filtered"]
_REFUSALS = ("bad_request", "context_too_long", "content_filtered")
_CHOICES: dict[str, tuple[str, ...]] = {
    "backend": ("memory", "redis", "exact"),
    "ttl_from": ("stored", "used"),
    "eviction": ("lru", "lfu", "cost"),
    "compare": ("conversation", "last_message"),
    "on_new_model": ("drop", "serve"),
}


@register("semantic_cache")
@dataclass(frozen=True, kw_only=True)
class SemanticCache:
    """Exact match first, then the nearest question in meaning, if it is near enough.

    **Protects from** paying and waiting twice for what was asked before, in these words or in others.

    **Costs** an embedding and a search for all that is no exact match; and wrong answers: "turn *off* dark mode" is
    nearer to "turn on dark mode" (cosine .955) than most honest paraphrases are to each other, and no threshold tells
    them apart. A hit rate without ``false_hit_rate`` beside it says nothing.

    **Makes things worse** when the threshold is chosen by its hit rate alone; when answers depend on what is not in the
    request (the time, the user's data: then `scope`, a short `ttl`, or none); and where most hits would be exact ones
    (with Zipf(1) popularity 39 of the 56 % at .90 on banking77): there `cache` does most of it for nothing.

    **What must be equal** for one answer to serve two requests: tenant (see `scope`, `per`), upstream, model,
    temperature, tools, response schema, `generation`, and all messages but the last (see `compare`). The last message
    must be the user's; it alone may be said in other words. ``max_tokens`` need not be equal: an answer that ended by
    itself is given to everybody who allows as many tokens. Whether it is streamed does not matter either.

    **What is kept**: whole answers (read to their end, finish reason ``stop``), once they are complete. The nearest
    entry alone is looked at: if it may not be served, for whatever reason, the request goes upstream.

    What a cache further in had is as old as it is, and kept only if it was an exact match there.

    **Trouble** of the store, or of what embeds, is a miss; no caller sees it, and none waits longer than
    `store_timeout`. Writing delays nobody.

    Goes outside of everything that calls upstreams; `cache`, which is in this process and costs microseconds, has its
    place in front where the store is far away.

    Parameters
    ----------
    threshold
        Least cosine similarity of two questions that get the same answer, in [0, 1]. Other libraries count otherwise:
        0.8 of GPTCache is a cosine of 0.60, and 0.90 of Redis' ``VSIM`` is 0.80. 0.92: on banking77 with MiniLM 0.2 %
        of hits were wrong there, 0.5 % at .90 and 3.6 % at .80 (in a stream without negations and changed numbers).
    thresholds
        Thresholds of single routes, in place of it.
    verify_below
        Matches from the threshold up to this similarity are served only if the `verifier` says so. None (default): all
        are.
    verifier
        From Python: ``async def verifier(request, entry) -> bool``, whether the answer kept in `entry` answers
        `request`. None: the one that the gateway's stores have (in the lab: what is true, with errors).
    verifier_timeout
        A verifier that fails or takes longer has said no: it is a miss. betterdb-semantic-cache waits 2 s too, and then
        serves the answer.
    ttl
        How long an answer is good for; null: for ever. 1h: as for `cache`. From ``stored``, it also holds for what
        others have kept in the same Redis, or this policy before it was lowered.
    ttl_from
        ``stored``: from when it was complete (default). ``used``: from when it was last served, which keeps a popular
        answer alive for ever, right or not (RedisVL does so: redis-vl-python #603).
    stale_while_revalidate
        For how long after that an answer is served all the same, while one call in the background renews it. That is
        billed to the request that found it stale. None (default): not at all.
    capacity
        Most answers it holds. 50,000: as for `cache`.
    capacity_bytes
        Most that they may come to, texts and vectors. None (default): no limit.
    eviction
        What goes when it is full: ``lru`` (default), ``lfu``, or ``cost``: what saves least for its size
        (GreedyDual-Size-Frequency: Cherkasova, HPL-98-69, 1998). What has expired always goes first.
    backend
        Where answers are kept: ``memory`` (of this process), ``redis`` (8 or later: survives, and is shared by
        gateways), or ``exact`` (in memory, equal questions only, no embeddings).
    scope
        Who may be given whose answers: ``tenant`` (default: nothing crosses tenants), ``user`` (of a tenant), or
        ``global``.
    per
        What else must be equal: any of ``route``, ``feature``, ``session``, ``user``, ``tenant``.
    compare
        ``conversation`` (default): what was said before must be the same to the letter. ``last_message``: only the
        instructions (system, developer) must; "and in Paris?" then has one answer, whatever came before. A test of
        caches that do this found 98 % wrong answers on conversations made for it (fow-cache 0.1.0).
    cacheable
        ``unsampled`` (default): requests with no temperature or with 0; who asks for a temperature above 0 asks for
        variety. ``temperature_0``: only those that say 0. ``all``: whatever the temperature.
    tools
        Whether answers to requests that bring tools are kept. False: their answers are about the state of the world.
    json
        Whether answers to requests with a response schema are kept. They are kept as they came: have
        `structured_output` inside of it.
    generation
        Any text. Answers kept under another one are not served: change it to empty the cache (also one in Redis, for
        all gateways that have the change) without deleting anything; what is old is evicted, or expires.
    on_new_model
        ``drop`` (default): an answer whose model is not the one that its upstream answered with last (for requests that
        ask for the same one) is outdated and goes. ``serve``: where an upstream answers with several.
    negative_ttl
        How long an error is remembered that the same request would meet again; who asks the same, to the letter, gets
        it at once. In this process, not in the store. None (default): not at all.
    negative_on
        … which errors. Default: bad_request, which context_too_long and content_filtered are as well.
    single_flight
        Whether misses that ask the same at the same time share one call: `single_flight`, see there.
    replay
        ``{tokens: 200/s}``: how fast a kept answer is streamed. None (default): at once, in the chunks it came in.
    store_timeout
        Longest that a request waits for the store, each time it asks. 2s: what LiteLLM's and api7/aisix's semantic
        caches give their embedder.
    store_cooldown
        How long the store is left alone after two failures in a row; then one request tries it for all. 5s: LiteLLM's
        cooldown of deployments.
    shared
        One cache for all replicas of the gateway instead of one each.

    Notes
    -----
    ``served_from`` is ``cache`` for each answer, and ``cache_match`` says how it was found: ``exact``, ``semantic``, or
    ``negative`` (the error). Emits ``verified`` (``verdict``: accepted, rejected, failed), ``outdated``, ``refreshed``
    (a stale answer, with the ``outcome`` of the call), ``coalesced``, and ``store_failed`` and ``store_back`` (with the
    ``operation``: exact, nearest, put, touch) when it begins and ends to be left alone.

    Examples
    --------
    >>> SemanticCache(threshold=0.90, thresholds={"refunds": 0.97}).backend
    'memory'
    >>> SemanticCache(threshold=0.95, verify_below=0.9)
    Traceback (most recent call last):
    ValueError: semantic_cache verify_below 0.9 is not above threshold 0.95: it verifies nothing; write 0.97
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    threshold: Ratio = 0.92
    thresholds: Mapping[str, Ratio] = field(default_factory=dict)
    verify_below: Ratio | None = None
    verifier: Any = None
    verifier_timeout: PositiveDuration = 2.0
    ttl: PositiveDuration | None = 3600.0
    ttl_from: Literal["stored", "used"] = "stored"
    stale_while_revalidate: PositiveDuration | None = None
    capacity: PositiveCount = 50_000
    capacity_bytes: Bytes | None = None
    eviction: Literal["lru", "lfu", "cost"] = "lru"
    backend: Literal["memory", "redis", "exact"] = "memory"
    scope: Scope = "tenant"
    per: Annotated[tuple[Per, ...], Listed()] = ()
    compare: Literal["conversation", "last_message"] = "conversation"
    cacheable: Cacheable = "unsampled"
    tools: bool = False
    json: bool = True
    generation: str = ""
    on_new_model: Literal["drop", "serve"] = "drop"
    negative_ttl: PositiveDuration | None = None
    negative_on: Annotated[tuple[Refusal, ...], Listed()] = ("bad_request",)
    single_flight: bool = False
    replay: Pace | None = None
    store_timeout: PositiveDuration = 2.0
    store_cooldown: Duration = 5.0
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        check_question("semantic_cache", self.scope, self.cacheable)
        tables(self, "thresholds")
        on_words(self, "negative_on")
        object.__setattr__(self, "per", tuple(self.per))
        _check_words(self)
        _check_numbers(self)
        _check_verifier(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: a store of its own, empty unless it is one that lasts.

        Raises
        ------
        PolicyError
            If matches are to be verified and there is nobody to do it.
        """
        verifier = None
        if self.verify_below is not None and self.backend != "exact":
            judge = self.verifier
            if judge is None and run.stores is not None:
                judge = run.stores.judge(run)
            if judge is None:
                raise PolicyError(
                    "verify_below needs somebody to ask; give SemanticCache(verifier=...) or LiveStores(judge=...) an "
                    "async def (request, entry) -> bool, or remove verify_below",
                    policy=run.name,
                )
            verifier = Verifier(judge, self.verifier_timeout, run)
        return SemanticCacheHandler(self, run, verifier)


def _check_words(spec: SemanticCache) -> None:
    for key, choices in _CHOICES.items():
        if getattr(spec, key) not in choices:
            raise ValueError(f"unknown semantic_cache {key} {getattr(spec, key)!r}; write {' or '.join(choices)}")
    for key, words, known in (("per", spec.per, _PER), ("negative_on", spec.negative_on, _REFUSALS)):
        for word in words:
            if word not in known:
                raise ValueError(f"semantic_cache {key} cannot be {word!r}; write any of {', '.join(known)}")


def _check_numbers(spec: SemanticCache) -> None:
    for key in ("ttl", "stale_while_revalidate", "negative_ttl", "verifier_timeout", "store_timeout"):
        seconds = getattr(spec, key)
        if seconds is not None and not seconds > 0:
            raise ValueError(f"semantic_cache {key} must be above 0, not {format_duration(seconds)}; write it like 5m")
    if spec.store_cooldown < 0:
        raise ValueError(f"semantic_cache store_cooldown must be at least 0, not {spec.store_cooldown:g}; write 5s")
    if spec.capacity < 1:
        raise ValueError(f"semantic_cache capacity must be at least 1, not {spec.capacity}; or leave the cache out")
    if spec.capacity_bytes is not None and not spec.capacity_bytes > 0:
        raise ValueError("semantic_cache capacity_bytes must be above 0; write it like 500MB, or leave the cache out")
    for name, value in (("threshold", spec.threshold), *spec.thresholds.items()):
        if not 0 <= value <= 1:
            raise ValueError(f"semantic_cache threshold {name} is a cosine between 0 and 1, not {value:g}; write 0.92")
    if spec.ttl is None and spec.stale_while_revalidate is not None:
        raise ValueError("stale_while_revalidate has no effect: with ttl null nothing is ever stale; write ttl: 1h")
    if spec.ttl is None and spec.ttl_from == "used":
        raise ValueError("ttl_from has no effect: with ttl null answers are good for ever; write ttl: 1h")


def _check_verifier(spec: SemanticCache) -> None:
    if spec.verifier is not None and not callable(spec.verifier):
        raise ValueError(f"semantic_cache verifier is an async function (from Python), not {spec.verifier!r}")
    below = spec.verify_below
    if below is None:
        if spec.verifier is not None:
            raise ValueError("semantic_cache verifier is never asked without verify_below; write verify_below=0.97")
        return
    lowest = min((spec.threshold, *spec.thresholds.values()))
    if not lowest < below <= 1:
        hint = "write 0.97" if lowest < 0.97 else "leave it out"
        raise ValueError(
            f"semantic_cache verify_below {below:g} is not above threshold {lowest:g}: it verifies nothing; {hint}"
        )
