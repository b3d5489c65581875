"""Inter-token gaps without one event, or even one draw, per token.

A pool of gaps is drawn once per provider and replication; the gaps of one answer are a window of it, whose place is
addressed by the request and call. The time of any token is then a difference of two cumulative sums. A window keeps
whatever correlation neighbouring gaps of the pool have. Pool size: the mean gap
of one replication is off by cv/√16384 = 0.8 %·cv, that of 20 replications by 0.2 %·cv.
"""

from __future__ import annotations

from collections.abc import Callable

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

    def stretch(self, uniform: float, count: int) -> tuple[int, float, float]:
        """A window for an answer with `count` gaps (at least one): its place, sum and longest gap, in seconds."""
        constant = self.constant
        if constant is not None:
            return 0, constant * count, constant
        sums, room = self._cumulative, _POOL - count
        if room <= 0:  # longer than the pool: go round
            return 0, sums[_POOL] * (count // _POOL) + sums[count % _POOL], self.longest
        place = int(uniform * room)
        level = count.bit_length() - 1
        maximum = self._maxima[level]
        one, other = maximum(place), maximum(place + count - (1 << level))
        return place, sums[place + count] - sums[place], one if one > other else other

    def window(self, place: int, count: int) -> Floats:
        """The window's gaps, shape ``(count,)``."""
        if self.constant is not None:
            return np.full(count, self.constant)
        if place + count <= _POOL:
            return self.gaps[place : place + count]
        return np.resize(self.gaps, count)


def _range_maxima(gaps: Floats) -> list[Callable[[int], float]]:
    """Row *k* looks up the maxima of all stretches of 2**k gaps: the longest gap of any window in two look-ups."""
    rows = [gaps]
    width = 1
    while 2 * width <= len(gaps):
        rows.append(np.maximum(rows[-1][:-width], rows[-1][width:]))
        width *= 2
    return [row.item for row in rows]  # `item` gives a plain float, in half the time of indexing
