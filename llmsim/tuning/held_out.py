"""How settings do on luck that played no part in choosing them, and what each parameter does around the best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llmsim.report.paired import COMPARED, Difference, interval_of_median, paired
from llmsim.report.verdict import median
from llmsim.tuning.objective import centre
from llmsim.tuning.question import Question
from llmsim.tuning.settings_runs import Entry
from llmsim.tuning.space import Space
from llmsim.tuning.tuned import Change, Held, LimitHeld, Sensitive

__all__ = ["around", "change_of", "differences", "held", "sensitive"]


def change_of(before: Sequence[float], after: Sequence[float], was: float) -> Change:
    """A cost against another, pair by pair."""
    changes = [0.0 if a == b else a - b for b, a in zip(before, after, strict=False)]
    change = median(changes)
    relative = 0.0 if not change else change / abs(was) if was else float("inf")
    return Change(change, interval_of_median(changes), relative)


def held(question: Question, tuning: Entry, entry: Entry, current: Entry, names: Sequence[str]) -> Held:
    """A setting on both lucks, against the settings as they are.

    Parameters
    ----------
    question
        What was asked.
    tuning, entry, current
        The setting on the luck it was chosen on and on held-out luck, and the settings as they are on the latter.
    names
        Of the scenarios.
    """
    costs, before = question.costs(entry), question.costs(current)
    was = tuple(centre(goal, one) for goal, one in zip(question.goals, before, strict=True))
    limits = [
        LimitHeld(line, names[scenario], one.measured, one.verdict)
        for one, (scenario, _, line) in zip(question.judged(entry, entry.done), question.places(), strict=True)
        if one is not None
    ]
    return Held(
        dict(entry.settings),
        question.centres(tuning),
        tuple(centre(goal, one) for goal, one in zip(question.goals, costs, strict=True)),
        tuple(change_of(b, a, w) for b, a, w in zip(before, costs, was, strict=True)),
        tuple(limits),
    )


def differences(question: Question, before: Entry, after: Entry) -> list[Difference]:
    """Every number that `llmsim.compare` compares, of the first scenario."""
    first = len(question.goals) + len(question.limits[0])
    if any(len(rows[0]) < first + len(COMPARED) for rows in (*before.rows, *after.rows)):
        return []
    told = [
        {name: [rows[0][first + n] for rows in entry.rows] for n, name in enumerate(COMPARED)}
        for entry in (before, after)
    ]
    return paired(told[0], told[1])


def around(space: Space, settings: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Path, value and settings of every neighbour: one parameter at a time."""
    off = [one.path for one in space.dimensions if one.path in settings and one.off(settings[one.path])]
    for one in space.dimensions:
        if one.path not in settings or any(one.path.startswith(path + ".") for path in off):
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
