"""Where the money went, as a waterfall from useful work to the total."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter

from llmsim.report.figures import usd
from llmsim.report.plots.canvas import INK, Picture, bare, style
from llmsim.telemetry.costs import COST_PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["cost"]

_USEFUL, _WASTED, _CHEAPER = ("#4477aa", ""), ("#ee6677", "\\\\\\\\"), ("#228833", "....")


def cost(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """What was paid for what, mean of the replications: useful work, waste by kind, fallback price difference, total.

    Parameters
    ----------
    result
        Any result.
    ax
        Draw into these axes and return them.
    """
    costs = result.metrics["cost_usd"]
    parts = [(name, costs[name]) for name in COST_PARTS if name == "useful" or costs[name]]
    with style():
        picture = None if ax is not None else bare(9.0, 0.42 * (len(parts) + 1) + 0.9)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        _draw(panel, parts, costs["total"])
        if picture is None:
            return panel
        panel.set_title(f"{result.scenario.name}: cost of a replication")
    told = ", ".join(f"{name.replace('_', ' ')} {usd(value)}" for name, value in parts)
    picture.alt = f"Cost of a replication of {result.scenario.name}: {told}; total {usd(costs['total'])}."
    return picture


def _draw(ax: Axes, parts: list[tuple[str, float]], total: float) -> None:
    left = 0.0
    for row, (name, value) in enumerate(parts):
        colour, hatch = _USEFUL if name == "useful" else _CHEAPER if value < 0 else _WASTED
        ax.barh(
            row, value, left=left, height=0.7, facecolor=colour, edgecolor="white", hatch=hatch or None, linewidth=0
        )
        end = left + value
        ax.plot([end, end], [row + 0.35, row + 0.65], color=INK, linewidth=0.8)
        _value(ax, max(left, end), row, value)
        left = end
    ax.barh(len(parts), total, height=0.7, facecolor=INK)
    _value(ax, total, len(parts), total)
    ax.set_yticks(range(len(parts) + 1), [*(name.replace("_", " ") for name, _ in parts), "total"])
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlim(left=min(0.0, ax.get_xlim()[0] if any(value < 0 for _, value in parts) else 0.0))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))


def _value(ax: Axes, at: float, row: int, value: float) -> None:
    ax.annotate(usd(value), (at, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
