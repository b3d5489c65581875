"""Settings near the best so far: steps of several sizes at once, as nobody knows how far away something better is.

A sampler over the whole space settles slowly where a limit cuts off what is best: half of what it draws there does not
hold. On a queue with retries, whose best rate and attempts are known, it was more than 5 % away after 60 trials in half
of all tunings (`tests/theory/test_tuning_retries.py`).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from llmsim.luck import Luck
from llmsim.tuning.space import Dimension, Settings, Space

__all__ = ["nearby"]

#: Standard deviations of steps, as shares of a range on its own scale, one after another.
STEPS = (0.2, 0.1, 0.05, 0.02)
#: How likely it is that a range moves at all; so that of two, one alone moves as often as both.
_MOVES = 2 / 3
_NORMAL = NormalDist()


def nearby(space: Space, settings: Settings, luck: Luck, number: int) -> dict[str, Any]:
    """One setting near another.

    Parameters
    ----------
    space
        What both are of.
    settings
        The other, with every dimension.
    luck, number
        Where chance comes from: its address.

    Examples
    --------
    >>> space = Space((Dimension("a", "range", 0.0, 1.0), Dimension("b", "choice", choices=(1, 2, 3))))
    >>> found = [nearby(space, {"a": 0.5, "b": 1}, Luck(7), number) for number in range(100)]
    >>> all(0 <= one["a"] <= 1 and one["b"] in (1, 2) for one in found), len({one["a"] for one in found}) > 20
    (True, True)
    """
    step = STEPS[number % len(STEPS)]
    found = {}
    for one in space.dimensions:
        chance = luck.uniform("tune near", "", one.path, number, "whether")
        where = luck.uniform("tune near", "", one.path, number, "where")
        found[one.path] = _moved(one, settings[one.path], step, chance, where, len(space.dimensions))
    return found


def _moved(one: Dimension, value: Any, step: float, chance: float, where: float, count: int) -> Any:
    if one.kind == "range":
        if chance > _MOVES and count > 1:
            return value
        by = step * _NORMAL.inv_cdf(min(max(where, 1e-9), 1 - 1e-9))
        if one.whole and not one.log:  # a step is no less than one
            by = by if abs(by) * (one.high - one.low) >= 1 else (1 if where > 0.5 else -1) / (one.high - one.low)
        return one.value(one.at(_inside(one.place(value) + by)))
    if chance > 1 / count:  # one of them moves on average
        return value
    others = one.neighbours(value)
    return others[int(where * len(others))] if others else value


def _inside(place: float) -> float:
    """Turned back at the ends."""
    place = abs(place)
    return min(max(2 - place if place > 1 else place, 0.0), 1.0)
