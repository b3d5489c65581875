"""What `semantic_cache` does with a request: look for an answer, judge it, give it, keep a new one."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from llmsim.algorithms.lru import LruCache
from llmsim.error_words import error_matcher, outcome_word
from llmsim.errors import GatewayError
from llmsim.gateway.caching import CacheUse, Entry, Match, Question
from llmsim.gateway.contract import Run
from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.gateway.policies._flight_reader import again
from llmsim.gateway.policies._flights import Flights
from llmsim.gateway.policies._guarded_store import GuardedStore
from llmsim.gateway.policies._question import Made, Questions, made_by, usage_of_one_call
from llmsim.gateway.policies._replay import replay
from llmsim.gateway.policies._verdict import Verifier
from llmsim.types import CallNext, Message, Outcome, Request, Response, Tap, Usage

if TYPE_CHECKING:
    from llmsim.gateway.policies.semantic_cache import SemanticCache

__all__ = ["SemanticCacheHandler"]


class _Refused(NamedTuple):
    """An error that the same request would meet again."""

    error: GatewayError
    request_id: str
    at_s: float  #: on the loop's clock


class SemanticCacheHandler:
    """The state of one semantic cache.

    Attributes
    ----------
    store
        Where its answers are.
    exact, semantic, negative, stale
        Requests it answered: by what, and how many of the first two with an answer that was stale.
    misses, skipped
        Requests it did not answer: because there was nothing, because their answers are their own.
    outdated
        Entries that were dropped because their upstream answers with another model now.
    rejected
        Matches that a verifier did not let through.
    """

    def __init__(self, spec: SemanticCache, run: Run, verifier: Verifier | None) -> None:
        self._spec = spec
        self._run = run
        self._verifier = verifier
        self.store = GuardedStore(spec, run)
        self._questions = Questions(
            spec.scope,
            spec.cacheable,
            per=spec.per,
            conversation=spec.compare == "conversation",
            tools=spec.tools,
            json=spec.json,
            generation=spec.generation,
        )
        self._fresh_s = math.inf if spec.ttl is None else spec.ttl
        self._stale_s = spec.stale_while_revalidate or 0.0
        self._slides = spec.ttl_from == "used"
        self._flights = Flights(run) if spec.single_flight else None
        self._refusals: LruCache[_Refused] | None = None
        if spec.negative_ttl is not None:
            self._refusals = LruCache(spec.capacity, spec.negative_ttl)
            self._refuses = error_matcher(spec.negative_on)
        self._models: dict[tuple[str, str], str] = {}  # what upstreams answered with last, by what they were asked for
        self._refreshing: set[Hashable] = set()
        self._number = 0
        self.exact = self.semantic = self.negative = self.stale = self.misses = self.skipped = 0
        self.outdated = self.rejected = 0

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        question = self._questions(request)
        if question is None:
            self.skipped += 1
            return await call_next(request)
        exchange = current_exchange.get(None)
        if exchange is None:
            use = CacheUse()
        else:
            use = exchange.cache = exchange.cache or CacheUse()
            use.match, use.made_for, use.verified = "", "", ""  # of a call before: what it found was not good enough
        entry = await self._find(question, use)
        if entry is None:
            self.misses += 1
            return await self._ask(question, use, call_next)
        expires_s = None
        now_s = self.store.now()
        if now_s >= self._expires_s(entry) - self._stale_s:
            self.stale += 1
            self._refresh(entry, question, use, call_next, exchange)
        elif self._slides:
            expires_s = now_s + self._fresh_s + self._stale_s
        await self.store.touch(entry, request, expires_s)
        use.made_for, use.made_s = entry.request_id, entry.stored_s - self._run.epoch_s
        return replay(entry, request, self._spec.replay, self._run.now)

    async def aclose(self) -> None:
        """Write what is to be kept, and close the store."""
        await self.store.aclose()

    # -- looking -------------------------------------------------------------------------------------------------------

    async def _find(self, question: Question, use: CacheUse) -> Entry | None:
        """What may be served: equal first, then near.

        Raises
        ------
        GatewayError
            The one that this very request met a while ago.
        """
        entry = await self.store.exact(question)
        if entry is not None and self._serves(entry, question):
            use.match, use.nearest = "exact", 1.0
            self.exact += 1
            return entry
        self._raise_refusal(question, use)
        if self._flights is not None and _flight(question) in self._flights.open:
            return None  # what is asked right now in these words need not be embedded
        match = await self.store.nearest(question, use)
        if match is None:
            return None
        use.nearest = match.similarity
        if not await self._near_enough(match, question, use):
            return None
        use.match = "semantic"
        self.semantic += 1
        return match.entry

    async def _near_enough(self, match: Match, question: Question, use: CacheUse) -> bool:
        spec, request = self._spec, question.request
        if not match.similarity >= spec.thresholds.get(request.route, spec.threshold):
            return False
        if not self._serves(match.entry, question):
            return False
        if self._verifier is None or spec.verify_below is None or match.similarity >= spec.verify_below:
            return True
        if not await self._verifier(request, match, use):
            self.rejected += 1
            return False
        return self._serves(match.entry, question)  # it may have expired in the meantime

    def _serves(self, entry: Entry, question: Question) -> bool:
        """Whether this entry may answer this question at all, however near it is. Stores are not trusted here."""
        if entry.partition != question.partition or self.store.now() >= self._expires_s(entry):
            return False
        request = question.request
        newest = self._models.get((entry.origin, request.model or ""))
        if newest is not None and newest != entry.model and self._spec.on_new_model == "drop":
            if self.store.forget(entry, request):
                self.outdated += 1
                self._run.emit("outdated", request, of=entry.origin, model=entry.model, now=newest)
            return False
        return request.max_tokens is None or entry.tokens <= request.max_tokens

    def _expires_s(self, entry: Entry) -> float:
        """When it is over; by the `ttl` that holds here, too, if another gateway kept it, or it was lowered since."""
        if self._slides:
            return entry.expires_s
        return min(entry.expires_s, entry.stored_s + self._fresh_s + self._stale_s)

    # -- a new answer --------------------------------------------------------------------------------------------------

    async def _ask(self, question: Question, use: CacheUse, call_next: CallNext) -> Response:
        request = question.request
        try:
            if self._flights is None:
                response = await call_next(request)
            else:
                response = await self._flights.call(_flight(question), request, call_next)
        except GatewayError as error:
            self._remember(error, question)
            raise
        fill = _Fill(self, question, use, response)
        response.tap(fill)
        response.on_end(fill)
        return response

    def ended(self, question: Question, use: CacheUse, response: Response, tap: Tap, usage: Usage) -> None:
        """A clean end: keep the answer, if it is a whole one."""
        self._learn(question.request, response)
        if response.finish_reason != "stop":
            return
        made = made_by(response, use, question.request.id, self._run.now())
        # What a cache further in had for other words is not kept for these: near to near to near is far.
        if made is not None and made.match == "exact" and self.store.keeps(question):
            self.store.keep(question, self._entry(question, response, tap, usage, made), use)

    def _learn(self, request: Request, response: Response) -> None:
        """Which model an upstream answers with."""
        if response.served_from == "upstream" and response.model:
            self._models[response.origin, request.model or ""] = response.model

    def _entry(self, question: Question, response: Response, tap: Tap, usage: Usage, made: Made) -> Entry:
        made_s = self._run.epoch_s + made.at_s
        usage = usage_of_one_call(response, usage)
        self._number += 1
        return Entry(
            f"{made.request_id}@{made_s:.6f}.{self._number}",  # callers may use one id twice, and gateways share stores
            question.partition,
            question.key,
            question.words,
            tuple(tap.chunks),
            usage,
            response.model,
            response.origin,
            made.request_id,
            made_s,
            made_s + self._fresh_s + self._stale_s,
            self._run.cost(response.origin, usage),
        )

    # -- errors that come again ----------------------------------------------------------------------------------------

    def _remember(self, error: GatewayError, question: Question) -> None:
        if self._refusals is not None and self._refuses(error):
            kept = again(error)
            assert isinstance(kept, GatewayError)
            now_s = self._run.now()
            self._refusals.put(_refusal(question), _Refused(kept, question.request.id, now_s), now_s)

    def _raise_refusal(self, question: Question, use: CacheUse) -> None:
        if self._refusals is None:
            return
        known = self._refusals.get(_refusal(question), self._run.now())
        if known is not None:
            self.negative += 1
            use.match, use.made_for, use.made_s = "negative", known.request_id, known.at_s
            raise again(known.error)

    # -- stale answers -------------------------------------------------------------------------------------------------

    def _refresh(
        self, entry: Entry, question: Question, use: CacheUse, call_next: CallNext, exchange: Exchange | None
    ) -> None:
        """Ask for it anew, once at a time."""
        place = (entry.partition, entry.key)
        if place in self._refreshing:
            return
        self._refreshing.add(place)
        request = question.request._replace(deadline_s=None)  # its caller has an answer
        renewed = self._question_of(entry, question, request)
        own = None if exchange is None else exchange.apart()
        if self._spec.backend != "exact":
            use.writes += 1  # now: when it is written, the bill of who pays for it will be
        self.store.begin(self._fetch(entry, renewed, request, call_next, own), "refresh", request, lasting=True)

    def _question_of(self, entry: Entry, question: Question, request: Request) -> Question:
        """What was asked first, for that is what is stale: the same words if it was found by them."""
        if entry.words == question.words or request.messages is None:
            return Question(request, question.partition, question.words, question.key)
        first = request._replace(id=entry.request_id, messages=(*request.messages[:-1], Message("user", entry.words)))
        renewed = self._questions(first)
        assert renewed is not None, "what is cacheable is so in other words, too"
        return renewed

    async def _fetch(
        self,
        stale: Entry,
        question: Question,
        request: Request,
        call_next: CallNext,
        own: Exchange | None,
    ) -> None:
        """A call that nobody waits for, billed to the request that found its answer stale."""
        if own is not None:
            current_exchange.set(own)  # this task's own context
        response: Response | None = None
        word = "cancelled"
        try:
            response = await call_next(request._replace(messages=question.request.messages))
            if own is not None:
                own.settle(response)
            tap = response.tap()
            await response.read()
            word = response.finish_reason
            self._learn(request, response)
            if word == "stop" and response.served_from != "cache" and self.store.keeps(question):
                made = Made(question.request.id, self._run.now())
                self.store.keep(question, self._entry(question, response, tap, response.usage, made), CacheUse())
                if question.key != stale.key:  # another conversation: it does not take the old one's place
                    self.store.forget(stale, request)
        except (GatewayError, TimeoutError) as error:
            word = outcome_word(error)
        finally:
            self._refreshing.discard((stale.partition, stale.key))
            if response is not None:
                response.close()
            if own is not None:
                own.finish()
            self._run.emit("refreshed", request, made_for=stale.request_id, outcome=word)


def _flight(question: Question) -> Hashable:
    return question.partition, question.key, question.request.max_tokens, question.request.stream


def _refusal(question: Question) -> Hashable:
    return question.partition, question.key, question.request.max_tokens  # which is part of what may be too long


class _Fill(Tap):
    """An answer on its way into the cache; called when it has ended."""

    __slots__ = ("_cache", "_question", "_response", "_use")

    def __init__(self, cache: SemanticCacheHandler, question: Question, use: CacheUse, response: Response) -> None:
        self.chunks = []
        self._cache = cache
        self._question = question
        self._use = use
        self._response = response

    def __call__(self, outcome: Outcome, usage: Usage) -> None:
        if outcome.kind == "ok":
            self._cache.ended(self._question, self._use, self._response, self, usage)
