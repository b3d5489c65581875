"""So many at once, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from llmsim.algorithms.limits_aimd import Aimd
from llmsim.algorithms.limits_gradient2 import Gradient2
from llmsim.algorithms.limits_vegas import Vegas
from llmsim.algorithms.limits_window import WindowedLimit
from llmsim.algorithms.permits import Permits
from llmsim.algorithms.queues import Ticket, WaitQueue
from llmsim.error_words import error_matcher
from llmsim.errors import TotalTimeout, TtftTimeout
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.policies._gate import Gate
from llmsim.gateway.policies._line import WaitingLine, place_of
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration

__all__ = ["ConcurrencyLimit"]

_FORBID: dict[str, Any] = {"extra": "forbid"}
_WINDOW_S = 1.0
_WINDOW_SAMPLES = 10
_OVERLOAD = ("rate_limited", "overloaded", "timeout")
#: A timeout listed outside of the limit cancels the call: for the upstream that is a timeout all the same.
_TIMEOUTS = {error.word: error() for error in (TtftTimeout, TotalTimeout)}


@register("concurrency_limit")
@dataclass(frozen=True, kw_only=True)
class ConcurrencyLimit:
    """At most so many calls in flight, from the call to the end of its response: fixed, or found by watching latency.

    **Protects from** overload of what is behind it: above what an upstream can work on at once, more calls only wait
    there, where nobody sees them and no other upstream can take them.

    **Costs** the calls it turns away, which a `fallback` should take (``on: [rejected, …]``); the wait in its `queue`.

    **Makes things worse** when the limit is too low for no reason: an adaptive one that takes long answers for a slow
    upstream shrinks where nothing is wrong.

    *Why LLM streams are hard for adaptive limits.* These algorithms compare times, and were made for calls that take
    about the same. The time of an LLM call is mostly the length of its answer: a mix that turns from chat to reports
    looks like an overload. So the default `sample` is the time to first chunk, where a queue at the upstream shows and
    the answer does not; but that grows with the prompt, and a permit is held for much longer than it (Vegas then
    overestimates the queue: it takes a doubled TTFT for half of all calls waiting). Samples are therefore means over a
    window. Where the upstream's slots are known (a self-hosted engine: ``max_num_seqs``), a fixed limit is better than
    all of them; where a vendor limits tokens per minute, so is a limit on these.

    Parameters
    ----------
    limit
        A fixed number. Exactly one of this and the following three is given.
    aimd, vegas, gradient2
        An adaptive limit with Netflix's formulas and defaults (Netflix/concurrency-limits at 78a74b9), given as a
        mapping of its parameters, ``{}`` for none: see `Aimd`, `Vegas` and `Gradient2` in `llmsim.algorithms`.
    sample
        What an adaptive limit watches: ``ttft`` (default) or ``e2e``, each from the moment a call gets its permit.
    on
        Errors that mean overload (a *drop*), for ``aimd`` and ``vegas``. Other failures, and callers who went away, say
        nothing about the upstream.
    window
        An adaptive limit gets one sample for at least so many seconds and `window_samples` calls: their mean time, the
        most in flight, and whether any was dropped. Netflix's WindowedLimit: 1 s and 10.
    window_samples
        See `window`.
    queue
        ``{limit: 100, timeout: 5s}``: who finds no permit waits. Without it, it is rejected at once.
    shared
        One limit for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`, with ``retry_after_s`` as permits have come free so far. Emits ``rejected`` (``reason``:
    ``limit``, ``queue_full`` or ``queue_timeout``, and ``retry_after_s``), ``queued`` (``waited_s``) and, when an
    adaptive limit moves (at most once a window), ``concurrency_limit`` (``limit``, ``in_flight``).

    Examples
    --------
    >>> ConcurrencyLimit(limit=32, queue=WaitingLine(limit=100, timeout=5.0)).limit
    32
    >>> ConcurrencyLimit(gradient2=Gradient2(max=500), sample="e2e").gradient2.queue
    4
    >>> ConcurrencyLimit()
    Traceback (most recent call last):
    ValueError: concurrency_limit needs one limit; write limit: 32, or one of aimd: {}, vegas: {}, gradient2: {}
    """

    __pydantic_config__: ClassVar[Any] = _FORBID

    limit: PositiveCount | None = None
    aimd: Aimd | None = None
    vegas: Vegas | None = None
    gradient2: Gradient2 | None = None
    sample: Literal["ttft", "e2e"] | None = None
    on: OnWords = _OVERLOAD
    window: PositiveDuration | None = None
    window_samples: PositiveCount | None = None
    queue: WaitingLine | None = None
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        kinds = [word for word in ("limit", "aimd", "vegas", "gradient2") if getattr(self, word) is not None]
        if len(kinds) != 1:
            found = "one limit" if not kinds else f"one limit, not {' and '.join(kinds)}"
            raise ValueError(
                f"concurrency_limit needs {found}; write limit: 32, or one of aimd: {{}}, vegas: {{}}, gradient2: {{}}"
            )
        if self.limit is not None:
            if self.limit < 1:
                raise ValueError(f"concurrency limit must be at least 1, not {self.limit}")
            for word in ("sample", "window", "window_samples"):
                if getattr(self, word) is not None:
                    raise ValueError(f"{word} has no effect on a fixed limit; remove it, or write gradient2: {{}}")
        self._check_watching()

    def _check_watching(self) -> None:
        on_words(self)
        if self.aimd is None and self.vegas is None and self.on != _OVERLOAD:
            what = "a fixed limit" if self.gradient2 is None else "gradient2, which goes by times alone"
            raise ValueError(f"on has no effect on {what}; remove it")
        if self.sample not in (None, "ttft", "e2e"):
            raise ValueError(f"unknown sample {self.sample!r}; write ttft or e2e")
        if self.window is not None and not self.window > 0:
            raise ValueError(f"window must be above 0, not {self.window!r}; write it like 1s")
        if self.window_samples is not None and self.window_samples < 1:
            raise ValueError(f"window_samples must be at least 1, not {self.window_samples}; write 10")

    def start(self, run: Run) -> Handler:
        """Fresh state: all permits free."""
        return _ConcurrencyLimitHandler(self, run)


class _ConcurrencyLimitHandler:
    __slots__ = ("_adaptive", "_e2e", "_gate", "_matches", "_now", "_permits", "_queue", "_run")

    def __init__(self, spec: ConcurrencyLimit, run: Run) -> None:
        self._run = run
        self._now = run.now
        chosen = spec.aimd or spec.vegas or spec.gradient2
        self._adaptive: WindowedLimit | None = None
        self._e2e = spec.sample == "e2e"
        self._matches: Callable[[BaseException], bool] = error_matcher(() if spec.gradient2 is not None else spec.on)
        if chosen is None:
            assert spec.limit is not None
            limit = spec.limit
        else:
            window_s, samples = spec.window or _WINDOW_S, spec.window_samples or _WINDOW_SAMPLES
            self._adaptive = WindowedLimit(chosen.start(), window_s, samples)
            limit = self._adaptive.limit
        self._queue = spec.queue
        self._permits = Permits(limit)
        line = WaitQueue(0 if spec.queue is None else spec.queue.limit)
        self._gate = Gate(run, self._permits, line, f"the concurrency limit of {run.upstream or 'the gateway'}")

    @property
    def limit(self) -> float:
        """Most calls in flight now."""
        return self._permits.limit

    @property
    def in_flight(self) -> int:
        """Calls that hold a permit."""
        return self._permits.taken

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        gate, now = self._gate, self._now()
        if gate.is_open(now):
            self._permits.take(None, now)
        elif self._queue is None:
            raise gate.full(request)
        else:
            now = await gate.wait(request, Ticket(now, place_of(request)), self._queue.timeout)
        if self._adaptive is not None:
            return await self._watched(request, call_next, now)
        try:
            response = await call_next(request)
        except BaseException:
            gate.leave(now)
            raise
        response.on_end(partial(self._released, now))
        return response

    def _released(self, began_s: float, outcome: Outcome, usage: Usage) -> None:
        self._gate.leave(began_s)

    # -- adaptive ------------------------------------------------------------------------------------------------------

    async def _watched(self, request: Request, call_next: CallNext, start: float) -> Response:
        in_flight = self._permits.taken
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(error, start, in_flight)
            self._gate.leave(start)
            raise
        if not self._e2e:
            self._sample(self._now() - start, in_flight, dropped=False)

        def ended(outcome: Outcome, usage: Usage) -> None:
            if outcome.error is not None:
                self._failed(outcome.error, start, in_flight)
            elif self._e2e and outcome.kind == "ok":
                self._sample(self._now() - start, in_flight, dropped=False)
            self._gate.leave(start)

        response.on_end(ended)
        return response

    def _failed(self, error: BaseException, start: float, in_flight: int) -> None:
        if self._matches(_TIMEOUTS.get(cancelled_by(error), error)):
            self._sample(self._now() - start, in_flight, dropped=True)

    def _sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        adaptive = self._adaptive
        assert adaptive is not None
        if rtt_s <= 0:
            return  # refused before anything was sent, or answered from a cache further in: no time of the upstream's
        adaptive.sample(self._now(), rtt_s, in_flight, dropped=dropped)
        if adaptive.limit != self._permits.limit:
            self._permits.limit = adaptive.limit
            self._run.emit("concurrency_limit", limit=adaptive.limit, in_flight=self._permits.taken)
            self._gate.line.advance()
