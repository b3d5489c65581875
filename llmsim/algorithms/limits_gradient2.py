"""Netflix's Gradient2: is it slower now than it has been on average?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.limits_aimd import check_range
from llmsim.constructors import checked_values
from llmsim.units import Count, Multiplier, PositiveCount, Ratio

__all__ = ["Gradient2", "Gradient2Limit"]

#: Netflix: the first samples of the long average count alike.
_WARM_UP = 10


@checked_values
@dataclass(frozen=True, kw_only=True)
class Gradient2:
    """Shrink in proportion as samples are slower than `tolerance` times their long-term average, else grow by `queue`.

    With *g* = max(½, min(1, tolerance · long / sample)), the limit moves by the share `smoothing` towards
    *limit · g + queue*. Where the average has become more than twice a sample (load has gone), it falls
    by 5 % a sample.

    Parameters
    ----------
    initial, min, max
        The limit at first, and its range. Netflix: 20, 20, 200; `min` is 1 here, as an LLM's limit can be below 20.
    smoothing
        Share of a step that is taken. Netflix: 0.2.
    queue
        How many may wait at the upstream; also how fast the limit grows. Netflix: 4.
    long_window
        Samples of the long-term (exponential) average. Netflix: 600.
    tolerance
        How much slower than the average is still no queue. Netflix: 1.5.

    Examples
    --------
    >>> limit = Gradient2().start()
    >>> limit.sample(0.1, 20, dropped=False)
    >>> limit.limit
    20
    >>> limit.sample(0.1, 20, dropped=False)
    >>> limit.limit
    21
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    initial: PositiveCount = 20
    min: PositiveCount = 1
    max: PositiveCount = 200
    smoothing: Ratio = 0.2
    queue: Count = 4
    long_window: PositiveCount = 600
    tolerance: Multiplier = 1.5

    def __post_init__(self) -> None:
        check_range("gradient2", self.initial, self.min, self.max)
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"gradient2 smoothing must be above 0% and at most 100%, not {self.smoothing:g}")
        if not self.tolerance >= 1:
            raise ValueError(f"gradient2 tolerance must be at least 1x, not {self.tolerance:g}; write 1.5x")

    def start(self) -> Gradient2Limit:
        """A limit at its beginning."""
        return Gradient2Limit(self)


class Gradient2Limit:
    """The state of a `Gradient2`. A drop says nothing to it that the time does not: in Netflix's code neither."""

    __slots__ = ("_estimate", "_long_s", "_samples", "_spec")

    def __init__(self, spec: Gradient2) -> None:
        self._spec = spec
        self._estimate = float(spec.initial)
        self._long_s = 0.0
        self._samples = 0

    @property
    def limit(self) -> int:
        """See `ConcurrencyLimiter.limit`."""
        return int(self._estimate)

    def sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """See `ConcurrencyLimiter.sample`."""
        spec, limit = self._spec, self._estimate
        if self._samples < _WARM_UP:
            self._samples += 1
            self._long_s += (rtt_s - self._long_s) / self._samples
        else:
            self._long_s += (rtt_s - self._long_s) * 2.0 / (spec.long_window + 1)
        long_s = self._long_s
        if long_s / rtt_s > 2:
            self._long_s *= 0.95
        if in_flight < limit / 2:
            return  # a limit that is not used says nothing about a higher one
        gradient = max(0.5, min(1.0, spec.tolerance * long_s / rtt_s))
        wanted = limit * gradient + spec.queue
        smoothed = limit * (1 - spec.smoothing) + wanted * spec.smoothing
        self._estimate = max(spec.min, min(spec.max, smoothed))
