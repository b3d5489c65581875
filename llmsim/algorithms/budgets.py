"""How much extra load a client may make."""

from __future__ import annotations

from llmsim.algorithms.window import RollingCounts

__all__ = ["ActiveRetryBudget", "FailureLimit", "RetryBudget", "RetryQuota"]

#: Finagle's ``RetryBudget`` lets deposits expire after 10 s (finagle blog, 2016-02-08).
WINDOW_S = 10.0


class RetryBudget:
    """Retries at most a share of the requests of the last ten seconds, plus a small minimum.

    Every request is a deposit, every retry a withdrawal; both are forgotten after the window. Against per-request
    limits alone ("three attempts"), which triple the load of an upstream that is already down, the growth here is
    bounded by 1 + `share` whatever the error rate, and by the minimum where there are few requests: with 20% and 1/s,
    2 requests a second may bring 1.4 retries.

    Parameters
    ----------
    share
        Retries per request, 0 … 1.
    minimum_per_s
        Retries per second that are free, so that a quiet gateway can retry at all.
    window_s
        How long a request counts, in seconds.

    Examples
    --------
    >>> budget = RetryBudget(share=0.2, minimum_per_s=0.0)
    >>> for _ in range(10):
    ...     budget.deposit(0.0)
    >>> [budget.withdraw(1.0) for _ in range(3)]
    [True, True, False]
    """

    __slots__ = ("_deposits", "_reserve", "_share", "_withdrawals")

    def __init__(self, share: float, minimum_per_s: float, window_s: float = WINDOW_S) -> None:
        self._share = share
        self._reserve = minimum_per_s * window_s
        self._deposits = RollingCounts(window_s)
        self._withdrawals = RollingCounts(window_s)

    def deposit(self, now: float) -> None:
        """A request (not a retry) was made at `now`."""
        self._deposits.add(now)

    def balance(self, now: float) -> float:
        """Retries that may be made at `now`; never negative."""
        self._deposits.expire(now)
        self._withdrawals.expire(now)
        # Requests expire before the retries they paid for, so what is left can fall below zero.
        return max(0.0, self._share * self._deposits.total + self._reserve - self._withdrawals.total)

    def withdraw(self, now: float) -> bool:
        """Whether a retry may be made at `now`; if so it is counted."""
        # A share of 20 % of five requests is one retry, also where 0.2 * 5 is a rounding error short of 1.
        if self.balance(now) < 1.0 - 1e-9:
            return False
        self._withdrawals.add(now)
        return True


class ActiveRetryBudget:
    """Retries in flight at most a share of the requests in flight, after Envoy's.

    Where `RetryBudget` counts what was sent lately, this counts what is open now: when calls get slow, and so more of
    them are open, it allows more. Envoy's `RetryBudget` (circuit_breaker.proto) has 20 % and a minimum of 3; a retry
    counts from when it is decided on, its backoff included, to its end.

    Parameters
    ----------
    share
        Open retries per open request, 0 … 1.
    minimum
        Open retries that are always allowed.

    Examples
    --------
    >>> budget = ActiveRetryBudget(share=0.2, minimum=1)
    >>> for _ in range(10):
    ...     budget.opened()
    >>> [budget.withdraw() for _ in range(3)]
    [True, True, False]
    """

    __slots__ = ("_minimum", "_share", "active", "retries")

    def __init__(self, share: float, minimum: int) -> None:
        self._share = share
        self._minimum = minimum
        self.active = 0  #: open requests
        self.retries = 0  #: those of them that are retrying

    def opened(self) -> None:
        """A request began."""
        self.active += 1

    def closed(self) -> None:
        """A request ended."""
        self.active -= 1

    def withdraw(self) -> bool:
        """Whether a retry may begin now; if so it counts until `retried`."""
        if self.retries >= max(self._minimum, self._share * self.active):
            return False
        self.retries += 1
        return True

    def retried(self) -> None:
        """A retry ended, in whatever way."""
        self.retries -= 1


class RetryQuota:
    """A bucket that retries drain and successes fill, after that of the AWS SDKs. It starts full.

    No clock is in it: what comes back does so with successes. So when everything fails, retries end for good once the
    bucket is empty, until something succeeds.

    Parameters
    ----------
    capacity
        Most it can hold.

    Examples
    --------
    >>> quota = RetryQuota(capacity=10)
    >>> quota.withdraw(6), quota.withdraw(6)
    (True, False)
    >>> quota.deposit(3)
    >>> quota.level
    7
    """

    __slots__ = ("capacity", "level")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.level = capacity

    def withdraw(self, cost: float) -> bool:
        """Whether a retry of this cost may be made; if so it is paid for."""
        # 0.1 ten times is a rounding error short of 1.
        if cost > self.level + 1e-9:
            return False
        self.level = max(0.0, self.level - cost)
        return True

    def deposit(self, amount: float) -> None:
        """Something ended well; what does not fit is lost."""
        self.level = min(self.capacity, self.level + amount)


class FailureLimit:
    """Retries only while few enough calls fail: the "circuit breaker" of Brooker's "Fixing retries with token buckets
    and circuit breakers" (2022-02-28).

    Failed calls are counted against requests, as there, so that retries which fail make it stop the sooner.

    Parameters
    ----------
    limit
        Failed calls per request above which there are no retries.
    window_s
        How long a request and a failure count, in seconds.

    Examples
    --------
    >>> limit = FailureLimit(0.5)
    >>> limit.deposit(0.0)
    >>> limit.deposit(0.0)
    >>> limit.failed(0.0), limit.failed(0.0)
    (True, False)
    """

    __slots__ = ("_failures", "_limit", "_requests")

    def __init__(self, limit: float, window_s: float = WINDOW_S) -> None:
        self._limit = limit
        self._requests = RollingCounts(window_s)
        self._failures = RollingCounts(window_s)

    def deposit(self, now: float) -> None:
        """A request (not a retry) was made at `now`."""
        self._requests.add(now)

    def failed(self, now: float) -> bool:
        """A call failed at `now`: whether it may be made again."""
        self._failures.add(now)
        self._requests.expire(now)
        return self._failures.total <= self._limit * self._requests.total + 1e-9
