"""A tuning as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsim.report.figures import figure
from llmsim.report.grid import Grid
from llmsim.telemetry.metrics import METRICS
from llmsim.tuning.space import shown
from llmsim.tuning.tuned_words import cost, moved
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.tuning.tuned import Held, LimitHeld, Tuned

__all__ = ["grids"]

_MOST_FRONT = 12  # rows of a front that one reads


def grids(found: Tuned) -> list[Grid]:
    """The answer, the numbers behind it, what the parameters do."""
    tables = [_settings(found)]
    if found.best is not None and found.current is not None:
        tables.append(_held_out(found, found.best, found.current))
        if len(found.front) > 1:
            tables.append(_front(found))
        if found.differences:
            tables.append(_differences(found))
        if found.sensitivity:
            tables.append(_sensitivity(found))
    return tables


def _settings(found: Tuned) -> Grid:
    settings = found.settings
    rows = []
    for text in found.space:
        path, _, values = text.partition(": ")
        rows.append((path, values, found.now.get(path, "–"), shown(settings[path]) if path in settings else "as it is"))
    head = ("parameter", "tried", "now", "tuned" if found.best is not None else "best so far")
    return Grid(found.headline, head, rows, 2, found.notes)


def _limit(line: LimitHeld) -> str:
    unit = "factor" if line.line.burn is not None else METRICS[line.line.metric].unit
    return f"{figure(line.measured, unit)} {line.verdict}"


def _held_out(found: Tuned, best: Held, current: Held) -> Grid:
    rows = []
    for number, goal in enumerate(found.goals):
        values = [cost(found, goal, value) for value in (
            current.tuning[number], current.held_out[number], best.tuning[number], best.held_out[number]
        )]  # fmt: skip
        rows.append((f"{goal.verb} {goal.name}", *values, moved(best.changes[number])))
    several = len(found.scenarios) > 1
    for was, now in zip(current.limits, best.limits, strict=True):
        where = f"{was.scenario}: " if several else ""
        rows.append((f"{where}{was.line.key} {was.line.text}", "", _limit(was), "", _limit(now), ""))
    head = ("", "now, tuning luck", "now, held out", "tuned, tuning luck", "tuned, held out", "change (95 %)")
    about = (
        f"Held out: {counted(best.replications, 'replication')} on seed {found.held_seed}, which played no part in "
        "choosing. Changes are medians of paired differences there; intervals and verdicts allow for every look."
    )
    return Grid("On luck it was chosen on, and on luck it has not seen", head, rows, 1, (about,))


def _front(found: Tuned) -> Grid:
    rows = []
    for one in found.front[:_MOST_FRONT]:
        values = [shown(value) for value in one.settings.values()] or ["as it is"] * len(found.space)
        numbers = [cost(found, goal, value) for goal, value in zip(found.goals, one.held_out, strict=True)]
        rows.append((*values, one.holds, *numbers))
    head = (*(text.partition(": ")[0] for text in found.space), "limits", *(goal.name for goal in found.goals))
    rest = len(found.front) - _MOST_FRONT
    more = (f"And {rest} more.",) if rest > 0 else ()
    return Grid("Those that no other beats, on held-out luck", head, rows, len(found.space) + 1, more)


def _differences(found: Tuned) -> Grid:
    rows = [(one.name, *one.shown(), one.verdict) for one in found.differences]
    where = f" of {found.scenarios[0].name}" if len(found.scenarios) > 1 else ""
    note = "worse, better, changed: by 5 % or more, and surely (sign test, Holm over all rows)."
    return Grid(f"What else changes, on held-out luck{where}", ("", "now", "tuned", "change", ""), rows, 1, (note,))


def _sensitivity(found: Tuned) -> Grid:
    rows = []
    for one in found.sensitivity:
        breaks = f"breaks {', '.join(one.breaks)}" if one.breaks else ""
        rows.append((one.path, shown(one.value), breaks, moved(one.change)))
    head = ("parameter", "instead", "", f"{found.goals[0].name} (95 %)")
    return Grid("One parameter at a time, around what was tuned", head, rows, 3)
