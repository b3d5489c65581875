"""TCP Vegas for requests: how many of those in flight must be waiting, if the fastest one did not wait?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.limits_aimd import check_range
from llmsim.constructors import checked_values
from llmsim.units import Multiplier, PositiveCount, Ratio

__all__ = ["Vegas", "VegasLimit"]


def _log10(limit: float) -> int:
    """Netflix's ``Log10Root``: the digits before the last, and never none."""
    return max(1, int(math.log10(limit)))


@checked_values
@dataclass(frozen=True, kw_only=True)
class Vegas:
    """Keep the estimated queue, *limit · (1 − fastest / sample)*, between two bounds.

    With *d* = max(1, ⌊log₁₀ limit⌋): up to *d* waiting the limit grows by 6·*d*, below 3·*d* by *d*, above 6·*d* it
    shrinks by *d*, as it does for every drop. The fastest time is learned anew every now and then, or one that was
    measured in better days would count for ever.

    Parameters
    ----------
    initial, min, max
        The limit at first, and its range. Netflix: 20, 1, 1000.
    smoothing
        Share of a step that is taken. Netflix: 1.
    probe
        The fastest time is replaced by the next sample after this many times the limit samples. Netflix: 30, times a
        random factor of 0.5 to 1 against clients that probe in step; here always 0.75, as nothing is random in a core.

    Examples
    --------
    >>> limit = Vegas().start()
    >>> for _ in range(2):
    ...     limit.sample(0.1, 20, dropped=False)
    >>> limit.limit
    26
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    initial: PositiveCount = 20
    min: PositiveCount = 1
    max: PositiveCount = 1000
    smoothing: Ratio = 1.0
    probe: Multiplier = 30.0

    def __post_init__(self) -> None:
        check_range("vegas", self.initial, self.min, self.max)
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"vegas smoothing must be above 0% and at most 100%, not {self.smoothing:g}")
        if not self.probe > 0:
            raise ValueError(f"vegas probe must be above 0, not {self.probe:g}; write 30x")

    def start(self) -> VegasLimit:
        """A limit at its beginning."""
        return VegasLimit(self)


#: The mean of Netflix's random factor.
_PROBE_FACTOR = 0.75


class VegasLimit:
    """The state of a `Vegas`."""

    __slots__ = ("_estimate", "_fastest_s", "_samples", "_spec")

    def __init__(self, spec: Vegas) -> None:
        self._spec = spec
        self._estimate = float(spec.initial)
        self._fastest_s = math.inf
        self._samples = 0  # since the last probe

    @property
    def limit(self) -> int:
        """See `ConcurrencyLimiter.limit`."""
        return int(self._estimate)

    def sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """See `ConcurrencyLimiter.sample`."""
        self._samples += 1
        if dropped:  # a refusal is quick, and no measure of how fast an answer can be
            self._shrink()
        elif self._samples >= _PROBE_FACTOR * self._spec.probe * self._estimate:
            self._samples = 0
            self._fastest_s = rtt_s
        elif rtt_s < self._fastest_s:
            self._fastest_s = rtt_s
        else:
            self._adapt(rtt_s, in_flight)

    def _adapt(self, rtt_s: float, in_flight: int) -> None:
        limit = self._estimate
        if in_flight * 2 < limit:
            return  # a limit that is not used says nothing about a higher one
        step = _log10(limit)
        queued = math.ceil(limit * (1 - self._fastest_s / rtt_s))
        if queued <= step:
            self._move(6 * step)
        elif queued < 3 * step:
            self._move(step)
        elif queued > 6 * step:
            self._shrink()

    def _shrink(self) -> None:
        self._move(-_log10(self._estimate))

    def _move(self, step: int) -> None:
        spec, limit = self._spec, self._estimate
        wanted = max(spec.min, min(spec.max, limit + step))
        self._estimate = (1 - spec.smoothing) * limit + spec.smoothing * wanted
