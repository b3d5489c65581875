"""The picture of an explorer: two panels that are drawn quickly, and the run before as a dashed line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsim.report.figures import figure
from llmsim.report.plots.bins import Bins, Latencies, latencies, outcome_bins, stairs
from llmsim.report.plots.canvas import INK, Picture, bare, style, time_axis
from llmsim.report.plots.panels import draw_outcomes, draw_ttft, shade_faults
from llmsim.report.plots.timeline import ttft_bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["DPI", "SIZE", "explored"]

SIZE = (8.4, 4.4)  #: inches
DPI = 90

_GOOD = ("cache_hits", "semantic_hits", "answered")
_BINS = 120  # of the outcomes: half of what a timeline has, in half of its width
_DASHES = (0, (3, 2))


def explored(now: Result, before: Result | None = None) -> Picture:
    """Outcomes under the offered load, and time to first token.

    Parameters
    ----------
    now
        The run that is shown.
    before
        The one before it; its answers per second, and its p90, are dashed.
    """
    bins, told = outcome_bins(now, _BINS), latencies(now)
    end_s = float(bins.edges_s[-1])
    with style():
        picture = bare(*SIZE)
        load, first = picture.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (5, 4)})
        draw_outcomes(load, bins)
        draw_ttft(first, told, ttft_bounds(now))
        if before is not None:
            _ghost_of_load(load, outcome_bins(before, _BINS))
            _ghost_of_ttft(first, latencies(before))
        for panel in (load, first):
            shade_faults(panel, now, end_s)
        time_axis(first, end_s)
        first.set_xlabel("time since the end of warm-up, by arrival")
        picture.align_ylabels([load, first])
    picture.alt = _alt(now, bins, before)
    return picture


def _good(bins: Bins) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return sum((bins.classes[name] for name in _GOOD if name in bins.classes), np.zeros(len(bins.offered)))


def _ghost_of_load(ax: Axes, before: Bins) -> None:
    x, answered = stairs(before.edges_s, _good(before))
    ax.plot(x, answered, color=INK, linewidth=1.3, linestyle=_DASHES)
    top = max(ax.get_ylim()[1], float(answered.max(initial=0.0)) * 1.08)
    ax.set_ylim(0, top)
    where = int(answered.argmax())
    ax.annotate("answered before", (x[where], answered[where]), xytext=(0, 2), textcoords="offset points", fontsize=8,
                ha="left" if x[where] < x[-1] * 0.7 else "right", va="bottom", color=INK)  # fmt: skip


def _ghost_of_ttft(ax: Axes, before: Latencies) -> None:
    low, high = ax.get_ylim()
    values = np.repeat(np.clip(before.percentiles[90], low, high / 1.15), 2)  # what never came lies on "never"
    x = np.repeat(before.edges_s, 2)[1:-1]
    ax.plot(x, values, color=INK, linewidth=1.3, linestyle=_DASHES)
    known = np.flatnonzero(~np.isnan(values))
    if known.size:
        last = int(known[-1])
        ax.annotate("p90 before", (x[last], values[last]), xytext=(-2, 2), textcoords="offset points", fontsize=8,
                    ha="right", va="bottom", color=INK)  # fmt: skip


def _alt(now: Result, bins: Bins, before: Result | None) -> str:
    errors = figure(now.metrics["error_rate"], "ratio")
    p95 = figure(now.metrics["ttft_s"]["p95"], "s")
    told = (
        f"{now.scenario.name}: up to {figure(float(bins.offered.max(initial=0.0)), 'per_s')} offered, errors {errors}, "
        f"time to first token p95 {p95}."
    )
    if before is None:
        return told
    was, then = figure(before.metrics["error_rate"], "ratio"), figure(before.metrics["ttft_s"]["p95"], "s")
    return f"{told} Before: errors {was}, p95 {then}."
