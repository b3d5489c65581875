"""Pictures of ``result.telemetry()``: tokens by key, waiting taken apart, the spinner, cache and fallback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from llmsim.report.figures import count, share
from llmsim.report.plots.bins import PART_LABELS, Floats, column_of, stairs, told_windows
from llmsim.report.plots.canvas import KEY_STYLE, MUTED, PART_STYLE, Picture, bare, key, say, style, time_axis
from llmsim.report.plots.panels import shade_faults
from llmsim.report.telemetry import PARTS
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["cache", "delivery", "latency", "tokens"]

_RATES = ("input_tokens_per_s", "output_tokens_per_s")


def _stack(
    ax: Axes, edges: Floats, layers: Sequence[tuple[str, str, str, Floats]], none: str, *, legend: bool = True
) -> None:
    """Layers (label, colour, hatch, heights) on top of each other, their legend in the same order."""
    below = np.zeros(len(edges) - 1)
    handles = []
    for label, colour, hatch, values in layers:
        height = np.nan_to_num(values)
        x, low = stairs(edges, below)
        _, high = stairs(edges, below + height)
        ax.fill_between(x, low, high, facecolor=colour, edgecolor="white", hatch=hatch or None, linewidth=0)
        below = below + height
        handles.append(Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=label))
    ax.set_ylim(0, max(1e-9, float(below.max(initial=0.0))) * 1.08)
    if not below.any():
        say(ax, none)
    elif legend:
        key(ax, handles=handles[::-1], handlelength=1.6)


def _finished(result: Result, picture: Picture, panels: Sequence[Axes], end_s: float, title: str) -> Picture:
    for panel in panels:
        shade_faults(panel, result, end_s)
    time_axis(panels[-1], end_s)
    panels[-1].set_xlabel("time since the end of warm-up, by arrival")
    panels[0].set_title(f"{result.scenario.name}: {title}")
    picture.align_ylabels(list(panels))
    return picture


def tokens(result: Result, by: str = "route", *, most: int = 7, ax: Axes | None = None) -> Picture | Axes:
    """Tokens billed per second, input and output, by a column of requests; the smallest keys are taken together.

    Parameters
    ----------
    result
        Any result.
    by
        ``route``, ``tenant``, ``user``, ….
    most
        So many keys get a colour of their own.
    ax
        Draw all tokens, input and output together, into these axes and return them.
    """
    table, edges = told_windows(result, by)
    with style():
        picture = None if ax is not None else bare(9.0, 4.4)
        kinds = ("input_tokens_per_s", "output_tokens_per_s") if ax is None else (_RATES,)
        panels = [ax] if picture is None else list(picture.subplots(2, 1, sharex=True))
        layers = _keys(table, by, most)
        for panel, kind in zip(panels, kinds, strict=True):
            assert panel is not None
            drawn = [(label, *look, _rate(part, kind, edges)) for label, look, part in layers]
            _stack(panel, edges, drawn, "no tokens were billed", legend=panel is panels[0])
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
            panel.set_ylabel(
                "tokens / s" if ax is not None else f"{'input' if 'input' in kind else 'output'} tokens / s"
            )
        if picture is None:
            assert ax is not None
            time_axis(ax, float(edges[-1]))
            return ax
        _finished(result, picture, [p for p in panels if p is not None], float(edges[-1]), f"tokens billed, by {by}")
    rates = {name: _rate(table, name, edges) for name in _RATES}
    peak = ", ".join(
        f"{name.split('_')[0]} up to {_short(float(np.nanmax(v, initial=0.0)))}/s" for name, v in rates.items()
    )
    picture.alt = (
        f"{result.scenario.name}: tokens billed by {by} ({', '.join(label for label, _, _ in layers)}); {peak}."
        if layers
        else f"{result.scenario.name}: no tokens were billed."
    )
    return picture


def _short(value: float) -> str:
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def _rate(table: pl.DataFrame, kinds: str | Sequence[str], edges: Floats) -> Floats:
    """Sum of rates over keys, per window."""
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    if table.is_empty():
        return np.zeros(len(edges) - 1)
    summed = table.group_by("start_s", maintain_order=True).agg(pl.sum_horizontal(names).sum().alias("rate"))
    return column_of(summed.sort("start_s"), "rate", edges)


def _keys(table: pl.DataFrame, by: str, most: int) -> list[tuple[str, tuple[str, str], pl.DataFrame]]:
    """The keys with the most tokens, each with its label, look and rows; the others together."""
    if table.is_empty():
        return []
    total = pl.sum_horizontal(_RATES).sum().alias("total")
    ranked = table.group_by(by, maintain_order=True).agg(total).sort("total", by, descending=[True, False])
    names, totals = ranked[by].to_list(), ranked["total"].to_list()
    everything = sum(totals) or 1.0
    own = names if len(names) <= most else names[: most - 1]
    found = []
    for name, part, look in zip(own, totals, KEY_STYLE, strict=False):
        label = f"{name or f'no {by}'} {share(part / everything)}"
        found.append((label, look, table.filter(pl.col(by) == name)))
    if len(names) > len(own):
        label = f"{count(len(names) - len(own))} others {share(sum(totals[len(own) :]) / everything)}"
        found.append((label, (MUTED, "...."), table.filter(~pl.col(by).is_in(own))))
    return found


def latency(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """What callers of streamed answers waited for, part by part; below it, what explains the parts.

    Parameters
    ----------
    result
        Any result.
    ax
        Draw the parts into these axes and return them.
    """
    table, edges = told_windows(result)
    parts = {part: column_of(table, f"{part}_mean_s", edges) for part in PARTS}
    drawn = [(PART_LABELS[part], *PART_STYLE[part], values) for part, values in parts.items()]
    with style():
        picture = None if ax is not None else bare(9.0, 4.8)
        if picture is None:
            assert ax is not None
            _draw_parts(ax, edges, drawn)
            time_axis(ax, float(edges[-1]))
            return ax
        whole, below = picture.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, 1.4]})
        _draw_parts(whole, edges, drawn)
        _draw_reasons(below, table, edges)
        _finished(result, picture, [whole, below], float(edges[-1]), "first tokens and generation")
    told = " ".join(result.diagnosis) or "Neither first tokens nor generation stood out at any time."
    mean = ", ".join(
        f"{PART_LABELS[p]} {format_duration(float(np.nanmean(v)))}" for p, v in parts.items() if not np.isnan(v).all()
    )
    picture.alt = f"{result.scenario.name}: mean time to streamed answers: {mean or 'none'}. {told}"
    return picture


def _draw_parts(ax: Axes, edges: Floats, drawn: Sequence[tuple[str, str, str, Floats]]) -> None:
    _stack(ax, edges, drawn, "no answer was streamed: its first token cannot be told from its last")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value)))
    ax.set_ylabel("mean time")


def _draw_reasons(ax: Axes, table: pl.DataFrame, edges: Floats) -> None:
    """Tokens per answer, time per token and tokens per prompt, each as a multiple of its own median."""
    ax.axhline(1.0, color=MUTED, linewidth=0.8)
    looks = (
        ("output_tokens_p50", "tokens an answer", "#4477aa", "-", lambda value: f"{value:,.0f}"),
        ("tpot_p50_s", "time a token", "#ee6677", (0, (5, 2)), format_duration),
        ("input_tokens_p50", "tokens a prompt", "#228833", (0, (1, 1.5)), lambda value: f"{value:,.0f}"),
    )
    top = 1.5
    for column, label, colour, dashes, shown in looks:
        values = column_of(table, column, edges)
        if np.isnan(values).all():
            continue
        usual = float(np.nanmedian(values))
        x, y = stairs(edges, values / usual)
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.4, label=f"{label} (1x = {shown(usual)})")
        top = max(top, float(np.nanmax(y)) * 1.08)
    ax.set_ylim(0, top)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    ax.set_ylabel("medians, of\ntheir usual")
    if ax.get_legend_handles_labels()[0]:
        key(ax, handlelength=2.2)


def delivery(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """How long people look at a spinner: to the first chunk as it is delivered, and if answers came whole.

    Parameters
    ----------
    result
        Any result.
    ax
        Draw into these axes and return them.
    """
    table, edges = told_windows(result)
    columns = {
        name: column_of(table, name, edges) for name in ("wait_p50_s", "whole_p50_s", "wait_p95_s", "whole_p95_s")
    }
    with style():
        picture = None if ax is not None else bare(9.0, 3.0)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        x = stairs(edges, edges[:-1])[0]
        for percent, colour, alpha in ((95, "#ccbb44", 0.25), (50, "#4477aa", 0.35)):
            wait, whole = (np.repeat(columns[f"{name}_p{percent}_s"], 2) for name in ("wait", "whole"))
            panel.fill_between(x, wait, whole, color=colour, alpha=alpha, linewidth=0)
            panel.plot(x, wait, color=colour, linewidth=1.6, label=f"p{percent} as delivered")
            panel.plot(
                x, whole, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), label=f"p{percent} if it came whole"
            )
        top = max((float(np.nanmax(v)) for v in columns.values() if not np.isnan(v).all()), default=1.0)
        panel.set_ylim(0, top * 1.08 or 1.0)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value)))
        panel.set_ylabel("spinner")
        key(panel, handlelength=2.2)
        if all(np.isnan(values).all() for values in columns.values()):
            say(panel, "too few answers for percentiles")
        elif np.array_equal(columns["wait_p95_s"], columns["whole_p95_s"], equal_nan=True):
            panel.text(0.02, 0.94, "nothing was streamed", transform=panel.transAxes, va="top", fontsize=8)
        if picture is None:
            time_axis(panel, float(edges[-1]))
            return panel
        _finished(result, picture, [panel], float(edges[-1]), "how long people look at a spinner")
    told = {name: float(np.nanmedian(v)) for name, v in columns.items() if not np.isnan(v).all()}
    both = " and ".join(
        f"{format_duration(told[k])} {w}"
        for k, w in (("wait_p50_s", "as delivered"), ("whole_p50_s", "if answers came whole"))
        if k in told
    )
    picture.alt = f"{result.scenario.name}: typical wait of a success: {both or 'unknown'}."
    return picture


def cache(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Share of requests answered from the cache and elsewhere than at their first choice; fallbacks entered per second.

    Parameters
    ----------
    result
        Any result.
    ax
        Draw the shares into these axes and return them.
    """
    table, edges = told_windows(result)
    hits, elsewhere = column_of(table, "cache_hit_rate", edges), column_of(table, "fallback_rate", edges)
    with style():
        picture = None if ax is not None else bare(9.0, 4.2)
        if picture is None:
            assert ax is not None
            _draw_shares(ax, edges, hits, elsewhere)
            time_axis(ax, float(edges[-1]))
            return ax
        shares, entered = picture.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1.2]})
        _draw_shares(shares, edges, hits, elsewhere)
        x, y = stairs(edges, np.nan_to_num(column_of(table, "fallbacks_per_s", edges)))
        entered.fill_between(x, 0, y, facecolor=PART_STYLE["queue"][0], linewidth=0, alpha=0.6)
        entered.set_ylim(0, max(0.1, float(y.max(initial=0.0)) * 1.1))
        entered.set_ylabel("fallbacks\nentered / s")
        _finished(result, picture, [shares, entered], float(edges[-1]), "cache and fallback")
    peak = {
        name: float(np.nanmax(v))
        for name, v in (("cache hits", hits), ("fallbacks", elsewhere))
        if not np.isnan(v).all()
    }
    picture.alt = (
        f"{result.scenario.name}: {', '.join(f'{k} up to {share(v)}' for k, v in peak.items()) or 'no requests'}."
    )
    return picture


def _draw_shares(ax: Axes, edges: Floats, hits: Floats, elsewhere: Floats) -> None:
    for values, label, colour, dashes in (
        (hits, "cache hits / requests", "#66ccee", "-"),
        (elsewhere, "answered elsewhere /\nsent upstream", "#aa3377", (0, (5, 2))),
    ):
        x, y = stairs(edges, values)
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=1.6, label=label)
    ax.set_ylim(0, 1.03)
    if np.isnan(hits).all() and np.isnan(elsewhere).all():
        say(ax, "no requests")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
    ax.set_ylabel("share")
    key(ax, handlelength=2.2)
