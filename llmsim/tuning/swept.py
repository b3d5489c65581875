"""What a sweep found: tables, differences that are real, and the best point with those it cannot be told from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.report.numbers import jsonable
from llmsim.report.paired import Difference, interval_of_median, paired_with_each
from llmsim.report.result import Result
from llmsim.report.slo import Overall, overall, slo_results
from llmsim.report.verdict import median
from llmsim.scenario.objectives import rehearsed
from llmsim.scenario.spec import Scenario
from llmsim.tuning.sweep_best import Best, best_of
from llmsim.tuning.sweep_kept import Row
from llmsim.tuning.sweep_metrics import Measured, measured_of
from llmsim.tuning.sweep_points import Point
from llmsim.tuning.sweep_space import Parameter

if TYPE_CHECKING:
    from llmsim.report.grid import Grid
    from llmsim.tuning.sweep_plots import SweepPlots

__all__ = ["Sweep"]

#: What is shown and compared where nothing else was asked for. The more is compared, the more pairs it takes.
SHOWN = ("ttft p(95)", "error_rate", "retry_amplification", "cost_per_ok")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """A scenario under many settings, all on the same luck; it shows itself as a table.

    Parameters
    ----------
    scenario
        What was varied.
    parameters, points, scenarios
        What varied, its settings, and the scenario of each (``ls.run(sweep.scenarios[3])`` looks closer).
    design
        How the points were chosen.
    replications
        Of every point.
    metrics, shown
        What was measured, and which of it is shown and compared.
    rows
        What came of each run, in order.
    partial
        It was interrupted: some points have fewer replications, or none.
    wall_s
        How long it took this time.
    resumed
        Runs that were there already.
    alike
        Points that were left out for being there twice.
    out
        The file they are kept in.
    results
        By point, everything that was recorded; empty unless it was to be kept.
    """

    scenario: Scenario
    parameters: tuple[Parameter, ...]
    points: tuple[Point, ...]
    scenarios: tuple[Scenario, ...]
    design: str
    replications: int
    metrics: tuple[Measured, ...]
    shown: tuple[Measured, ...]
    rows: tuple[Row, ...]
    partial: bool = False
    wall_s: float = 0.0
    resumed: int = 0
    alike: int = 0
    out: Path | None = None
    results: Mapping[int, Result] | None = None

    # -- tables ------------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per point and replication: parameters and metrics, with their units in the names of the columns.

        Rows of one replication met the same luck. ``slo_values`` are the measured values of the SLO lines, and
        ``slo_held`` whether all of them were inside their bounds in this replication.
        """
        lines = [rehearsed(one) for one in self.scenarios]
        values: dict[str, list[Any]] = {
            "point": [row.point for row in self.rows],
            "replication": [row.replication for row in self.rows],
            "seed": [self.scenario.seed] * len(self.rows),
        }
        for number, one in enumerate(self.parameters):
            values[one.column] = [one.cell(self.points[row.point].values[number]) for row in self.rows]
        for number, metric in enumerate(self.metrics):
            values[metric.column] = [row.values[number] for row in self.rows]
        values["slo_held"] = [
            all(line.holds(value) for line, value in zip(lines[row.point], row.slo, strict=True)) if row.slo else None
            for row in self.rows
        ]
        values["slo_values"] = [list(row.slo) for row in self.rows]
        types: dict[str, Any] = {"point": pl.Int32, "replication": pl.Int32, "seed": pl.Int64}
        types |= {one.column: self._type(one) for one in self.parameters}
        types |= {metric.column: pl.Float64 for metric in self.metrics}
        types |= {"slo_held": pl.Boolean, "slo_values": pl.List(pl.Float64)}
        return pl.DataFrame(values, schema=types)

    @cached_property
    def summary(self) -> pl.DataFrame:
        """One row per point: its verdict, and of each metric the median over replications with a 95 % interval.

        ``…_low`` and ``…_high`` are null with fewer than 6 replications.
        """
        columns: dict[str, list[Any]] = {"point": [one.number for one in self.points]}
        for number, one in enumerate(self.parameters):
            columns[one.column] = [one.cell(point.values[number]) for point in self.points]
        columns["replications"] = [len(self.rows_of(one.number)) for one in self.points]
        columns["verdict"] = [self.verdicts[one.number] for one in self.points]
        types: dict[str, Any] = {"point": pl.Int32, "replications": pl.Int32, "verdict": pl.String}
        types |= {one.column: self._type(one) for one in self.parameters}
        for metric in self.metrics:
            told = [self.values(one.number, metric) for one in self.points]
            columns[metric.column] = [median(values) for values in told]
            for side, name in enumerate(("low", "high")):
                ends = [interval_of_median(values) for values in told]
                columns[f"{metric.column}_{name}"] = [None if end is None else end[side] for end in ends]
            types |= dict.fromkeys((metric.column, *(f"{metric.column}_{n}" for n in ("low", "high"))), pl.Float64)
        return pl.DataFrame(columns, schema_overrides=types)

    @property
    def differences(self) -> pl.DataFrame:
        """How every point differs from the `reference`, in the metrics shown: medians of paired differences.

        ``low`` and ``high`` are the 95 % interval of each; ``p`` is of the sign test, with Holm's correction for
        all of them together, and ``verdict`` is better, worse, changed or same.
        """
        rows = [
            {
                "point": point,
                "metric": one.name,
                "reference": one.before,
                "value": one.after,
                "change": one.change,
                "low": None if one.interval is None else one.interval[0],
                "high": None if one.interval is None else one.interval[1],
                "p": one.p,
                "pairs": one.pairs,
                "verdict": one.verdict,
            }
            for point, found in self.compared.items()
            for one in found
        ]
        texts = dict.fromkeys(("metric", "verdict"), pl.String)
        numbers = dict.fromkeys(("reference", "value", "change", "low", "high", "p"), pl.Float64)
        types: dict[str, Any] = {"point": pl.Int32, **texts, **numbers, "pairs": pl.Int32}
        order = ["point", "metric", "reference", "value", "change", "low", "high", "p", "pairs", "verdict"]
        return pl.DataFrame(rows, schema={name: types[name] for name in order})

    @cached_property
    def compared(self) -> dict[int, list[Difference]]:
        """The same by point."""
        others = [one.number for one in self.points if one.number != self.reference]
        names = {metric.name: metric.sum for metric in self.shown}
        before = self._by_name(self.reference)
        found = paired_with_each(before, [self._by_name(other) for other in others], compared=names)
        return dict(zip(others, found, strict=True))

    @cached_property
    def reference(self) -> int:
        """The point that the others are compared with: that of the scenario's own settings, else the first."""
        return next((number for number, one in enumerate(self.scenarios) if one == self.scenario), 0)

    @property
    def own(self) -> bool:
        """Whether the reference has the scenario's own settings."""
        return self.scenarios[self.reference] == self.scenario

    @cached_property
    def verdicts(self) -> tuple[Overall, ...]:
        """PASS, FAIL, UNDECIDED or NONE (no SLO) of every point."""
        found: list[Overall] = []
        for point, scenario in zip(self.points, self.scenarios, strict=True):
            measured = []
            for number, row in enumerate(self.rows_of(point.number)):
                if row.replication != number:
                    break  # one before it is missing: verdicts follow the order of replications
                measured.append(row.slo)
            found.append(overall(slo_results(scenario, rehearsed(scenario), measured, most=self.replications)))
        return tuple(found)

    def best(self, metric: str, *, goal: str | None = None) -> Best:
        """The best point that meets the SLOs, and those that cannot be told from it.

        Parameters
        ----------
        metric
            One of those that were measured, by name.
        goal
            ``min`` or ``max``; None: as the metric is meant.

        Raises
        ------
        LlmsimError
            If it was not measured, or in no point could be told.
        """
        return best_of(self, self.metric(metric), goal)

    def metric(self, name: str) -> Measured:
        """A metric that was measured, by name or column."""
        for one in self.metrics:
            if name in (one.name, one.column):
                return one
        known = ", ".join(one.name for one in self.metrics)
        with suppress(LlmsimError):  # written in another way: error_rate value
            (same,) = measured_of(self.scenario, [name])
            if any(one.column == same.column for one in self.metrics):
                return self.metric(same.column)
        raise LlmsimError(f"{name!r} was not measured here; there are {known}")

    def parameter(self, path: str) -> Parameter:
        """A parameter by its path, or the end of it where that is clear."""
        found = [one for one in self.parameters if one.path == path]
        found = found or [one for one in self.parameters if one.path.endswith(f".{path}") or one.column == path]
        if len(found) != 1:
            raise LlmsimError(f"{path!r} does not vary here; {', '.join(one.path for one in self.parameters)} do")
        return found[0]

    def values(self, point: int, metric: Measured) -> list[float]:
        """A metric in every replication of a point."""
        place = self.metrics.index(metric)
        return [row.values[place] for row in self.rows_of(point)]

    def rows_of(self, point: int) -> Sequence[Row]:
        """The runs of a point."""
        return self._rows_by_point.get(point, ())

    @cached_property
    def _rows_by_point(self) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.point, []).append(row)
        return found

    def _by_name(self, point: int) -> dict[str, list[float]]:
        # By replication, also where an interrupt left holes: pairs must have met the same luck.
        by_replication = {row.replication: row.values for row in self.rows_of(point)}
        missing = (math.nan,) * len(self.metrics)
        rows = [by_replication.get(number, missing) for number in range(self.replications)]
        return {metric.name: [row[number] for row in rows] for number, metric in enumerate(self.metrics)}

    def _type(self, one: Parameter) -> Any:
        return (pl.Int64 if one.whole else pl.Float64) if one.numeric else pl.String

    # -- for people and programs -------------------------------------------------------------------------------

    @property
    def plot(self) -> SweepPlots:
        """Pictures: ``sweep.plot()`` is a panel for each metric, ``sweep.plot.heat(x, y, metric)`` a map of two."""
        from llmsim.tuning.sweep_plots import SweepPlots

        return SweepPlots(self)

    @property
    def grid(self) -> Grid:
        """The table for people."""
        from llmsim.tuning.sweep_text import grid_of

        return grid_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a strict JSON encoder."""
        told = {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "design": self.design,
            "replications": self.replications,
            "runs": len(self.rows),
            "partial": self.partial,
            "wall_s": self.wall_s,
            "out": None if self.out is None else str(self.out),
            "reference": self.reference,
            "points": [
                {"settings": list(point.settings), **row}
                for point, row in zip(self.points, self.summary.to_dicts(), strict=True)
            ],
            "differences": self.differences.to_dicts(),
        }
        plain: dict[str, Any] = jsonable(told)
        return plain

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()
