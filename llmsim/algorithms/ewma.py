"""Moving averages of what was observed at uneven moments."""

from __future__ import annotations

import math

__all__ = ["Ewma", "PeakEwma"]

#: Of a place that has calls under way and has never answered: worse than any latency, and than any place with fewer.
#: Finagle's PeakEwma has such a penalty (twitter/finagle, loadbalancer/PeakEwma.scala); the figure is as good as any.
_UNKNOWN_S = 1e9


class Ewma:
    """An exponentially weighted moving average over time: what was seen `decay_s` ago weighs 1/e of what is new.

    Examples
    --------
    >>> mean = Ewma(decay_s=10.0)
    >>> mean.value
    nan
    >>> mean.observe(2.0, now=0.0)
    >>> mean.observe(4.0, now=10.0)
    >>> round(mean.value, 3)
    3.264
    """

    __slots__ = ("_decay_s", "_stamp_s", "value")

    def __init__(self, decay_s: float) -> None:
        assert decay_s > 0, "an average forgets in some time"
        self._decay_s = decay_s
        self._stamp_s = 0.0
        self.value = math.nan  #: NaN before the first observation

    def observe(self, sample: float, now: float) -> None:
        """Something was measured at `now` (seconds, not before the last)."""
        if math.isnan(self.value):
            self.value = sample
        else:
            weight = math.exp(min(self._stamp_s - now, 0.0) / self._decay_s)
            self.value = self.value * weight + sample * (1.0 - weight)
        self._stamp_s = now


class PeakEwma:
    """Finagle's load metric: latency times calls under way, quick to see a slow place and slow to trust it again.

    A latency above the average replaces it at once; below, it moves the average as in any EWMA. Left alone, the average
    decays to zero, so that a place which was slow once is tried again. After twitter/finagle,
    loadbalancer/PeakEwma.scala.

    Examples
    --------
    >>> load = PeakEwma(decay_s=10.0)
    >>> load.observe(0.1, now=0.0)
    >>> load.observe(2.0, now=1.0)
    >>> load.latency_s(1.0)
    2.0
    >>> load.observe(0.1, now=2.0)
    >>> round(load.latency_s(2.0), 2)
    1.82
    >>> round(load.score(12.0, in_flight=1), 2)
    1.34
    """

    __slots__ = ("_cost", "_decay_s", "_known", "_stamp_s")

    def __init__(self, decay_s: float) -> None:
        assert decay_s > 0, "an average forgets in some time"
        self._decay_s = decay_s
        self._cost = 0.0
        self._known = False
        self._stamp_s = 0.0

    def observe(self, latency_s: float, now: float) -> None:
        """A call took so long; it ended at `now`."""
        cost = self._cost
        if latency_s > cost:
            self._cost = latency_s
        else:
            weight = math.exp(min(self._stamp_s - now, 0.0) / self._decay_s)
            self._cost = cost * weight + latency_s * (1.0 - weight)
        self._stamp_s = now
        self._known = True

    def at_least(self, latency_s: float, now: float) -> None:
        """A call that has not answered has already taken so long: counts if that is more than is known."""
        if latency_s > self.latency_s(now):
            self.observe(latency_s, now)

    def latency_s(self, now: float) -> float:
        """The average, decayed up to `now`."""
        return self._cost * math.exp(min(self._stamp_s - now, 0.0) / self._decay_s)

    def score(self, now: float, in_flight: int) -> float:
        """What one more call would meet: the lower the better."""
        if not self._known and in_flight:
            return _UNKNOWN_S + in_flight
        return self.latency_s(now) * (in_flight + 1)
