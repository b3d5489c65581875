"""How much of its luck a setting shares with another, learned from all that were compared so far.

Under common random numbers two settings that meet a bad replication are worse by about as much, and only what they
differ by says which of them is better. Under luck of each setting's own the difference has the noise of both, and what
one saw of the other says nothing. A control variate lies between (Nelson 1990, Operations Research 38): of how lucky
the other was a *share* is taken off, the slope of one on the other, here within 0 to 1. Two replications tell no slope,
so it is pooled over all comparisons, beside some that say all luck is common, as it nearly is in simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.report.verdict import median

__all__ = ["CommonLuck", "differences", "unlike"]

#: Comparisons that the belief that all luck is common stands for.
BELIEF = 2.0


class _Scatter(NamedTuple):
    """Variances of two settings over the replications that both met, and their covariance."""

    mine: float
    both: float
    theirs: float


class CommonLuck:
    """What comparisons said so far, by what was compared."""

    def __init__(self) -> None:
        self._found: dict[str, list[_Scatter]] = {}

    def learn(self, name: str, mine: Sequence[float], theirs: Sequence[float]) -> None:
        """Take in a comparison, one pair a replication; what is not finite says nothing."""
        if len(mine) > 1 and all(map(math.isfinite, mine)) and all(map(math.isfinite, theirs)):
            self._found.setdefault(name, []).append(
                _Scatter(_products(mine, mine), _products(mine, theirs), _products(theirs, theirs))
            )

    def share(self, name: str) -> float:
        """Of the other's luck that counts, 0 to 1."""
        found = self._found.get(name, [])
        theirs = math.fsum(one.theirs for one in found)
        if not theirs:
            return 1.0
        believed = BELIEF * theirs / len(found)
        slope = (math.fsum(one.both for one in found) + believed) / (theirs + believed)
        return min(1.0, max(0.0, slope))

    def variance(self, name: str, share: float = 1.0) -> float | None:
        """Of differences, in the median of comparisons; None where none is known."""
        found = self._found.get(name)
        if not found:
            return None
        return median([one.mine - 2 * share * one.both + share**2 * one.theirs for one in found]) or None


def unlike(mine: Sequence[float], theirs: Sequence[float], share: float = 1.0) -> list[float]:
    """Differences by replication, with a share of how the other fared in each.

    Parameters
    ----------
    mine
        Of the replications so far.
    theirs
        Of as many or more: what the other shares no luck in is taken from the mean over all.

    Examples
    --------
    >>> unlike([3.0, 1.0], [2.0, 0.0, 1.0, 1.0]), unlike([3.0, 1.0], [2.0, 0.0, 1.0, 1.0], 0.0)
    ([1.0, 1.0], [2.0, 0.0])
    """
    if share == 1.0 or not all(map(math.isfinite, theirs)):
        return differences(mine, theirs[: len(mine)])
    usual = math.fsum(theirs) / len(theirs)
    return differences(mine, [share * one + (1 - share) * usual for one in theirs[: len(mine)]])


def differences(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """By replication; inf from inf is no difference."""
    return [0.0 if a == b else a - b for a, b in zip(mine, theirs, strict=True)]


def _products(mine: Sequence[float], theirs: Sequence[float]) -> float:
    means = math.fsum(mine) / len(mine), math.fsum(theirs) / len(theirs)
    return math.fsum((a - means[0]) * (b - means[1]) for a, b in zip(mine, theirs, strict=True)) / (len(mine) - 1)
