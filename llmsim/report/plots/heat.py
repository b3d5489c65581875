"""A metric over two parameters: cells in colour with their values, what breaks an SLO hatched, the best one framed."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from llmsim.report.figures import figure
from llmsim.report.plots.canvas import INK, Picture, bare, ink_on, style
from llmsim.report.plots.multiples import tick_text, x_axis, x_places
from llmsim.report.varied import Across, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heat"]

_MAP = "cividis"  # even in lightness, alike for colour-blind readers (Nuñez, Anderton & Renslow 2018)
_HATCH = {"FAIL": "////", "UNDECIDED": ".."}
_WORDS = {"FAIL": "an SLO fails", "UNDECIDED": "not decided"}
_NOTHING = "#88888833"
_NEVER = "#555555"
_WRITTEN = 64  # cells up to which their values are written
_LOG_FROM = 30.0  # times from least to greatest, from which colours stand for ratios
_BEST = "#ee3377"
_MARKERS = {"FAIL": "X", "UNDECIDED": "D"}
_NAME = 0.075  # inches a character of 8 points takes


def heat(
    table: pl.DataFrame,
    x: Across,
    y: Across,
    metric: Shown,
    *,
    title: str = "",
    cells: bool = True,
    ax: Axes | None = None,
) -> Picture | Axes:
    """Draw a map.

    Parameters
    ----------
    table
        A row for each point: the columns of `x`, `y` and `metric`, and ``verdict``.
    x, y, metric
        What lies across, what up, and what is coloured.
    title
        Of the picture.
    cells
        Whether points make a grid; else each is a dot.
    ax
        Axes to draw into; they are returned.
    """
    rows = table.with_columns(
        across=x_places(table, x), up=x_places(table, y), value=pl.col(metric.column).cast(pl.Float64)
    ).to_dicts()
    finite = [row["value"] for row in rows if math.isfinite(row["value"])]
    norm = _norm(finite)
    with style():
        picture = None if ax is not None else bare(*_size(x, y))
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        best = _best(rows, metric)
        if cells:
            _cells(panel, rows, x, y, metric, norm, best)
        else:
            _dots(panel, rows, x, y, norm, best)
        if finite:
            _bar(panel, metric, norm, finite)
        _legend(panel, rows, best=best is not None, cells=cells, inside=picture is None)
        panel.set_xlabel(f"{x.label}{' (log scale)' if x.numeric and x.log else ''}")
        panel.set_ylabel(f"{y.label}{' (log scale)' if y.numeric and y.log else ''}")
        panel.set_title(metric.label if not title else f"{metric.label}\n{title}")
        if picture is None:
            return panel
    picture.alt = _told(rows, x, y, metric, best, title)
    return picture


def _size(x: Across, y: Across) -> tuple[float, float]:
    across, up = (len(one.labels) if len(one.labels) <= 12 else 8 for one in (x, y))
    return max(4.6, 2.2 + _names(y) + 0.62 * across), max(3.4, 1.9 + 0.42 * up)


def _names(y: Across) -> float:
    """Inches that the names at the side take."""
    if y.numeric:
        return 0.4
    return _NAME * max(len(line) for text in y.labels.values() for line in tick_text(text).split("\n"))


def _norm(finite: list[float]) -> Normalize:
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if low else (0.0, 1.0)
    return LogNorm(low, high) if low > 0 and high / low > _LOG_FROM else Normalize(low, high)


def _best(rows: list[dict[str, Any]], metric: Shown) -> dict[str, Any] | None:
    """The best of those that meet the SLOs; None where none does, or none is better than another."""
    if metric.low_is_good is None:
        return None
    meet = [row for row in rows if row["verdict"] in ("PASS", "NONE") and math.isfinite(row["value"])]
    if len({row["value"] for row in meet}) < 2 <= len(meet):
        return None
    sign = 1 if metric.low_is_good else -1
    return min(meet, key=lambda row: sign * row["value"], default=None)


def _edges(places: list[float], *, log: bool) -> dict[float, tuple[float, float]]:
    """From where to where the cell of each place goes: halfway to its neighbours."""
    order = sorted(set(places))
    scaled = [math.log(place) for place in order] if log else order
    gaps = [high - low for low, high in pairwise(scaled)] or [1.0 if not log else math.log(2)]
    middles = [
        scaled[0] - gaps[0] / 2,
        *((low + high) / 2 for low, high in pairwise(scaled)),
        scaled[-1] + gaps[-1] / 2,
    ]
    ends = [math.exp(middle) for middle in middles] if log else middles
    return {place: ends[number : number + 2] for number, place in enumerate(order)}  # type: ignore[misc]


def _cells(
    panel: Axes,
    rows: list[dict[str, Any]],
    x: Across,
    y: Across,
    metric: Shown,
    norm: Normalize,
    best: dict[str, Any] | None,
) -> None:
    wide = _edges([row["across"] for row in rows], log=x.numeric and x.log)
    high = _edges([row["up"] for row in rows], log=y.numeric and y.log)
    x_axis(panel, x)
    x_axis(panel, y, "y")
    panel.set_xlim(min(low for low, _ in wide.values()), max(end for _, end in wide.values()))
    panel.set_ylim(min(low for low, _ in high.values()), max(end for _, end in high.values()))
    inches = _size(x, y)[0] - 1.9 - _names(y)
    widths = {place: part * inches for place, part in _shares(panel, wide, "x").items()}
    longest = max(len(figure(row["value"], metric.unit)) for row in rows) * _NAME
    for row in rows:
        left, right = wide[row["across"]]
        bottom, top = high[row["up"]]
        colour = _colour(row["value"], norm)
        ink = ink_on(colour)
        hatch = _HATCH.get(row["verdict"], "")
        corner, size = (left, bottom), (right - left, top - bottom)
        panel.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor=ink + "66", hatch=hatch, linewidth=0))
        if len(rows) <= _WRITTEN and min(widths.values()) > longest:
            # A ground of the cell's own colour, so that hatches do not run through the figures.
            panel.text(
                _middle(left, right, log=x.numeric and x.log), _middle(bottom, top, log=y.numeric and y.log),
                figure(row["value"], metric.unit), ha="center", va="center", fontsize=7.5, color=ink,
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.2} if hatch else None,
            )  # fmt: skip
    if best is not None:
        (left, right), (bottom, top) = wide[best["across"]], high[best["up"]]
        frame = Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=_BEST, linewidth=2.2)
        frame.set_clip_on(False)
        panel.add_patch(frame)
    panel.spines[:].set_visible(False)


def _shares(panel: Axes, edges: dict[float, tuple[float, float]], which: str) -> dict[float, float]:
    """How much of the panel each cell takes."""
    limits = panel.get_xlim() if which == "x" else panel.get_ylim()
    log = (panel.get_xscale() if which == "x" else panel.get_yscale()) == "log"
    scale = math.log if log else float
    whole = scale(limits[1]) - scale(limits[0])
    return {place: (scale(end) - scale(start)) / whole for place, (start, end) in edges.items()}


def _middle(low: float, high: float, *, log: bool) -> float:
    return math.sqrt(low * high) if log else (low + high) / 2


def _dots(
    panel: Axes, rows: list[dict[str, Any]], x: Across, y: Across, norm: Normalize, best: dict[str, Any] | None
) -> None:
    x_axis(panel, x)
    x_axis(panel, y, "y")
    for row in rows:
        panel.scatter(row["across"], row["up"], s=46, color=_colour(row["value"], norm), edgecolor=INK, linewidth=0.6,
                      marker=_MARKERS.get(row["verdict"], "o"))  # fmt: skip
    if best is not None:
        panel.scatter(best["across"], best["up"], s=150, facecolor="none", edgecolor=_BEST, linewidth=2.0)


def _colour(value: float, norm: Normalize) -> Any:
    if math.isnan(value):
        return _NOTHING
    if math.isinf(value):
        return _NEVER
    red, green, blue, _ = colormaps[_MAP](float(norm(value)))
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _bar(panel: Axes, metric: Shown, norm: Normalize, finite: list[float]) -> None:
    picture: Any = panel.figure
    bar = picture.colorbar(ScalarMappable(norm, colormaps[_MAP]), ax=panel, pad=0.02, aspect=28)
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    log = isinstance(norm, LogNorm)
    ticks = np.geomspace(low, high, 5) if log else np.linspace(low, high, 5)
    if len(set(finite)) == 1:
        ticks = np.array([finite[0]])
    bar.ax.yaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(value, metric.unit)))
    bar.outline.set_visible(False)


def _legend(panel: Axes, rows: list[dict[str, Any]], *, best: bool, cells: bool, inside: bool) -> None:
    found = {row["verdict"] for row in rows}
    handles: list[Any] = [
        Patch(facecolor="none", edgecolor=INK, hatch=_HATCH[word], linewidth=0.6, label=text)
        if cells
        else Line2D([], [], color=INK, linestyle="", marker=_MARKERS[word], label=text)
        for word, text in _WORDS.items()
        if word in found
    ]
    if any(math.isinf(row["value"]) for row in rows):
        handles.append(Patch(facecolor=_NEVER, label="never, or without end"))
    if best:
        handles.append(
            Patch(facecolor="none", edgecolor=_BEST, linewidth=2, label="best")
            if cells
            else Line2D([], [], color=_BEST, linestyle="", marker="o", markersize=9, fillstyle="none", label="best")
        )
    if not handles:
        return
    if inside:
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
        panel.legend(handles=handles, ncols=len(handles), handlelength=1.6, **below)
    else:
        panel.figure.legend(handles=handles, ncols=len(handles), handlelength=1.6, loc="outside lower center")


def _told(
    rows: list[dict[str, Any]], x: Across, y: Across, metric: Shown, best: dict[str, Any] | None, title: str
) -> str:
    """The picture in words."""
    finite = [row["value"] for row in rows if math.isfinite(row["value"])]
    between = f" from {figure(min(finite), metric.unit)} to {figure(max(finite), metric.unit)}" if finite else ""
    fails = sum(row["verdict"] == "FAIL" for row in rows)
    failing = f"; {fails} of {len(rows)} fail an SLO" if fails else ""
    chosen = ""
    if best is not None:
        where = [f"{one.label} {one.labels.get(best[one.column], best[one.column])}" for one in (x, y)]
        chosen = f"; best at {' and '.join(where)}, {figure(best['value'], metric.unit)}"
    return f"{title}: {metric.label} over {x.label} and {y.label},{between}{failing}{chosen}."
