"""Additive increase, multiplicative decrease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.constructors import checked_values
from llmsim.units import PositiveCount, PositiveDuration, Ratio, format_duration

__all__ = ["Aimd", "AimdLimit", "check_range"]


def check_range(word: str, initial: int, least: int, most: int) -> None:
    """Refuse a limit that begins outside of its range.

    Raises
    ------
    ValueError
        Saying which of the three does not fit.
    """
    if not 1 <= least <= most:
        raise ValueError(f"{word} min {least} must be at least 1 and at most its max {most}")
    if not least <= initial <= most:
        raise ValueError(f"{word} initial {initial} is outside of min {least} and max {most}")


@checked_values
@dataclass(frozen=True, kw_only=True)
class Aimd:
    """One more for every sample that went well, a tenth less for one that did not. Blind to latency below `timeout`.

    Parameters
    ----------
    initial, min, max
        The limit at first, and its range. Netflix: 20, 20, 200; `min` is 1 here, as an LLM's limit can be below 20.
    backoff
        What a drop multiplies the limit by, 50% to below 100%. Netflix: 0.9.
    timeout
        A sample that took longer counts as a drop. Netflix: 5 s.

    Examples
    --------
    >>> limit = Aimd(initial=20, min=10).start()
    >>> limit.sample(0.3, 15, dropped=False)
    >>> limit.limit
    21
    >>> limit.sample(6.0, 15, dropped=False)
    >>> limit.limit
    18
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    initial: PositiveCount = 20
    min: PositiveCount = 1
    max: PositiveCount = 200
    backoff: Ratio = 0.9
    timeout: PositiveDuration = 5.0

    def __post_init__(self) -> None:
        check_range("aimd", self.initial, self.min, self.max)
        if not 0.5 <= self.backoff < 1:
            raise ValueError(f"aimd backoff must be at least 50% and below 100%, not {self.backoff:g}; write 90%")
        if not self.timeout > 0:
            raise ValueError(f"aimd timeout must be above 0, not {format_duration(self.timeout)}; write it like 5s")

    def start(self) -> AimdLimit:
        """A limit at its beginning."""
        return AimdLimit(self)


class AimdLimit:
    """The state of an `Aimd`."""

    __slots__ = ("_spec", "limit")

    def __init__(self, spec: Aimd) -> None:
        self._spec = spec
        self.limit = spec.initial

    def sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """See `ConcurrencyLimiter.sample`."""
        spec, limit = self._spec, self.limit
        if dropped or rtt_s > spec.timeout:
            limit = int(limit * spec.backoff)
        elif in_flight * 2 >= limit:  # a limit that is not used says nothing about a higher one
            limit += 1
        self.limit = min(spec.max, max(spec.min, limit))
