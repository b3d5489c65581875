"""What a retry may spend: the budgets of `llmsim.gateway.policies.retry`, as values and at work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from llmsim.algorithms.budgets import ActiveRetryBudget, FailureLimit, RetryBudget, RetryQuota
from llmsim.constructors import checked_values
from llmsim.errors import RateLimited
from llmsim.types import Outcome, Usage
from llmsim.units import COUNT, Count, Ratio

if TYPE_CHECKING:
    from llmsim.gateway.policies.retry import Retry

__all__ = ["ActiveBudget", "Budgets", "Quota", "Visit"]

FORBID: dict[str, Any] = {"extra": "forbid"}

Tokens = Annotated[float, replace(COUNT, name="a number of tokens", whole=False, examples=("14", "0.1"))]
PositiveTokens = Annotated[float, replace(COUNT, name="a number of tokens", whole=False, above=True, examples=("500",))]


@checked_values
@dataclass(frozen=True, kw_only=True)
class ActiveBudget:
    """Retries in flight at most a share of the requests in flight.

    The defaults are Envoy's (circuit_breaker.proto, RetryBudget: ``budget_percent`` 20 %, ``min_retry_concurrency`` 3).

    Parameters
    ----------
    share
        Of the requests that are open, backing off included.
    minimum
        Retries in flight that are always allowed.
    """

    __pydantic_config__: ClassVar[Any] = FORBID

    share: Ratio = 0.2
    minimum: Count = 3

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is a part of the open requests, 0% to 100%, not {self.share:g}; write 20%")
        if self.minimum < 0:
            raise ValueError(f"minimum must not be negative, like {self.minimum}; write it like 3")


@checked_values
@dataclass(frozen=True, kw_only=True)
class Quota:
    """A bucket that retries drain and successes fill.

    The defaults are those of botocore 1.44.5's standard mode (``botocore/retries/{quota,standard}.py``). Older versions
    differ: in 1.34.162 a retry costs 5, and 10 after a timeout. The bucket of Brooker's "Fixing retries with token
    buckets and circuit breakers" (2022) is ``{capacity: 5, cost: 1, rate_limited_cost: 1, earn: 0.1, earn_on: request,
    refund: false}``.

    Parameters
    ----------
    capacity
        Most it can hold; it starts full.
    cost
        Of a retry.
    rate_limited_cost
        Of a retry after `RateLimited`.
    earn
        What comes in with a success without retries, or with every success unless `refund`.
    earn_on
        ``request``: `earn` comes in with every request, before its outcome is known.
    refund
        A success after retries gives back what the last retry cost.
    """

    __pydantic_config__: ClassVar[Any] = FORBID

    capacity: PositiveTokens = 500.0
    cost: Tokens = 14.0
    rate_limited_cost: Tokens = 5.0
    earn: Tokens = 1.0
    earn_on: Literal["success", "request"] = "success"
    refund: bool = True

    def __post_init__(self) -> None:
        if not self.capacity > 0:
            raise ValueError(f"quota capacity must be above 0, not {self.capacity:g}; write it like 500")
        for key in ("cost", "rate_limited_cost", "earn"):
            value = getattr(self, key)
            if not value >= 0:
                raise ValueError(f"quota {key} must not be negative, like {value:g}; write it like 1")
        if max(self.cost, self.rate_limited_cost) > self.capacity:
            raise ValueError(
                f"a retry that costs {max(self.cost, self.rate_limited_cost):g} never fits into a quota of "
                f"{self.capacity:g}; write a smaller cost, or a larger capacity"
            )


class Budgets:
    """All budgets of one retry; what is not set allows everything."""

    __slots__ = ("active", "failures", "per_request", "quota", "share", "spec")

    def __init__(self, spec: Retry) -> None:
        self.share = None if spec.budget is None else RetryBudget(spec.budget, spec.budget_minimum)
        limit = spec.max_failure_rate
        self.failures = None if limit is None else FailureLimit(limit)
        active = spec.active_budget
        self.active = None if active is None else ActiveRetryBudget(active.share, active.minimum)
        self.spec = spec.quota
        self.quota = None if spec.quota is None else RetryQuota(spec.quota.capacity)
        self.per_request = self.active is not None or self.quota is not None

    def begin(self, now: float) -> Visit | None:
        """A request has come; what to tell of its end, if anything."""
        if self.share is not None:
            self.share.deposit(now)
        if self.failures is not None:
            self.failures.deposit(now)
        return Visit(self) if self.per_request else None

    def failed(self, now: float) -> bool:
        """A call failed that might be retried: whether few enough do."""
        return self.failures is None or self.failures.failed(now)

    def withdraw(self, error: BaseException, visit: Visit | None, now: float) -> bool:
        """Whether all budgets allow a retry after `error`; if so it is paid for, else none has paid."""
        active, quota = self.active, self.quota
        if active is not None and not active.withdraw():
            return False
        cost = 0.0
        if quota is not None and self.spec is not None:
            cost = self.spec.rate_limited_cost if isinstance(error, RateLimited) else self.spec.cost
            if not quota.withdraw(cost):
                if active is not None:
                    active.retried()
                return False
        if self.share is not None and not self.share.withdraw(now):
            if quota is not None:
                quota.deposit(cost)
            if active is not None:
                active.retried()
            return False
        if visit is not None:
            visit.retrying = True
            visit.cost = cost
        return True


class Visit:
    """One request, from its first attempt to the end of its response."""

    __slots__ = ("_budgets", "cost", "retrying")

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self.cost: float | None = None  # of its latest retry
        self.retrying = False  # whether one of its retries counts as open
        if budgets.active is not None:
            budgets.active.opened()
        quota, spec = budgets.quota, budgets.spec
        if quota is not None and spec is not None and spec.earn_on == "request":
            quota.deposit(spec.earn)

    def attempt_over(self) -> None:
        """A call of it failed: if it was a retry, that one has ended."""
        if self.retrying:
            self.retrying = False
            if self._budgets.active is not None:
                self._budgets.active.retried()

    def over(self) -> None:
        """It ended without an answer."""
        self.attempt_over()
        if self._budgets.active is not None:
            self._budgets.active.closed()

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        """Its response ended."""
        self.over()
        quota, spec = self._budgets.quota, self._budgets.spec
        if quota is None or spec is None or outcome.kind != "ok":
            return
        if spec.refund and self.cost is not None:
            quota.deposit(self.cost)
        elif spec.earn_on == "success":
            quota.deposit(spec.earn)
