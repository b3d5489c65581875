"""The counters behind rate limits. All of them say how much is left (`level`) and how long until there is enough.

A `Bucket` refills continuously, a `Window` all at once at full seconds or minutes, a `Day` at midnight Pacific; a
`Growth` is a bucket whose size follows what was used before.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llmsim.algorithms.buckets import TokenBucket
from llmsim.providers.dialects.limits import Ramp

__all__ = ["INPUT", "OUTPUT", "REQUESTS", "TOTAL", "Bucket", "Growth", "Meter", "Window"]

#: What a meter counts: the place of its amount among those of a call.
REQUESTS, TOTAL, INPUT, OUTPUT = range(4)


class Meter(TokenBucket):
    """What all counters share; by itself a bucket with continuous refill.

    Parameters
    ----------
    name
        The word of `Limits` it comes from.
    draws
        What it counts.
    rate_per_s, capacity
        Refill per second, and the most it holds.
    """

    __slots__ = ("_agreed", "draws", "name")

    def __init__(self, name: str, draws: int, rate_per_s: float, capacity: float) -> None:
        super().__init__(rate_per_s, capacity)
        self.name = name
        self.draws = draws
        self._agreed = (rate_per_s, capacity)

    def scale(self, multiplier: float, now: float) -> None:
        """Multiply what was agreed (a quota cut); what does not fit any more is lost.

        One request fits as long as there is any rate: 60 a minute, one at a time, cut to a tenth, are one every 10 s.
        """
        rate, capacity = (agreed * multiplier for agreed in self._agreed)
        if rate > 0 and self.draws == REQUESTS:
            capacity = max(capacity, 1.0)
        self.rescale(rate, capacity, now)

    def full_s(self, level: float, now: float) -> float:
        """Seconds from `now`, when it stood at `level`, until it is full again; inf if it never will be."""
        if level >= self.capacity:
            return 0.0
        return (self.capacity - level) / self.rate_per_s if self.rate_per_s > 0 else math.inf


class Bucket(Meter):
    """Continuous refill: `per_s` a second, `span_s` seconds' worth at most (but at least one).

    Examples
    --------
    >>> minute = Bucket("requests", REQUESTS, per_s=0.05, span_s=60)
    >>> minute.take(3, now=0.0)
    >>> minute.wait_s(1, now=0.0)
    20.0
    """

    __slots__ = ()

    def __init__(self, name: str, draws: int, per_s: float, span_s: float) -> None:
        super().__init__(name, draws, per_s, max(per_s * span_s, 1.0))


class Window(Meter):
    """Counts from zero again at every boundary.

    Parameters
    ----------
    next_boundary
        Loop time of the first boundary after a loop time.
    """

    __slots__ = ("_boundary", "_until")

    def __init__(
        self, name: str, draws: int, per_s: float, capacity: float, next_boundary: Callable[[float], float]
    ) -> None:
        super().__init__(name, draws, per_s, capacity)
        self._boundary = next_boundary
        self._until = -math.inf

    def refill(self, now: float) -> float:
        if now >= self._until - 1e-6:  # wall-clock seconds have no finer digits
            self._until = self._boundary(now)
            self.level = self.capacity
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        if amount <= self.refill(now):
            return 0.0
        return self._until - now if amount <= self.capacity else math.inf

    def take(self, amount: float, now: float) -> None:
        self.level = self.refill(now) - amount

    def full_s(self, level: float, now: float) -> float:
        return 0.0 if level >= self.capacity else self._boundary(now) - now


def every(span_s: float, epoch_s: float = 0.0) -> Callable[[float], float]:
    """Boundaries at the wall clock's multiples of `span_s`."""

    def next_boundary(now: float) -> float:
        return (math.floor((now + epoch_s + 2e-6) / span_s) + 1) * span_s - epoch_s

    return next_boundary


class Growth(Meter):
    """A bucket of one minute whose rate is what `Ramp` allows in this period.

    In every period: `above`, or, if that is more, the busiest minute of the period before plus `growth`. Minutes and
    periods are those of the loop's clock. How the vendors really measure is not known [not confirmed].
    """

    __slots__ = ("_left", "_minute", "_peak", "_period", "_ramp", "_used")

    def __init__(self, ramp: Ramp) -> None:
        super().__init__("ramp", INPUT, ramp.above, ramp.above * 60)
        self._ramp = ramp
        self._left = self.level  # where it stood when it was last looked at: what is missing since was used
        self._minute = self._period = 0
        self._used = self._peak = 0.0

    def refill(self, now: float) -> float:
        self._used += self._left - self.level
        super().refill(now)
        if int(now // 60) != self._minute:
            self._minute = int(now // 60)
            self._peak = max(self._peak, self._used)
            self._used = 0.0
        period = int(now // self._ramp.every)
        if period != self._period:
            adjoining = period == self._period + 1
            rate = max(self._ramp.above, (1 + self._ramp.growth) * self._peak / 60 if adjoining else 0.0)
            self.rescale_quietly(rate)
            self._period, self._peak = period, 0.0
        self._left = self.level
        return self.level

    def rescale_quietly(self, rate_per_s: float) -> None:
        """Another rate from here on; a bucket that was full stays full."""
        used = self.capacity - self.level
        self.rate_per_s, self.capacity = rate_per_s, rate_per_s * 60
        self.level = self.capacity - min(used, self.capacity)

    def wait_s(self, amount: float, now: float) -> float:
        self.refill(now)
        return super().wait_s(amount, now)

    def scale(self, multiplier: float, now: float) -> None:
        """A quota cut does not change how fast one may grow."""
