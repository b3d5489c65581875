"""How long answers are allowed to be, by how long they have been."""

from __future__ import annotations

import math

from llmsim.algorithms.quantile import RollingQuantile

__all__ = ["LengthCap"]

_REMEMBERED = 1000  #: lengths; the 99th percentile is then the tenth longest of them


class LengthCap:
    """A quantile of the latest 1,000 lengths, times a margin.

    Lengths are those of answers that were cut at this very cap, too. That does not pull it down: what is cut lies above
    the quantile as much as the whole answer would have, since the margin is above 1.

    Parameters
    ----------
    quantile
        In (0, 1).
    margin
        Above 1.
    floor
        The least it says.
    minimum
        Lengths without which it says nothing.

    Examples
    --------
    >>> cap = LengthCap(0.5, margin=1.5, floor=10, minimum=3)
    >>> for tokens in (100, 300, 200):
    ...     before = cap.cap
    ...     cap.learn(tokens)
    >>> before, cap.cap
    (None, 300)
    """

    __slots__ = ("_floor", "_lengths", "_margin", "_minimum")

    def __init__(self, quantile: float, margin: float, floor: int, minimum: int) -> None:
        assert margin > 1, "what is cut at the cap must lie above the quantile"
        self._lengths = RollingQuantile(quantile, _REMEMBERED)
        self._margin = margin
        self._floor = floor
        self._minimum = minimum

    def learn(self, tokens: float) -> None:
        """An answer had this many tokens; inf: more than anybody knows, since it was cut elsewhere than at this cap."""
        self._lengths.add(tokens)

    @property
    def cap(self) -> int | None:
        """Tokens; None as long as too little is known."""
        if self._lengths.count < self._minimum or self._lengths.value == math.inf:
            return None
        return max(math.ceil(self._lengths.value * self._margin), self._floor)
