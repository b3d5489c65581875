"""Numbers of a tuning as texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmsim.tuning.objective import Goal
    from llmsim.tuning.tuned import Change, Held, Tuned

__all__ = ["cost", "figures", "moved", "moves"]


def cost(found: Tuned, goal: Goal, value: float) -> str:
    """A cost for people; over several scenarios it is a share of what it is now."""
    return goal.shown(value, share=len(found.scenarios) > 1)


def moved(goal: Goal, change: Change) -> str:
    """``-26.1 % (-28.0 … -24.2 %)``: of the number that was asked for, of which less or more is good."""
    sign = 1.0 if goal.low_is_good else -1.0
    if not math.isfinite(change.relative) or change.interval is None or not change.change:
        return "±0" if change.change == 0 else "–"
    relative = sign * change.relative
    scale = relative / change.change
    low, high = sorted((change.interval[0] * scale, change.interval[1] * scale))
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{relative:+.1%}"
    return f"{relative:+.1%} ({low:+.1%} … {high:+.1%})"


def figures(found: Tuned, one: Held) -> str:
    """Every goal on held-out luck: ``cost_per_ok $0.0012, ttft p(95) 1.2s``."""
    pairs = zip(found.goals, one.held_out, strict=True)
    return ", ".join(f"{goal.name} {cost(found, goal, value)}" for goal, value in pairs)


def moves(found: Tuned, one: Held, current: Held) -> str:
    """Every goal on held-out luck, against what there is."""
    parts = []
    for goal, was, now, change in zip(found.goals, current.held_out, one.held_out, one.changes, strict=True):
        by = moved(goal, change)
        text = f"{goal.name} {cost(found, goal, now)} instead of {cost(found, goal, was)}"
        parts.append(f"{text}, {by}" if by != "–" else text)
    return "; ".join(parts)
