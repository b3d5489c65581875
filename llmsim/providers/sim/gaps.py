"""Inter-token gaps without one event, or even one draw, per token.

The gaps of one answer are a window of a pool, whose place is addressed by the request and call; the time of any token
is then a difference of two cumulative sums. The pool holds the distribution's quantiles at 16384 evenly spaced
probabilities in one shuffled order. It belongs to the distribution and is made once per process, not per replication
(where it took half of the set-up); its mean is the distribution's own, without the error of so many draws.
"""

from __future__ import annotations

from array import array
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Constant, Distribution
from llmsim.luck import Luck

__all__ = ["GapPool"]

Floats = NDArray[np.float64]

_POOL = 16384


class GapPool:
    """Where the token timelines of an inter-token distribution come from."""

    __slots__ = ("_cumulative", "_maxima", "_twice", "constant", "gaps", "longest")

    def __init__(self, distribution: Distribution) -> None:
        self.constant = distribution.value if isinstance(distribution, Constant) else None
        if self.constant is None:
            shuffled = np.argsort(Luck("gap pool").series("order").array(0, _POOL))
            gaps = distribution.quantile((np.arange(_POOL) + 0.5) / _POOL)
            self.gaps = np.asarray(gaps, dtype=np.float64)[shuffled]  # somebody's own may give whole numbers
        else:
            self.gaps = np.full(1, self.constant, dtype=np.float64)
        self.longest = float(self.gaps.max())
        # Windows go round, so that every gap is as likely as any other in answers of any length: all of it twice.
        self._twice = np.tile(self.gaps, 2)
        self._maxima = _range_maxima(self._twice)
        self._cumulative = _plain(np.concatenate([[0.0], np.cumsum(self._twice)]))

    @classmethod
    def of(cls, distribution: Distribution) -> GapPool:
        """The pool of this distribution, made when it is first asked for."""
        try:
            return _pool(distribution)  # type: ignore[arg-type]  # specs are frozen, so nearly all can
        except TypeError:  # a distribution of the user's own that cannot be hashed
            return cls(distribution)

    def stretch(self, uniform: float, count: int) -> tuple[int, float, float]:
        """A window for an answer with `count` gaps (at least one): its place, sum and longest gap, in seconds."""
        constant = self.constant
        if constant is not None:
            return 0, constant * count, constant
        sums = self._cumulative
        place = int(uniform * _POOL)
        if count > _POOL:
            turns, rest = divmod(count, _POOL)
            return place, turns * sums[_POOL] + sums[place + rest] - sums[place], self.longest
        level = count.bit_length() - 1
        maximum = self._maxima[level]
        one, other = maximum[place], maximum[place + count - (1 << level)]
        return place, sums[place + count] - sums[place], one if one > other else other

    def gap(self, place: int, number: int) -> float:
        """One of a window's gaps, counted from 0, in seconds."""
        return self.constant if self.constant is not None else float(self.gaps[(place + number) % _POOL])

    def window(self, place: int, count: int) -> Floats:
        """The window's gaps, shape ``(count,)``."""
        if self.constant is not None:
            return np.full(count, self.constant)
        return np.resize(self._twice[place : place + min(count, _POOL)], count)


@lru_cache(maxsize=64)
def _pool(distribution: Distribution) -> GapPool:
    return GapPool(distribution)


def _plain(values: Floats) -> array[float]:
    """The same as plain floats: twice as fast to look up as numpy's, and a list's would take four times the memory."""
    return array("d", values.tobytes())


def _range_maxima(gaps: Floats) -> list[array[float]]:
    """Row *k* has the maxima of all stretches of 2**k gaps: the longest gap of any window in two look-ups."""
    rows = [gaps]
    width = 1
    while 2 * width <= len(gaps):
        rows.append(np.maximum(rows[-1][:-width], rows[-1][width:]))
        width *= 2
    return [_plain(row) for row in rows]
