"""Pictures of a result. matplotlib loads with the first one drawn; its backend and its settings stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llmsim.report.result import Result

__all__ = ["Plots"]


class Plots:
    """``result.plot``: each picture as a method.

    Given ``ax=``, a picture is drawn into it and `ax` returned; else it is a figure of its own that a notebook shows.
    """

    def __init__(self, result: Result) -> None:
        self._result = result

    def timeline(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Load, outcomes, TTFT, retries and faults over the measured time; into `ax`, load and outcomes alone."""
        from llmsim.report.plots.timeline import timeline

        return timeline(self._result, ax=ax)

    def outcomes(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Offered load, and what became of it, per second."""
        from llmsim.report.plots.timeline import outcomes

        return outcomes(self._result, ax=ax)

    def ttft(self, *, ax: Axes | None = None) -> Figure | Axes:
        """Time to first token over the measured time: p50, p90 and p99, failures as never."""
        from llmsim.report.plots.timeline import ttft

        return ttft(self._result, ax=ax)

    def cost(self, *, ax: Axes | None = None) -> Figure | Axes:
        """What was paid for what, as a waterfall."""
        from llmsim.report.plots.cost import cost

        return cost(self._result, ax=ax)

    def __repr__(self) -> str:
        return f"pictures of {self._result.scenario.name}: .timeline() .outcomes() .ttft() .cost()"
