"""Send as fast as an upstream bears, found out by its throttling."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.cubic import CubicRate
from llmsim.algorithms.queues import Ticket, WaitQueue
from llmsim.error_words import error_matcher
from llmsim.errors import Rejected
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._line import Line, place_of
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import Multiplier, PositiveDuration, PositiveRate, Ratio

__all__ = ["AdaptiveRate"]


@register("adaptive_rate")
@dataclass(frozen=True, kw_only=True)
class AdaptiveRate:
    """Hold calls back to a rate that follows the upstream's throttling: the rate limiter of AWS's adaptive retry mode.

    **Protects from** running into the same rate limit again and again: after the first 429 the send rate is cut, and
    grows back along a cubic until the next.

    **Costs** time: calls wait for their turn, first come, first served, and nothing bounds how many do but their
    deadlines.

    **Makes things worse** where calls of several kinds go through it and one of them is throttled: it slows the others
    too (AWS recommends the mode only with a client for each scope that may be throttled: docs.aws.amazon.com/sdkref,
    feature-retry-behavior). It knows of calls and not of tokens per minute. It belongs into upstream scope.

    Parameters
    ----------
    beta
        What is left of the rate after a throttle.
    scale
        How fast it grows back: calls per second per cubic second.
    min_rate
        Lowest rate.
    most
        Highest rate, as a multiple of the measured one.
    smoothing
        Weight of the newest measurement in the measured rate.
    bucket
        Time between two measurements.
    on
        Which errors are throttling.
    shared
        One for all replicas of the gateway instead of one each.

    Notes
    -----
    The defaults are botocore 1.44.5's (``botocore/retries/{adaptive,throttling,bucket}.py``). Raises `Rejected`, at
    once, for a call whose turn would come after the request's deadline at the present rate. Emits ``adaptive_rate``
    with ``rate_per_s`` and ``measured_per_s`` at every throttle.

    Examples
    --------
    >>> AdaptiveRate().beta
    0.7
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    beta: Ratio = 0.7
    scale: Multiplier = 0.4
    min_rate: PositiveRate = 0.5
    most: Multiplier = 2.0
    smoothing: Ratio = 0.8
    bucket: PositiveDuration = 0.5
    on: OnWords = ("rate_limited",)
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        for key, example in (("beta", "70%"), ("smoothing", "80%")):
            if not 0 < getattr(self, key) <= 1:
                raise ValueError(
                    f"{key} must be above 0% and at most 100%, not {getattr(self, key):g}; write {example}"
                )
        for key, example in (("scale", "0.4"), ("min_rate", "0.5/s"), ("bucket", "500ms")):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0, not {getattr(self, key):g}; write it like {example}")
        if not self.most >= 1:
            raise ValueError(f"most must be at least 1, not {self.most:g}; write 2 for twice the measured rate")
        on_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: no limit until the first throttle."""
        return _AdaptiveRateHandler(self, run)


class _AdaptiveRateHandler:
    __slots__ = ("_line", "_matches", "_now", "_rate", "_run")

    def __init__(self, spec: AdaptiveRate, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._rate = CubicRate(
            beta=spec.beta,
            scale=spec.scale,
            min_rate_per_s=spec.min_rate,
            most=spec.most,
            smoothing=spec.smoothing,
            bucket_s=spec.bucket,
        )
        self._line = Line(run, WaitQueue(sys.maxsize), self._rate)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        rate = self._rate
        if rate.enabled:
            await self._turn(request)
        try:
            response = await call_next(request)
        except Exception as error:
            throttled = self._matches(error)
            # Without a status nobody has answered, or a policy further in did.
            if throttled or getattr(error, "status", None) is not None:
                self._answered(throttled=throttled)
            raise
        self._answered(throttled=False)
        return response

    async def _turn(self, request: Request) -> None:
        now, rate, line = self._now(), self._rate, self._line
        wait_s = rate.wait_s(None, now)
        if not wait_s and not line:
            rate.take(None, now)
            return
        wait_s += len(line) / rate.limit_per_s
        if request.deadline_s is not None and now + wait_s >= request.deadline_s:
            upstream = self._run.upstream
            raise Rejected(f"its turn at {upstream or 'the gateway'} comes after its deadline", upstream=upstream)
        await line.wait(Ticket(now, place_of(request)), None)

    def _answered(self, *, throttled: bool) -> None:
        rate = self._rate
        rate.answered(self._now(), throttled=throttled)
        if throttled:
            self._run.emit("adaptive_rate", rate_per_s=rate.limit_per_s, measured_per_s=rate.measured_per_s)
        self._line.advance()  # what they wait for is another time now
