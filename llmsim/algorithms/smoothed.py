"""A mean in which the latest counts most."""

from __future__ import annotations

__all__ = ["Smoothed"]

#: Weight of the latest value: that of TCP's round-trip time (RFC 6298).
_WEIGHT = 1 / 8


class Smoothed:
    """An exponentially weighted mean.

    Parameters
    ----------
    guess
        What it is until something has been seen; a guess above 0 counts like a value, 0 like none.

    Examples
    --------
    >>> times, lengths = Smoothed(), Smoothed(211.0)
    >>> times.add(4.0)
    >>> lengths.add(11.0)
    >>> times.value, lengths.value
    (4.0, 186.0)
    """

    __slots__ = ("value",)

    def __init__(self, guess: float = 0.0) -> None:
        self.value = guess

    def add(self, value: float) -> None:
        """`value` was seen."""
        self.value = self.value + _WEIGHT * (value - self.value) if self.value else value
