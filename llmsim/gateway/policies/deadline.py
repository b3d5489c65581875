"""Do not work for a caller who has stopped waiting."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.errors import DeadlineExceeded
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveDuration, format_duration

__all__ = ["Deadline"]

# A NamedTuple's _replace takes 1.7 µs, this 0.4; it rests on deadline_s being the last field.
_OTHER_FIELDS = Request._fields.index("deadline_s")
assert len(Request._fields) - 1 == _OTHER_FIELDS, "deadline_s must stay the last field of Request"
_as_request: Callable[[type[Request], tuple[Any, ...]], Request] = tuple.__new__


@register("deadline")
@dataclass(frozen=True, kw_only=True)
class Deadline:
    """The time by which a request must be answered in full, retries and fallbacks included.

    **Protects from** work nobody waits for: it ends every attempt when the time is over, and policies inside see it in
    ``request.deadline_s`` (a retry does not sleep past it, an attempt with less than `minimum` left is not made).

    **Costs** nothing but the answers that would have come late.

    **Makes things worse** when it is shorter than a long answer takes to generate: the caller then pays for nearly
    all tokens and gets an error. Limit ``max_tokens`` with it.

    A deadline that the request brings along counts if it is the earlier one. It is a point in time: what earlier
    attempts and waits took is gone for those that follow, whatever limits of their own these have. In upstream scope
    this policy sees every attempt, and there `minimum` belongs::

        policies: [{deadline: {timeout: 30s}}, {retry: {}}]
        upstream: [{deadline: {timeout: null, minimum: 2s}}]

    A live provider can tell the server how much is left (`OpenAIChat.deadline_header`).

    Parameters
    ----------
    timeout
        Seconds from the request's arrival at this policy; None (``null``): only the deadline it brings along counts.
    minimum
        What an attempt takes at least, in seconds: with less left it fails at once, instead of being begun, cancelled
        and billed. None: it is tried as long as any time is left. Choose a low quantile of the upstream's time to first
        chunk, or of whole answers where these are what counts.

    Notes
    -----
    Raises `DeadlineExceeded`, with the tokens delivered if it passes in the middle of a stream. That is not a
    ``timeout`` in the words of ``on:`` lists, and no retry repeats it. (A fallback with ``deadline_exceeded`` in its
    ``on`` goes on to a faster upstream with a smaller `minimum`.) Emits ``deadline_refused`` for an attempt
    that was not begun.

    Examples
    --------
    >>> Deadline(timeout=30.0).timeout
    30.0
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    timeout: PositiveDuration | None = 30.0
    minimum: PositiveDuration | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for word in ("timeout", "minimum"):
            value = getattr(self, word)
            if value is not None and not value > 0:
                raise ValueError(f"deadline {word} must be above 0, not {value!r}; write it like 30s")
        if self.timeout is None and self.minimum is None:
            raise ValueError("deadline limits nothing; write timeout: 30s, or minimum: 2s for the one a request has")
        if self.timeout is not None and self.minimum is not None and self.minimum >= self.timeout:
            raise ValueError(
                f"deadline minimum {format_duration(self.minimum)} leaves nothing of its timeout "
                f"{format_duration(self.timeout)}; write a smaller one"
            )

    def start(self, run: Run) -> Handler:
        """Fresh state: the deadlines that are running."""
        return _DeadlineHandler(self, run)


class _DeadlineHandler:
    __slots__ = ("_deadlines", "_late", "_minimum_s", "_now", "_run", "_timeout")

    def __init__(self, spec: Deadline, run: Run) -> None:
        self._timeout = spec.timeout
        self._minimum_s = spec.minimum or 0.0
        self._run = run
        self._now = run.now
        self._deadlines = run.deadlines(spec.timeout, DeadlineExceeded.word)
        self._late = self.late

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now = self._now()
        given = request.deadline_s
        if self._timeout is None:
            if given is None:
                return await call_next(request)
            when = given
        else:
            when = now + self._timeout
            if given is None or when < given:
                request = _as_request(Request, request[:_OTHER_FIELDS] + (when,))  # noqa: RUF005 - a quarter faster
            else:
                when = given
        if when - now <= self._minimum_s:
            raise self._too_late(request, when - now)
        deadlines = self._deadlines
        alarm = deadlines.enter(when)
        try:
            response = await call_next(request)
        except BaseException as error:
            if deadlines.leave(alarm) and isinstance(error, CancelledError):
                raise self.late(0) from error
            raise
        deadlines.leave(alarm)
        if request.stream:
            response.limit(until_s=when, late=self._late)
        return response

    def _too_late(self, request: Request, left_s: float) -> DeadlineExceeded:
        """The error for an attempt that is not worth beginning."""
        if left_s <= 0:
            return self.late(0)
        self._run.emit("deadline_refused", request)
        message = f"{format_duration(left_s)} left, and it takes at least {format_duration(self._minimum_s)}"
        return DeadlineExceeded(message, upstream=self._run.upstream)

    def late(self, tokens_delivered: int) -> DeadlineExceeded:
        """The error for a request whose time is over."""
        within = "" if self._timeout is None else f"within {format_duration(self._timeout)}, or "
        message = f"not answered {within}by the deadline it came with"
        return DeadlineExceeded(message, tokens_delivered=tokens_delivered, upstream=self._run.upstream)
