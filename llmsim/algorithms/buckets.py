"""Token buckets with continuous refill: the arithmetic behind every rate limit."""

from __future__ import annotations

__all__ = ["TokenBucket"]


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
