"""How settings do on luck that played no part in choosing them, and what each parameter does around the best.

Held-out luck is looked at as `llmsim run` looks at its replications: after 10, 20, 40, until the question is decided or
the budget is used, with the error of 5 % shared between the looks. A comparison is decided when as many pairs have the
same sign as a verdict needs replications on one side of its bound, or when no difference is left that matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from llmsim.report.paired import Difference, interval_of_median, paired
from llmsim.report.verdict import Look, look_at, median
from llmsim.tuning.objective import centre, shown_beside
from llmsim.tuning.question import INDIFFERENT, Question
from llmsim.tuning.settings_runs import Entry
from llmsim.tuning.space import Space
from llmsim.tuning.tuned import Change, Held, LimitHeld, Sensitive

__all__ = ["HELD_OUT", "around", "change_of", "decided", "differences", "held", "sensitive"]

#: Replications of held-out luck at most, where nobody says: three looks, as for the verdicts of a scenario with 40.
HELD_OUT = 40


def change_of(before: Sequence[float], after: Sequence[float], was: float, look: Look | None = None) -> Change:
    """A cost against another, pair by pair.

    Parameters
    ----------
    before, after
        One a replication, as far as both go.
    was
        What a change is a share of.
    look
        Which of several looks this is; None: the only one.
    """
    changes = [0.0 if a == b else a - b for b, a in zip(before, after, strict=False)]
    change = median(changes)
    relative = 0.0 if not change else change / abs(was) if was else float("inf")
    interval = interval_of_median(changes) if look is None else _between(changes, look)
    return Change(change, interval, relative, INDIFFERENT * abs(was) if math.isfinite(was) else 0.0)


def _between(changes: Sequence[float], look: Look) -> tuple[float, float] | None:
    """Order statistics, as of a verdict at that look."""
    ordered = sorted(changes[: look.replications])
    return (ordered[look.rank - 1], ordered[-look.rank]) if look.rank else None


def decided(one: Held, current: Held) -> bool:
    """Whether more replications would not tell more that matters: the limits, and the comparison with what there is."""
    if one.holds == "FAIL":
        return True
    if one.holds == "UNDECIDED" or (one.settings and any(change.verdict == "unsure" for change in one.changes)):
        return False
    # Where it is not cheaper, holding what fails as it is would be a reason to take it.
    return one.changes[0].verdict == "better" or current.holds != "UNDECIDED" or not one.settings


def held(question: Question, tuning: Entry, entry: Entry, current: Entry, names: Sequence[str], most: int) -> Held:
    """A setting on both lucks, against the settings as they are.

    Parameters
    ----------
    question
        What was asked.
    tuning, entry, current
        The setting on the luck it was chosen on and on held-out luck, and the settings as they are on the latter.
    names
        Of the scenarios.
    most
        Replications of held-out luck it can have.
    """
    look = look_at(entry.done, most)
    costs, before = question.costs(entry), question.costs(current, entry.done)
    was = tuple(centre(goal, one) for goal, one in zip(question.goals, before, strict=True))
    limits = [
        LimitHeld(line, names[scenario], one.measured, one.verdict, one.likely_needed)
        for one, (scenario, _, line) in zip(question.judged(entry, most), question.places(), strict=True)
        if one is not None
    ]
    return Held(
        dict(entry.settings),
        question.centres(tuning),
        tuple(centre(goal, one) for goal, one in zip(question.goals, costs, strict=True)),
        tuple(change_of(b, a, w, look) for b, a, w in zip(before, costs, was, strict=True)),
        tuple(limits),
        entry.done,
        most,
    )


def differences(question: Question, before: Entry, after: Entry) -> list[Difference]:
    """Every number that `llmsim.compare` compares and every part of a goal, of the first scenario."""
    first = len(question.goals) + len(question.limits[0])
    beside = shown_beside([goal.sum for goal in question.goals])
    if any(len(rows[0]) < first + len(beside) for rows in (*before.rows, *after.rows)):
        return []
    told = [
        {name: [rows[0][first + n] for rows in entry.rows] for n, name in enumerate(beside)}
        for entry in (before, after)
    ]
    return paired(told[0], told[1], compared=beside)


def around(space: Space, settings: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Path, value and settings of every neighbour: one parameter at a time."""
    meant = space.meant(settings)
    for one in space.dimensions:
        if one.path not in meant:
            continue
        for value in one.neighbours(settings[one.path]):
            yield one.path, value, {**settings, one.path: value}


def sensitive(question: Question, best: Entry, beside: Entry, path: str, value: Any) -> Sensitive:
    """What a neighbour does, under the same luck."""
    upto = beside.done
    mine, theirs = question.costs(best, upto)[0], question.costs(beside, upto)[0]
    inside = [median(values) for values in question.violations(best, upto)]
    outside = [median(values) for values in question.violations(beside, upto)]
    breaks = tuple(
        f"{line.key} {line.text}"
        for was, now, (*_, line) in zip(inside, outside, question.places(), strict=True)
        if now > max(0.0, was)
    )
    return Sensitive(path, value, change_of(mine, theirs, centre(question.goals[0], mine)), breaks)
