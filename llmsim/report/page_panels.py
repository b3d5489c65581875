"""Where the time of answers went, what a cache and fallbacks did, and the bill as a waterfall: drawings of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmsim.report.colours import COST_STYLE, PART_STYLE
from llmsim.report.figures import share, usd
from llmsim.report.page_svg import Drawing, fill_of
from llmsim.report.page_timeline import LEFT, RIGHT, WIDTH, shade, steps_of
from llmsim.report.plots.bins import PART_LABELS, Floats, column_of, told_windows
from llmsim.report.telemetry import PARTS
from llmsim.telemetry.costs import COST_PARTS, SIDE_PARTS
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["cost", "elsewhere", "latency"]

_LABELS, _BARS_END = 190.0, 780.0  # px: of a waterfall, where bars may stand
_ROW = 24.0
#: What explains the parts, each as a multiple of its own median.
_REASONS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("output_tokens_p50", "tokens an answer", lambda value: f"{value:,.0f}"),
    ("tpot_p50_s", "time a token", format_duration),
    ("input_tokens_p50", "tokens a prompt", lambda value: f"{value:,.0f}"),
)


def latency(result: Result) -> str:
    """What callers of streamed answers waited for, part by part, and what explains it; empty: nothing was streamed."""
    table, edges = told_windows(result)
    parts = {part: column_of(table, f"{part}_mean_s", edges) for part in PARTS}
    if all(np.isnan(values).all() for values in parts.values()):
        return ""
    end_s, top, bottom = float(edges[-1]), 28.0, 198.0
    means = ", ".join(
        f"{PART_LABELS[part]} {format_duration(float(np.nanmean(values)))}"
        for part, values in parts.items()
        if not np.isnan(values).all()
    )
    drawing = Drawing("latency", WIDTH, 378, "Where the time of streamed answers went", f"Mean of all: {means}.")
    shade(drawing, result, end_s, top, bottom)
    shade(drawing, result, end_s, 246, 336)
    drawing.text(0, top - 12, "Mean time of a streamed answer, part by part", look="head")
    highest = max(1e-9, float(np.nansum([np.nan_to_num(one) for one in parts.values()], axis=0).max())) * 1.05
    drawing.levels(LEFT, RIGHT, top, bottom, highest, format_duration)
    below = np.zeros(len(edges) - 1)
    for place, (part, values) in enumerate(parts.items()):
        lower = steps_of(edges, bottom - (bottom - top) * below / highest, end_s)
        below = below + np.nan_to_num(values)
        upper = steps_of(edges, bottom - (bottom - top) * below / highest, end_s)
        drawing.path([*lower, *reversed(upper)], fill=fill_of(PART_STYLE[part]), closed=True)
        drawing.key(RIGHT + 16, top + 10 + 17.0 * (len(parts) - 1 - place), PART_STYLE[part], PART_LABELS[part])
    drawing.text(0, 230, "What explains it: medians, as multiples of their usual value", look="head")
    _lines(drawing, [(label, column_of(table, name, edges), shown) for name, label, shown in _REASONS], edges)
    _axis(drawing, 336, end_s)
    return drawing.svg()


def _lines(drawing: Drawing, series: Sequence[tuple[str, Floats, Callable[[float], str]]], edges: Floats) -> None:
    known = [(label, values, shown) for label, values, shown in series if not np.isnan(values).all()]
    usual = [float(np.nanmedian(values)) or 1.0 for _, values, _ in known]
    highest = max([1.5, *(float(np.nanmax(one[1])) / of * 1.08 for one, of in zip(known, usual, strict=True))])
    drawing.levels(LEFT, RIGHT, 246, 336, highest, lambda value: f"{value:g}x")
    for number, ((label, values, shown), of) in enumerate(zip(known, usual, strict=True)):
        drawing.path(steps_of(edges, 336 - 90 * values / of / highest, float(edges[-1])), look=f"line{number}")
        y = 258 + 17.0 * number
        drawing.line(RIGHT + 16, y - 4, RIGHT + 40, y - 4, f"line{number}")
        drawing.text(RIGHT + 46, y, f"{label}, 1x = {shown(of)}", look="small")


def elsewhere(result: Result) -> str:
    """Share of requests answered from the cache, and elsewhere than at their first choice."""
    table, edges = told_windows(result)
    hits, other = column_of(table, "cache_hit_rate", edges), column_of(table, "fallback_rate", edges)
    told = [
        f"{label} up to {share(float(np.nanmax(values)))}"
        for label, values in (("From the cache", hits), ("elsewhere", other))
        if not np.isnan(values).all()
    ]
    end_s, top, bottom = float(edges[-1]), 28.0, 138.0
    drawing = Drawing("cache", WIDTH, 180, "Answers from the cache and from fallbacks", f"{', '.join(told)}.")
    shade(drawing, result, end_s, top, bottom)
    drawing.text(0, top - 12, "Share of answers from the cache, and from other than the first choice", look="head")
    drawing.levels(LEFT, RIGHT, top, bottom, 1.0, share)
    for number, (values, label) in enumerate(
        ((hits, "cache hits / requests"), (other, "elsewhere / sent to a provider"))
    ):
        drawing.path(steps_of(edges, bottom - (bottom - top) * values, end_s), look=f"line{number}")
        drawing.line(RIGHT + 16, top + 6 + 17 * number, RIGHT + 40, top + 6 + 17 * number, f"line{number}")
        drawing.text(RIGHT + 46, top + 10 + 17 * number, label, look="small")
    _axis(drawing, bottom, end_s)
    return drawing.svg()


def _axis(drawing: Drawing, bottom: float, end_s: float) -> None:
    drawing.time_axis(LEFT, RIGHT, bottom, end_s, above=bottom)
    middle = (LEFT + RIGHT) / 2
    drawing.text(middle, bottom + 36, "time since the end of warm-up, by arrival (m:ss)", anchor="middle", look="small")


def cost(result: Result) -> str:
    """What was paid for what, mean of the replications, from useful tokens to the total; empty: nothing was paid."""
    costs = result.metrics["cost_usd"]
    total, saved = costs["total"], result.bill.saved_usd
    bars = [(name, costs[name]) for name in COST_PARTS if name == "useful" or costs[name]]
    if not any(value for _, value in bars):
        return ""
    told = ", ".join(f"{name.replace('_', ' ')} {usd(value)}" for name, value in bars)
    beside = f" Answers from the cache saved {usd(saved)}." if saved > 0 else ""
    rows = len(bars) + 1 + (saved > 0)
    drawing = Drawing("cost", WIDTH, 12 + _ROW * rows, "Cost of a replication", f"{told}; total {usd(total)}.{beside}")
    ends = np.cumsum([0.0, *(value for _, value in bars)])
    low, high = min(0.0, float(ends.min())), max(float(ends.max()), total + saved)

    def place(value: float) -> float:
        return _LABELS + (_BARS_END - _LABELS) * (value - low) / ((high - low) or 1.0)

    for row, (name, value) in enumerate(bars):
        y, start = 6 + _ROW * row, float(ends[row])
        left, right = sorted((place(start), place(start + value)))
        drawing.text(_LABELS - 10, y + 15, name.replace("_", " "), anchor="end")
        drawing.rect(left, y + 2, max(right - left, 1.0), _ROW - 6, fill=fill_of(_style_of(name, value)))
        drawing.line(place(start + value), y + _ROW - 4, place(start + value), y + _ROW + 2, "link")
        drawing.text(right + 8, y + 15, f"{usd(value)} {_part(value, total)}{_kinds(result, name)}")
    y = 6 + _ROW * len(bars)
    drawing.text(_LABELS - 10, y + 15, "total", anchor="end", look="head")
    drawing.rect(place(0), y + 2, place(total) - place(0), _ROW - 6, look="total")
    drawing.text(place(total) + 8, y + 15, usd(total), look="head")
    if saved > 0:  # what there was not to pay: an outline, beyond the total
        drawing.text(_LABELS - 10, y + _ROW + 15, "saved by the cache", anchor="end")
        drawing.rect(place(total), y + _ROW + 2, place(total + saved) - place(total), _ROW - 6, look="saved")
        drawing.text(place(total + saved) + 8, y + _ROW + 15, f"{usd(saved)}, not paid")
    return drawing.svg()


def _style_of(name: str, value: float) -> tuple[str, str]:
    if name == "useful":
        return COST_STYLE["useful"]
    if name in SIDE_PARTS:
        return COST_STYLE["beside"]
    return COST_STYLE["cheaper" if value < 0 else "wasted"]


def _part(value: float, total: float) -> str:
    if not total:
        return ""
    portion = value / total
    return f"({share(portion) if portion >= 0 else f'−{share(-portion)}'})"


def _kinds(result: Result, name: str) -> str:
    """Of useful work, what of it was for which kind of token."""
    if name != "useful":
        return ""
    kinds = [(item.what, item.usd) for item in result.bill.items if item.part == "useful" and item.usd > 0]
    return f": {', '.join(f'{what} {usd(value)}' for what, value in kinds)}" if len(kinds) > 1 else ""
