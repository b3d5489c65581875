"""When replications suffice to say that a metric is inside its bound, outside, or neither.

A verdict is about the *median over replications*: in a typical replay of this day, is the metric inside its bound?
Each replication is independent luck, so in the worst case (the median is exactly on the bound) every one of them is
inside with probability 1/2, whatever the metric's distribution. PASS needs so many of n inside, and FAIL so many
outside, that coin tosses would rarely get there. In terms of values: the interval from the r-th smallest to the r-th
largest (order statistics, so that +inf is a value like any other) lies within the bound.

Looking after 10, 20 and 40 replications and stopping at the first decision would inflate the error. So the error is
spent (Lan & DeMets 1983): up to the share t of the most replications, at most ``alpha(t) = 2.5 % * sqrt(t)`` on a
false PASS and as much on a false FAIL (the power family of Kim & DeMets 1987 with exponent 1/2: most runs are clear, so
early looks get the larger part). The probability of ever crossing is computed exactly for the coin, look by look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ERROR", "MINIMUM", "Judgement", "Look", "Word", "judge", "look_at", "looks", "median", "next_look"]

Word = Literal["PASS", "FAIL", "UNDECIDED"]

ERROR = 0.05  #: of a wrong verdict on one objective, both sides and all looks together
FIRST_LOOK = 10
MINIMUM = 6  #: 2 / 2**n is above `ERROR` for fewer


class Look(NamedTuple):
    """A number of replications after which a verdict may be given."""

    replications: int
    rank: int  #: the interval goes from the rank-th smallest to the rank-th largest; 0: too few to say anything

    @property
    def needed(self) -> int:
        """How many replications must be inside the bound for a PASS (outside it for a FAIL)."""
        return self.replications + 1 - self.rank if self.rank else self.replications + 1


class Judgement(NamedTuple):
    """What one look at one objective says."""

    verdict: Word
    measured: float  #: median over the replications that have a value
    interval: tuple[float, float] | None  #: None: too few replications
    inside: int
    missing: int
    replications: int
    likely_needed: int | None  #: for UNDECIDED: replications that would probably decide; None: too close to tell


@lru_cache(maxsize=64)
def looks(most: int) -> tuple[Look, ...]:
    """The looks of a run that makes at most that many replications: 10, 20, 40, … and `most` itself.

    Examples
    --------
    >>> looks(40)
    (Look(replications=10, rank=2), Look(replications=20, rank=5), Look(replications=40, rank=13))
    >>> looks(6), looks(5)
    ((Look(replications=6, rank=1),), (Look(replications=5, rank=0),))
    """
    if most < 1:
        return ()
    doubling = (FIRST_LOOK * 2**step for step in range(64))
    sizes = [*takewhile(lambda size: size < most, doubling), most]
    done, spent, chosen = 0, 0.0, []
    alive: NDArray[np.float64] = np.ones(1)  # probability of each number of heads, where no look crossed yet
    for size in sizes:
        alive = np.convolve(alive, _tosses(size - done))
        done = size
        tails = np.cumsum(alive[::-1])  # tails[k]: at most k of the tosses are not heads
        allowed = ERROR / 2 * math.sqrt(size / most) - spent
        rank = int(np.searchsorted(tails, allowed, side="right"))
        if rank:
            spent += float(tails[rank - 1])
            alive[-rank:] = 0.0
        chosen.append(Look(size, rank))
    return tuple(chosen)


def _tosses(count: int) -> NDArray[np.float64]:
    """Distribution of the heads of `count` coins; through logarithms, as 2**-count underflows."""
    heads = np.array(
        [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    )
    distribution: NDArray[np.float64] = np.exp(heads - count * math.log(2))
    return distribution


def next_look(done: int, most: int) -> int | None:
    """How many replications the next look needs; None after the last."""
    return next((look.replications for look in looks(most) if look.replications > done), None)


def look_at(done: int, most: int) -> Look | None:
    """The latest look that `done` replications allow; None before the first."""
    reached = [look for look in looks(most) if look.replications <= done]
    return reached[-1] if reached else None


def judge(values: Sequence[float], inside: Sequence[bool], look: Look) -> Judgement:
    """Look at the first replications of a run.

    Parameters
    ----------
    values
        The metric in each replication, in order; NaN where it could not be told. The first ``look.replications`` count.
    inside
        Whether each is inside the bound. What could not be told is neither inside nor outside.
    look
        Which look.
    """
    count = look.replications
    array = np.array(values[:count], dtype=float)
    told = ~np.isnan(array)
    within = np.array(inside[:count], dtype=bool) & told
    good, bad = int(within.sum()), int((told & ~within).sum())
    verdict: Word = "PASS" if good >= look.needed else "FAIL" if bad >= look.needed else "UNDECIDED"
    return Judgement(
        verdict,
        median(values[:count]),
        _interval(array, look),
        good,
        count - good - bad,
        count,
        _likely_needed(good, bad, count) if verdict == "UNDECIDED" else None,
    )


def median(values: Sequence[float]) -> float:
    """Median of the values that could be told; halfway between a number and +inf is +inf.

    Examples
    --------
    >>> median([3.0, 1.0, float("nan")]), median([1.0, float("inf")]), median([])
    (2.0, inf, nan)
    """
    told = sorted(value for value in values if not math.isnan(value))
    if not told:
        return math.nan
    low, high = told[(len(told) - 1) // 2], told[len(told) // 2]
    return low if low == high else (low + high) / 2


def _interval(array: NDArray[np.float64], look: Look) -> tuple[float, float] | None:
    """The order statistics; a replication without a value could lie on either side of all others."""
    if not look.rank:
        return None
    low = np.sort(np.where(np.isnan(array), -math.inf, array))[look.rank - 1]
    high = np.sort(np.where(np.isnan(array), math.inf, array))[-look.rank]
    missing = np.isnan(array).sum() >= look.rank
    return (math.nan, math.nan) if missing else (float(low), float(high))


def _likely_needed(good: int, bad: int, count: int) -> int | None:
    """Replications after which a run whose share of insides is as it is now is decided with probability 0.8.

    The normal approximation of the sign test, with the share drawn towards 1/2 (add one of each), as a
    few replications promise more than they hold.
    """
    from statistics import NormalDist

    if good + bad == 0:
        return None
    share = (max(good, bad) + 1) / (good + bad + 2)
    if share <= 0.52:
        return None  # thousands of replications
    normal = NormalDist()
    reach = normal.inv_cdf(1 - ERROR / 2) * 0.5 + normal.inv_cdf(0.8) * math.sqrt(share * (1 - share))
    # What could not be told so far will not be told in the same share of those to come.
    needed = (reach / (share - 0.5)) ** 2 * count / (good + bad)
    return max(MINIMUM, count + 1, math.ceil(needed))
