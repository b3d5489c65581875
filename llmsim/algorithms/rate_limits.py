"""Several limits at once: requests and tokens per time, reserved when a call begins and settled when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim.algorithms.buckets import Reservation, ReservingBucket

__all__ = ["INSTANT_S", "RateLimits"]

#: Waits below this are none: clocks have no finer digits, and whoever waited as long as told must not be told again.
INSTANT_S = 1e-6


class RateLimits:
    """A bucket per limit; a call goes when there is enough in all of them, and takes from all of them or from none.

    Amounts are tuples in the order of the rates.

    Parameters
    ----------
    rates_per_s
        Each limit's refill.
    burst_s
        A full bucket holds this much time's worth, at least 1.
    returns
        For each limit, whether anything of what is reserved may come back when a call ends; default: of all of them.

    Examples
    --------
    >>> limits = RateLimits((1.0, 100.0), burst_s=10.0)
    >>> call = limits.reserve((1.0, 900.0), now=0.0)
    >>> limits.wait_s((1.0, 300.0), now=0.0), limits.wait_s((1.0, 2000.0), now=0.0)
    (2.0, inf)
    >>> limits.settle(call, (1.0, 400.0), now=0.5)
    >>> limits.wait_s((1.0, 300.0), now=0.5)
    0.0
    """

    __slots__ = ("_behind", "_returns", "buckets")

    def __init__(self, rates_per_s: Sequence[float], burst_s: float, returns: Sequence[bool] | None = None) -> None:
        self.buckets = tuple(ReservingBucket(rate, max(rate * burst_s, 1.0)) for rate in rates_per_s)
        self._returns = [True] * len(self.buckets) if returns is None else returns
        self._behind = [0.0] * len(self.buckets)  # what those who wait will take

    def wait_s(self, amounts: Sequence[float], now: float) -> float:
        """Seconds until there is enough for a call that is next; 0: now; inf: never."""
        longest = 0.0
        for bucket, amount in zip(self.buckets, amounts, strict=True):
            wait_s = bucket.wait_s(amount, now)
            longest = max(longest, wait_s)
        return longest if longest > INSTANT_S else 0.0

    def reserve(self, amounts: Sequence[float], now: float) -> list[Reservation | float]:
        """Take what `wait_s` has said is there: for each limit the reservation, or what was taken for good."""
        call: list[Reservation | float] = []
        for bucket, amount, returns in zip(self.buckets, amounts, self._returns, strict=True):
            if returns:
                call.append(bucket.reserve(amount, now))
            else:
                bucket.take(amount, now)
                call.append(amount)
        return call

    def settle(self, call: Sequence[Reservation | float], used: Sequence[float], now: float) -> None:
        """The call has ended, and used this."""
        for bucket, reservation, amount in zip(self.buckets, call, used, strict=True):
            if isinstance(reservation, tuple):
                bucket.settle(reservation, amount, now)

    def undo(self, call: Sequence[Reservation | float], now: float) -> None:
        """The call, just reserved, will not be made."""
        for bucket, reservation in zip(self.buckets, call, strict=True):
            if isinstance(reservation, tuple):
                bucket.settle(reservation, 0.0, now)
            else:
                bucket.take(-reservation, now)

    def queue(self, amounts: Sequence[float], times: int = 1) -> None:
        """One that will take `amounts` waits (`times` 1) or no longer does (−1)."""
        for number, amount in enumerate(amounts):
            self._behind[number] += times * amount

    def expected_s(self, amounts: Sequence[float], now: float) -> float:
        """Seconds that a call would wait behind those who do, if nothing came back before."""
        return self._last(amounts, now, 0.0)

    def least_s(self, amounts: Sequence[float], now: float) -> float:
        """The same, if all that is reserved for others came back unused at once: it cannot be less."""
        return self._last(amounts, now, 1.0)

    def _last(self, amounts: Sequence[float], now: float, comes_back: float) -> float:
        longest = 0.0
        for bucket, amount, behind in zip(self.buckets, amounts, self._behind, strict=True):
            if amount > bucket.capacity:
                return float("inf")
            missing = behind + amount - min(bucket.refill(now) + comes_back * bucket.reserved, bucket.capacity)
            longest = max(longest, missing / bucket.rate_per_s)
        return longest if longest > INSTANT_S else 0.0

    def is_full(self, now: float) -> bool:
        """Whether it is as if it were new: nothing reserved, nothing missing."""
        return not any(bucket.reserved or bucket.refill(now) < bucket.capacity for bucket in self.buckets)
