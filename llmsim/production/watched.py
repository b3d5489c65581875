"""A running gateway that is watched: a span for each request, a child for each call to an upstream, and measurements.

Where it is watched nothing is in the way of what it does: the policies are the same objects, and the spans are made
around them. The span of a request is the current one while its policies run, that of a call while its provider is
asked, so that what others instrument (httpx, a policy's own spans) finds its parent, and ``traceparent`` can go
upstream with `opentelemetry-instrumentation-httpx`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmsim.error_words import outcome_word
from llmsim.gateway.contract import Provider
from llmsim.gateway.exchange import Attempt, Exchange, current_exchange
from llmsim.gateway.pipeline import RunningGateway
from llmsim.gateway.server_time import server_s_of
from llmsim.pricing import FREE, TokenPrice
from llmsim.production.signals import Instruments, attributes, event_attributes
from llmsim.telemetry.otel import OPERATION
from llmsim.types import Outcome, Request, Response, Tap, Usage

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

__all__ = ["Watch", "WatchedGateway", "WatchedProvider"]


class _Watched:
    """Something that has begun and has a span."""

    __slots__ = ("context", "span", "start_ns", "start_s")

    def __init__(self, tracer: Tracer, name: str, start_s: float, values: Mapping[str, Any], *, server: bool) -> None:
        from opentelemetry import trace

        self.start_s = start_s
        self.start_ns = time.time_ns()
        kind = trace.SpanKind.CLIENT
        if server:
            above = trace.get_current_span().get_span_context()
            # Under somebody's span for the HTTP request it is a part of that.
            local = above.is_valid and not above.is_remote
            kind = trace.SpanKind.INTERNAL if local else trace.SpanKind.SERVER
        self.span: Span = tracer.start_span(name, kind=kind, attributes=attributes(values), start_time=self.start_ns)
        self.context: Context = trace.set_span_in_context(self.span)

    @contextmanager
    def current(self) -> Iterator[None]:
        from opentelemetry import context

        token = context.attach(self.context)
        try:
            yield
        finally:
            context.detach(token)

    def end(self, values: Mapping[str, Any], outcome: str, end_s: float) -> None:
        """It is over, and was so at `end_s` on the loop's clock: some attempts are told of later."""
        from opentelemetry.trace import Status, StatusCode

        told = {**values, "outcome": outcome}
        if outcome not in ("ok", "cancelled"):  # a caller who went away, a hedge that lost: no failures
            # The word only: messages quote what upstreams and callers said.
            self.span.set_status(Status(StatusCode.ERROR, outcome))
            told["error"] = outcome
        self.span.set_attributes(attributes(told))
        self.span.end(self.start_ns + max(0, round((end_s - self.start_s) * 1e9)))


