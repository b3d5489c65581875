"""The panels of the timeline, each drawn into axes it is given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from llmsim.providers.ramps import outline
from llmsim.report.colours import FAULT
from llmsim.report.figures import share
from llmsim.report.plots.bins import Bins, Floats, Latencies, stairs
from llmsim.report.plots.canvas import CLASS_STYLE, INK, LOAD, MUTED, is_small, key, say
from llmsim.telemetry.outcomes import CLASSES
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["draw_amplification", "draw_faults", "draw_latency", "draw_outcomes", "shade_faults"]

_THIN = 100  # requests in a bin below which its percentiles are drawn as hearsay
_BAND = "#4477aa"


def draw_outcomes(ax: Axes, bins: Bins) -> None:
    """Outcomes stacked, offered load as a line on top; a legend in the order of the stack, with shares."""
    below = np.zeros(len(bins.offered))
    handles = []
    lengths = np.diff(bins.edges_s)
    total = float((bins.offered * lengths).sum()) or 1.0
    if not bins.offered.any():
        say(ax, "no requests")
        ax.set_ylabel("requests / s")
        return
    for one in CLASSES:
        height = bins.classes.get(one.name)
        if height is None:
            continue
        colour, hatch = CLASS_STYLE[one.name]
        x, low = stairs(bins.edges_s, below)
        _, high = stairs(bins.edges_s, below + height)
        ax.fill_between(x, low, high, facecolor=colour, edgecolor="white", hatch=hatch or None, linewidth=0)
        below = below + height
        part = share(float((height * lengths).sum()) / total)
        handles.append(Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=f"{one.label} {part}"))
    x, offered = stairs(bins.edges_s, bins.offered)
    (line,) = ax.plot(x, offered, color=LOAD, linewidth=0.9, label="offered")
    room = 1.5 if is_small(ax) else 1.08  # for the legend
    ax.set_ylim(0, float(bins.offered.max()) * room)
    ax.set_ylabel("requests / s")
    key(ax, handles=[line, *reversed(handles)], handlelength=1.6)


def draw_latency(
    ax: Axes, told: Latencies, bounds: list[tuple[str, float]], label: str = "TTFT", also: Floats | None = None
) -> None:
    """p50 as a line, bands up to p90 and p99, on a log axis whose top is "never"; it has room for `also`, too."""
    percents = sorted(told.percentiles)
    if all(np.isnan(values).all() for values in told.percentiles.values()):
        say(ax, "too few requests for percentiles")
        ax.set_ylabel(label)
        return
    shown = np.concatenate([np.asarray(told.percentiles[p]) for p in percents] + ([] if also is None else [also]))
    finite = shown[np.isfinite(shown)]
    positive = finite[finite > 0]
    reach = [*positive, *(bound for _, bound in bounds)] or [1.0]
    # Answers from a cache come after 0 s, which a log axis has not: the floor stands for "that or less".
    floor = 10 ** math.floor(math.log10(max(1e-3, min(reach) * 0.99)))
    top = max(reach) * 1.25
    never = bool(np.isinf(shown).any())
    at_never = top * 1.6
    x = np.repeat(told.edges_s, 2)[1:-1]
    drawn = {p: np.repeat(_within(told.percentiles[p], floor, at_never), 2) for p in percents}
    thin = np.repeat(told.requests < _THIN, 2)
    for mask, colour in ((~thin, _BAND), (thin, MUTED)):
        for number, percent in enumerate(percents):
            # On the floor and above it in two lines: a median that jumps to 0 and back would draw a comb.
            for part in (drawn[percent] > floor, drawn[percent] <= floor):
                line = np.where(mask & part, drawn[percent], math.nan)
                ax.plot(x, line, color=colour, linewidth=(1.8, 1.0, 0.7)[min(number, 2)])
        for low, high, alpha in zip(percents, percents[1:], (0.4, 0.2), strict=False):
            known = mask & ~np.isnan(drawn[low]) & ~np.isnan(drawn[high])
            for part, strength in ((drawn[low] > floor, alpha), (drawn[low] <= floor, 0.12)):
                where = known & part
                ax.fill_between(x, drawn[low], drawn[high], where=where, color=colour, alpha=strength, linewidth=0)
    _label_bands(ax, drawn, x)
    if thin.any() and len(finite) and not is_small(ax):
        ax.text(1.0, 1.01, f"grey: fewer than {_THIN} requests", transform=ax.transAxes, ha="right", fontsize=7)
    for text, bound in bounds:
        ax.axhline(bound, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.annotate(
            text, (1.0, bound), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK, annotation_clip=False,
        )  # fmt: skip
    _log_axis(ax, floor, top, at_never if never else None, clipped=bool((finite < floor).any()))
    ax.set_ylabel(label)


def _within(values: Floats, floor: float, at_never: float) -> Floats:
    limited: Floats = np.where(np.isinf(values), at_never, np.maximum(values, floor))
    return limited


def _label_bands(ax: Axes, drawn: dict[int, Floats], x: Floats) -> None:
    """Names of the percentiles on their lines, in the first third, where they are farthest apart."""
    lines = np.log(np.array(list(drawn.values())))[:, : max(2, len(x) // 3)]
    known = ~np.isnan(lines)
    gaps = np.where(known[1:] & known[:-1], np.diff(lines, axis=0), -1.0)
    place = int(gaps.min(axis=0).argmax())
    last = 0.0
    for percent, values in drawn.items():
        around = values[place : place + max(2, len(x) // 12)]  # as long as the text
        if math.isnan(values[place]):
            continue
        height = float(np.nanmax(around))
        if last and math.log(height / last) < 0.25:  # on a log axis; nearer, the texts would touch
            continue
        last = height
        ax.annotate(
            f"p{percent}", (x[place], height), xytext=(3, 1.5), textcoords="offset points", fontsize=8, color=INK
        )


def _log_axis(ax: Axes, floor: float, top: float, never: float | None, *, clipped: bool) -> None:
    ticks = [floor]
    for power in range(round(math.log10(floor)), math.ceil(math.log10(top)) + 1):
        ticks += [10.0**power * step for step in (1, 3) if floor * 1.5 < 10.0**power * step < top]
    ax.set_yscale("log")
    ax.set_ylim(floor, (never or top) * 1.15)
    places = [*ticks, *([never] if never else [])]
    names: dict[float | None, str] = {never: "never"}
    if clipped:
        names[floor] = f"≤ {format_duration(floor)}"
    ax.yaxis.set_major_locator(FixedLocator(places))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value) or format_duration(value)))
    ax.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)


def draw_amplification(ax: Axes, bins: Bins) -> None:
    """Attempts per request sent upstream; 1 is a gateway that never tries twice."""
    ax.set_ylabel("attempts /\nrequest")
    if np.isnan(bins.amplification).all():
        say(ax, "nothing was sent to a provider")
        return
    x, values = stairs(bins.edges_s, bins.amplification)
    ax.axhline(1.0, color=MUTED, linewidth=0.8)
    ax.plot(x, values, color=INK, linewidth=1.2)
    ax.set_ylim(0.9, max(1.5, float(np.nanmax(bins.amplification)) * 1.1))


def shade_faults(ax: Axes, result: Result, end_s: float) -> None:
    """The time of every fault, behind the data; as high as its strength where it grows and fades."""
    for fault in result.scenario.faults:
        if fault.at < end_s:
            edge = outline(fault, 0.0, end_s)
            corners = [(edge[0][0], 0.0), *edge, (edge[-1][0], 0.0)]
            shade = Polygon(corners, color=FAULT, alpha=0.09, linewidth=0, zorder=0, transform=ax.get_xaxis_transform())
            ax.add_patch(shade)


def draw_faults(ax: Axes, result: Result, end_s: float) -> int:
    """A bar per fault with its name, in as few rows as they fit; returns the rows."""
    rows: list[float] = []  # where each row is free again
    for fault in sorted(result.scenario.faults, key=lambda one: one.at):
        if fault.at >= end_s:
            continue
        start, end = max(0.0, fault.at), min(end_s, fault.end_s)
        text = f"{fault.name}: {fault.target} {', '.join(fault.effects)}"
        length = len(text) * end_s / 115  # of the text, in seconds of this axis: a width that was measured
        needs = max(end, start + length)
        row = next((number for number, free in enumerate(rows) if free <= start), len(rows))
        rows[row : row + 1] = [needs + end_s * 0.01]
        x, strengths = zip(*outline(fault, 0.0, end_s), strict=True)
        ax.fill_between(
            x, -row - 0.9, [-row - 0.9 + 0.8 * one for one in strengths], color=FAULT, alpha=0.25, linewidth=0
        )
        at_right = start + length > end_s
        ax.text(
            end - end_s * 0.004 if at_right else start + end_s * 0.004,
            -row - 0.5, text, va="center", ha="right" if at_right else "left", fontsize=8,
        )  # fmt: skip
    ax.set_ylim(-max(1, len(rows)), 0)
    ax.set_yticks([])
    ax.set_ylabel("faults", rotation=0, ha="right", va="center")
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False)
    return len(rows)
