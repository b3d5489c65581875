"""Stop asking an upstream that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, ClassVar

from llmsim.algorithms.breaker import Breaker
from llmsim.error_words import error_matcher
from llmsim.errors import CircuitOpen, TotalTimeout, TtftTimeout
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, Ratio, format_duration

__all__ = ["CircuitBreaker"]

_TIMEOUTS = {error.word: error() for error in (TtftTimeout, TotalTimeout)}


@register("circuit_breaker")
@dataclass(frozen=True, kw_only=True)
class CircuitBreaker:
    """Refuse calls to an upstream whose calls keep failing, and probe now and then whether it is back.

    **Protects from** waiting for an upstream that is down (a fallback takes over at once), and the upstream from being
    asked while it recovers.

    **Costs** good answers: while it is open, calls that would have succeeded are refused too.

    **Makes things worse** when an upstream fails partially. At 10 % errors a breaker set to 5 % turns a small fault
    into an outage; with many replicas each has to learn by itself, N times. It belongs into upstream scope.

    The outcome of a call is taken when its *response* ends, so a stream that breaks in the middle counts. A cancelled
    call says nothing and gives its half-open permit back; but one that the upstream's `timeout` cancelled did time out,
    whether the timeout stands outside of the breaker or inside. An error outside of `on` that has a status (400, 401,
    and 429 unless listed) counts as a success: the upstream is there and answers. One without (a refusal inside the
    gateway, the request's own deadline) says nothing. Have a `timeout` beside it: a probe that never ends would keep it
    half-open for ever.

    Parameters
    ----------
    failure_rate
        Share of failures in the window at which it opens, above 0.
    sliding_window
        Length of the window in seconds.
    minimum_calls
        Ended calls in the window without which it never opens.
    wait_in_open
        Seconds it refuses everything before it probes.
    permitted_in_half_open
        Probing calls; they are held to the same `failure_rate`.
    on
        Which errors are failures. A 429 is not one by default: it comes from a healthy upstream, and says itself how
        long to wait.
    shared
        One breaker for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `CircuitOpen`, with ``retry_after_s`` while open (unknown in half-open). Emits ``circuit_breaker`` with
    ``state`` and the ``failure_rate`` that led there, at every change of state. Defaults are resilience4j's (50 %, 10
    in half-open, 60 s open, 100 calls), with fewer calls and a shorter wait, as LLM traffic is calls per second and
    not thousands.

    Examples
    --------
    >>> CircuitBreaker(failure_rate=0.5, sliding_window=30.0, minimum_calls=20).wait_in_open
    15.0
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    failure_rate: Ratio = 0.5
    sliding_window: PositiveDuration = 30.0
    minimum_calls: PositiveCount = 20
    wait_in_open: PositiveDuration = 15.0
    permitted_in_half_open: PositiveCount = 5
    on: OnWords = ("server_error", "timeout", "connection_failed", "stream_broken")
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be above 0% and at most 100%, not {self.failure_rate:g}; write 50%")
        for key in ("sliding_window", "wait_in_open"):
            if not getattr(self, key) > 0:
                raise ValueError(
                    f"circuit_breaker {key} must be above 0, not {getattr(self, key)!r}; write it like 30s"
                )
        for key in ("minimum_calls", "permitted_in_half_open"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)!r}")
        on_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: a closed breaker."""
        return _CircuitBreakerHandler(self, run)


class _CircuitBreakerHandler:
    __slots__ = ("_breaker", "_ended", "_generation", "_matches", "_now", "_run")

    def __init__(self, spec: CircuitBreaker, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._breaker = Breaker(
            failure_rate=spec.failure_rate,
            window_s=spec.sliding_window,
            minimum_calls=spec.minimum_calls,
            wait_in_open_s=spec.wait_in_open,
            permitted_in_half_open=spec.permitted_in_half_open,
        )
        self._generation = self._breaker.generation
        # One callback for all calls of a generation: what else would be a closure per call.
        self._ended = partial(self._end, self._generation)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        breaker = self._breaker
        generation = breaker.admit(self._now())
        if breaker.generation != self._generation:
            self._changed()
        if not generation:
            raise self._refusal()
        ended = self._ended
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(generation, error)
            raise
        response.on_end(ended)
        return response

    def _end(self, generation: int, outcome: Outcome, usage: Usage) -> None:
        if outcome.error is None:
            if outcome.kind == "ok":
                self._breaker.record(generation, self._now(), failed=False)
                if self._breaker.generation != self._generation:
                    self._changed()
            else:
                self._breaker.release(generation)
        else:
            self._failed(generation, outcome.error)

    def _failed(self, generation: int, error: BaseException) -> None:
        # A timeout listed outside of this breaker cancels the call: for the upstream that is a timeout all the same.
        failure = self._matches(_TIMEOUTS.get(cancelled_by(error), error))
        if not failure and getattr(error, "status", None) is None:
            self._breaker.release(generation)
            return
        self._breaker.record(generation, self._now(), failed=failure)
        if self._breaker.generation != self._generation:
            self._changed()

    def _changed(self) -> None:
        breaker = self._breaker
        self._generation = breaker.generation
        self._ended = partial(self._end, breaker.generation)
        run = self._run
        run.emit("circuit_breaker", state=breaker.state, failure_rate=breaker.failure_rate)
        run.health.refuse(run.upstream, run.name, breaker.open_until_s if breaker.state == "open" else -inf)

    def _refusal(self) -> CircuitOpen:
        remaining = self._breaker.remaining_s(self._now())
        when = "after the calls that probe it" if remaining is None else f"in {format_duration(remaining)}"
        upstream = self._run.upstream
        message = f"circuit breaker of {upstream or 'the gateway'} is {self._breaker.state}; try again {when}"
        return CircuitOpen(message, upstream=upstream, retry_after_s=remaining)
