"""Twelve mistakes that teams make, each of them the good gateway with one thing changed.

``llmsim check scenarios/ --gateway tests.planted.bugs:no_jitter``. Some are one wrong setting, some a policy of one's
own in place of the right one, as somebody would write it who had not read up on it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import llmsim as ls
from llmsim.errors import CircuitOpen, GatewayError, StreamBroken
from llmsim.gateway.contract import Handler
from llmsim.gateway.policies import Backoff
from llmsim.types import CallNext, Chunk, Limits, Outcome, Usage
from tests.planted.gateways import RETRY, changed

#: Whoever fails together comes back together.
no_jitter = changed(retry={"backoff": Backoff(initial=0.2, max=2.0, jitter="none")})

#: Nobody set a timeout, so an attempt may take as long as the request has.
no_timeout = changed(timeout=None)

#: "4xx and 5xx are errors, so we try again": bad requests and refused keys, too.
retry_on_400 = changed(retry={"on": (400, 401, 403, 404, 422, 429, "5xx", "connection_failed"), "by_status": True})

#: Backs off by its own clock, whatever the provider asks for.
retry_after_ignored = changed(retry={"honor_retry_after": False, "max_retry_after": 60.0})

#: One connection more is free, isn't it?
unbounded_concurrency = changed(concurrency_limit=None)

#: The answers are the same for everybody, somebody thought.
cache_shared_between_tenants = changed(semantic_cache={"scope": "global"})

#: A *distance* of 0.08, as redisvl wants it, read as a similarity: the nearest entry is always near enough.
cache_ignores_threshold = changed(semantic_cache={"threshold": 0.08})

#: A dollar per session, and every request is one of its own.
budget_not_enforced = changed(budget={"per": "session"})


@dataclass(frozen=True)
class TripsForGood:
    """A circuit breaker whose half-open state was to come with the next release."""

    failures: int = 5
    kind = "circuit_breaker"

    def start(self, run: ls.Run) -> Handler:
        return _Tripping(self.failures, run)


class _Tripping:
    def __init__(self, limit: int, run: ls.Run) -> None:
        self.limit = limit
        self.upstream = run.upstream
        self.in_a_row = 0
        self.open = False

    async def __call__(self, request: ls.Request, call_next: CallNext) -> ls.Response:
        if self.open:
            raise CircuitOpen(f"{self.upstream} is down", upstream=self.upstream)
        try:
            response = await call_next(request)
        except GatewayError as error:
            if error.retryable and error.status != 429:
                self.failed()
            raise
        response.on_end(self.ended)
        return response

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        if outcome.kind == "error":
            self.failed()
        elif outcome.kind == "ok":
            self.in_a_row = 0

    def failed(self) -> None:
        self.in_a_row += 1
        self.open = self.open or self.in_a_row >= self.limit


breaker_never_closes = changed(circuit_breaker=TripsForGood())


@ls.policy
async def round_and_round(request: ls.Request, call_next: CallNext) -> ls.Response:
    """A falls back to B, and B to A."""
    error: GatewayError | None = None
    for upstream in islice(cycle(ls.current_run().upstreams), 10):
        try:
            return await call_next(request.to(upstream))
        except GatewayError as failure:
            error = failure
    assert error is not None
    raise error


fallback_loop = changed(fallback=round_and_round)


@ls.policy
async def whoever_is_first(request: ls.Request, call_next: CallNext) -> ls.Response:
    """A hedge that takes the first answer and forgets that the other one comes, too."""
    calls = {asyncio.ensure_future(call_next(request))}
    done, _ = await asyncio.wait(calls, timeout=1.0)
    if not done:
        calls.add(asyncio.ensure_future(call_next(request)))
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in calls:
        call.add_done_callback(lambda over: over.cancelled() or over.exception())  # or asyncio would tell of the other
    return done.pop().result()


leaked_streams = changed(retry=(RETRY, whoever_is_first))


class _FromTheStart:
    """A stream that begins again where it breaks, behind the reader's back."""

    def __init__(self, response: ls.Response, request: ls.Request, call_next: CallNext) -> None:
        self.response, self.request, self.call_next = response, request, call_next

    @property
    def usage(self) -> Usage:
        return self.response.usage

    @property
    def finish_reason(self) -> str:
        return self.response.finish_reason

    async def next(self, limits: Limits) -> Chunk | None:
        while True:
            try:
                chunk = await anext(self.response, None)
                if self.response.finish_reason:
                    await self.response.read()  # its end
            except StreamBroken:
                self.response = await self.call_next(self.request)
            else:
                return chunk

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self.next(limits)

    def close(self) -> None:
        self.response.close()


@ls.policy
async def until_it_is_whole(request: ls.Request, call_next: CallNext) -> ls.Response:
    """Try a broken stream again, from its first token, after the reader has had half of it."""
    response = await call_next(request)
    stream: Any = _FromTheStart(response, request, call_next)
    return ls.Response(stream, upstream=response.upstream, model=response.model, parents=(response,))


retry_after_tokens = changed(retry=(until_it_is_whole, RETRY))
