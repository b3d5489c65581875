"""What a count of rare events allows to claim: an upper bound, so that none in a few is not taken for never."""

from __future__ import annotations

import math

__all__ = ["CONFIDENCE", "upper_bound"]

CONFIDENCE = 0.95


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The greatest rate that is compatible with so few events (Clopper and Pearson 1934, one-sided).

    Takes trials for independent. Repeats of one popular question are not: they are wrong together, so where few
    questions make most of the traffic it is too sure of itself.

    Examples
    --------
    >>> round(upper_bound(0, 1000), 5), round(upper_bound(3, 1000), 5)
    (0.00299, 0.00773)
    >>> upper_bound(5, 5), upper_bound(0, 0)
    (1.0, nan)
    """
    if trials <= 0:
        return math.nan
    if events >= trials:
        return 1.0
    if events == 0:
        return -math.expm1(math.log1p(-confidence) / trials)
    from scipy.special import betaincinv

    return float(betaincinv(events + 1, trials - events, confidence))
