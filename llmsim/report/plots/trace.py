"""What a trace looks like: its rate over time, its gaps and its lengths, each with the families fitted to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmsim.report.plots.canvas import INK, LOAD, MUTED, Picture, bare, style, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.traffic.traces import Trace

__all__ = ["trace_picture"]

Floats = NDArray[np.float64]

_BAR, _LINE = "#4477aa", "#ee6677"
#: Dashes tell the families apart without colour.
_DASHES = {"exponential": (0, (1, 1)), "gamma": "-", "weibull": (0, (4, 2)), "lognormal": (0, (4, 1, 1, 1))}
_POINTS = 400
_MOST_BINS = 240


def trace_picture(trace: Trace, described: dict[str, Any]) -> Picture:
    """Rate over time, distribution of the gaps, and lengths of prompts and answers.

    Parameters
    ----------
    trace
        The requests.
    described
        Of `llmsim.traffic.trace_stats.describe`.
    """
    with style():
        picture = bare(9.5, 6.2)
        axes = picture.subplot_mosaic([["rate"] * 3, ["gaps", "input", "output"]], height_ratios=[1, 1.15])
        _rate(axes["rate"], trace)
        _gaps(axes["gaps"], trace, described["gaps"])
        for side in ("input", "output"):
            column = trace.input_tokens if side == "input" else trace.output_tokens
            _lengths(axes[side], column, described[f"{side}_tokens"], side)
        axes["rate"].set_title(f"{trace.name}: {len(trace):,} requests, {described['rate_per_s']:.3g}/s")
    gaps = described["gaps"]
    told = f"gaps have a cv of {gaps['cv']:.3g}" if gaps else "too few requests for gaps"
    picture.alt = (
        f"Trace {trace.name}: {len(trace):,} requests at {described['rate_per_s']:.3g}/s; {told}. "
        "Panels: rate over time, share of gaps longer than x with fits, lengths of prompts and answers with mixtures."
    )
    return picture


def _rate(ax: Axes, trace: Trace) -> None:
    width = max(1.0, trace.span_s / _MOST_BINS)
    width = next((one for one in (1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600) if one >= width), 86400)
    edges = np.append(np.arange(0.0, trace.span_s, width), trace.span_s)
    counts, _ = np.histogram(trace.times_s, edges)
    rates = counts / np.maximum(np.diff(edges), 1e-9)
    ax.fill_between(np.repeat(edges, 2)[1:-1], np.repeat(rates, 2), color=_BAR, alpha=0.35, linewidth=0)
    ax.plot(np.repeat(edges, 2)[1:-1], np.repeat(rates, 2), color=_BAR, linewidth=0.8)
    ax.axhline(len(trace) / trace.span_s, color=LOAD, linewidth=0.8, linestyle="--")
    ax.set_ylim(bottom=0)
    ax.set_ylabel(f"requests/s, by {width}s")
    time_axis(ax, trace.span_s)


def _gaps(ax: Axes, trace: Trace, described: dict[str, Any] | None) -> None:
    """Share of gaps that are longer, on logarithmic axes, where tails can be seen."""
    ax.set_title("gaps")
    gaps = np.sort(np.diff(trace.times_s))
    gaps = gaps[gaps > 0]
    if described is None or len(gaps) < 2:
        ax.text(0.5, 0.5, "too few", transform=ax.transAxes, ha="center", color=MUTED)
        return
    chosen = np.unique(np.linspace(0, len(gaps) - 1, _POINTS).astype(np.int64))
    chosen = np.unique(np.concatenate([chosen, np.arange(max(0, len(gaps) - 100), len(gaps))]))
    ax.plot(gaps[chosen], 1 - chosen / len(gaps), color=_BAR, linewidth=2.2, alpha=0.6, label="trace")
    at = np.geomspace(gaps[0], gaps[-1], _POINTS)
    for fit in described["fits"]:
        label = f"{fit['family']}, KS {fit['ks']:.2g}"
        ax.plot(at, _longer(fit, at), color=INK, linewidth=0.9, linestyle=_DASHES[fit["family"]], label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(0.3 / len(gaps), 1.5)
    ax.set_xlabel("seconds")
    ax.set_ylabel("share of gaps longer than this")
    ax.legend(loc="lower left")


def _longer(fit: dict[str, Any], at: Floats) -> Floats:
    from scipy.special import gammaincc, ndtr

    if fit["family"] == "exponential":
        found = np.exp(-at / fit["mean"])
    elif fit["family"] == "gamma":
        found = gammaincc(fit["shape"], at * fit["shape"] / fit["mean"])
    elif fit["family"] == "weibull":
        found = np.exp(-((at / fit["scale"]) ** fit["shape"]))
    else:
        found = ndtr(-(np.log(at) - fit["mu"]) / fit["sigma"])
    return np.asarray(np.maximum(found, 1e-300), dtype=np.float64)


def _lengths(ax: Axes, tokens: NDArray[np.int64], described: dict[str, Any] | None, side: str) -> None:
    """Density over the logarithm, with the mixture on top."""
    ax.set_title(f"{side} tokens")
    known = tokens[tokens > 0]
    if described is None:
        ax.text(0.5, 0.5, "not told", transform=ax.transAxes, ha="center", color=MUTED)
        return
    logs = np.log(known)
    low, high = float(logs.min()) - 0.1, float(logs.max()) + 0.1
    edges = np.linspace(low, high, 60)
    density, _ = np.histogram(logs, edges, density=True)
    ax.stairs(density, np.exp(edges), fill=True, color=_BAR, alpha=0.45)
    if described["mixture"]:
        at = np.linspace(low, high, _POINTS)
        parts = described["mixture"]["components"]
        ax.plot(
            np.exp(at),
            sum(_normal(at, part) for part in parts),
            color=_LINE,
            linewidth=1.1,
            label=f"{len(parts)} lognormals, KS {described['mixture']['ks']:.2g}",
        )
        ax.set_ylim(0, 1.25 * float(density.max()))  # a spike's density has no upper bound
        ax.legend(loc="upper left")
    ax.set_xscale("log")
    ax.set_yticks([])


def _normal(at: Floats, part: dict[str, float]) -> Floats:
    scale = part["weight"] / (part["sigma"] * math.sqrt(2 * math.pi))
    return scale * np.exp(-0.5 * ((at - part["mu"]) / part["sigma"]) ** 2)
