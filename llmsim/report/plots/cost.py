"""Where the money went, as a waterfall from useful work to the total."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import FuncFormatter

from llmsim.report.colours import COST_STYLE
from llmsim.report.figures import usd
from llmsim.report.plots.canvas import INK, MUTED, Picture, bare, say, style
from llmsim.telemetry.costs import COST_PARTS, SIDE_PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["cost"]

_USEFUL, _WASTED, _CHEAPER, _BESIDE = (COST_STYLE[one] for one in ("useful", "wasted", "cheaper", "beside"))
_LEGIBLE = 0.011  # of the width of the panel, for each letter: a width that was measured


class _Bar(NamedTuple):
    name: str
    value: float
    pieces: tuple[tuple[str, float], ...] = ()  #: of useful work: kind of token and its cost


def cost(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """What was paid for what, mean of the replications: useful tokens by kind, waste by kind, fallback price
    difference, what comes beside tokens, the total, and what answers from the cache saved.

    Parameters
    ----------
    result
        Any result.
    ax
        Draw into these axes and return them.
    """
    costs = result.metrics["cost_usd"]
    items = result.bill.items
    pieces = tuple((item.what, item.usd) for item in items if item.part == "useful" and item.usd > 0)
    bars = [
        _Bar(name, costs[name], pieces if name == "useful" else ())
        for name in COST_PARTS
        if name == "useful" or costs[name] > 0 or costs[name] < 0
    ]
    saved = result.bill.saved_usd
    with style():
        picture = None if ax is not None else bare(9.0, 0.42 * (len(bars) + 1 + (saved > 0)) + 0.9)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        if result.replications and costs["total"] + saved > 0:
            _draw(panel, bars, costs["total"], saved)
        else:
            say(panel, "nothing was paid" if result.replications else "nothing was run")
            panel.set_xticks([])
        if picture is None:
            return panel
        panel.set_title(f"{result.scenario.name}: cost of a replication")
    if not result.replications:
        picture.alt = f"{result.scenario.name}: nothing was run."
        return picture
    told = ", ".join(f"{one.name.replace('_', ' ')} {usd(one.value)}" for one in bars)
    beside = f" Answers from the cache saved {usd(saved)}." if saved > 0 else ""
    picture.alt = f"Cost of a replication of {result.scenario.name}: {told}; total {usd(costs['total'])}.{beside}"
    return picture


def _draw(ax: Axes, bars: list[_Bar], total: float, saved: float) -> None:
    left = 0.0
    for row, one in enumerate(bars):
        _draw_bar(ax, row, left, one, total + saved)
        end = left + one.value
        ax.plot([end, end], [row + 0.35, row + 0.65], color=INK, linewidth=0.8)
        _value(ax, max(left, end), row, one.value)
        left = end
    names = [*(one.name.replace("_", " ") for one in bars), "total"]
    ax.barh(len(bars), total, height=0.7, facecolor=INK)
    _value(ax, total, len(bars), total)
    if saved > 0:  # what there was not to pay: an outline, beyond the total
        names.append("saved by the cache")
        ax.barh(len(names) - 1, saved, left=total, height=0.7, facecolor="none", edgecolor=MUTED, hatch="////")
        ax.plot([total, total], [len(bars) + 0.35, len(bars) + 0.65], color=MUTED, linewidth=0.8)
        _value(ax, total + saved, len(names) - 1, saved)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlim(left=min(0.0, ax.get_xlim()[0] if any(one.value < 0 for one in bars) else 0.0))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))


def _draw_bar(ax: Axes, row: int, left: float, one: _Bar, widest: float) -> None:
    colour, hatch = _WASTED
    if one.name == "useful":
        colour, hatch = _USEFUL
    elif one.name in SIDE_PARTS:
        colour, hatch = _BESIDE
    elif one.value < 0:
        colour, hatch = _CHEAPER
    if len(one.pieces) < 2:
        ax.barh(
            row, one.value, left=left, height=0.7, facecolor=colour, edgecolor="white", hatch=hatch or None, linewidth=0
        )
        return
    for what, value in one.pieces:
        ax.barh(row, value, left=left, height=0.7, facecolor=colour, edgecolor="white", linewidth=0.8)
        if value > _LEGIBLE * len(what) * widest:
            ax.annotate(what, (left + value / 2, row), ha="center", va="center", fontsize=7.5, color="white")
        left += value


def _value(ax: Axes, at: float, row: int, value: float) -> None:
    ax.annotate(usd(value), (at, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
