"""Do not wait for ever for one attempt."""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.errors import TimedOut, TotalTimeout, TtftTimeout
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveDuration, format_duration

__all__ = ["Timeout"]


@register("timeout")
@dataclass(frozen=True, kw_only=True)
class Timeout:
    """Limits on how long an attempt may take, by phase. Any subset of the three.

    **Protects from** an upstream that accepts and does not answer, falls silent in the middle, or crawls.

    **Costs** the answers that were just about to come, and the tokens the provider bills for them anyway.

    **Makes things worse** when it is tighter than the upstream is under load: every attempt is then thrown away half
    done and made again, and where the provider goes on working on cancelled calls, that is load without end.

    The phases before these have their limits elsewhere: connecting is the provider's (`OpenAIChat.connect_timeout_s`; a
    gateway cannot tell it from a slow answer), waiting for a permit that of
    ``concurrency_limit: {queue: {timeout: …}}``.

    In upstream scope it limits one attempt; in gateway scope the request with all its retries and fallbacks (there,
    `deadline` is usually what is meant, since policies inside can see it).

    Parameters
    ----------
    ttft
        Until the first chunk, in seconds; `TtftTimeout`. A request with ``stream=False`` has no first chunk before
        its end, so there this limits the whole answer.
    inter_token
        Longest silence between two chunks; `StreamStalled`, with the tokens delivered so far.
    total
        From start to end; `TotalTimeout`, with the tokens delivered so far.

    Examples
    --------
    >>> Timeout(ttft=5.0, inter_token=2.0).total is None
    True
    >>> Timeout()
    Traceback (most recent call last):
    ValueError: timeout limits nothing; write at least one of ttft: 5s, inter_token: 2s, total: 30s
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    ttft: PositiveDuration | None = None
    inter_token: PositiveDuration | None = None
    total: PositiveDuration | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        limits = {"ttft": self.ttft, "inter_token": self.inter_token, "total": self.total}
        if all(limit is None for limit in limits.values()):
            raise ValueError("timeout limits nothing; write at least one of ttft: 5s, inter_token: 2s, total: 30s")
        for key, limit in limits.items():
            if limit is not None and not limit > 0:
                raise ValueError(f"timeout {key} must be above 0, not {limit!r}; leave it out for no limit")

    def start(self, run: Run) -> Handler:
        """Fresh state: the limits that are running."""
        return _TimeoutHandler(self, run)


class _TimeoutHandler:
    __slots__ = (
        "_deadlines",
        "_error",
        "_first_s",
        "_inter_token",
        "_late",
        "_now",
        "_run",
        "_spec",
        "_streams",
        "_too_late",
    )

    def __init__(self, spec: Timeout, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        limits = [limit for limit in (spec.ttft, spec.total) if limit is not None]
        self._first_s = min(limits) if limits else None
        self._error = TtftTimeout if spec.ttft is not None and spec.ttft == self._first_s else TotalTimeout
        # In gateway scope the time may have gone to other attempts: the upstream asked last is not to blame.
        self._deadlines = run.deadlines(self._first_s, (self._error if run.scope == "upstream" else TimedOut).word)
        self._too_late = f"no first chunk within {format_duration(spec.ttft)}" if spec.ttft is not None else ""
        self._streams = spec.inter_token is not None or spec.total is not None
        self._late = self.late

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        first_s = self._first_s
        if first_s is None:
            start = 0.0
            response = await call_next(request)
        else:
            start = self._now()
            deadlines = self._deadlines
            alarm = deadlines.enter(start + first_s)
            try:
                response = await call_next(request)
            except BaseException as error:
                if deadlines.leave(alarm) and isinstance(error, CancelledError):
                    raise self._no_answer() from error
                raise
            deadlines.leave(alarm)
        if self._streams and request.stream:
            total = self._spec.total
            until = None if total is None else start + total
            response.limit(gap_s=self._spec.inter_token, until_s=until, late=self._late)
        return response

    def _no_answer(self) -> TimedOut:
        if self._error is TotalTimeout:
            return self.late(0)
        return TtftTimeout(self._too_late, upstream=self._run.upstream)

    def late(self, tokens_delivered: int) -> TotalTimeout:
        """The error for an attempt that took too long as a whole."""
        assert self._spec.total is not None
        message = f"not finished within {format_duration(self._spec.total)}"
        return TotalTimeout(message, tokens_delivered=tokens_delivered, upstream=self._run.upstream)
