"""The picture of an explorer: two panels that are drawn quickly, and the run before as a dashed line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from llmsim.report.figures import figure
from llmsim.report.plots.bins import Bins, Floats, Latencies, latencies, outcome_bins, stairs
from llmsim.report.plots.canvas import INK, Picture, style, time_axis
from llmsim.report.plots.panels import draw_latency, draw_outcomes, shade_faults
from llmsim.report.plots.timeline import slo_bounds

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
    was = None if before is None else latencies(before)
    end_s = float(bins.edges_s[-1])
    with style():
        # Fixed margins: the axes stay where they are from run to run, and no time goes into finding them.
        picture = Picture(figsize=SIZE)
        picture.subplots_adjust(left=0.085, right=0.715, top=0.97, bottom=0.115, hspace=0.14)
        load, first = picture.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (5, 4)})
        draw_outcomes(load, bins)
        draw_latency(first, told, slo_bounds(now), also=None if was is None else was.percentiles[90])
        # Where the run itself has nothing to draw there is no axis, either.
        if before is not None and bins.offered.any():
            _ghost_of_load(load, outcome_bins(before, _BINS))
        if was is not None and first.get_yscale() == "log":
            _ghost_of_ttft(first, was)
        for panel in (load, first):
            shade_faults(panel, now, end_s)
        time_axis(first, end_s)
        first.set_xlabel("time since the end of warm-up, by arrival")
        picture.align_ylabels([load, first])
    picture.alt = _alt(now, bins, before)
    return picture


def _good(bins: Bins) -> Floats:
    return sum((bins.classes[name] for name in _GOOD if name in bins.classes), np.zeros(len(bins.offered)))


def _ghost_of_load(ax: Axes, before: Bins) -> None:
    x, answered = stairs(before.edges_s, _good(before))
    ax.set_ylim(0, max(ax.get_ylim()[1], float(answered.max(initial=0.0)) * 1.08))
    _ghost(ax, x, answered, "answered")


def _ghost_of_ttft(ax: Axes, before: Latencies) -> None:
    low, high = ax.get_ylim()
    values = np.repeat(np.clip(before.percentiles[90], low, high / 1.15), 2)  # what never came lies on "never"
    _ghost(ax, np.repeat(before.edges_s, 2)[1:-1], values, "p90")


def _ghost(ax: Axes, x: Floats, values: Floats, name: str) -> None:
    ax.plot(x, values, color="white", linewidth=2.6, alpha=0.6)  # it lies on areas of all colours
    ax.plot(x, values, color="#222222", linewidth=1.2, linestyle=_DASHES)
    line = Line2D([], [], color=INK, linewidth=1.2, linestyle=_DASHES)  # on the page's own ground, be it dark
    label = f"{name}, run before"
    legend = ax.get_legend()
    ax.legend(handles=[line], labels=[label], loc="lower left", bbox_to_anchor=(1.0, -0.03), handlelength=1.6)
    if legend is not None:
        ax.add_artist(legend)


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
