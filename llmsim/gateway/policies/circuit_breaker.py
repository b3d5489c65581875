"""Stop asking an upstream that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, ClassVar, Literal

from llmsim.algorithms.breaker import Breaker
from llmsim.error_words import error_matcher
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._upstreams import as_upstream_sees, refusal
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import Multiplier, PositiveCount, PositiveDuration, Ratio, format_duration

__all__ = ["CircuitBreaker"]


@register("circuit_breaker")
@dataclass(frozen=True, kw_only=True)
class CircuitBreaker:
    """Refuse calls to an upstream whose calls keep failing, and probe now and then whether it is back.

    **Protects from** waiting for an upstream that is down or slow (a fallback takes over at once), and the upstream
    from being asked while it recovers.

    **Costs** good answers: while it is open, calls that would have succeeded are refused too, and while it ramps up
    again a part of them.

    **Makes things worse** when an upstream fails partially. At 10 % errors a breaker set to 5 % turns a small fault
    into an outage; with many replicas each has to learn by itself: eight of them, fresh, need 160 failed calls where
    one that is `shared` needs 20. It belongs into upstream scope.

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
        Length of the window in seconds. Good calls from before an outage are in it, too: with nothing but failures it
        opens after `failure_rate` of it, 15 s by default.
    sliding_window_calls
        Length of the window in ended calls, in place of `sliding_window`; None: it is in seconds. resilience4j has 100
        calls by default. At a few calls a minute the last hundred go back hours.
    minimum_calls
        Ended calls in the window without which it never opens.
    wait_in_open
        Seconds it refuses everything before it probes.
    wait_multiplier
        It stays open this many times as long each time it opens again without having closed in between (at the end
        of its ramp, if it has one); 1: always `wait_in_open`, as resilience4j and Polly do unless told otherwise.
        resilience4j's exponential wait has 1.5.
    max_wait_in_open
        Seconds that the growing wait does not pass: Envoy's ``max_ejection_time`` of 300 s.
    permitted_in_half_open
        Probing calls; they are held to the same rates.
    slow_call
        Calls that took longer than this many seconds are slow; None: however long they take. resilience4j has 60 s of
        the whole call.
    slow_call_by
        What is measured: ``ttft``, the time to the first chunk, or ``e2e``, to the end of the answer. A long answer
        takes long from the best upstream, so ``e2e`` tells about the prompts too. Without a stream both are the same.
    slow_call_rate
        Share of slow calls in the window at which it opens, whether they failed or not: resilience4j's 100%.
    ramp
        Seconds after the probes have succeeded during which only a share of the calls goes through, from 10 % in a
        straight line to all (Envoy's slow start); None: all at once, as in resilience4j and Polly. What fails
        meanwhile counts as in closed.
    on
        Which errors are failures. A 429 is not one by default: it comes from a healthy upstream, and says itself how
        long to wait.
    shared
        One breaker for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `CircuitOpen`, with ``retry_after_s`` while open (unknown in half-open; while ramping the time when this very
    request would go through). Emits ``circuit_breaker`` with ``state`` (``closed``, ``open``, ``half_open``,
    ``ramping``) and the ``failure_rate`` that led there (and ``slow_rate``, where `slow_call` is set), at every change
    of state; posts on ``run.health`` while open. Defaults are resilience4j's (50 %, 10 in half-open, 60 s open, 100
    calls), with fewer calls and a shorter wait, as LLM traffic is calls per second and not thousands.

    Examples
    --------
    >>> CircuitBreaker(failure_rate=0.5, sliding_window=30.0, minimum_calls=20).wait_in_open
    15.0
    >>> CircuitBreaker(sliding_window_calls=10)
    Traceback (most recent call last):
    ValueError: of 10 calls in the window there are never minimum_calls 20; write minimum_calls: 10 or fewer
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    failure_rate: Ratio = 0.5
    sliding_window: PositiveDuration = 30.0
    sliding_window_calls: PositiveCount | None = None
    minimum_calls: PositiveCount = 20
    wait_in_open: PositiveDuration = 15.0
    wait_multiplier: Multiplier = 1.0
    max_wait_in_open: PositiveDuration = 300.0
    permitted_in_half_open: PositiveCount = 5
    slow_call: PositiveDuration | None = None
    slow_call_by: Literal["ttft", "e2e"] = "ttft"
    slow_call_rate: Ratio = 1.0
    ramp: PositiveDuration | None = None
    on: OnWords = ("server_error", "timeout", "connection_failed", "stream_broken")
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        for key, example in (("failure_rate", "50%"), ("slow_call_rate", "80%")):
            rate = getattr(self, key)
            if not 0 < rate <= 1:
                raise ValueError(f"{key} must be above 0% and at most 100%, not {rate:g}; write {example}")
        for key in ("sliding_window", "wait_in_open", "max_wait_in_open", "slow_call", "ramp"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"circuit_breaker {key} must be above 0, not {value!r}; write it like 30s")
        for key in ("minimum_calls", "permitted_in_half_open", "sliding_window_calls"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key} must be at least 1, not {value!r}")
        if self.slow_call_by not in ("ttft", "e2e"):
            raise ValueError(f"slow_call_by is ttft or e2e, not {self.slow_call_by!r}")
        self._check_bounds()
        on_words(self)

    def _check_bounds(self) -> None:
        calls, minimum = self.sliding_window_calls, self.minimum_calls
        if calls is not None and minimum > calls:
            raise ValueError(
                f"of {calls} calls in the window there are never minimum_calls {minimum}; "
                f"write minimum_calls: {calls} or fewer"
            )
        if not self.wait_multiplier >= 1:
            raise ValueError(f"wait_multiplier must be at least 1x, not {self.wait_multiplier:g}; write 2x")
        if self.wait_multiplier > 1 and self.max_wait_in_open < self.wait_in_open:
            least = format_duration(self.wait_in_open)
            raise ValueError(f"max_wait_in_open must be at least wait_in_open; write max_wait_in_open: {least} or more")

    def start(self, run: Run) -> Handler:
        """Fresh state: a closed breaker."""
        return _CircuitBreakerHandler(self, run) if self.slow_call is None else _SlowCallHandler(self, run)


