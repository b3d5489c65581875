"""Pictures of a sweep: what they need, as `llmsim.report.plots` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmsim.errors import LlmsimError
from llmsim.report.varied import Across, Shown
from llmsim.tuning.sweep_metrics import Measured
from llmsim.tuning.sweep_space import Parameter
from llmsim.tuning.sweep_text import short_names

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture
    from llmsim.tuning.swept import Sweep

__all__ = ["SweepPlots"]


class SweepPlots:
    """``sweep.plot()`` and ``sweep.plot.heat(x, y, metric)``."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def __call__(self, *metrics: str, x: str | None = None, by: str | None = None) -> Picture:
        """A panel for each metric over one parameter, with a line for each value of a second.

        Parameters
        ----------
        metrics
            By name; default: those that are shown in the table.
        x, by
            Parameters by path, or the end of it; default: the first, and in a grid the second. Others are held at the
            values of the reference point.
        """
        from llmsim.report.plots.multiples import multiples

        sweep = self._sweep
        across = sweep.parameter(x) if x is not None else sweep.parameters[0]
        lines = sweep.parameter(by) if by is not None else self._second(across)
        if lines == across:
            raise LlmsimError(f"{lines.path} cannot be both x and by")
        shown = [sweep.metric(name) for name in metrics] or list(sweep.shown)
        grid = sweep.design == "grid"
        held = [one for one in sweep.parameters if grid and one not in (across, lines)]
        return multiples(
            self._table(held),
            self._across(across),
            [self._shown(one) for one in shown],
            by=self._across(lines) if lines is not None else None,
            title=self._title(held),
            joined=grid,
        )

    def heat(self, x: str, y: str, metric: str, *, ax: Any = None) -> Any:
        """A metric over two parameters: cells of a grid, dots of a drawn design; what breaks an SLO is hatched.

        Parameters
        ----------
        x, y
            Parameters by path, or the end of it. Others are held at the values of the reference point.
        metric
            By name.
        ax
            matplotlib axes to draw into, which are returned; None: a picture that a notebook shows.
        """
        from llmsim.report.plots.heat import heat

        sweep = self._sweep
        across, up = sweep.parameter(x), sweep.parameter(y)
        if across == up:
            raise LlmsimError(f"{across.path} cannot be both x and y")
        held = [one for one in sweep.parameters if sweep.design == "grid" and one not in (across, up)]
        return heat(
            self._table(held),
            self._across(across),
            self._across(up),
            self._shown(sweep.metric(metric)),
            title=self._title(held),
            cells=sweep.design == "grid",
            ax=ax,
        )

    def _second(self, across: Parameter) -> Parameter | None:
        others = [one for one in self._sweep.parameters if one != across]
        return others[0] if others and self._sweep.design == "grid" else None

    def _table(self, held: Sequence[Parameter]) -> Any:
        sweep = self._sweep
        if not sweep.rows:
            raise LlmsimError("nothing was run yet, so there is nothing to draw")
        places = [sweep.parameters.index(one) for one in held]
        kept = sweep.points[sweep.reference].values
        same = [
            one.number
            for one in sweep.points
            if all(one.values[place] == kept[place] for place in places) and sweep.rows_of(one.number)
        ]
        return sweep.summary[same]

    def _title(self, held: Sequence[Parameter]) -> str:
        sweep = self._sweep
        kept = sweep.points[sweep.reference].values
        names = dict(zip((one.path for one in sweep.parameters), short_names(sweep.parameters), strict=True))
        told = [f"{names[one.path]} {one.shown(kept[sweep.parameters.index(one)])}" for one in held]
        return f"{sweep.scenario.name}{': ' if told else ''}{', '.join(told)}"

    def _across(self, one: Parameter) -> Across:
        sweep = self._sweep
        place = sweep.parameters.index(one)
        labels: dict[Any, str] = {}
        for point in sweep.points:
            labels.setdefault(one.cell(point.values[place]), one.shown(point.values[place]))
        name = short_names(sweep.parameters)[place]
        return Across(one.column, name, one.figure_unit, labels, numeric=one.numeric, log=one.log)

    def _shown(self, metric: Measured) -> Shown:
        return Shown(metric.column, metric.name, metric.unit, low_is_good=metric.sum.low_is_good)
