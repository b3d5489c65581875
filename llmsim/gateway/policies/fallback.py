"""Ask somebody else."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from llmsim.error_words import error_matcher
from llmsim.errors import ContextTooLong, TtftTimeout
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._course import Course, Rules
from llmsim.gateway.policies._kept import race
from llmsim.gateway.policies._splice import Splice
from llmsim.gateway.policies._words import ELSEWHERE, ErrorWord, Names, OnWords, known_upstreams, on_words, tables
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount, PositiveDuration, format_duration

__all__ = ["Fallback"]

_MID_STREAM = ("error", "restart", "continue")


@register("fallback")
@dataclass(frozen=True, kw_only=True)
class Fallback:
    """Send a request to the first upstream of a list that answers.

    **Protects from** the outage, the rate limit and the slowness of one upstream; with `orders`, from a prompt that is
    too long for it or that its content filter refuses; with `mid_stream`, from answers that break off.

    **Costs** the time that is lost on those before; the price difference; and answers that differ, since it is
    another model.

    **Makes things worse** when the second cannot bear the load of the first: the failure then moves along the list.
    A retry *inside* the fallback makes everybody wait through all its attempts first (BerriAI/litellm PR 42450: five
    seconds on every request during an outage); a circuit breaker below, with ``circuit_open`` in `on`, ends that.

    A request that names an upstream itself starts there, whether that is in the list or not; then come the others in
    order. Only that first choice gets the model the caller named: the others do not know it and use their own.

    An error that is not in `on` (say, a bad request) ends the search and is raised as it is. `AllUpstreamsFailed`
    means that every one was asked and failed with an error of `on`. After the first chunk of an answer,
    `mid_stream` says what happens.

    If it catches ``context_too_long``, it neither asks an upstream whose context window is known to be too small for
    the request's ``input_tokens`` and ``max_tokens``, nor, after such an error, one with no larger window.

    Parameters
    ----------
    order
        Names of upstreams, first choice first. Default: what a `route` inside prefers, whatever this request has not
        been sent to; without a `route`, all upstreams as they are configured.
    on
        Which errors: words of `llmsim.error_words.ERROR_WORDS` and statuses. ``circuit_open`` and ``rejected`` are what
        the policies in front of an upstream say when they do not ask it.
    orders
        Another order after certain errors, by word; the first word that fits counts, and need not be in `on`:
        ``{context_too_long: [long], content_filtered: [lenient], "429": [spare]}``.
    max_fallbacks
        At most so many upstreams after the first; default: all. LiteLLM has 5.
    ttft
        Go on to the next when there is no first chunk after so many seconds, if there is a next.
    on_ttft
        What becomes of the one that was slow: ``cancel`` (default; it does not answer twice, and its tokens are not
        paid for twice), or ``keep``: the first to answer wins, and one that fails is made up for at once.
    mid_stream
        What happens when a stream breaks with an error of `on`. ``error`` (default): the reader gets it. ``restart``:
        the next upstream is asked anew, if nothing has been given to the reader yet; else the reader gets the error.
        ``continue``: as ``restart``, and what has been given to the reader is sent along as the beginning of the
        answer, which the next upstream goes on with. Not every model does so: some begin again, some refuse such a
        request (then the reader gets the first error). A limit of the reader's own is never a reason to go on.

    Notes
    -----
    Emits ``fallback`` with ``from``, ``to`` and ``error`` each time it goes on to the next, and, in the middle of a
    stream, ``delivered_tokens``. A continued answer has a segment for each upstream, and its bill is that of all.

    Examples
    --------
    >>> Fallback(order=("openai", "anthropic", "openai"))
    Traceback (most recent call last):
    ValueError: fallback order names 'openai' twice; to ask it again, put a retry inside
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    order: Names | None = None
    on: OnWords = ELSEWHERE
    orders: Mapping[ErrorWord, Names] = field(default_factory=dict)
    max_fallbacks: PositiveCount | None = None
    ttft: PositiveDuration | None = None
    on_ttft: Literal["cancel", "keep"] | None = None
    mid_stream: Literal["error", "restart", "continue"] = "error"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.order is not None:
            _check_order(self.order, "order")
            object.__setattr__(self, "order", tuple(self.order))
        on_words(self)
        for word, order in self.orders.items():
            error_matcher((word,))
            _check_order(order, f"order after {word}")
        tables(self, "orders")
        if self.max_fallbacks is not None and self.max_fallbacks < 1:
            raise ValueError(
                f"max_fallbacks must be at least 1, not {self.max_fallbacks!r}; without, leave fallback out"
            )
        if self.ttft is None and self.on_ttft is not None:
            raise ValueError("on_ttft has no effect without ttft; write ttft: 3s beside it")
        if self.ttft is not None:
            if not self.ttft > 0:
                raise ValueError(f"fallback ttft must be above 0, not {self.ttft!r}; write it like 3s")
            if not error_matcher((*self.on, *self.orders))(TtftTimeout()):
                raise ValueError("ttft has no effect: on does not catch ttft_timeout; add it (or timeout)")
        if self.mid_stream not in _MID_STREAM:
            raise ValueError(f"unknown mid_stream {self.mid_stream!r}; write {', '.join(_MID_STREAM[:-1])} or continue")

    def start(self, run: Run) -> Handler:
        """No state.

        Raises
        ------
        PolicyError
            If an order names an upstream that is not configured.
        """
        known_upstreams(run, self.order or (), "order")
        for order in self.orders.values():
            known_upstreams(run, order, "orders")
        return _FallbackHandler(self, run)


