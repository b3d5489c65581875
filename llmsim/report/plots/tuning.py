"""A search for settings: what each trial came to, what no other beats, and what each parameter does around the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from llmsim.report.figures import figure
from llmsim.report.plots.canvas import INK, MUTED, Picture, bare, style
from llmsim.report.plots.multiples import LOG_FROM, y_axis
from llmsim.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.varied import Shown

__all__ = ["front", "sensitivity", "trials"]

#: Colour and marker of a trial by what became of it; shapes tell them apart without colour (Paul Tol's "bright").
_FATES = {
    "holds": ("#4477aa", "o", "run to its end, limits hold"),
    "stopped": ("#66ccee", ".", "stopped early: no better"),
    "open": ("#ccbb44", "s", "run to its end, limits undecided"),
    "breaks": ("#ee6677", "x", "breaks a limit"),
}
_BEST, _NOW = "#228833", "#8a5a00"
_LONGEST = 44  # characters of a row's name
_WIDE, _TALL = 56, 30  # characters along an axis: the name of a sum can be long


def trials(table: pl.DataFrame, goal: Shown, *, now: float, low_is_good: bool = True, title: str = "") -> Picture:
    """The objective by trial, and the best so far.

    Parameters
    ----------
    table
        A row for each trial, in order: ``trial``, ``value``, ``fate`` (holds, stopped, open, breaks), and ``best``: the
        best so far, NaN before there is one.
    goal
        What is sought; only its name and unit are used.
    now
        Its value with the settings as they are, on the same luck.
    low_is_good
        Whether small is good.
    title
        Of the picture.
    """
    values = table["value"].to_numpy()
    with style():
        picture = bare(6.6, 3.2)
        panel = picture.subplots()
        # Told by those that count: one breakdown at a hundred times the cost would press all others to the ground.
        told = np.array([*values[np.isfinite(values)], now] if math.isfinite(now) else values[np.isfinite(values)])
        low, top = (float(told.min()), float(told.max())) if len(told) else (0.0, 1.0)
        log = low > 0 and top / low > LOG_FROM
        beyond = (
            (top * (top / low) ** 0.2 if log else top + 0.22 * ((top - low) or abs(top) or 1.0)) if len(told) else 1.0
        )
        never = bool(np.isposinf(values).any())
        for fate, (colour, marker, label) in _FATES.items():
            part = table.filter((pl.col("fate") == fate) & (pl.col("value") > -math.inf))
            if part.height:
                panel.plot(part["trial"].to_numpy(), np.minimum(part["value"].to_numpy(), beyond), linestyle="",
                           marker=marker, markersize=5, color=colour, label=label)  # fmt: skip
        best = table.filter(pl.col("best").is_finite())
        if best.height:
            x = [*best["trial"].to_list(), table["trial"].max()]
            y = [*best["best"].to_list(), best["best"][-1]]
            panel.step(x, y, where="post", color=_BEST, linewidth=1.6, label="best so far")
        if math.isfinite(now):
            panel.axhline(now, color=_NOW, linewidth=1.2, linestyle=(0, (4, 2)), label="as it is")
        y_axis(panel, goal, low, top, beyond if never else None, log=log)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        panel.set_xlim(0.5, max(1.5, table.height + 0.5))
        panel.set_xlabel("trial")
        panel.set_ylabel(fill(goal.label, _TALL))
        handles, labels = panel.get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside lower left", ncols=3, columnspacing=1.2)
        picture.suptitle(title, x=0.01, ha="left", fontsize=10)
    picture.alt = _told(table, goal, now, low_is_good, title)
    return picture


def _told(table: pl.DataFrame, goal: Shown, now: float, low_is_good: bool, title: str) -> str:  # noqa: FBT001
    best = table.filter(pl.col("best").is_finite())["best"]
    found = f"the best is {figure(best[-1], goal.unit)}" if len(best) else "none of them holds its limits"
    broken = table.filter(pl.col("fate") == "breaks").height
    way = "down" if low_is_good else "up"
    return (
        f"{title}: {goal.label} over {counted(table.height, 'trial')}, {way} from {figure(now, goal.unit)} as it is; "
        f"{found}; {broken} {'breaks' if broken == 1 else 'break'} a limit."
    )


def front(table: pl.DataFrame, cloud: pl.DataFrame, x: Shown, y: Shown, *, title: str = "") -> Picture:
    """Two objectives of settings that no other beats, on held-out luck.

    Parameters
    ----------
    table
        A row for each setting: ``name``, ``kind`` (now, best, front), ``verdict`` of its limits, the columns of `x` and
        `y` on held-out luck with ``…_low`` and ``…_high``, and ``…_tuning``: on the luck it was chosen on.
    cloud
        Of all trials, the columns of `x` and `y`.
    x, y
        The objectives.
    title
        Of the picture.
    """
    with style():
        picture = bare(6.2, 4.1)
        panel = picture.subplots()
        rows = table.filter(pl.col(x.column).is_finite() & pl.col(y.column).is_finite()).rows(named=True)
        for row in rows:
            _chosen(panel, row, x, y)
        _window(panel, rows, x, y)
        seen = cloud.filter(pl.col(x.column).is_finite() & pl.col(y.column).is_finite())
        inside = _inside(panel, seen[x.column].to_numpy(), seen[y.column].to_numpy())
        panel.plot(seen[x.column].to_numpy()[inside], seen[y.column].to_numpy()[inside], linestyle="", marker=".",
                   markersize=4, color=MUTED, alpha=0.6, zorder=0)  # fmt: skip
        for axis, one in ((panel.xaxis, x), (panel.yaxis, y)):
            axis.set_major_formatter(FuncFormatter(lambda value, _, unit=one.unit: figure(value, unit)))
            axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))  # fewer digits than 2.5 takes
        panel.set_xlabel(fill(f"{x.label} ({'less' if x.low_is_good else 'more'} is better)", _WIDE))
        panel.set_ylabel(fill(f"{y.label} ({'less' if y.low_is_good else 'more'} is better)", _TALL))
        panel.grid(color=MUTED, alpha=0.25, linewidth=0.6)
        picture.legend(handles=_front_key(panel, rows, hidden=len(seen) - int(inside.sum())), loc="outside lower left",
                       ncols=2)  # fmt: skip
        picture.suptitle(title, x=0.01, ha="left", fontsize=10)
    told = [f"{row['name']}: {figure(row[x.column], x.unit)}, {figure(row[y.column], y.unit)}" for row in rows]
    picture.alt = f"{title}: {x.label} and {y.label} on held-out luck: {'; '.join(told)}."
    return picture


_KINDS = {"now": (_NOW, "D", 6), "best": (_BEST, "*", 11), "front": ("#4477aa", "o", 6)}


def _chosen(panel: Axes, row: dict[str, Any], x: Shown, y: Shown) -> None:
    """A setting with its intervals, and a thread to where it was on the luck it was chosen on."""
    colour, marker, size = _KINDS[row["kind"]]
    at = (row[x.column], row[y.column])
    was = (row[f"{x.column}_tuning"], row[f"{y.column}_tuning"])
    face = "none" if row["verdict"] == "FAIL" else colour
    if all(map(math.isfinite, was)):
        panel.plot(*zip(was, at, strict=True), color=colour, linewidth=0.7, alpha=0.7, zorder=1)
        panel.plot(*was, marker="+", markersize=5, color=colour, linestyle="", zorder=1)
    for one, other, draw in ((x, y, panel.hlines), (y, x, panel.vlines)):
        low, high = row[f"{one.column}_low"], row[f"{one.column}_high"]
        if low is not None and math.isfinite(low) and math.isfinite(high):
            draw(row[other.column], low, high, color=colour, linewidth=1.0, zorder=2)
    panel.plot(*at, marker=marker, markersize=size, color=colour, markerfacecolor=face, linestyle="", zorder=3)


def _window(panel: Axes, rows: Sequence[dict[str, Any]], x: Shown, y: Shown) -> None:
    """Around what was held out: trials may lie anywhere."""
    for one, limits in ((x, panel.set_xlim), (y, panel.set_ylim)):
        ends = [row[f"{one.column}{end}"] for row in rows for end in ("", "_low", "_high", "_tuning")]
        told = [end for end in ends if end is not None and math.isfinite(end)]
        if told:
            reach = (max(told) - min(told)) or abs(told[0]) or 1.0
            left = min(told) - 0.12 * reach
            if all(row[one.column] >= 0 for row in rows):  # an interval may reach below 0, the number cannot
                left = max(left, -0.04 * reach)
            limits(left, max(told) + 0.12 * reach)


def _inside(panel: Axes, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    found: np.ndarray[Any, Any] = (x >= left) & (x <= right) & (y >= low) & (y <= high)
    return found


def _front_key(panel: Axes, rows: Sequence[dict[str, Any]], *, hidden: int) -> list[Any]:
    words = {"now": "as it is", "best": "recommended", "front": "others of the front"}
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    keys = [panel.plot([], [], marker=_KINDS[kind][1], color=_KINDS[kind][0], linestyle="", label=words[kind])[0]
            for kind in kinds]  # fmt: skip
    if any(row["verdict"] == "FAIL" for row in rows):
        keys += panel.plot(
            [], [], marker="o", markerfacecolor="none", color=INK, linestyle="", label="hollow: breaks a limit"
        )
    keys += panel.plot([], [], color=INK, linewidth=1.0, label="95 % of the paired difference")
    keys += panel.plot([], [], marker="+", color=INK, linewidth=0.7, label="on the luck it was chosen on")
    more = f" ({hidden} lie outside)" if hidden else ""
    keys += panel.plot([], [], marker=".", color=MUTED, linestyle="", label=f"trials{more}")
    return keys


def sensitivity(table: pl.DataFrame, goal: Shown, *, base: str = "the tuned value", title: str = "") -> Picture:
    """What each parameter alone does around the tuned settings, or around those as they are.

    Parameters
    ----------
    table
        A row for each neighbour: ``path``, ``value``, ``tuned`` (as texts), ``change``, ``low`` and ``high`` (of the
        objective, as shares of what it is), and ``breaks``: limits that this value breaks, empty: none.
    goal
        The objective.
    base
        What all are compared with.
    title
        Of the picture.
    """
    rows = table.rows(named=True)
    with style():
        picture = bare(6.6, 1.4 + 0.3 * len(rows))
        panel = picture.subplots()
        ends = [0.0, *(row[end] for row in rows for end in ("change", "low", "high") if _finite(row[end]))]
        reach = (max(ends) - min(ends)) or 0.01
        left, right = min(ends) - 0.08 * reach, max(ends) + 0.08 * reach
        for number, row in enumerate(rows):
            _neighbour(panel, number, row, (left, right), goal)
        panel.axvline(0, color=INK, linewidth=0.8)
        panel.set_xlim(left, right)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.yaxis.set_major_locator(FixedLocator(list(range(len(rows)))))
        panel.set_yticklabels([_row_name(row) for row in rows])
        panel.tick_params(axis="y", length=0)
        panel.xaxis.set_major_locator(MaxNLocator(6))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+,.4g} %" if value else "0"))
        panel.grid(axis="x", color=MUTED, alpha=0.25, linewidth=0.6)
        told = f"{goal.label} against {base} ({'less' if goal.low_is_good else 'more'} is better)"
        panel.set_xlabel(f"{fill(told, _WIDE)}\npaired, with 95 % intervals")
        keys = [panel.plot([], [], marker=marker, color=colour, linestyle="", label=label)[0]
                for (colour, marker), label in _EFFECTS.values()]  # fmt: skip
        picture.legend(handles=keys, loc="outside lower left", ncols=4, columnspacing=1.2)
        picture.suptitle(title, x=0.01, ha="left", fontsize=10)
    parts = [_change_told(row) for row in rows]
    picture.alt = f"{title}: {goal.label} with one parameter changed: {'; '.join(parts)}."
    return picture


_EFFECTS = {
    "worse": (("#cc3311", "v"), "worse"),
    "better": (("#228833", "^"), "better"),
    "same": ((INK, "o"), "cannot be told apart"),
    "breaks": (("#aa3377", "X"), "breaks a limit"),
}


def _neighbour(panel: Axes, number: int, row: dict[str, Any], ends: tuple[float, float], goal: Shown) -> None:
    low, high = row["low"], row["high"]
    sure = _finite(low) and _finite(high) and (low > 0 or high < 0)
    worse = (row["change"] > 0) == bool(goal.low_is_good)
    (colour, marker), _ = _EFFECTS[
        "breaks" if row["breaks"] else "same" if not sure else "worse" if worse else "better"
    ]
    if _finite(low) and _finite(high):
        panel.hlines(number, low, high, color=colour, linewidth=1.4)
    at = min(max(row["change"], ends[0]), ends[1])
    panel.plot(at, number, marker=marker, color=colour, linestyle="", markersize=6, clip_on=False)
    if not math.isfinite(row["change"]):
        panel.annotate("never ", (at, number), ha="right", va="center", color=colour, fontsize=8)


def _row_name(row: dict[str, Any]) -> str:
    # Which scope it is in is the least that one needs to read.
    name = row["path"].partition(".")[2] or row["path"]
    return shorten(f"{name} {row['value']} (not {row['tuned']})", _LONGEST, placeholder=" …")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _change_told(row: dict[str, Any]) -> str:
    change = f"{100 * row['change']:+.3g} %" if math.isfinite(row["change"]) else "never"
    return f"{_row_name(row)} {change}{' and breaks ' + row['breaks'] if row['breaks'] else ''}"
