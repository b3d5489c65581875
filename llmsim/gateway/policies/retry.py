"""Try again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmsim.algorithms.backoff import Backoff
from llmsim.algorithms.budgets import RetryBudget
from llmsim.error_words import error_matcher, outcome_word
from llmsim.errors import AuthError, BadRequest, BudgetExceeded, DeadlineExceeded, QuotaExhausted
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._words import OnWords, on_words
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response
from llmsim.units import PositiveCount, PositiveDuration, Rate, Ratio

__all__ = ["Retry"]

#: Not retried even where a status or ``any`` matches: the same call cannot end differently, or must not be made.
_NEVER = (QuotaExhausted, BadRequest, AuthError, BudgetExceeded, DeadlineExceeded)
_NEVER_WORDS = {cls.word for cls in _NEVER} | {"context_too_long", "content_filtered"}


@register("retry")
@dataclass(frozen=True, kw_only=True)
class Retry:
    """Send a failed request again, to the same place, after a while.

    **Protects from** short faults: a dropped connection, a moment of overload, a per-minute limit.

    **Costs** latency for the request that waits, and load for the upstream: with three attempts and every attempt
    failing, three times the load, just when it can bear it least. Retries at several layers multiply (3 × 3 × 5 = 45
    calls for one request: mpfaffenberger/code_puppy PR 317), so retry in one place.

    **Makes things worse** when the upstream is down because of load. Set a `budget`; put a circuit breaker below.

    What it does not do: sleep after the last attempt; sleep past the request's deadline; retry an error that waiting
    does not cure (quota, bad request, authentication), whatever `on` says; retry once the caller holds a response,
    since tokens that were delivered cannot be taken back.

    Parameters
    ----------
    max_attempts
        Calls in all, the first included.
    backoff
        How long to wait between them.
    on
        Which errors: words of `llmsim.error_words.ERROR_WORDS` and statuses.
    honor_retry_after
        Wait at least as long as the upstream asks, with jitter on top (so that a crowd does not return as one).
    max_retry_after
        Give up at once when the upstream asks for more than this, so that a fallback outside can take over
        (fallbacks delayed for minutes: timbal-ai/timbal PR 117). 60 s is what LiteLLM and Portkey accept at most.
    budget
        Retries at most this share of the requests of the last 10 s, per replica; None: no limit. Finagle and Envoy
        use 20%.
    budget_minimum
        Retries that are free besides `budget`. Finagle has 10/s for RPC clients with thousands of calls per second;
        a gateway replica sees a few, at which that would never bind, hence 1/s.

    Notes
    -----
    Emits ``retry`` (``attempt``: number of the attempt to come, ``delay_s``, ``error``), and ``retry_refused``
    (``attempt``, ``error``, ``reason``: ``retry_after``, ``deadline`` or ``budget``).

    Examples
    --------
    >>> from llmsim.algorithms.backoff import Backoff
    >>> Retry(max_attempts=4, backoff=Backoff(initial=0.5), budget=0.2).backoff.ceiling(3)
    2.0
    >>> Retry(on=("quota_exhausted",))
    Traceback (most recent call last):
    ValueError: retrying does not cure quota_exhausted; take it out of on: (a fallback can handle it)
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    max_attempts: PositiveCount = 3
    backoff: Backoff = field(default_factory=Backoff)
    on: OnWords = ("rate_limited", "server_error", "timeout", "connection_failed")
    honor_retry_after: bool = True
    max_retry_after: PositiveDuration = 60.0
    budget: Ratio | None = None
    budget_minimum: Rate = 1.0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first; write 1 for no retry, not {self.max_attempts}")
        on_words(self)
        for word in self.on:
            if word in _NEVER_WORDS:
                raise ValueError(f"retrying does not cure {word}; take it out of on: (a fallback can handle it)")
        if self.budget is not None and not 0 <= self.budget <= 1:
            raise ValueError(f"budget is a share of requests, 0% to 100%, not {self.budget:g}; write 20%")
        if not self.budget_minimum >= 0:
            raise ValueError(f"budget_minimum must not be negative, like {self.budget_minimum:g}; write it like 1/s")
        if not self.max_retry_after > 0:
            raise ValueError(f"max_retry_after must be above 0, not {self.max_retry_after:g}; write it like 60s")

    def start(self, run: Run) -> Handler:
        """Fresh state: the retry budget."""
        return _RetryHandler(self, run)


class _RetryHandler:
    __slots__ = ("_budget", "_matches", "_now", "_run", "_spec")

    def __init__(self, spec: Retry, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._matches: Callable[[BaseException], bool] = error_matcher(spec.on)
        self._budget = None if spec.budget is None else RetryBudget(spec.budget, spec.budget_minimum)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if self._budget is not None:
            self._budget.deposit(self._now())
        spec = self._spec
        attempt = 1
        backoff_s = spec.backoff.initial
        while True:
            try:
                return await call_next(request)
            except Exception as error:
                if attempt >= spec.max_attempts or not self._matches(error) or isinstance(error, _NEVER):
                    raise
                luck = self._run.luck("backoff", request, attempt)
                backoff_s = spec.backoff.delay(attempt, luck, backoff_s)
                delay_s = self._delay(request, error, attempt, luck, backoff_s)
                attempt += 1
                if delay_s is None:
                    raise
                self._run.emit("retry", request, attempt=attempt, delay_s=delay_s, error=outcome_word(error))
            # Outside of the except block: what fails next is not "during handling of" this error.
            await asyncio.sleep(delay_s)

    def _delay(self, request: Request, error: Exception, attempt: int, luck: float, backoff_s: float) -> float | None:
        """Seconds until the next attempt, None if there must not be one."""
        spec = self._spec
        delay_s = backoff_s
        retry_after_s: float | None = getattr(error, "retry_after_s", None)
        if retry_after_s is not None and spec.honor_retry_after:
            if retry_after_s > spec.max_retry_after:
                self._refuse(request, error, attempt, "retry_after")
                return None
            delay_s = spec.backoff.after(retry_after_s, attempt, luck, backoff_s)
        now = self._now()
        if request.deadline_s is not None and now + delay_s >= request.deadline_s:
            self._refuse(request, error, attempt, "deadline")
            return None
        if self._budget is not None and not self._budget.withdraw(now):
            self._refuse(request, error, attempt, "budget")
            return None
        return delay_s

    def _refuse(self, request: Request, error: Exception, attempt: int, reason: str) -> None:
        self._run.emit("retry_refused", request, attempt=attempt + 1, error=outcome_word(error), reason=reason)
