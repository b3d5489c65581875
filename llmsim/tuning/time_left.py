"""How long a tuning still takes, and when there is no time for more trials: what was found has to be checked, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsim.report.verdict import looks

if TYPE_CHECKING:
    from llmsim.tuning.stages import Stages

__all__ = ["left_s", "time_is_up"]

_UNTRIED = 0.3  # of its replications: what a trial costs, as long as none tells
_TOLD = 5  # replications that were simulated, and half a second, before there is anything to tell by
_TOLD_S = 0.5


def left_s(at: Stages, wall_s: float, *, around: int) -> float | None:
    """Seconds from here, if trials go on costing what they cost so far; None: too early to tell.

    Parameters
    ----------
    at
        A tuning, as far as it got.
    wall_s
        How long it took so far.
    around
        Replications of a neighbour of the winner.
    """
    if at.runs.journal.fresh < _TOLD or wall_s - at.before_s < _TOLD_S:
        return None
    each_s = _each_s(at, wall_s)
    if at.stage not in ("baseline", "trials") or at.cut:
        return each_s * _after(at, around)
    to_try = (at.plan.trials - len(at.tried)) * _per_trial(at)
    return min(each_s * (to_try + _after(at, around)), max(0.0, at.plan.within_s - wall_s))


def time_is_up(at: Stages, wall_s: float, *, batch: int, again: int, around: int) -> bool:
    """Whether one more batch of trials would take time that what follows them needs.

    Parameters
    ----------
    at, wall_s, around
        As for `left_s`.
    batch
        Settings of a batch.
    again
        Settings that the last race may run to their end.
    """
    if not at.runs.journal.fresh:  # all so far was read from a study, and took no time to speak of
        return wall_s > at.plan.within_s
    to_the_end = again * at.plan.most * len(at.runs.scenarios)
    more = batch * _per_trial(at) + to_the_end + _after(at, around)
    return wall_s + _each_s(at, wall_s) * more > at.plan.within_s


def _each_s(at: Stages, wall_s: float) -> float:
    """What a replication took, without what was read from a study before the first one was made."""
    return (wall_s - at.before_s) / at.runs.journal.fresh


def _per_trial(at: Stages) -> float:
    if not at.tried:
        return len(at.runs.scenarios) * at.plan.most * _UNTRIED
    return at.tuning.made / len(at.tried)


def _after(at: Stages, around: int) -> float:
    """Replications of held-out luck and of the neighbourhood that are still to come, as a rule."""
    count, plan = len(at.runs.scenarios), at.plan
    ends = 3 * len(at.runs.space.dimensions) * min(around, plan.held_out) * count
    held_out = 2 * looks(plan.held_out)[0].replications * count  # the first look decides, as a rule
    return max(0.0, held_out + ends - at.fresh.made)
