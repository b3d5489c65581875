"""Small multiples: a panel for each metric over one parameter, lines for a second, bands that are intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from llmsim.report.colours import KEY_STYLE
from llmsim.report.figures import figure
from llmsim.report.plots.canvas import MUTED, Picture, bare, style
from llmsim.report.varied import Across, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LOG_FROM", "multiples", "tick_text", "x_axis", "x_places", "y_axis"]

_WIDE = 3  # panels side by side, but four make a square
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
_MARKERS = "osD^vPX"
_MOST_LINES = len(_LINES)
LOG_FROM = 30.0  # times from the least value to the greatest: on a linear axis the small ones would lie on 0
_CROWDED = 9  # ticks along a panel
_CHARACTERS = 40  # along a panel
_LINE = 22  # characters of a name on an axis


def multiples(
    table: pl.DataFrame,
    x: Across,
    metrics: Sequence[Shown],
    *,
    by: Across | None = None,
    title: str = "",
    joined: bool = True,
) -> Picture:
    """Draw a panel for each metric.

    Parameters
    ----------
    table
        A row for each point: the columns of `x` and `by`, of each metric its column with ``…_low`` and ``…_high``, and
        ``verdict``.
    x, by
        What lies along the panels, and what has a line for each of its values.
    metrics
        What has a panel.
    title
        Of the picture.
    joined
        Whether points are joined by lines; those of a drawn design differ in everything, and are not.
    """
    across = 2 if len(metrics) == 4 else min(_WIDE, len(metrics))
    down = math.ceil(len(metrics) / across)
    groups = _groups(table, by)
    with style():
        picture = bare(3.1 * across + (1.3 if by is not None else 0.2), 2.5 * down + 0.5)
        panels = list(np.atleast_1d(picture.subplots(down, across, sharex=True)).ravel())
        for number, (panel, metric) in enumerate(zip(panels, metrics, strict=False)):
            _draw(panel, groups, x, metric, joined=joined)
            panel.set_title(metric.label)
            x_axis(panel, x)
            if number + across >= len(metrics):  # nothing stands below it
                panel.set_xlabel(f"{x.label}{' (log scale)' if x.numeric and x.log else ''}")
                panel.tick_params(labelbottom=True)
        for panel in panels[len(metrics) :]:
            panel.remove()
        if by is not None:
            handles, labels = panels[0].get_legend_handles_labels()
            names = [tick_text(label) for label in labels]
            picture.legend(
                handles, names, title=by.label, loc="outside right upper", title_fontsize=8, alignment="left"
            )
        if title:
            picture.suptitle(title, x=0.01, ha="left", fontsize=10)
    picture.alt = _told(table, x, metrics, by, title)
    return picture


def _groups(table: pl.DataFrame, by: Across | None) -> list[tuple[str, pl.DataFrame]]:
    if by is None:
        return [("", table)]
    parts = [(text, table.filter(pl.col(by.column) == value)) for value, text in by.labels.items()]
    parts = [(text, part) for text, part in parts if part.height]
    if by.numeric:
        parts.sort(key=lambda one: one[1][by.column][0])
    if len(parts) > _MOST_LINES:  # more lines nobody can tell apart: the ends, and evenly between them
        keep = sorted({round(n * (len(parts) - 1) / (_MOST_LINES - 1)) for n in range(_MOST_LINES)})
        parts = [parts[number] for number in keep]
    return parts


def _draw(panel: Axes, groups: list[tuple[str, pl.DataFrame]], x: Across, metric: Shown, *, joined: bool) -> None:
    columns = [metric.column, f"{metric.column}_low", f"{metric.column}_high"]
    every = np.concatenate([part.select(columns).fill_null(math.nan).to_numpy().ravel() for _, part in groups])
    finite = every[np.isfinite(every)]
    never = bool(np.isposinf(every).any())
    top = float(finite.max()) if len(finite) else 1.0
    low = float(finite.min()) if len(finite) else 0.0
    log = low > 0 and top / low > LOG_FROM
    span = top - low or abs(top) or 1.0
    at_never = top * (top / low) ** 0.2 if log else top + 0.22 * span
    many = len(groups)
    for number, (text, group) in enumerate(groups):
        part = group.with_columns(place=x_places(group, x)).filter(pl.col(metric.column).is_not_nan()).sort("place")
        places = part["place"].to_numpy()
        value, lower, upper = (np.minimum(part[name].fill_null(math.nan).to_numpy(), at_never) for name in columns)
        colour = KEY_STYLE[number % len(KEY_STYLE)][0]
        if joined and x.numeric:
            panel.fill_between(places, lower, upper, color=colour, alpha=0.18, linewidth=0)
            panel.plot(places, value, color=colour, linestyle=_LINES[number], marker=_MARKERS[number], markersize=3.5,
                       linewidth=1.4, label=text)  # fmt: skip
            continue
        # Choices have no between: marks with their intervals, groups beside each other.
        beside = (number - (many - 1) / 2) * min(0.5 / max(many, 1), 0.15) if not x.numeric else 0.0
        reach = np.nan_to_num(np.array([value - lower, upper - value]))
        panel.errorbar(places + beside, value, yerr=np.maximum(reach, 0), fmt=_MARKERS[number], color=colour,
                       markersize=4, linewidth=1.1, label=text)  # fmt: skip
    y_axis(panel, metric, low, top, at_never if never else None, log=log)


def y_axis(panel: Axes, metric: Shown, low: float, top: float, never: float | None, *, log: bool) -> None:
    """Ticks in a metric's unit; at `never`, the word for what does not happen."""
    word = figure(math.inf, metric.unit)
    if log:
        panel.set_yscale("log")
        panel.set_ylim(low / 1.2, (never or top) * 1.25)
        steps = [10.0**power * step for power in range(-9, 9) for step in (1, 3) if low <= 10.0**power * step <= top]
        ticks = steps if len(steps) > 1 else [low, top]
    else:
        span = top - low or abs(top) or 1.0
        floor = 0.0 if 0 <= low <= 0.6 * top else low - 0.08 * span
        panel.set_ylim(floor if floor else -0.03 * (never or top), (never or top) + 0.08 * span)
        if top == low == 0:
            panel.set_ylim(-0.05, 1.0)
        marks = MaxNLocator(5).tick_values(max(floor, 0.0) if low >= 0 else floor, top)
        ticks = [mark for mark in marks if floor <= mark <= top + 0.05 * span]
    if never is not None:
        panel.axhline(never, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
        ticks = [tick for tick in ticks if tick < never - (0 if log else 0.1 * (never - low))]
        ticks = [*ticks, never]
    panel.yaxis.set_major_locator(FixedLocator(ticks))
    panel.yaxis.set_minor_locator(NullLocator())
    text = {never: word}
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text.get(value) or figure(value, metric.unit)))
    panel.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)


