"""A tuning as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsim.report.figures import figure
from llmsim.report.grid import Grid
from llmsim.telemetry.metrics import METRICS
from llmsim.tuning.space import shown
from llmsim.tuning.tuned_figures import cost, moved
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
        if found.undone:
            tables.append(_undone(found))
        if found.sensitivity:
            tables.append(_sensitivity(found))
    return tables


def _settings(found: Tuned) -> Grid:
    settings = found.settings
    rows = []
    for text in found.space:
        path, _, values = text.partition(": ")
        rows.append((path, values, found.now.get(path, "–"), shown(settings[path]) if path in settings else "as it is"))
    last = "best so far" if found.best is None else "tuned" if settings else "best"
    head = ("parameter", "tried", "now", last)
    return Grid(found.headline, head, rows, 2, found.notes)


def _limit(line: LimitHeld) -> str:
    unit = "factor" if line.line.burn is not None else METRICS[line.line.metric].unit
    return f"{figure(line.measured, unit)} {line.verdict}"


def _held_out(found: Tuned, best: Held, current: Held) -> Grid:
    """What there is beside what was tuned; alone, where it won."""
    tuned = bool(best.settings)
    rows = []
    for number, goal in enumerate(found.goals):
        shown_of = (current, best) if tuned else (current,)
        values = [cost(found, goal, one[number]) for held in shown_of for one in (held.tuning, held.held_out)]
        rows.append((f"{goal.verb} {goal.name}", *values, *([moved(goal, best.changes[number])] if tuned else [])))
    several = len(found.scenarios) > 1
    for was, now in zip(current.limits, best.limits, strict=True):
        where = f"{was.scenario}: " if several else ""
        name = f"{where}{was.line.key} {was.line.text}"
        rows.append((name, "", _limit(was), "", _limit(now), "") if tuned else (name, "", _limit(was)))
    head = ("", "now, tuning luck", "now, held out", "tuned, tuning luck", "tuned, held out", "change (95 %)")
    made = counted(best.replications, "replication")
    about = f"Held out: {made} on seed {found.held_seed}, which played no part in choosing."
    if tuned:
        about += " Changes are medians of paired differences there; intervals and verdicts allow for every look."
    title = "On luck it was chosen on, and on luck it has not seen"
    return Grid(title, head if tuned else head[:3], rows, 1, (about,))


def _front(found: Tuned) -> Grid:
    rows = []
    for one in found.front[:_MOST_FRONT]:
        values = [shown(value) for value in one.settings.values()] or ["as it is"] * len(found.space)
        numbers = []
        for goal, value, change in zip(found.goals, one.held_out, one.changes, strict=True):
            numbers += [cost(found, goal, value), moved(goal, change) if one.settings else ""]
        rows.append((*values, one.holds, *numbers))
    names = [text.partition(": ")[0] for text in found.space]
    head = (*names, "limits", *(name for goal in found.goals for name in (goal.name, "against now (95 %)")))
    rest = len(found.front) - _MOST_FRONT
    more = (f"And {rest} more.",) if rest > 0 else ()
    return Grid(
        "Those that no other beat on the luck of tuning, on held-out luck", head, rows, len(found.space) + 1, more
    )


def _differences(found: Tuned) -> Grid:
    rows = [(one.name, *one.shown(), one.verdict) for one in found.differences]
    where = f" of {found.scenarios[0].name}" if len(found.scenarios) > 1 else ""
    note = "worse, better, changed: by 5 % or more, and surely (sign test, Holm over all rows)."
    return Grid(f"What else changes, on held-out luck{where}", ("", "now", "tuned", "change", ""), rows, 1, (note,))


def _undone(found: Tuned) -> Grid:
    rows = []
    for one in found.undone:
        breaks = f"breaks {', '.join(one.breaks)}" if one.breaks else ""
        tuned, now = shown(found.settings[one.path]), found.now.get(one.path, "as it is")
        rows.append((one.path, tuned, now, breaks, moved(found.goals[0], one.change)))
    head = ("parameter", "tuned", "put back to", "", f"{found.goals[0].name} (95 %)")
    return Grid("What it takes: each alone put back, the others as tuned", head, rows, 4)


def _sensitivity(found: Tuned) -> Grid:
    rows = []
    for one in found.sensitivity:
        breaks = f"breaks {', '.join(one.breaks)}" if one.breaks else ""
        rows.append((one.path, shown(one.value), breaks, moved(found.goals[0], one.change)))
    head = ("parameter", "instead", "", f"{found.goals[0].name} (95 %)")
    base = "what was tuned" if found.settings else "what you have"
    return Grid(f"One parameter at a time, around {base}", head, rows, 3)
