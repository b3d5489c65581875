"""Ask a second time before the first has failed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

from llmsim.algorithms.budgets import RetryBudget
from llmsim.algorithms.quantile import RollingQuantile
from llmsim.error_words import error_matcher
from llmsim.errors import PolicyError, RateLimited
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._race import Race
from llmsim.gateway.policies._upstreams import OWN
from llmsim.gateway.policies._words import Names, OnWords, on_words
from llmsim.gateway.policies.marks import Marks, retried
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount, PositiveDuration, Rate, Ratio

__all__ = ["Hedge"]

_QUANTILE = 0.95


@register("hedge")
@dataclass(frozen=True, kw_only=True)
class Hedge:
    """Send a request a second time when the answer is slow to begin, and take whichever begins first.

    **Protects from** the slow tail of an upstream that is fine on average: a stuck slot, a cold replica, a lost packet.
    Two calls are both slow far less often than one (Dean and Barroso, "The Tail at Scale", CACM 2013: p99.9 of a
    BigTable read from 1,800 to 74 ms for 2 % more requests).

    **Costs** the share of requests that are sent twice: the loser is cancelled, and what it made until then is billed.

    **Makes things worse** when slowness is load: everybody is slow then, everybody is sent twice, and that is load
    again. The `budget` bounds it. It does nothing against an upstream that is slow for everyone alike; that is what
    `to` is for, or a `fallback` on ``ttft_timeout``.

    The clock is the *request's*: from its arrival here to the first chunk of whichever attempt wins (with
    ``stream=False``, to the answer). From these times comes the quantile after which it hedges, and not from those of
    attempts: an attempt's time is only seen if it wins, so slow ones are missing, the quantile sinks, more is hedged
    and fewer slow ones are seen (`tests/published/test_hedging.py` shows the drift). Requests leave the
    distribution below the quantile as it is, so theirs stays where it belongs.

    What fails with an error of `on` is not waited for: the next attempt goes out at once (gRPC A6), but not to an
    upstream that has just said when to come back (Retry-After), for waiting is `retry`'s business, nor to one on which
    a `retry` further in has given up, since attempts multiply. Any other error of an upstream ends the request; but
    what the gateway refuses itself (an open breaker, no permit, no budget, too little of the deadline left) ends only
    that attempt, and the others go on. Once the first chunk is there, that attempt is the answer; what breaks later is
    the reader's to see.

    Goes inside of `single_flight` (to which a second identical request is none) and outside of `retry`.

    Parameters
    ----------
    after
        Seconds to wait for the first chunk before the next attempt.
    quantile
        Instead of `after`: this quantile of the last `window` requests' times to first chunk (streamed and whole
        answers, and each upstream, by themselves). With neither, 95% ("The Tail at Scale": defer the second request
        until the first has been outstanding for more than the 95th-percentile expected latency, which limits the
        additional load to approximately 5 %).
    to
        Upstreams for the second attempt, the third, …; the last one repeats. Empty: the one the request is for.
    max_hedges
        Attempts besides the first. gRPC A6 allows 4; each one more helps less.
    budget
        Hedges at most this share of the requests of the last 10 s, per replica; None: no limit. Twice the 5 % that a
        hedge at the 95th percentile needs, since a budget of just that cuts into every fluctuation around it.
    budget_minimum
        Hedges per second that are free besides `budget`. As that of `retry`, 1/s, would be no limit at all for a
        gateway that gets a few requests a second, there are none.
    on
        Errors after which another attempt may do better.
    window
        Requests the quantile looks back on. Of 1,000 the 95th percentile is off by 0.7 % of requests (standard error),
        and that noise makes it 5.3 % that are hedged there and not 5.0 % (of 10,000: 5.1 %; an exponential service,
        `tests/published/test_hedging.py`).
    minimum_requests
        Without that many there is no quantile, and nothing is hedged. Of 100 requests five are beyond the 95th
        percentile. The first to end are the quick ones, so at first it is low, until they are out of the window.
    shared
        One quantile and one budget for all replicas of the gateway instead of one each.

    Notes
    -----
    Emits ``hedge`` (``hedge``: its number from 1, ``to``, ``reason``: ``slow`` or ``failed``), and ``hedge_refused``
    once for a request that the budget kept from hedging.

    Examples
    --------
    >>> Hedge(after=0.5, to=("anthropic",)).max_hedges
    1
    >>> Hedge(after=0.5, quantile=0.9)
    Traceback (most recent call last):
    ValueError: a hedge goes out after a fixed time or at a quantile; remove after or quantile
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    after: PositiveDuration | None = None
    quantile: Ratio | None = None
    to: Names = ()
    max_hedges: PositiveCount = 1
    budget: Ratio | None = 0.1
    budget_minimum: Rate = 0.0
    on: OnWords = ("rate_limited", "server_error", "timeout", "connection_failed")
    window: PositiveCount = 1000
    minimum_requests: PositiveCount = 100
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.after is not None and self.quantile is not None:
            raise ValueError("a hedge goes out after a fixed time or at a quantile; remove after or quantile")
        if self.after is not None and not self.after > 0:
            raise ValueError(f"hedge after must be above 0, not {self.after!r}; write it like 500ms")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ValueError(f"hedge quantile must be between 0% and 100%, not {self.quantile:g}; write 95%")
        if isinstance(self.to, str):
            raise ValueError(f"to takes a list; write to: [{self.to}]")
        object.__setattr__(self, "to", tuple(self.to))
        if self.max_hedges < 1:
            raise ValueError(f"max_hedges must be at least 1, not {self.max_hedges}; leave the hedge out for none")
        if self.budget is not None and not 0 <= self.budget <= 1:
            raise ValueError(f"budget is a share of requests, 0% to 100%, not {self.budget:g}; write 10%")
        if not self.budget_minimum >= 0:
            raise ValueError(f"budget_minimum must not be negative, like {self.budget_minimum:g}; write it like 1/s")
        if not 1 <= self.minimum_requests <= self.window:
            raise ValueError(
                f"minimum_requests {self.minimum_requests} must be at least 1 and at most window {self.window}"
            )
        on_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: no times yet, a full budget.

        Raises
        ------
        PolicyError
            If `to` names an upstream that is not configured, or it stands in upstream scope, where there is one.
        """
        for upstream in self.to:
            if run.scope == "upstream":
                message = "to names upstreams, and behind one of them there is only that; move it to gateway.policies"
                raise PolicyError(message, policy=run.name)
            if run.upstreams and upstream not in run.upstreams:
                near = get_close_matches(upstream, run.upstreams, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"configured: {', '.join(run.upstreams)}"
                raise PolicyError(f"unknown upstream {upstream!r} in to; {hint}", policy=run.name)
        return _HedgeHandler(self, run)


class _HedgeHandler:
    __slots__ = ("_budget", "_times", "matches", "now", "run", "spec")

    def __init__(self, spec: Hedge, run: Run) -> None:
        self.spec = spec
        self.run = run
        self.now = run.now
        self.matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._budget = None if spec.budget is None else RetryBudget(spec.budget, spec.budget_minimum)
        self._times: dict[tuple[str | None, bool], RollingQuantile] = {}

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        start = self.now()
        if self._budget is not None:
            self._budget.deposit(start)
        times, delay_s = self._delay(request)
        race = _HedgeRace(self, request, call_next, delay_s)
        try:
            response = await race.run()
        except BaseException:
            # It took longer than that, nobody knows how much; what failed before says nothing about time.
            waited_s = self.now() - start
            if times is not None and waited_s >= delay_s:
                times.add(waited_s)
            raise
        if times is not None:
            times.add(self.now() - start)
        return response

    def _delay(self, request: Request) -> tuple[RollingQuantile | None, float]:
        """Where the time of this request belongs, and how long to wait before each next attempt."""
        spec = self.spec
        if spec.after is not None:
            return None, spec.after
        place = (request.upstream, request.stream)
        times = self._times.get(place)
        if times is None:
            times = self._times[place] = RollingQuantile(spec.quantile or _QUANTILE, spec.window)
        return times, times.value if times.count >= spec.minimum_requests else math.inf

    def may(self, request: Request) -> bool:
        """Whether the budget has a hedge left; if so it is spent."""
        if self._budget is None or self._budget.withdraw(self.now()):
            return True
        self.run.emit("hedge_refused", request, reason="budget")
        return False


class _HedgeRace(Race):
    """The attempts of one request."""

    __slots__ = ("_call_next", "_delay_s", "_handler", "_hedges", "_marks", "_request", "_timer")

    def __init__(self, handler: _HedgeHandler, request: Request, call_next: CallNext, delay_s: float) -> None:
        super().__init__()
        self._handler = handler
        self._request = request
        self._call_next = call_next
        self._delay_s = delay_s
        self._hedges = 0
        self._marks = Marks.number
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> Response:
        """The first response, or the error that leaves none."""
        self._arm(self._delay_s)
        try:
            return await self.run_first(self._call_next, self._request)
        finally:
            self._disarm()

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        if self._hedges < self._handler.spec.max_hedges and delay_s < math.inf:
            self._timer = self.loop.call_later(delay_s, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        self._hedge("slow")

    def _hedge(self, reason: str) -> None:
        """Send the next attempt, unless it is too late or too much."""
        if self.decided:
            return
        handler, spec, request = self._handler, self._handler.spec, self._request
        if not handler.may(request):
            self._hedges = spec.max_hedges
            self.give_up()
            return
        to = self._to()
        self._hedges += 1
        handler.run.emit("hedge", request, hedge=self._hedges, to=to or "", reason=reason)
        # The caller's model is that of its first choice; another upstream uses its own.
        self.send(self._call_next, request if to is None or to == request.upstream else request.to(to))
        self._arm(self._delay_s)

    def _to(self) -> str | None:
        """Where the next hedge goes; None: where the request does."""
        to = self._handler.spec.to
        return to[min(self._hedges, len(to) - 1)] if to else self._request.upstream

    def curable(self, error: BaseException) -> bool:
        """See `Race.curable`."""
        return self._handler.matches(error) or self.refused(error)

    def refused(self, error: BaseException) -> bool:
        """See `Race.refused`."""
        return isinstance(error, OWN)

    def failed(self, error: BaseException) -> bool:
        """See `Race.failed`."""
        handler = self._handler
        if not handler.matches(error):
            return self.refused(error) and self.running > 0
        if self._hedges < handler.spec.max_hedges and not self._nothing_new(error):
            self._disarm()
            self._hedge("failed")
        return self.running > 0

    def _nothing_new(self, error: BaseException) -> bool:
        """Whether the next one would go to an upstream that has just said when to come back, or was tried enough."""
        if retried(error, self._marks):
            return self._to() == self._request.upstream and not self._elsewhere()
        if not getattr(error, "retry_after_s", None):
            return False
        return self._to() in (None, self._request.upstream, getattr(error, "upstream", ""))

    def _elsewhere(self) -> bool:
        """Whether a `route` further in would send the next one where this request has not been."""
        exchange, request = current_exchange.get(None), self._request
        if request.upstream is not None or exchange is None or exchange.router is None:
            return False
        try:
            return exchange.router.choose(request, exchange) is not None
        except RateLimited:  # none of its upstreams has room left
            return False
