"""A sweep as a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmsim.report.figures import figure
from llmsim.report.grid import Grid
from llmsim.report.paired import ERROR, Difference, interval_of_median
from llmsim.report.verdict import MINIMUM, median
from llmsim.tuning.sweep_metrics import Measured
from llmsim.tuning.sweep_space import Parameter

if TYPE_CHECKING:
    from llmsim.tuning.swept import Sweep

__all__ = ["grid_of", "short_names"]

_MOST_ROWS = 60  # of a table that is read by a person; the frame has them all
_MARKS = {"better": " ✓", "worse": " ✗", "changed": " ·", "same": ""}


def short_names(parameters: Sequence[Parameter]) -> list[str]:
    """The last two parts of each path, or all of it where those are not its own."""
    short = [".".join(one.path.split(".")[-2:]) for one in parameters]
    return [name if short.count(name) == 1 else one.path for name, one in zip(short, parameters, strict=True)]


def grid_of(sweep: Sweep) -> Grid:
    """A row for each point: settings, verdict, and of each metric shown its median and interval."""
    judged = any(word != "NONE" for word in sweep.verdicts)
    names = short_names(sweep.parameters)
    head = ["", *names, *(["SLOs"] if judged else []), *(metric.name for metric in sweep.shown)]
    rows = []
    for point in sweep.points[:_MOST_ROWS]:
        found = {one.name: one for one in sweep.compared.get(point.number, ())}
        mark = "→" if point.number == sweep.reference else ""
        settings = [one.shown(value) for one, value in zip(sweep.parameters, point.values, strict=True)]
        cells = [_cell(sweep, point.number, metric, found.get(metric.name)) for metric in sweep.shown]
        rows.append((mark, *settings, *([sweep.verdicts[point.number]] if judged else []), *cells))
    words = 1 + len(names) + judged
    return Grid(_title(sweep), head, rows, words, _notes(sweep))


def _cell(sweep: Sweep, point: int, metric: Measured, found: Difference | None) -> str:
    values = sweep.values(point, metric)
    interval = interval_of_median(values)
    text = figure(median(values), metric.unit)
    if interval is not None and not math.isnan(interval[0]) and interval[0] != interval[1]:
        text += f" ({figure(interval[0], metric.unit)} … {figure(interval[1], metric.unit)})"
    return text + (_MARKS[found.verdict] if found is not None else "")


def _title(sweep: Sweep) -> str:
    points = f"{len(sweep.points)} point{'s' if len(sweep.points) != 1 else ''}"
    runs = f"{len(sweep.rows):,} of {len(sweep.points) * sweep.replications:,} runs" if sweep.partial else ""
    each = f"{sweep.replications} replication{'s' if sweep.replications != 1 else ''} each, seed {sweep.scenario.seed}"
    return f"{sweep.scenario.name}: {points}, {each}{f'; interrupted after {runs}' if runs else ''}"


def _notes(sweep: Sweep) -> tuple[str, ...]:
    left = len(sweep.points) - _MOST_ROWS
    told = [f"… and {left:,} more points: .summary has them all."] if left > 0 else []
    made = _made(sweep)
    what = "medians over replications" + (" (95 % interval)" if made >= MINIMUM else "")
    told.append(f"{what[0].upper()}{what[1:]}. All points met the same luck, so they differ by their settings alone.")
    if made < MINIMUM:
        told.append(f"It takes {MINIMUM} replications for an interval and a verdict.")
    if len(sweep.points) > 1:
        told.append(_comparison(sweep, made))
    told += [metric.sum.meaning for metric in sweep.shown if metric.sum.meaning]
    if sweep.alike:
        told.append(f"{sweep.alike} of the points that were drawn were there already; they were not run again.")
    return tuple(told)


def _made(sweep: Sweep) -> int:
    """Replications of the point that has most; of an interrupted sweep fewer than were asked for."""
    return max((len(sweep.rows_of(one.number)) for one in sweep.points), default=0)


def _comparison(sweep: Sweep, made: int) -> str:
    whose = "the scenario's own settings" if sweep.own else "the first point; the scenario's own settings are not here"
    tests = sum(len(found) for found in sweep.compared.values())
    told = f"→ {whose}."
    if not tests:
        return f"{told} There is nothing yet to compare it with."
    needed = math.ceil(math.log2(2 * tests / ERROR))
    if made < needed:
        return (
            f"{told} To call any of {tests} differences from it sure takes {needed} replications "
            f"(sign test, {ERROR:.0%} over all by Holm); these are {made}."
        ).replace("5%", "5 %")
    return (
        f"{told} ✓ better, ✗ worse, · changed against it: in pairs, by 5 % or more, with an error of 5 % over all "
        f"{tests} differences (sign test, Holm)."
    )