class _CircuitBreakerHandler:
    __slots__ = ("_breaker", "_ended", "_matches", "_now", "_run", "_state")

    def __init__(self, spec: CircuitBreaker, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._breaker = Breaker(
            failure_rate=spec.failure_rate,
            window_s=spec.sliding_window,
            window_calls=spec.sliding_window_calls,
            minimum_calls=spec.minimum_calls,
            wait_in_open_s=spec.wait_in_open,
            wait_multiplier=spec.wait_multiplier,
            max_wait_s=spec.max_wait_in_open,
            permitted_in_half_open=spec.permitted_in_half_open,
            slow_rate=None if spec.slow_call is None else spec.slow_call_rate,
            ramp_s=spec.ramp or 0.0,
        )
        self._state = self._breaker.state
        # One callback for all calls of a generation: what else would be a closure per call.
        self._ended = partial(self._end, self._breaker.generation)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        breaker = self._breaker
        generation = breaker.admit(self._now())
        if breaker.state is not self._state:
            self._changed()
        if not generation:
            generation = self._ramped(request)
        ended = self._ended
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(generation, error)
            raise
        response.on_end(ended)
        return response

    def _end(self, generation: int, outcome: Outcome, usage: Usage, *, slow: bool = False) -> None:
        if outcome.error is None:
            if outcome.kind == "ok":
                self._breaker.record(generation, self._now(), failed=False, slow=slow)
                if self._breaker.state is not self._state:
                    self._changed()
            else:
                self._breaker.release(generation)
        else:
            self._failed(generation, outcome.error, slow=slow)

    def _failed(self, generation: int, error: BaseException, *, slow: bool = False) -> None:
        failure = self._matches(as_upstream_sees(error))
        if not failure and getattr(error, "status", None) is None:
            self._breaker.release(generation)
            return
        self._breaker.record(generation, self._now(), failed=failure, slow=slow)
        if self._breaker.state is not self._state:
            self._changed()

    def _changed(self) -> None:
        breaker, run = self._breaker, self._run
        self._state = breaker.state
        self._ended = partial(self._end, breaker.generation)
        run.emit("circuit_breaker", state=breaker.state, failure_rate=breaker.failure_rate, **self._more())
        run.health.refuse(run.upstream, run.name, breaker.open_until_s if breaker.state == "open" else -inf)

    def _more(self) -> dict[str, Any]:
        """What else an event says."""
        return {}

    def _ramped(self, request: Request) -> int:
        """The generation of a call that goes through by its luck; else the refusal is raised."""
        breaker, run = self._breaker, self._run
        if breaker.state != "ramping":
            remaining = breaker.remaining_s(self._now())
        else:
            now, luck = self._now(), run.luck("ramp", request)
            generation = breaker.admit(now, luck)
            if generation:
                return generation
            remaining = breaker.opens_s(luck) - now
        raise refusal(run, f"circuit breaker of {run.upstream or 'the gateway'} is {breaker.state}", remaining)


class _SlowCallHandler(_CircuitBreakerHandler):
    """Looks at the time as well, which costs a call to the clock and, for ``e2e``, an object per call."""

    __slots__ = ("_by_ttft", "_slow_s")

    def __init__(self, spec: CircuitBreaker, run: Run) -> None:
        super().__init__(spec, run)
        assert spec.slow_call is not None
        self._slow_s = spec.slow_call
        self._by_ttft = spec.slow_call_by == "ttft"

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        breaker, start = self._breaker, self._now()
        generation = breaker.admit(start)
        if breaker.state is not self._state:
            self._changed()
        if not generation:
            generation = self._ramped(request)
        ended = self._ended
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(generation, error, slow=self._now() - start > self._slow_s)
            raise
        if not self._by_ttft:
            ended = partial(self._end_by_e2e, generation, start)
        elif self._now() - start > self._slow_s:
            ended = partial(self._end, generation, slow=True)
        response.on_end(ended)
        return response

    def _end_by_e2e(self, generation: int, start: float, outcome: Outcome, usage: Usage) -> None:
        self._end(generation, outcome, usage, slow=self._now() - start > self._slow_s)

    def _more(self) -> dict[str, Any]:
        return {"slow_rate": self._breaker.slow_rate}
