"""Which of several to ask: by chance, by order, by load."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["least", "two_choices", "weighted"]


def weighted(weights: Sequence[float], luck: float) -> int:
    """The place that `luck` falls on when every place is as wide as its weight.

    Parameters
    ----------
    weights
        None negative, not all 0.
    luck
        In (0, 1).

    Examples
    --------
    >>> [weighted([3, 1], luck) for luck in (0.1, 0.74, 0.76)]
    [0, 0, 1]
    """
    left = luck * sum(weights)
    last = 0
    for place, weight in enumerate(weights):
        if weight > 0:
            last = place
            left -= weight
            if left < 0:
                return place
    return last  # a rounding error beyond the last


def least(loads: Sequence[float], luck: float) -> int:
    """The place with the smallest load; `luck` in (0, 1) decides among equals, so that a crowd does not pick one.

    Examples
    --------
    >>> least([4, 2, 7], 0.5), [least([1, 5, 1], luck) for luck in (0.2, 0.8)]
    (1, [0, 2])
    """
    smallest = min(loads)
    equals = [place for place, load in enumerate(loads) if load == smallest]
    return equals[int(luck * len(equals))]


def two_choices(loads: Sequence[float], first: float, second: float) -> int:
    """Draw two different places and take the one with the smaller load (of equals, the first drawn).

    That is nearly as even as knowing all loads, and far better than one draw: with Poisson arrivals and exponential
    service the share of queues of at least i falls from rho^i to rho^(2^i - 1) (Mitzenmacher, "The power of two
    choices in randomized load balancing", IEEE TPDS 12(10), 2001). And where loads are known with a delay, or each of
    several gateways knows only its own, it does not send everybody to the same place.

    Parameters
    ----------
    loads
        Of every place.
    first, second
        Two independent numbers in (0, 1).

    Examples
    --------
    >>> two_choices([5, 1, 3], 0.1, 0.9), two_choices([5, 1, 3], 0.1, 0.2), two_choices([5], 0.4, 0.4)
    (2, 1, 0)
    """
    count = len(loads)
    if count == 1:
        return 0
    a = int(first * count)
    b = int(second * (count - 1))
    b += b >= a  # any but `a`, all equally likely
    return b if loads[b] < loads[a] else a
