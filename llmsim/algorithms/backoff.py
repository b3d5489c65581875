"""How long to wait before trying again.

The formulas are those of "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015) and its simulator. One
difference in counting: `initial` is the ceiling of the *first* wait; AWS's simulator starts at attempt 1, so its
``base`` of 5 ms is an `initial` of 10 ms here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from llmsim.units import Multiplier, PositiveDuration, format_duration

__all__ = ["Backoff", "Jitter"]

Jitter = Literal["full", "equal", "decorrelated", "none"]
_JITTERS = ("full", "equal", "decorrelated", "none")

#: AWS: ``sleep = min(cap, uniform(base, sleep * 3))``.
_DECORRELATED_GROWTH = 3.0


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential backoff with a cap and a kind of jitter.

    With *b(n)* = min(`max`, `initial`·`multiplier`^(n−1)) for the n-th retry and U uniform in (0, 1), the wait is

    ============  =====================================================  =========================
    full          U·b(n)                                                 fewest calls in a crowd
    equal         b(n)/2 + U·b(n)/2                                      never returns at once
    decorrelated  min(`max`, `initial` + U·(3·previous − `initial`))     grows by its own luck
    none          b(n)                                                   keeps a crowd together
    ============  =====================================================  =========================

    Parameters
    ----------
    initial
        Ceiling of the first wait, in seconds.
    max
        Ceiling of every wait, in seconds.
    multiplier
        Growth from one wait to the next; at least 1 (1: constant). Not used by ``decorrelated``.
    jitter
        One of the four above.

    Raises
    ------
    ValueError
        For a `max` below `initial`, a `multiplier` below 1, or an unknown `jitter`.

    Examples
    --------
    >>> backoff = Backoff(initial=1.0, max=20.0, jitter="full")
    >>> [backoff.ceiling(retry) for retry in (1, 2, 3, 4, 5, 6)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 20.0]
    >>> backoff.delay(3, luck=0.25, previous=2.0)
    1.0
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    initial: PositiveDuration = 1.0
    max: PositiveDuration = 20.0
    multiplier: Multiplier = 2.0
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        if not self.initial > 0:
            raise ValueError(f"backoff initial must be above 0, not {self.initial!r}; write it like 250ms or 1s")
        if not self.max >= self.initial:
            raise ValueError(
                f"backoff max {format_duration(self.max)} is below initial {format_duration(self.initial)}; "
                f"write max: {format_duration(self.initial)} or more"
            )
        if not self.multiplier >= 1:
            raise ValueError(f"backoff multiplier must be at least 1, not {self.multiplier:g}; write 2 to double it")
        if self.jitter not in _JITTERS:
            raise ValueError(f"unknown jitter {self.jitter!r}; write {', '.join(_JITTERS[:-1])} or {_JITTERS[-1]}")

    def ceiling(self, retry: int) -> float:
        """*b(n)*: the longest wait before the `retry`-th retry (from 1), in seconds."""
        try:
            return min(self.max, self.initial * self.multiplier ** (retry - 1))
        except OverflowError:
            return self.max

    def delay(self, retry: int, luck: float, previous: float) -> float:
        """Seconds to wait before the `retry`-th retry.

        Parameters
        ----------
        retry
            Number of the retry, from 1.
        luck
            Uniform in (0, 1).
        previous
            What this method returned for the retry before; `initial` for the first. Only ``decorrelated`` uses it.
        """
        if self.jitter == "decorrelated":
            return min(self.max, self.initial + luck * (_DECORRELATED_GROWTH * previous - self.initial))
        ceiling = self.ceiling(retry)
        if self.jitter == "full":
            return luck * ceiling
        if self.jitter == "equal":
            return 0.5 * ceiling * (1.0 + luck)
        return ceiling

    def after(self, floor_s: float, retry: int, luck: float, delay_s: float) -> float:
        """`delay_s` raised to an upstream's Retry-After, with jitter *on top* of it.

        Everybody who was throttled in one instant was told the same time. Without jitter above the floor they
        all come back in the same instant (NousResearch/hermes-agent PR 109234: 19 of 20 retries at 600.0 s).

        Parameters
        ----------
        floor_s
            Retry-After in seconds.
        retry, luck
            As in `delay`; the spread above the floor is U(0, *b(n)*). None with jitter ``none``.
        delay_s
            What `delay` said.
        """
        spread = 0.0 if self.jitter == "none" else luck * self.ceiling(retry)
        return max(delay_s, floor_s + spread)
