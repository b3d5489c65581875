"""A send rate that follows what an upstream bears: CUBIC, as in the adaptive retry mode of the AWS SDKs."""

from __future__ import annotations

import math

from llmsim.algorithms.buckets import TokenBucket
from llmsim.algorithms.queues import Ticket
from llmsim.algorithms.rate_limits import INSTANT_S

__all__ = ["CubicRate"]


class CubicRate:
    """A token bucket whose rate is cut at every throttle and grows back along a cubic.

    Nothing is limited before the first throttle. A throttle sets *w* to the rate at which it happened (measured, and
    not above the limit) and the limit to `beta`·*w*; an answer *t* seconds later sets it to ``scale·(t − K)³ + w`` with
    K = ((1 − `beta`)·w/`scale`)^⅓: quickly back to near *w*, slowly past it, then faster and faster. Never above
    `most` times the measured rate, so an idle client does not save up a right to burst; never below `min_rate_per_s`.

    The bucket holds one second of its rate, at least one token, and is full at the first throttle. Formulas and figures
    are those of botocore 1.44.5 (``botocore/retries/{adaptive,throttling,bucket}.py``).

    Parameters
    ----------
    beta
        What is left of the rate after a throttle.
    scale
        Calls per second per cubic second: how fast it grows back.
    min_rate_per_s
        Lowest limit.
    most
        Highest limit, as a multiple of the measured rate.
    smoothing
        Weight of the newest half second in the measured rate.
    bucket_s
        Time between two measurements of it.

    Examples
    --------
    >>> rate = CubicRate()
    >>> rate.wait_s(None, 0.0), rate.limit_per_s
    (0.0, inf)
    >>> for number in range(100):
    ...     rate.answered(0.1 * number, throttled=False)
    >>> rate.answered(10.0, throttled=True)
    >>> round(rate.measured_per_s), round(rate.limit_per_s)
    (10, 7)
    """

    __slots__ = (
        "_at_s", "_began_s", "_beta", "_bucket", "_bucket_s", "_count", "_k", "_last_bucket", "_min", "_most", "_peak",
        "_scale", "_smoothing", "enabled", "measured_per_s",
    )  # fmt: skip

    def __init__(
        self,
        *,
        beta: float = 0.7,
        scale: float = 0.4,
        min_rate_per_s: float = 0.5,
        most: float = 2.0,
        smoothing: float = 0.8,
        bucket_s: float = 0.5,
    ) -> None:
        self._beta = beta
        self._scale = scale
        self._min = min_rate_per_s
        self._most = most
        self._smoothing = smoothing
        self._bucket_s = bucket_s
        self._bucket = TokenBucket(min_rate_per_s, 1.0)
        self._count = 0  # answers since the last measurement
        self._began_s = 0.0
        self._last_bucket = -1.0
        self._peak = self._k = self._at_s = 0.0  # w, K, and when the last throttle was
        self.enabled = False  #: whether there was a throttle yet
        self.measured_per_s = 0.0  #: answers per second, smoothed

    @property
    def limit_per_s(self) -> float:
        """Calls per second it lets through; inf before the first throttle."""
        return self._bucket.rate_per_s if self.enabled else math.inf

    def wait_s(self, ticket: Ticket | None, now: float) -> float:
        """Seconds until a call may be sent; 0 if one may now."""
        wait_s = self._bucket.wait_s(1.0, now) if self.enabled else 0.0
        return wait_s if wait_s > INSTANT_S else 0.0

    def take(self, ticket: Ticket | None, now: float) -> None:
        """Send a call, for which `wait_s` has said 0."""
        if self.enabled:
            self._bucket.take(1.0, now)

    def give_back(self, ticket: Ticket | None, now: float) -> None:
        """What was taken is not going to be sent."""
        if self.enabled:
            self._bucket.level = min(self._bucket.capacity, self._bucket.level + 1.0)

    def answered(self, now: float, *, throttled: bool) -> None:
        """The upstream answered a call: measure, and set the limit anew."""
        self._measure(now)
        measured = self.measured_per_s
        if throttled:
            self._peak = min(measured, self.limit_per_s)
            self._k = (self._peak * (1.0 - self._beta) / self._scale) ** (1 / 3)
            self._at_s = now
            rate = self._peak * self._beta
        else:
            if not self.enabled:
                return
            rate = self._scale * (now - self._at_s - self._k) ** 3 + self._peak
        rate = min(rate, self._most * measured)
        self._bucket.rescale(max(rate, self._min), max(rate, 1.0), now)
        if not self.enabled:
            self.enabled = True
            self._bucket.level = self._bucket.capacity

    def _measure(self, now: float) -> None:
        # botocore's buckets are those of the wall clock, so what it measures depends on the moment it is started. Here
        # they begin with the first answer: the same calls are measured the same in the lab and anywhere else.
        if self._last_bucket < 0:
            self._began_s, self._last_bucket = now, 0.0
        bucket = math.floor((now - self._began_s) / self._bucket_s) * self._bucket_s
        self._count += 1
        if bucket > self._last_bucket:
            current = self._count / (bucket - self._last_bucket)
            self.measured_per_s = current * self._smoothing + self.measured_per_s * (1.0 - self._smoothing)
            self._count = 0
            self._last_bucket = bucket