class _Visit(_Watched):
    """A request under way."""

    __slots__ = ("exchange", "first_s", "request", "response", "tap")

    def __init__(self, tracer: Tracer, exchange: Exchange, start_s: float) -> None:
        request = exchange.request
        values = {
            "operation": OPERATION,
            "request_id": request.id,
            "route": request.route,
            "tenant": request.tenant,
            "feature": request.feature,
            "user": request.user,
            "session": request.session,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        super().__init__(tracer, f"{OPERATION} {request.route}".strip(), start_s, values, server=True)
        self.request = request
        self.exchange = exchange
        self.first_s = float("nan")
        self.response: Response | None = None
        self.tap: Tap | None = None


class Watch:
    """What is under way in one gateway, and where that is told.

    Parameters
    ----------
    tracer, instruments
        Where.
    capture_content
        Whether what is asked and answered is told, too.
    """

    def __init__(self, tracer: Tracer, instruments: Instruments, *, capture_content: bool) -> None:
        self._tracer = tracer
        self._instruments = instruments
        self._capture_content = capture_content
        self._visits: dict[str, _Visit] = {}
        self._calls: dict[int, tuple[Attempt, _Watched]] = {}  # by id; with the attempt, so that ids stay its own
        self.prices: dict[str, TokenPrice] = {}

    @property
    def under_way(self) -> int:
        """Spans that have not ended."""
        return len(self._visits) + len(self._calls)

    # -- requests ------------------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange, now: float) -> _Visit:
        """A request has come."""
        visit = _Visit(self._tracer, exchange, now)
        self._visits[visit.request.id] = visit
        self._instruments.tell("in_flight", 1, {"route": visit.request.route})
        if self._capture_content and visit.request.messages is not None and visit.span.is_recording():
            asked = [_message(one.role, one.content) for one in visit.request.messages]
            visit.span.set_attributes(attributes({"input_messages": json.dumps(asked, ensure_ascii=False)}))
        return visit

    def answered(self, visit: _Visit, response: Response, now: float) -> None:
        """Its first chunk is there; the rest is watched by its end."""
        visit.first_s = now
        visit.response = response
        if self._capture_content and visit.span.is_recording():
            visit.tap = response.tap()

        def ended(outcome: Outcome, usage: Usage) -> None:
            word = outcome_word(outcome.error) if outcome.kind == "error" else outcome.kind
            self.end(visit, word, visit.exchange.runtime.now())

        response.on_end(ended)

    def end(self, visit: _Visit, outcome: str, now: float) -> None:
        """A request is over."""
        if self._visits.get(visit.request.id) is visit:
            del self._visits[visit.request.id]
        exchange, response, use = visit.exchange, visit.response, visit.exchange.cache
        told: dict[str, Any] = {
            "outcome": outcome,
            "first_choice": exchange.first_choice,
            "first_chunk_s": visit.first_s - visit.start_s,
            "attempts": exchange.attempts,
            "fallbacks": exchange.fallbacks,
            "cost_usd": exchange.cost_usd,
            "saved_usd": 0.0,
            "replica": exchange.replica,
            "leaked": exchange.leaked,
            "duplicated_tokens": exchange.duplicated_tokens,
            "served_from": "",
            "cache_match": use.match if use is not None else "",
            "embedding_tokens": use.embedded_tokens if use is not None else 0,
        }
        if use is not None:
            told |= {"similarity": use.nearest, "made_for": use.made_for, "verified": use.verified}
        if response is not None:
            told |= {
                "served_by": response.upstream,
                "served_from": response.served_from,
                "response_model": response.model,
                "input_tokens": response.usage.input_tokens,
                "output_tokens": response.usage.output_tokens,
                "cached_input_tokens": response.usage.cached_input_tokens,
                "finish_reasons": (response.finish_reason,) if response.finish_reason else None,
            }
            if response.served_from == "cache" and outcome == "ok":
                told["saved_usd"] = self.prices.get(response.origin, FREE).cost(response.usage)
        if visit.tap is not None and response is not None:
            said = _message("assistant", visit.tap.text) | {"finish_reason": response.finish_reason}
            told["output_messages"] = json.dumps([said], ensure_ascii=False)
        visit.end(told, outcome, now)
        self._instruments.tell("in_flight", -1, {"route": visit.request.route})
        self._instruments.request(visit.request, told, now - visit.start_s, visit.context)

    # -- what happens to them ------------------------------------------------------------------------------------------

    def calling(self, attempt: Attempt) -> _Watched:
        """A call to an upstream begins. Its parent is the current span: the request's, or a policy's own below it."""
        request = attempt.exchange.request
        values = {
            "operation": OPERATION,
            "upstream": attempt.upstream,
            "model": attempt.model,
            "attempt": attempt.number,
            "cause": attempt.cause,
            "session": request.session,
            "request_id": request.id,
            "replica": attempt.exchange.replica,
        }
        name = f"{OPERATION} {attempt.model}".strip()
        call = _Watched(self._tracer, name, attempt.start_s, values, server=False)
        self._calls[id(attempt)] = (attempt, call)
        return call

    def attempt(self, attempt: Attempt) -> None:
        """A call is over, and it is known whether its answer was used."""
        _, call = self._calls.pop(id(attempt), (None, None))
        self._instruments.attempt(attempt, call.context if call is not None else None)
        if call is None:
            return
        response = attempt.response
        told: dict[str, Any] = {
            "won": attempt.won,
            "status": attempt.status or None,
            "input_tokens": attempt.usage.input_tokens,
            "output_tokens": attempt.usage.output_tokens,
            "cached_input_tokens": attempt.usage.cached_input_tokens,
            "cost_usd": attempt.cost_usd,
            "first_chunk_s": attempt.first_s - attempt.start_s,
        }
        if response is not None:
            finish = response.finish_reason
            told |= {
                "response_model": response.model,
                "queue_s": response.queue_s,
                "server_s": server_s_of(response),
                "finish_reasons": (finish,) if finish else None,
            }
        call.end(told, attempt.outcome, attempt.end_s)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """A policy reports something: on the span of its request, and counted."""
        visit = self._visits.get(fields.get("request_id", ""))
        if visit is not None:
            visit.span.add_event(kind, event_attributes(fields))
        place = {"policy": fields.get("policy"), "upstream": fields.get("upstream")}
        self._instruments.tell("events", 1, {"event": kind, **place}, visit.context if visit is not None else None)


def _message(role: str, content: str) -> dict[str, Any]:
    """As the conventions have it (gen-ai-spans.md, ``gen_ai.input.messages``)."""
    return {"role": role, "parts": [{"type": "text", "content": content}]}


class WatchedProvider:
    """A provider whose calls have spans. All else about it is its own."""

    def __init__(self, provider: Provider, watch: Watch) -> None:
        self._provider = provider
        self._watch = watch
        self.name = provider.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def send(self, request: Request) -> Response:
        """One call."""
        attempt = current_exchange.get().open[-1]  # begun by the pipeline just now, in this very step
        with self._watch.calling(attempt).current():
            return await self._provider.send(request)

    def cancelled_usage(self, request: Request) -> Usage:
        """As the provider says."""
        return self._provider.cancelled_usage(request)

    async def aclose(self) -> None:
        """Close the provider."""
        await self._provider.aclose()


class WatchedGateway(RunningGateway):
    """A `RunningGateway` whose requests have spans."""

    __slots__ = ("watch",)

    def __init__(self, running: RunningGateway, watch: Watch) -> None:
        for name in RunningGateway.__slots__:
            setattr(self, name, getattr(running, name))
        self.watch = watch

    async def send(self, request: Request, exchange: Exchange | None = None) -> Response:
        """Answer a request: resolves at the first chunk, or raises a `GatewayError`."""
        exchange = Exchange(request, self._runtime) if exchange is None else exchange
        watch, now = self.watch, self._runtime.now
        visit = watch.begin(exchange, now())
        try:
            with visit.current():
                response = await super().send(request, exchange)
        except BaseException as error:
            watch.end(visit, outcome_word(error) if isinstance(error, Exception) else "cancelled", now())
            raise
        watch.answered(visit, response, now())
        return response

    @contextmanager
    def under(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Requests sent inside go on with the trace that these headers name, unless there is a span already."""
        from opentelemetry import context, propagate, trace

        if trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = context.attach(propagate.extract(headers))
        try:
            yield
        finally:
            context.detach(token)
