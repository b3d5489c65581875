"""How sure one can be of a share: intervals that never take few samples, or alike ones, for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Share", "design_effect", "share_of"]

LEVEL = 0.95


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


def design_effect(counts: Sequence[int], totals: Sequence[int]) -> float:
    """How much more a share varies between replications than if all samples were independent; 1 at the least.

    Wrong answers come in groups: one bad entry is served to everybody who asks that question. Not told (1) without
    two replications, or if the share is 0 or 1.

    Examples
    --------
    >>> design_effect([5, 5, 5, 5], [100] * 4), round(design_effect([0, 20, 0, 0], [100] * 4), 1)
    (1.0, 21.1)
    """
    count, total, many = sum(counts), sum(totals), sum(1 for one in totals if one)
    if many < 2 or count in (0, total):
        return 1.0
    share = count / total
    spread = sum((one - share * of) ** 2 for one, of in zip(counts, totals, strict=True))
    return max(1.0, many / (many - 1) * spread / (total * share * (1 - share)))


def share_of(counts: Sequence[int], totals: Sequence[int], effect: float | None = None) -> Share:
    """A share over replications, with the interval of Korn & Graubard (1998).

    That is the exact binomial interval (Clopper & Pearson 1934) of as many samples as those at hand are worth: their
    number divided by the `design_effect`, and by the ratio of t quantiles that is due for estimating it from few
    replications. It is what the US National Center for Health Statistics asks of published proportions (Parker et al.
    2017), and does not collapse at 0: nothing in n samples leaves up to about 3.7/n.

    Parameters
    ----------
    counts, totals
        In each replication.
    effect
        The design effect; None: estimated from these. Give one where these cannot tell (nothing was counted).

    Examples
    --------
    >>> share_of([0], [1000])
    Share(value=0.0, low=0.0, high=0.003682083896865671, counted=0, of=1000)
    """
    count, total = sum(counts), sum(totals)
    if not total:
        return Share(math.nan, 0.0, 1.0, 0, 0)
    low, high = _interval(count, total, effect or design_effect(counts, totals), sum(1 for one in totals if one))
    return Share(count / total, low, high, count, total)


def _interval(count: int, total: int, effect: float, replications: int) -> tuple[float, float]:
    from scipy.special import betaincinv, stdtrit

    worth = total / effect
    if effect > 1.0 and replications > 1 and total > 1:
        tail = (1 + LEVEL) / 2
        worth *= float(stdtrit(total - 1, tail) / stdtrit(replications - 1, tail)) ** 2
    seen = count * worth / total
    side = (1 - LEVEL) / 2
    low = float(betaincinv(seen, worth - seen + 1, side)) if count else 0.0
    high = float(betaincinv(seen + 1, worth - seen, 1 - side)) if count < total else 1.0
    return low, high
