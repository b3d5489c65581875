"""The best point of a sweep, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsim.errors import LlmsimError
from llmsim.report.figures import figure
from llmsim.report.paired import interval_of_median
from llmsim.report.verdict import median
from llmsim.scenario.spec import Scenario
from llmsim.tuning.sweep_metrics import Measured
from llmsim.tuning.sweep_points import Point

if TYPE_CHECKING:
    from llmsim.tuning.swept import Sweep

__all__ = ["Best", "best_of"]


@dataclass(frozen=True, repr=False)
class Best:
    """The best point; shows itself as sentences.

    Parameters
    ----------
    metric
        What it is best in.
    point, scenario
        Which it is.
    value, interval
        The median over replications, and its 95 % interval (None: fewer than 6).
    rivals
        Points that cannot be told from it: the interval of their paired difference has 0 in it.
    warnings
        What to know before relying on it.
    unit
        Of the value, as `llmsim.report.figures.figure` takes it.
    """

    metric: str
    point: Point
    scenario: Scenario
    value: float
    interval: tuple[float, float] | None
    rivals: tuple[Point, ...]
    warnings: tuple[str, ...]
    unit: str = ""

    def __repr__(self) -> str:
        between = ""
        if self.interval is not None and not math.isnan(self.interval[0]):
            between = f" ({figure(self.interval[0], self.unit)} … {figure(self.interval[1], self.unit)})"
        head = f"best {self.metric}: {figure(self.value, self.unit)}{between} with {', '.join(self.point.settings)}"
        return "\n".join([head, *(f"  {text}" for text in self.warnings)])


def best_of(sweep: Sweep, metric: Measured, goal: str | None) -> Best:
    """See `Sweep.best`."""
    if goal not in (None, "min", "max"):
        raise LlmsimError(f"goal is {goal!r}; use min or max")
    low_is_good = metric.sum.low_is_good is not False if goal is None else goal == "min"
    medians = {one.number: median(sweep.values(one.number, metric)) for one in sweep.points}
    told = {number: value for number, value in medians.items() if not math.isnan(value)}
    if not told:
        raise LlmsimError(f"{metric.name} could not be told at any point")
    warnings: list[str] = []
    if goal is None and metric.sum.parts and metric.sum.low_is_good is None:
        warnings.append(
            "Its metrics do not agree whether less is better; it is taken so. Otherwise write a minus before."
        )
    allowed = dict(told)
    if any(word != "NONE" for word in sweep.verdicts):
        for wanted, text in (
            ("PASS", ""),
            ("UNDECIDED", "No point passes its SLOs; this is the best of those that are not decided."),
            ("FAIL", "No point meets its SLOs; this is the best of those that fail."),
        ):
            allowed = {number: value for number, value in told.items() if sweep.verdicts[number] == wanted}
            if allowed:
                warnings += [text] if text else []
                break
    sign = 1 if low_is_good else -1
    number = min(allowed, key=lambda one: (sign * allowed[one], one))
    values = sweep.values(number, metric)
    rivals = [sweep.points[one] for one in allowed if one != number and not _apart(sweep, metric, number, one)]
    if rivals:
        some = "; ".join(", ".join(one.settings) for one in rivals[:3])
        more = f" and {len(rivals) - 3} more" if len(rivals) > 3 else ""
        are = "is" if len(rivals) == 1 else "are"
        made = f"{len(values)} replication{'s' if len(values) != 1 else ''}"
        warnings.append(f"Not told apart from it with {made} {are} {some}{more}: that may be chance.")
    if len(allowed) > 1:
        warnings.append(
            f"Chosen among {len(allowed)} on the luck it is judged by, so it looks better than it is: run it with "
            "another seed."
        )
    return Best(
        metric.name,
        sweep.points[number],
        sweep.scenarios[number],
        allowed[number],
        interval_of_median(values),
        tuple(rivals),
        tuple(warnings),
        metric.unit,
    )


def _apart(sweep: Sweep, metric: Measured, one: int, other: int) -> bool:
    """Whether the paired difference of two points has an interval on one side of 0."""
    values = [
        dict(zip((row.replication for row in sweep.rows_of(point)), sweep.values(point, metric), strict=True))
        for point in (one, other)
    ]
    both = sorted(values[0].keys() & values[1].keys())
    changes = [
        0.0 if values[0][number] == values[1][number] else values[1][number] - values[0][number] for number in both
    ]
    interval = interval_of_median(changes)
    return interval is not None and (interval[0] > 0 or interval[1] < 0)
