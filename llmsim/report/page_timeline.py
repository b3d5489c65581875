"""The run over time, for the page: faults, load and outcomes, time to first token, attempts per request on one axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llmsim.providers.ramps import outline
from llmsim.report.colours import CLASS_STYLE
from llmsim.report.figures import clock, figure, share, span
from llmsim.report.page_svg import Drawing, fill_of
from llmsim.report.plots.bins import Bins, Floats, Latencies, latencies, outcome_bins, stairs
from llmsim.telemetry.outcomes import CLASSES
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["LEFT", "RIGHT", "WIDTH", "shade", "steps_of", "timeline"]

WIDTH, LEFT, RIGHT = 1120.0, 76.0, 850.0  #: of a drawing over time: the panels between left and right
_THIN = 100  # requests in a bin below which its percentiles are drawn as hearsay
_GOOD = ("cache_hits", "semantic_hits", "answered")


def timeline(result: Result) -> str:
    """The drawing."""
    bins, told = outcome_bins(result), latencies(result)
    end_s = float(bins.edges_s[-1])
    rows = _fault_rows(result, end_s)
    load_top = 8.0 + (18 + 22.0 * len({row for *_, row in rows}) if rows else 0.0)
    ttft_top, tries_top = load_top + 240, load_top + 458
    bottom = tries_top + 106
    drawing = Drawing("timeline", WIDTH, bottom + 42, f"{result.scenario.name} over time", _words(result, bins, told))
    for top, until in ((load_top + 26, load_top + 216), (ttft_top + 26, ttft_top + 194), (tries_top + 26, bottom)):
        shade(drawing, result, end_s, top, until)
    _draw_faults(drawing, rows, end_s)
    _draw_load(drawing, bins, load_top + 26, load_top + 216, end_s)
    _draw_ttft(drawing, told, _bounds(result), ttft_top + 26, ttft_top + 194, end_s)
    _draw_tries(drawing, bins, tries_top + 26, bottom, end_s)
    drawing.time_axis(LEFT, RIGHT, bottom, end_s, above=bottom)
    middle = (LEFT + RIGHT) / 2
    drawing.text(middle, bottom + 36, "time since the end of warm-up, by arrival (m:ss)", anchor="middle", look="small")
    return drawing.svg()


def steps_of(edges_s: Floats, heights: Floats, end_s: float) -> list[tuple[float, float]]:
    """A staircase of heights in px over the panels' width."""
    x, y = stairs(edges_s, heights)
    return list(zip((LEFT + (RIGHT - LEFT) * x / end_s).tolist(), y.tolist(), strict=True))


def shade(drawing: Drawing, result: Result, end_s: float, top: float, bottom: float) -> None:
    """The time of every fault, behind the data; as high as its strength where it grows and fades."""
    for fault in result.scenario.faults:
        if fault.at >= end_s:
            continue
        corners = [(LEFT + (RIGHT - LEFT) * at_s / end_s, strength) for at_s, strength in outline(fault, 0.0, end_s)]
        left, right = corners[0][0], corners[-1][0]
        if not fault.ramp_up and not fault.ramp_down:
            drawing.rect(left, top, right - left, bottom - top, look="shade")
            continue
        edge = [(x, bottom - (bottom - top) * strength) for x, strength in corners]
        drawing.path([(left, bottom), *edge, (right, bottom)], look="shade", closed=True)


def _fault_rows(result: Result, end_s: float) -> list[tuple[float, float, str, float, int]]:
    """Of every fault its bar in px, its words, where they begin, and its row: as few rows as they fit in."""
    free: list[float] = []
    found = []
    for fault in sorted(result.scenario.faults, key=lambda one: one.at):
        if fault.at >= end_s:
            continue
        start, end = (LEFT + (RIGHT - LEFT) * at / end_s for at in (max(0.0, fault.at), min(end_s, fault.end_s)))
        begins, ends, ramps = span(fault)
        text = f"{fault.name} ({fault.target}: {', '.join(fault.effects)}) {begins}–{ends}{ramps}"
        at = max(LEFT, min(start, WIDTH - Drawing.width_of(text)))
        row = next((number for number, place in enumerate(free) if place <= min(start, at)), len(free))
        free[row : row + 1] = [max(end, at + Drawing.width_of(text)) + 12]
        found.append((start, end, text, at, row))
    return found


def _draw_faults(drawing: Drawing, rows: list[tuple[float, float, str, float, int]], end_s: float) -> None:
    if rows:
        drawing.text(0, 18, "Faults", look="head")
    for start, end, text, at, row in rows:
        drawing.text(at, 18 + 22.0 * row, text)
        drawing.rect(start, 22 + 22.0 * row, end - start, 5, look="fault", hint=text)


