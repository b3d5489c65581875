"""The day of a scenario at a glance: load, outcomes, TTFT, retries and faults over one time axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsim.report.figures import clock, figure, share, span
from llmsim.report.plots.bins import Bins, Latencies, latencies, outcome_bins
from llmsim.report.plots.canvas import Picture, bare, style, time_axis
from llmsim.report.plots.panels import draw_amplification, draw_faults, draw_latency, draw_outcomes, shade_faults
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["amplification", "e2e", "outcomes", "slo_bounds", "timeline", "ttft"]


def timeline(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Offered load and outcomes per second, TTFT bands, attempts per request, with faults named and shaded.

    Parameters
    ----------
    result
        Any result; replications are averaged (percentiles: taken together).
    ax
        Draws load and outcomes into these axes and returns them; the other panels need a figure of their own.
    """
    if ax is not None:
        return outcomes(result, ax=ax)
    bins, told = outcome_bins(result), latencies(result)
    end_s = float(bins.edges_s[-1])
    rows = min(6, len(result.scenario.faults))
    heights = [*([0.16 * rows + 0.06] if rows else []), 2.3, 1.9, 0.9]
    with style():
        picture = bare(9.5, sum(heights) + 0.9)
        axes = picture.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights}, squeeze=False)
        panels = list(axes[:, 0])
        if rows:
            draw_faults(panels[0], result, end_s)
        load, first_token, tries = panels[-3:]
        draw_outcomes(load, bins)
        draw_latency(first_token, told, slo_bounds(result))
        draw_amplification(tries, bins)
        for panel in panels[-3:]:
            shade_faults(panel, result, end_s)
        time_axis(tries, end_s)
        tries.set_xlabel("time since the end of warm-up, by arrival")
        panels[0].set_title(_title(result))
        picture.align_ylabels(panels[-3:])
    picture.alt = _alt(result, bins, told)
    return picture


def outcomes(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Offered load and what became of it, per second."""
    bins = outcome_bins(result)
    return _one_panel(result, ax, lambda panel: draw_outcomes(panel, bins), float(bins.edges_s[-1]), _alt_load(bins))


def ttft(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Time to first token: p50, p90 and p99, failures as never."""
    return _bands(result, "ttft", "TTFT", ax)


def e2e(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Time to the whole answer: p50, p90 and p99, failures as never."""
    return _bands(result, "e2e", "time to the\nwhole answer", ax)


def _bands(result: Result, metric: str, label: str, ax: Axes | None) -> Picture | Axes:
    told = latencies(result, column=f"{metric}_s")
    bounds = slo_bounds(result, metric)
    end_s, alt = float(told.edges_s[-1]), _alt_bands(told, metric)
    return _one_panel(result, ax, lambda panel: draw_latency(panel, told, bounds, label), end_s, alt)


def amplification(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Attempts per request sent upstream: 1 is a gateway that never tries twice."""
    bins = outcome_bins(result, 120)
    known = bins.amplification[~np.isnan(bins.amplification)]
    alt = "Nothing was sent to a provider."
    if len(known):
        peak = int(np.nanargmax(bins.amplification))
        alt = f"Up to {known.max():.3g} attempts per request, at {clock(float(bins.edges_s[peak]))}."
    return _one_panel(result, ax, lambda panel: draw_amplification(panel, bins), float(bins.edges_s[-1]), alt)


def _one_panel(result: Result, ax: Axes | None, draw: object, end_s: float, alt: str) -> Picture | Axes:
    assert callable(draw)
    with style():
        picture = None if ax is not None else bare(9.0, 3.0)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        draw(panel)
        shade_faults(panel, result, end_s)
        time_axis(panel, end_s)
        panel.set_xlabel("time since the end of warm-up")
        if picture is None:
            return panel
        panel.set_title(_title(result))
    picture.alt = f"{result.scenario.name}: {alt}"
    return picture


def _title(result: Result) -> str:
    made = len(result.replications)
    over = f"{made} replications" if made != 1 else "one replication"
    partial = {"": "", "budget": ", budget used up", "interrupted": ", interrupted"}[result.stopped]
    return f"{result.scenario.name}: {result.verdict if result.verdict != 'NONE' else 'no SLO'} ({over}{partial})"


def slo_bounds(result: Result, metric: str = "ttft") -> list[tuple[str, float]]:
    """Upper bounds on percentiles of a latency, of all requests."""
    return [
        (f"p{line.objective.percentile:g} {line.objective.comparison} {format_duration(line.objective.bound)}",
         line.objective.bound)
        for line in result.slo
        if line.objective.metric == metric
        and not line.objective.tags
        and line.objective.percentile is not None
        and line.objective.comparison in ("<", "<=")
        and line.objective.bound > 0
    ]  # fmt: skip


def _alt(result: Result, bins: Bins, told: Latencies) -> str:
    names = ", ".join(
        f"{fault.name} from {begins} to {ends}{ramps}"
        for fault in result.scenario.faults
        for begins, ends, ramps in [span(fault)]
    )
    faults = f" Faults: {names}." if names else ""
    return f"Timeline of {_title(result)}. {_alt_load(bins)} {_alt_bands(told)}{faults}"


def _alt_load(bins: Bins) -> str:
    if not bins.offered.any():
        return "No requests."
    peak = int(bins.offered.argmax())
    good = sum(
        (bins.classes.get(name, 0.0) for name in ("cache_hits", "semantic_hits", "answered")),
        np.zeros(len(bins.offered)),
    )
    bad = 1 - np.divide(good, bins.offered, out=np.ones(len(bins.offered)), where=bins.offered > 0)
    worst = int(bad.argmax())
    load = f"Offered load up to {figure(float(bins.offered[peak]), 'per_s')} at {clock(float(bins.edges_s[peak]))};"
    if bad[worst] <= 0:
        return f"{load} no failures."
    return f"{load} failures up to {share(float(bad[worst]))} at {clock(float(bins.edges_s[worst]))}."


def _alt_bands(told: Latencies, metric: str = "ttft") -> str:
    parts = []
    for percent, values in told.percentiles.items():
        if not np.isnan(values).all():
            parts.append(f"p{percent} up to {format_duration(float(np.nanmax(values)))}")
    what = {"ttft": "Time to first token", "e2e": "Time to the whole answer"}[metric]
    return f"{what}: {', '.join(parts)}." if parts else "Too few requests for percentiles."
