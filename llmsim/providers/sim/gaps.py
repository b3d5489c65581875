"""Inter-token gaps without one event, or even one draw, per token.

A pool of gaps is drawn once per provider and replication; the gaps of one answer are a window of it, whose place is
addressed by the request and call. The time of any token is then a difference of two cumulative sums. A window keeps
whatever correlation neighbouring gaps of the pool have. Pool size: the mean gap
of one replication is off by cv/√16384 = 0.8 %·cv, that of 20 replications by 0.2 %·cv.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Constant, Distribution
from llmsim.luck import Luck

__all__ = ["GapPool"]

Floats = NDArray[np.float64]

_POOL = 16384


class GapPool:
    """Where the token timelines of one provider come from."""

    __slots__ = ("_cumulative", "_maxima", "constant", "gaps", "longest")

    def __init__(self, distribution: Distribution, luck: Luck, provider: str) -> None:
        self.constant = distribution.value if isinstance(distribution, Constant) else None
        if self.constant is None:
            self.gaps = luck.series("inter_token", provider, through=distribution).array(0, _POOL)
        else:
            self.gaps = np.full(1, self.constant)
        self.longest = float(self.gaps.max())
        self._maxima = _range_maxima(self.gaps)
        self._cumulative: list[float] = np.concatenate([[0.0], np.cumsum(self.gaps)]).tolist()

    def place(self, uniform: float, count: int) -> int:
        """Start of the window for an answer with `count` gaps."""
        room = _POOL - count
        return int(uniform * room) if room > 0 and self.constant is None else 0

    def total(self, place: int, count: int) -> float:
        """Sum of the window's gaps, in seconds."""
        if self.constant is not None:
            return self.constant * count
        sums = self._cumulative
        if place + count <= _POOL:
            return sums[place + count] - sums[place]
        return sums[_POOL] * (count // _POOL) + sums[count % _POOL]  # longer than the pool: go round (place is 0)

    def window(self, place: int, count: int) -> Floats:
        """The window's gaps, shape ``(count,)``."""
        if self.constant is not None:
            return np.full(count, self.constant)
        if place + count <= _POOL:
            return self.gaps[place : place + count]
        return np.resize(self.gaps, count)

    def longest_in(self, place: int, count: int) -> float:
        """Longest gap of the window; NaN if it has none."""
        if count < 1:
            return float("nan")
        if self.constant is not None:
            return self.constant
        if place + count > _POOL:
            return self.longest
        level = count.bit_length() - 1
        row = self._maxima[level]
        return float(max(row[place], row[place + count - (1 << level)]))


def _range_maxima(gaps: Floats) -> list[Floats]:
    """Row *k* holds the maxima of all stretches of 2**k gaps: the longest gap of any window in two look-ups."""
    rows = [gaps]
    width = 1
    while 2 * width <= len(gaps):
        rows.append(np.maximum(rows[-1][:-width], rows[-1][width:]))
        width *= 2
    return rows
