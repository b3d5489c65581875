"""How sure one can be of a share: intervals that never take few samples, or alike ones, for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ENOUGH", "Share", "Spread", "share_of", "spread_of"]

LEVEL = 0.95
ENOUGH = 6  #: replications from which their spread is told: with fewer, t quantiles are above 2.7


class Share(NamedTuple):
    """A share with its 95 % interval."""

    value: float  #: NaN: nothing it could be a share of
    low: float
    high: float
    counted: int
    of: int

    @property
    def least_claim(self) -> float:
        """The upper bound that as many samples would give if none of them counted: less cannot be claimed."""
        return 1.0 if not self.of else 1 - ((1 - LEVEL) / 2) ** (1 / self.of)


class Spread(NamedTuple):
    """How much more a share varies than if all samples were independent."""

    effect: float = 1.0  #: the design effect: variance / that of independent samples; 1 at the least
    freedom: float = math.inf  #: degrees of freedom it was estimated with


def spread_of(counts: Sequence[int], totals: Sequence[int], squares: Sequence[int] = ()) -> Spread:
    """What the samples show of that, from whichever shows more.

    - Groups: who asks the same thing gets the same wrong answer again and again. If groups come independently, as in a
      compound Poisson process, the variance of their sum is the sum of their squared sizes.
    - Replications, from 6 on: their variance, where everything is in that groups do not tell.

    Parameters
    ----------
    counts, totals
        In each replication.
    squares
        In each replication, the sum of the squared sizes of the groups of those that were counted.

    Examples
    --------
    >>> spread_of([8], [1000], [8]).effect, spread_of([8], [1000], [64]).effect
    (1.0, 8.0)
    >>> spread_of([5] * 8, [100] * 8).effect, round(spread_of([0, 20] * 4, [100] * 8).effect, 1)
    (1.0, 12.7)
    """
    count, total, many = sum(counts), sum(totals), sum(1 for one in totals if one)
    found = Spread()
    if count in (0, total):
        return found
    if squares:
        found = Spread(max(1.0, sum(squares) / count))
    if many >= ENOUGH:
        share = count / total
        between = sum((one - share * of) ** 2 for one, of in zip(counts, totals, strict=True)) * many / (many - 1)
        effect = between / (total * share * (1 - share))
        if effect > found.effect:
            found = Spread(effect, many - 1)
    return found


def share_of(counts: Sequence[int], totals: Sequence[int], spread: Spread | None = None) -> Share:
    """A share over replications, with the interval of Korn & Graubard (1998).

    That is the exact binomial interval (Clopper & Pearson 1934) of as many samples as those at hand are worth: their
    number divided by the design effect, and by the squared ratio of t quantiles that is due where that was estimated
    from few replications. It is what the US National Center for Health Statistics asks of published proportions (Parker
    et al. 2017), and does not collapse at 0: nothing in n samples leaves up to about 3.7/n.

    Parameters
    ----------
    counts, totals
        In each replication.
    spread
        None: `spread_of` these. Give one where these cannot tell (nothing was counted).

    Examples
    --------
    >>> share_of([0], [1000])
    Share(value=0.0, low=0.0, high=0.003682083896865671, counted=0, of=1000)
    """
    count, total = sum(counts), sum(totals)
    if not total:
        return Share(math.nan, 0.0, 1.0, 0, 0)
    low, high = _interval(count, total, spread_of(counts, totals) if spread is None else spread)
    return Share(count / total, low, high, count, total)


def _interval(count: int, total: int, spread: Spread) -> tuple[float, float]:
    from scipy.special import betaincinv, stdtrit

    worth = total / spread.effect
    if spread.freedom < math.inf and total > 1:
        tail = (1 + LEVEL) / 2
        worth *= float(stdtrit(total - 1, tail) / stdtrit(spread.freedom, tail)) ** 2
    seen = count * worth / total
    side = (1 - LEVEL) / 2
    low = float(betaincinv(seen, worth - seen + 1, side)) if count else 0.0
    high = float(betaincinv(seen + 1, worth - seen, 1 - side)) if count < total else 1.0
    return low, high