def _draw_load(drawing: Drawing, bins: Bins, top: float, bottom: float, end_s: float) -> None:
    drawing.text(0, top - 11, "Requests per second, by what became of them", look="head")
    highest = max(1e-9, float(bins.offered.max(initial=0.0))) * 1.05
    drawing.levels(LEFT, RIGHT, top, bottom, highest, lambda value: f"{value:g}")
    total = float((bins.offered * np.diff(bins.edges_s)).sum()) or 1.0
    below = np.zeros(len(bins.offered))
    keys = []
    for one in CLASSES:
        height = bins.classes.get(one.name)
        if height is None:
            continue
        lower = steps_of(bins.edges_s, bottom - (bottom - top) * below / highest, end_s)
        below = below + height
        upper = steps_of(bins.edges_s, bottom - (bottom - top) * below / highest, end_s)
        drawing.path([*lower, *reversed(upper)], fill=fill_of(CLASS_STYLE[one.name]), closed=True)
        keys.append((one, f"{one.label} {share(float((height * np.diff(bins.edges_s)).sum()) / total)}"))
    drawing.path(steps_of(bins.edges_s, bottom - (bottom - top) * bins.offered / highest, end_s), look="load")
    y = top + 10
    drawing.line(RIGHT + 16, y - 4, RIGHT + 30, y - 4, "load")
    drawing.text(RIGHT + 36, y, "offered", look="small")
    for one, label in reversed(keys):  # in the order of the stack
        y += 17
        drawing.key(RIGHT + 16, y, CLASS_STYLE[one.name], label)


