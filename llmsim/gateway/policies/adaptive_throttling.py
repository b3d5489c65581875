"""Refuse locally what an upstream would refuse anyway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.throttle import AdaptiveThrottle
from llmsim.error_words import error_matcher
from llmsim.errors import Rejected, TotalTimeout, TtftTimeout
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import Count, Multiplier, PositiveDuration

__all__ = ["AdaptiveThrottling"]

_TIMEOUTS = {error.word: error() for error in (TtftTimeout, TotalTimeout)}


@register("adaptive_throttling")
@dataclass(frozen=True, kw_only=True)
class AdaptiveThrottling:
    """Refuse a share of the calls to an overloaded upstream before they are sent: Google's client-side throttling.

    **Protects from** spending an upstream's capacity on saying no (or on answers that come after their timeout), and
    so from overload that feeds itself. Refused calls fail at once: a fallback takes over without waiting.

    **Costs** good answers, once the upstream has recovered: what gets through grows `k`-fold in about a window, and
    after a collapse it begins from next to nothing (tests/published/test_metastable.py: with `k` 2 and a window of 10 s
    all is answered again less than 110 s after a spike of five).

    **Makes things worse** with a `k` near 1, where a few failures of any cause make it refuse; and at a cold start,
    where calls that are still under way look like calls that were not accepted: `minimum_requests` should be more than
    arrive within one time to first token.

    A call is refused with probability max(0, (requests − `k`·accepts)/(requests + 1)), both over the last `window`.
    Requests count before they are sent (zeromicro/go-zero#5011). A call is accepted once its first token is there, or
    an answer that is no overload: an error outside of `on`. What says nothing about the upstream (a caller who went
    away, a refusal inside the gateway) must not make it refuse either, and counts as accepted.

    In upstream scope there is one for each upstream. In gateway scope there is one for all of it, with what policies
    further in make of a failure.

    Parameters
    ----------
    k
        Calls sent per call accepted, under overload. 2 is Google's ("Handling Overload", Site Reliability Engineering,
        ch. 21): less refuses more readily, more lets more through to be refused by the upstream.
    window
        How long a call counts; longer than a call takes. 2 minutes is Google's.
    minimum_requests
        Requests in the window below which nothing is refused. 20 is chosen, like `minimum_calls` of `circuit_breaker`;
        0 is Google's formula as it is.
    on
        Which errors say that a call was not accepted. Timeouts are among them, since a server that queues everything
        it gets never says no.
    shared
        One for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`, which a `fallback` goes on from. Emits ``rejected`` with its ``probability`` for every
    call that it refuses. Luck is addressed by the request and the number of calls and refusals it has had so far, so a
    retry of a refused call is another draw.

    Examples
    --------
    >>> AdaptiveThrottling().k
    2.0
    >>> AdaptiveThrottling(k=0.5)
    Traceback (most recent call last):
    ValueError: with k below 1 calls are refused while all are accepted; write k: 2, not 0.5
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    k: Multiplier = 2.0
    window: PositiveDuration = 120.0
    minimum_requests: Count = 20
    on: OnWords = ("rate_limited", "server_error", "timeout", "connection_failed")
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.k >= 1:
            raise ValueError(f"with k below 1 calls are refused while all are accepted; write k: 2, not {self.k:g}")
        if not self.window > 0:
            raise ValueError(f"adaptive_throttling window must be above 0, not {self.window!r}; write it like 2m")
        if self.minimum_requests < 0:
            raise ValueError(f"minimum_requests must not be negative, like {self.minimum_requests}; write it like 20")
        on_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: nothing counted."""
        return _AdaptiveThrottlingHandler(self, run)


class _AdaptiveThrottlingHandler:
    __slots__ = ("_matches", "_now", "_run", "_throttle")

    def __init__(self, spec: AdaptiveThrottling, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._throttle = AdaptiveThrottle(spec.k, spec.window, spec.minimum_requests)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        throttle, now = self._throttle, self._now()
        probability = throttle.probability(now)
        throttle.request(now)
        if probability > 0.0 and self._unlucky(request, probability):
            self._run.emit("rejected", request, probability=probability)
            upstream = self._run.upstream
            message = f"adaptive throttling of {upstream or 'the gateway'} refuses {probability:.0%} of calls"
            raise Rejected(message, upstream=upstream)
        try:
            response = await call_next(request)
        except BaseException as error:
            # A timeout listed outside of this policy cancels the call: for the upstream that is a timeout all the same.
            if not self._matches(_TIMEOUTS.get(cancelled_by(error), error)):
                throttle.accept(self._now())
            raise
        throttle.accept(self._now())
        return response

    def _unlucky(self, request: Request, probability: float) -> bool:
        exchange = current_exchange.get(None)
        number = 0
        if exchange is not None:
            number = exchange.attempts + exchange.refusals
            exchange.refusals += 1
        return self._run.luck("reject", request, number) < probability
