"""The handler of `route`: keeps the books of calls, and asks its strategy."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from llmsim.errors import RateLimited
from llmsim.gateway.contract import Run
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.gateway.limit_headers import read_limits
from llmsim.gateway.policies._strategies import Ask, Outputs, Place, strategy
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.gateway.policies.route import Routing

__all__ = ["RouteHandler"]


class RouteHandler:
    """See `llmsim.gateway.policies.Routing`; also the `Router` that a fallback without an order asks."""

    __slots__ = ("_by_name", "_models", "_run", "_strategy", "e2e", "headroom", "now", "outputs", "places")

    def __init__(self, spec: Routing, run: Run) -> None:
        self._run = run
        self.now = run.now
        self._models = spec.models
        names = spec.to or tuple(name for group in spec.groups for name in group) or run.upstreams
        self.places = [Place(name) for name in names]
        self._by_name = {place.name: place for place in self.places}
        self.outputs = Outputs(spec.output_tokens)
        self.e2e = spec.measure == "e2e"
        self.headroom = spec.headroom or 0.0
        self._strategy = strategy(spec, self.places, self.outputs)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now = self.now()
        name = request.upstream
        if name is None:
            exchange = current_exchange.get(None)
            if exchange is not None:
                exchange.router = self
            place = self._pick(self._untried(exchange) or self._others(exchange), request, exchange, now, tell=True)
            request = self.addressed(request, place.name)
        else:
            known = self._by_name.get(name)
            if known is None:
                return await call_next(request)
            place = known
        flight = _Flight(self, place, request, now)
        try:
            response = await call_next(request)
        except BaseException as error:
            flight.failed(error, self.now())
            raise
        flight.answered(response, self.now())
        response.on_end(flight)
        return response

    def choose(
        self, request: Request, exchange: Exchange | None, *, larger_than: int = 0, besides: Sequence[str] = ()
    ) -> str | None:
        """See `llmsim.gateway.exchange.Router`."""
        windows = self._run.context_windows
        places = [
            place
            for place in self._untried(exchange)
            if place.name not in besides and windows.get(place.name, inf) > larger_than
        ]
        return self._pick(places, request, exchange, self.now(), tell=False).name if places else None

    def addressed(self, request: Request, upstream: str) -> Request:
        """See `llmsim.gateway.exchange.Router`."""
        return request.to(upstream, model=self._models.get(upstream, request.model))

    def _untried(self, exchange: Exchange | None) -> Sequence[Place]:
        tried = exchange.tried if exchange is not None else ()
        return [place for place in self.places if place.name not in tried] if tried else self.places

    def _others(self, exchange: Exchange | None) -> Sequence[Place]:
        """All have been tried: whoever was not the last."""
        last = exchange.last_upstream if exchange is not None else ""
        return [place for place in self.places if place.name != last] or self.places

    def _pick(
        self, places: Sequence[Place], request: Request, exchange: Exchange | None, now: float, *, tell: bool
    ) -> Place:
        windows = self._run.context_windows
        if windows:
            needed = request.input_tokens + (request.max_tokens or 0)
            places = [place for place in places if windows.get(place.name, inf) >= needed] or places
        allowed, health = places, self._run.health
        if not health.silent:
            allowed = [place for place in places if health.refused_until_s(place.name) <= now]
            if not allowed:  # whoever is back first says so himself, and how long it takes
                return min(places, key=lambda place: health.refused_until_s(place.name))
        if len(allowed) == 1 and allowed[0].book is None:
            return allowed[0]
        turn = len(exchange.tried) if exchange is not None else 0
        place = self._strategy.pick(allowed, Ask(request, now, turn, self._run, tell))
        if place is None:
            raise self._no_room(allowed, request, now)
        return place

    def _no_room(self, places: Sequence[Place], request: Request, now: float) -> RateLimited:
        amounts = self.outputs.amounts(request)
        wait_s = min(place.book.wait_s(amounts, now, self.headroom) for place in places if place.book is not None)
        when = "never fits" if wait_s == inf else f"fits in {format_duration(wait_s)}"
        message = f"no upstream has room left in its rate limits; this request {when}"
        return RateLimited(message, retry_after_s=None if wait_s == inf else wait_s)


class _Flight:
    """One call under way, until its response ends."""

    __slots__ = ("_call", "_place", "_router", "_start_s")

    def __init__(self, router: RouteHandler, place: Place, request: Request, now: float) -> None:
        self._router = router
        self._place = place
        self._start_s = now
        place.in_flight += 1
        self._call = 0 if place.book is None else place.book.send(router.outputs.amounts(request), now)

    def answered(self, response: Response, now: float) -> None:
        """The first chunk is there."""
        place = self._place
        if place.latency is not None and not self._router.e2e:
            place.latency.observe(now - self._start_s, now)
        if place.book is not None:
            place.book.told(self._call, read_limits(response.headers), now)

    def failed(self, error: BaseException, now: float) -> None:
        """It ended before a first chunk. A caller who went away says nothing; one of our time limits does."""
        place = self._place
        place.in_flight -= 1
        if place.latency is not None and (isinstance(error, Exception) or cancelled_by(error)):
            place.latency.at_least(now - self._start_s, now)
        if place.book is not None:
            headers = getattr(error, "headers", None)
            wait_s = error.retry_after_s if isinstance(error, RateLimited) else None
            if headers or wait_s is not None:
                place.book.told(self._call, read_limits(headers or {}), now, retry_after_s=wait_s)
            else:
                place.book.failed(self._call)

    def __call__(self, outcome: Outcome, usage: Usage) -> None:
        router, place = self._router, self._place
        place.in_flight -= 1
        if outcome.kind == "ok":
            router.outputs.ended(usage.output_tokens)
        if router.e2e and place.latency is not None and outcome.kind != "cancelled":
            now = router.now()
            observe = place.latency.observe if outcome.kind == "ok" else place.latency.at_least
            observe(now - self._start_s, now)
