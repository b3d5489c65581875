"""When right answers change: a renewal process of its own for each meaning."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution
from llmsim.luck import Luck, Series

__all__ = ["Renewals"]

Floats = NDArray[np.float64]

_GRID = (np.arange(1024) + 0.5) / 1024
_AHEAD = 8  #: intervals that are drawn at once
_LEAST_S = 1e-3  #: an interval lasts this long at least, so that time goes on


class Renewals:
    """The moments at which the right answer of each meaning changes, from the first arrival on.

    The first of them comes as in a process that has been going on for ever: it lies in an interval that is long in
    proportion to its length, anywhere in it.

    Parameters
    ----------
    every
        From one change to the next, seconds.
    luck
        Where the numbers come from.
    """

    def __init__(self, every: Distribution, luck: Luck) -> None:
        self._every = every
        self._luck = luck
        self._lengths = np.maximum(every.quantile(_GRID), _LEAST_S)
        self._edges = np.cumsum(self._lengths) / self._lengths.sum()
        self._known: dict[int, tuple[list[float], Series]] = {}

    def changed_s(self, answer: int, when_s: float) -> float:
        """When the right answer last changed, up to then; -inf: not since the first arrival."""
        known = self._known.get(answer)
        if known is None:
            known = self._known[answer] = self._begin(answer)
        moments, series = known
        while moments[-1] <= when_s:
            first = len(moments) + 1  # elements 0 and 1 made the first moment
            lengths = self._every.quantile(np.array([series(first + number) for number in range(_AHEAD)]))
            for length in lengths.tolist():
                moments.append(moments[-1] + max(length, _LEAST_S))
        before = bisect_right(moments, when_s)
        return moments[before - 1] if before else -math.inf

    def _begin(self, answer: int) -> tuple[list[float], Series]:
        series = self._luck.series("workload.answer_changes", answer, block=_AHEAD)
        interval = min(int(np.searchsorted(self._edges, series(0))), len(self._lengths) - 1)
        return [float(self._lengths[interval]) * series(1)], series