class _LogAxis:
    """Heights on a logarithmic axis whose floor is "that or less" and whose top is "never"."""

    def __init__(self, told: Latencies, bounds: list[tuple[str, float]], top: float, bottom: float) -> None:
        values = np.concatenate(list(told.percentiles.values()))
        finite = values[np.isfinite(values)]
        reach = [*finite[finite > 0].tolist(), *(bound for _, bound in bounds)] or [1.0]
        self.floor = 10.0 ** math.floor(math.log10(max(1e-3, min(reach) * 0.99)))
        self.highest = max(max(reach) * 1.25, self.floor * 3)
        self.never = bool(np.isinf(values).any())
        self.clipped = bool((finite < self.floor).any())
        self._top, self._bottom = top + (22 if self.never else 0), bottom
        self._at_never = top + 6

    def heights(self, values: Floats) -> Floats:
        """In px; NaN stays NaN."""
        limited = np.clip(values, self.floor, self.highest)
        part = np.log(limited / self.floor) / math.log(self.highest / self.floor)
        known: Floats = np.where(np.isinf(values), self._at_never, self._bottom - (self._bottom - self._top) * part)
        return known

    def at(self, value: float) -> float:
        """Of one value."""
        return float(self.heights(np.array([value]))[0])

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and words, from the floor up."""
        first = format_duration(self.floor)
        found = [(self._bottom, f"≤ {first}" if self.clipped else first)]
        powers = range(round(math.log10(self.floor)), math.ceil(math.log10(self.highest)) + 1)
        values = [10.0**power * times for power in powers for times in (1, 3)]
        within = [value for value in values if self.floor * 1.5 < value < self.highest]
        found += [(self.at(value), format_duration(value)) for value in within]
        return [*found, (self._at_never, "never")] if self.never else found


def _draw_ttft(
    drawing: Drawing, told: Latencies, bounds: list[tuple[str, float]], top: float, bottom: float, end_s: float
) -> None:
    drawing.text(0, top - 11, "Time to first token, of all requests", look="head")
    axis = _LogAxis(told, bounds, top, bottom)
    for y, label in axis.ticks():
        drawing.line(LEFT, y, RIGHT, y, "grid")
        drawing.text(LEFT - 8, y + 4, label, anchor="end", look="small")
    percents = sorted(told.percentiles)
    heights = {percent: axis.heights(told.percentiles[percent]) for percent in percents}
    known = ~np.isnan(heights[percents[0]])
    thin = known & (told.requests < _THIN)
    for mask, looks in ((known & ~thin, ("band", "wide", "median")), (thin, ("thinband", "thinband", "thin"))):
        for low, high, look in zip(percents, percents[1:], looks, strict=False):
            _draw_band(drawing, told.edges_s, np.where(mask, heights[low], math.nan), heights[high], look, end_s)
        median = np.where(mask, heights[percents[0]], math.nan)
        drawing.path(steps_of(told.edges_s, median, end_s), look=looks[-1])
    _draw_ttft_key(drawing, top, thin=bool(thin.any()))
    last = math.inf
    for label, bound in sorted(bounds, key=lambda one: one[1]):
        drawing.line(LEFT, axis.at(bound), RIGHT, axis.at(bound), "bound")
        last = min(axis.at(bound) + 4, last - 14)  # lower bounds first, words above each other
        drawing.text(RIGHT + 6, last, f"SLO {label}", look="small")


def _draw_band(drawing: Drawing, edges_s: Floats, low: Floats, high: Floats, look: str, end_s: float) -> None:
    """The area between two percentiles, in as many pieces as there are stretches where both are known."""
    known = ~(np.isnan(low) | np.isnan(high))
    changes = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    for first, after in zip(changes[::2], changes[1::2], strict=True):
        edges = edges_s[first : after + 1]
        upper, lower = (steps_of(edges, one[first:after], end_s) for one in (high, low))
        drawing.path([*upper, *reversed(lower)], look=look, closed=True)


def _draw_ttft_key(drawing: Drawing, top: float, *, thin: bool) -> None:
    x, y = LEFT + 240, top - 11
    for kind, look, label in (("line", "median", "p50"), ("box", "band", "p50 to p90"), ("box", "wide", "p90 to p99")):
        if kind == "line":
            drawing.line(x, y - 4, x + 16, y - 4, look)
        else:
            drawing.rect(x, y - 9, 16, 10, look=look)
        drawing.text(x + 22, y, label, look="small")
        x += 22 + Drawing.width_of(label) + 14
    if thin:
        drawing.line(x, y - 4, x + 16, y - 4, "thin")
        drawing.text(x + 22, y, f"grey, dashed: from fewer than {_THIN} requests", look="small")


def _draw_tries(drawing: Drawing, bins: Bins, top: float, bottom: float, end_s: float) -> None:
    drawing.text(0, top - 11, "Retry amplification: attempts per request sent to a provider", look="head")
    known = bins.amplification[~np.isnan(bins.amplification)]
    highest = max(2.0, float(known.max(initial=1.0)) * 1.08)
    step = next((one for one in (0.5, 1, 2, 5, 10, 20, 50) if (highest - 1) / one <= 4), 100)
    for number in range(math.floor((highest - 1) / step + 1e-9) + 1):
        y = bottom - (bottom - top) * (number * step) / (highest - 1)
        drawing.line(LEFT, y, RIGHT, y, "grid")
        drawing.text(LEFT - 8, y + 4, f"{1 + number * step:g}x", anchor="end", look="small")
    heights = bottom - (bottom - top) * (bins.amplification - 1) / (highest - 1)
    drawing.path(steps_of(bins.edges_s, heights, end_s), look="tries")
    drawing.text(RIGHT + 6, bottom + 4, "1x: nothing tried twice", look="small")


def _bounds(result: Result) -> list[tuple[str, float]]:
    """Upper bounds on TTFT percentiles of all requests over the whole time."""
    return [
        (
            f"p{line.objective.percentile:g} {line.objective.comparison} {format_duration(line.objective.bound)}",
            line.objective.bound,
        )
        for line in result.slo
        if line.objective.metric == "ttft"
        and not line.objective.tags
        and line.objective.phase is None
        and line.objective.burn is None
        and line.objective.percentile is not None
        and line.objective.comparison in ("<", "<=")
        and line.objective.bound > 0
    ]


def _words(result: Result, bins: Bins, told: Latencies) -> str:
    """What the drawing shows, for those who do not see it."""
    if not bins.offered.any():
        return "No requests."
    peak = int(bins.offered.argmax())
    good = sum((bins.classes.get(name, 0.0) for name in _GOOD), np.zeros(len(bins.offered)))
    bad = 1 - np.divide(good, bins.offered, out=np.ones(len(bins.offered)), where=bins.offered > 0)
    worst = int(bad.argmax())
    load = f"Offered load up to {figure(float(bins.offered[peak]), 'per_s')} at {clock(float(bins.edges_s[peak]))}."
    failures = f"Failures up to {share(float(bad[worst]))} at {clock(float(bins.edges_s[worst]))}."
    slow = ", ".join(
        f"p{percent} up to {format_duration(float(np.nanmax(values)))}"
        for percent, values in told.percentiles.items()
        if not np.isnan(values).all()
    )
    faults = ", ".join(
        f"{fault.name} from {begins} to {ends}{ramps}"
        for fault in result.scenario.faults
        for begins, ends, ramps in [span(fault)]
    )
    known = bins.amplification[~np.isnan(bins.amplification)]
    return " ".join(
        [
            load,
            failures if bad[worst] > 0 else "No failures.",
            f"Time to first token: {slow}." if slow else "Too few requests for percentiles.",
            f"Up to {known.max():.3g} attempts per request." if len(known) else "Nothing was sent to a provider.",
            f"Faults: {faults}." if faults else "No faults.",
        ]
    )
