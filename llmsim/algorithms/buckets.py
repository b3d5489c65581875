"""Token buckets with continuous refill: the arithmetic behind every rate limit."""

from __future__ import annotations

import math
from bisect import bisect_left

__all__ = ["Reservation", "ReservingBucket", "TokenBucket"]

#: Peaks that a `ReservingBucket` remembers apart. They are falling levels, so more are rare: many small reservations
#: in one long decline.
_MOST_PEAKS = 256


class TokenBucket:
    """Holds at most `capacity`, refills at `rate_per_s`, starts full.

    Never lets through more than ``capacity + rate_per_s × time`` in any stretch of time.

    Parameters
    ----------
    rate_per_s
        Refill per second.
    capacity
        Most it can hold.

    Examples
    --------
    >>> bucket = TokenBucket(rate_per_s=10.0, capacity=20.0)
    >>> bucket.wait_s(20, now=0.0)
    0.0
    >>> bucket.take(20, now=0.0)
    >>> bucket.wait_s(5, now=0.0)
    0.5
    """

    __slots__ = ("_at_s", "capacity", "level", "rate_per_s")

    def __init__(self, rate_per_s: float, capacity: float) -> None:
        self.rate_per_s = rate_per_s
        self.capacity = capacity
        self.level = capacity
        self._at_s = 0.0

    def refill(self, now: float) -> float:
        """Bring the level up to `now`; returns it."""
        if now > self._at_s:
            level = self.level + (now - self._at_s) * self.rate_per_s
            self.level = level if level < self.capacity else self.capacity  # a third of the time of min()
            self._at_s = now
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` would be there; 0 if it is; inf if it never can be."""
        level = self.level
        if now > self._at_s:
            level = self.refill(now)
        if amount <= level:
            return 0.0
        if amount > self.capacity or self.rate_per_s <= 0:
            return float("inf")
        return (amount - level) / self.rate_per_s

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, which `wait_s` has said is there."""
        if now > self._at_s:
            self.refill(now)
        self.level -= amount

    def rescale(self, rate_per_s: float, capacity: float, now: float) -> None:
        """Change its rate and size from `now` on; what does not fit any more is lost."""
        self.refill(now)
        self.rate_per_s = rate_per_s
        self.capacity = capacity
        self.level = min(self.level, capacity)


#: Part of a `ReservingBucket` that is held until it is known what its call used: its number and its amount.
Reservation = tuple[int, float]


class ReservingBucket(TokenBucket):
    """A bucket from which is taken what a call *may* use; what it did not use comes back when it ends.

    What comes back is only what would still be there, had it never been taken: a bucket that filled up meanwhile gets
    nothing, since it would have been full anyway. So what calls really use never exceeds ``capacity + rate_per_s ×
    time`` in any stretch of time (counted where they were admitted; provided no call uses more than was reserved for
    it). Simply adding it back, as is usual, can let through twice the capacity at once: reserve all, wait until it is
    full again, use all, get the first back unused, use all again.

    A call that used more than was reserved leaves a debt, which refills first.

    Parameters
    ----------
    rate_per_s
        Refill per second.
    capacity
        Most it can hold.

    Examples
    --------
    >>> bucket = ReservingBucket(rate_per_s=10.0, capacity=100.0)
    >>> call = bucket.reserve(80.0, now=0.0)
    >>> bucket.refill(1.0)
    30.0
    >>> bucket.settle(call, 50.0, now=1.0)
    >>> bucket.level
    60.0
    """

    __slots__ = ("_newest", "_open", "_peaks", "_raised", "reserved")

    def __init__(self, rate_per_s: float, capacity: float) -> None:
        super().__init__(rate_per_s, capacity)
        self.reserved = 0.0  #: held for calls under way
        self._open = 0  # reservations that are not settled
        self._newest = 0  # number of the latest reservation
        # How high it stood at its fullest since each reservation: (number, level), levels falling. Between
        # reservations it only rises, so that the level just before each one is all there is to know.
        self._peaks: list[tuple[int, float]] = []
        self._raised = 0.0  # by how much all of those are higher now, since something came back

    def reserve(self, amount: float, now: float) -> Reservation:
        """Take `amount`, which `wait_s` has said is there."""
        level = self.refill(now)
        if self._open:
            self._peak(level)
        self.level = level - amount
        self.reserved += amount
        self._open += 1
        self._newest += 1
        return (self._newest, amount)

    def _peak(self, level: float) -> None:
        peaks, stored = self._peaks, level - self._raised
        while peaks and peaks[-1][1] <= stored:
            peaks.pop()
        peaks.append((self._newest, stored))
        if len(peaks) > _MOST_PEAKS:
            # Half of it, each standing for its elder as well, which was higher: too little may come back, never too
            # much.
            self._peaks = [(number, peaks[at - 1][1]) for at, (number, _) in enumerate(peaks) if at % 2]
            self._peaks += peaks[-1:] if len(peaks) % 2 else []

    def settle(self, reservation: Reservation, used: float, now: float) -> None:
        """The call of this reservation has ended and used so much."""
        level = self.refill(now)
        self._peak(level)
        number, amount = reservation
        peaks, spare = self._peaks, amount - used
        if spare > 0:
            fullest = peaks[bisect_left(peaks, (number, -math.inf))][1] + self._raised
            spare = max(min(spare, self.capacity - fullest), 0.0)
            # It would have been fuller since then by as much. Before that it would not, but forgetting this errs on
            # the safe side.
            self._raised += spare
        self.level = level + spare
        self._open -= 1
        self.reserved -= amount
        if not self._open:
            self.reserved = self._raised = 0.0
            peaks.clear()