def _check_order(order: Any, what: str) -> None:
    if isinstance(order, str):
        raise ValueError(f"{what} takes a list; write {what.split(maxsplit=1)[0]}: [{order}]")
    if not order:
        raise ValueError(f"fallback {what} is empty; write order: [openai, anthropic] with names from providers")
    for position, upstream in enumerate(order):
        if upstream in order[:position]:
            raise ValueError(f"fallback {what} names {upstream!r} twice; to ask it again, put a retry inside")


class _FallbackHandler:
    __slots__ = ("_ahead", "_deadlines", "_first", "_keep", "_rules", "_run", "_splices", "_ttft", "_windows")

    def __init__(self, spec: Fallback, run: Run) -> None:
        self._run = run
        self._rules = rules = Rules(
            run, spec.order, error_matcher((*spec.on, *spec.orders)), spec.orders, spec.max_fallbacks, spec.mid_stream
        )
        self._first = spec.order[0] if spec.order else None
        self._windows = run.context_windows
        self._ahead = bool(self._windows) and rules.catches(ContextTooLong())
        self._ttft = spec.ttft
        self._keep = spec.on_ttft == "keep"
        self._deadlines = None if spec.ttft is None else run.deadlines(spec.ttft, TtftTimeout.word)
        self._splices = spec.mid_stream != "error"

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if self._ahead or self._ttft is not None:
            return await self._carefully(request, call_next)
        try:
            if request.upstream is None and self._first is not None:
                response = await call_next(request.to(self._first, model=request.model))
            else:
                response = await call_next(request)
        except Exception as error:
            if not self._rules.catches(error):
                raise
            course = self._course(request, call_next)
            course.failed(error)
        else:
            if self._splices and request.stream:
                return Splice(self._course(request, call_next), response).response
            return response
        # Outside of the except block: what fails next is not "during handling of" this error.
        return await self._go_on(course)

    async def _carefully(self, request: Request, call_next: CallNext) -> Response:
        """The first call where that is not the same as asking the first upstream and waiting for it."""
        course = self._course(request, call_next)
        first = course.asked[0]
        needed = request.input_tokens + (request.max_tokens or 0)
        if self._ahead and first and self._windows.get(first, needed) < needed:
            course.passed_over(first, needed)
            return await self._go_on(course)
        if request.upstream is None and self._first is not None:
            request = request.to(self._first, model=request.model)
        if self._keep and self._ttft is not None:
            return self._answer(course, await race(course, request, self._ttft))
        try:
            return self._answer(course, await self._within(course, request))
        except Exception as error:
            if not self._rules.catches(error):
                raise
            course.failed(error)
        return await self._go_on(course)

    async def _go_on(self, course: Course) -> Response:
        """Ask the others."""
        try:
            while True:
                upstream = course.next()
                if upstream is None:
                    raise course.exhausted()
                request = course.enter(upstream)
                if self._keep and self._ttft is not None:
                    return self._answer(course, await race(course, request, self._ttft))
                try:
                    return self._answer(course, await self._within(course, request))
                except Exception as error:
                    if not self._rules.catches(error):
                        raise
                    course.failed(error)
        finally:
            course.causes.clear()  # their tracebacks refer to this frame: a circle only the cyclic collector could free

    async def _within(self, course: Course, request: Request) -> Response:
        """One call, no longer than `ttft` if there is somebody else to ask."""
        deadlines = self._deadlines
        if deadlines is None or self._ttft is None or course.next(TtftTimeout()) is None:
            return await course.call_next(request)
        alarm = deadlines.enter(self._run.now() + self._ttft)
        try:
            response = await course.call_next(request)
        except BaseException as error:
            if deadlines.leave(alarm) and isinstance(error, CancelledError):
                upstream = request.upstream or course.last_asked()
                text = f"no first chunk within {format_duration(self._ttft)}: the next is asked"
                raise TtftTimeout(text, upstream=upstream) from error
            raise
        deadlines.leave(alarm)
        return response

    def _answer(self, course: Course, response: Response) -> Response:
        return Splice(course, response).response if self._splices and course.request.stream else response

    def _course(self, request: Request, call_next: CallNext) -> Course:
        return Course(
            self._rules, request, call_next, current_exchange.get(None), request.upstream or self._first or ""
        )
