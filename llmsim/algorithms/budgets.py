"""How much extra load a client may make."""

from __future__ import annotations

from llmsim.algorithms.window import RollingCounts

__all__ = ["RetryBudget"]

#: Finagle's ``RetryBudget`` lets deposits expire after 10 s (finagle blog, 2016-02-08).
WINDOW_S = 10.0


class RetryBudget:
    """Retries at most a share of the requests of the last ten seconds, plus a small minimum.

    Every request is a deposit, every retry a withdrawal; both are forgotten after the window. Against per-request
    limits alone ("three attempts"), which triple the load of an upstream that is already down, the growth here is
    bounded by 1 + `share` whatever the error rate.

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