def x_places(part: pl.DataFrame, x: Across) -> pl.Series:
    """Where the values of a parameter lie: numbers where they are, choices one after another."""
    if x.numeric:
        return part[x.column].cast(pl.Float64)
    order = {value: float(number) for number, value in enumerate(x.labels)}
    return pl.Series([order[value] for value in part[x.column]], dtype=pl.Float64)


def x_axis(panel: Axes, x: Across, which: str = "x") -> None:
    """Ticks at the values themselves, thinned where there are many; choices by name."""
    axis = panel.xaxis if which == "x" else panel.yaxis
    if x.numeric and x.log:
        (panel.set_xscale if which == "x" else panel.set_yscale)("log")
    places = [float(value) for value in x.labels] if x.numeric else [float(number) for number in range(len(x.labels))]
    named = dict(zip(places, map(tick_text, x.labels.values()), strict=True))
    if x.numeric and len(places) > _CROWDED:
        places = _round_places(min(places), max(places), log=x.log, whole=all(isinstance(one, int) for one in x.labels))
        named = {place: value_text(place, x.unit) for place in places}
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: named.get(value, "")))
    if not x.numeric:
        (panel.set_xlim if which == "x" else panel.set_ylim)(-0.5, len(x.labels) - 0.5)
        if which == "x" and sum(len(text.partition("\n")[0]) + 2 for text in named.values()) > _CHARACTERS:
            panel.tick_params(axis="x", rotation=30)
            for label in panel.get_xticklabels():
                label.set_horizontalalignment("right")


def _round_places(low: float, high: float, *, log: bool, whole: bool) -> list[float]:
    """Round numbers between two, both included."""
    if log:
        steps = [step * 10.0**power for power in range(-9, 12) for step in (1, 2, 5)]
        inside = [float(f"{step:.6g}") for step in steps if low <= step * (1 + 1e-9) and step <= high * (1 + 1e-9)]
        if len(inside) > 1:
            return inside[:: math.ceil(len(inside) / _CROWDED)]
        return [low, high]
    return [float(mark) for mark in MaxNLocator(5, integer=whole).tick_values(low, high) if low <= mark <= high]


def tick_text(text: str) -> str:
    """A value short enough for an axis: in two lines at most.

    Examples
    --------
    >>> print(tick_text("{max_attempts: 1, backoff: {initial: 2s}, jitter: full}"))
    max_attempts: 1,
    backoff: {initial: …
    """
    plain = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    lines = wrap(plain, _LINE, break_long_words=False) or [""]
    shown = [line if len(line) <= _LINE + 2 else line[: _LINE + 1] + "…" for line in lines[:2]]
    return "\n".join(shown) + (" …" if len(lines) > 2 else "")


def value_text(value: float, unit: str) -> str:
    """A value of a parameter with three digits."""
    return figure(float(f"{value:.3g}"), unit) if unit else f"{value:.3g}"


def _told(table: pl.DataFrame, x: Across, metrics: Sequence[Shown], by: Across | None, title: str) -> str:
    """The picture in words."""
    lines = f", a line for each {by.label}" if by is not None else ""
    parts = []
    for metric in metrics:
        told = table.filter(pl.col(metric.column).is_not_nan()).sort(metric.column)
        if told.height:
            least, most = told.row(0, named=True), told.row(-1, named=True)
            ends = [f"{figure(row[metric.column], metric.unit)} at {_label(x, row)}" for row in (least, most)]
            parts.append(f"{metric.label} from {ends[0]} to {ends[1]}")
    return f"{title}: over {x.label}{lines}: {'; '.join(parts)}."


def _label(x: Across, row: dict[str, Any]) -> str:
    return x.labels.get(row[x.column], str(row[x.column]))
