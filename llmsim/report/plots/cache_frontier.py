"""What a similarity threshold is worth: hits, wrong answers and money by threshold; time to live against staleness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from numpy.typing import NDArray

from llmsim.report.figures import share
from llmsim.report.frontier_words import known_share
from llmsim.report.plots.canvas import INK, LOAD, MUTED, Picture, bare, style
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.frontier_result import Frontier, Point
    from llmsim.report.rates import Share

__all__ = ["cache_frontier"]

Floats = NDArray[np.float64]

# Paul Tol's "bright" scheme, as in `canvas`; dashes and markers tell the lines apart without colour.
_HITS, _EXACT, _WRONG, _MONEY, _OUTDATED = "#4477aa", "#66ccee", "#ee6677", "#228833", "#aa3377"


def cache_frontier(frontier: Frontier, *, ax: Axes | None = None) -> Picture | Axes:
    """Four panels: hit rate, wrong answers (logarithmic, with 95 % intervals) and money by threshold, and time to live.

    Parameters
    ----------
    frontier
        Of `llmsim.report.frontier.frontier`.
    ax
        Draw the trade-off into these axes and return them: hits against wrong answers, threshold by threshold.
    """
    if ax is not None:
        _trade_off(ax, frontier)
        return ax
    with style():
        picture = bare(9.5, 6.6)
        panels = picture.subplots(2, 2)
        _hits(panels[0, 0], frontier)
        _wrong(panels[0, 1], frontier)
        _money(panels[1, 0], frontier)
        if frontier.ttls:
            _lives(panels[1, 1], frontier)
        else:
            _trade_off(panels[1, 1], frontier)
        for panel in (panels[0, 0], panels[0, 1], panels[1, 0]):
            _thresholds(panel, frontier)
        panels[0, 0].set_title(f"{frontier.scenario.name}: answered from the cache")
        picture.align_ylabels(list(panels[:, 0]))
    picture.alt = f"{frontier.headline}. {_told(frontier)}"
    return picture


def _told(frontier: Frontier) -> str:
    low, high = frontier.points[0], frontier.points[-1]
    span = f"{share(high.hit_rate.value)} at threshold {high.threshold:.3g}"
    alone = share(frontier.exact_only.hit_rate.value)
    wrong = f"{known_share(high.wrong.value)} to {known_share(low.wrong.value)}"
    spans = [
        f"hits from {span} to {share(low.hit_rate.value)} at {low.threshold:.3g}",
        f"exact matches alone {alone}",
        f"wrong answers from {wrong} of requests",
    ]
    lives = f" Time to live from {_length(frontier.ttls[0].ttl_s)}: outdated answers." if frontier.ttls else ""
    return f"Panels by threshold: {'; '.join(spans)}; money saved.{lives}"


def _thresholds(ax: Axes, frontier: Frontier) -> None:
    """The axis of thresholds, with the recommended one."""
    low, high = frontier.points[0].threshold, frontier.points[-1].threshold
    pad = 0.02 * (high - low) or 0.01
    ax.set_xlim(low - pad, high + pad)
    ax.set_xlabel("threshold (cosine)")
    best = frontier.recommended
    if best is not None:
        ax.axvline(best.threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)


def _percent(ax: Axes) -> None:
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _shares(ax: Axes, x: Sequence[float], shares: Sequence[Share], colour: str, **look: Any) -> None:
    """A line with its intervals as a band."""
    ax.fill_between(x, [s.low for s in shares], [s.high for s in shares], color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, [s.value for s in shares], color=colour, **{"linewidth": 1.6, **look})


def _at_right(ax: Axes, y: float, text: str, colour: str, *, below: bool = False, away: float = 3) -> None:
    """A label just inside of the right edge, above the line it belongs to (or below)."""
    ax.annotate(
        text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(-2, -away if below else away),
        textcoords="offset points",
        ha="right", va="top" if below else "bottom", color=colour, fontsize=8,
    )  # fmt: skip


def _hits(ax: Axes, frontier: Frontier) -> None:
    x = [point.threshold for point in frontier.points]
    rates = [point.hit_rate for point in frontier.points]
    exact = [point.exact_rate for point in frontier.points]
    alone = frontier.exact_only.hit_rate
    _shares(ax, x, rates, _HITS)
    ax.plot(x, [one.value for one in exact], color=_EXACT, linewidth=1.2, linestyle=(0, (4, 1, 1, 1)))
    ax.axhspan(alone.low, alone.high, color=MUTED, alpha=0.15, linewidth=0)
    ax.axhline(alone.value, color=MUTED, linewidth=1.0, linestyle=":")
    top = max(1e-9, *(one.high for one in rates), alone.high)
    ax.set_ylim(0, top * 1.12)
    ax.annotate("all hits", (x[0], rates[0].value), xytext=(2, 5), textcoords="offset points", color=_HITS, fontsize=8)
    ax.annotate(
        "of them by equal words", (x[0], exact[0].value), xytext=(2, -11), textcoords="offset points", color=_EXACT,
        fontsize=8,
    )  # fmt: skip
    _at_right(ax, alone.value, f"exact-match cache alone: {share(alone.value)}", INK, below=True, away=30)
    best = frontier.recommended
    if best is not None:
        ax.plot([best.threshold], [best.hit_rate.value], "o", color=_HITS, markersize=5)
        ax.annotate(
            f"{best.threshold:.3g}: {share(best.hit_rate.value)}", (best.threshold, best.hit_rate.value), xytext=(6, 6),
            textcoords="offset points", color=INK, fontsize=8,
        )  # fmt: skip
    _percent(ax)
    ax.set_ylabel("of requests")


def _wrong(ax: Axes, frontier: Frontier) -> None:
    """Wrong answers on a logarithmic axis. Where there was none, only an upper bound is known: an arrow below it."""
    ax.set_title("wrong answers")
    bound = frontier.tolerance.bound
    measured = [frontier.measured(point) for point in frontier.points]
    floor = _floor(measured, bound)
    x: Floats = np.array([point.threshold for point in frontier.points])
    some = np.array([one.counted > 0 or math.isnan(one.value) for one in measured])  # or unknown: the band alone
    low = np.array([max(one.low, floor) for one in measured])
    high, value = np.array([one.high for one in measured]), np.array([one.value for one in measured])
    ax.fill_between(x, low, high, color=_WRONG, alpha=0.18, linewidth=0)
    ax.plot(x[some], value[some], color=_WRONG, linewidth=1.6, marker=".", markersize=4)
    for at, top in zip(x[~some], high[~some], strict=True):
        ax.annotate("", (at, top / 1.9), (at, top), arrowprops={"arrowstyle": "->", "color": _WRONG, "linewidth": 0.9})
    ax.plot(x[~some], high[~some], linestyle="", marker="_", color=_WRONG)
    ax.axhline(bound, color=LOAD, linewidth=1.0)
    ax.annotate(
        frontier.tolerance.text, (0.0, bound), xycoords=("axes fraction", "data"), xytext=(2, 2),
        textcoords="offset points", color=LOAD, fontsize=8,
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set_ylim(floor, min(1.0, 2 * max(bound, *high)))
    _percent(ax)
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel(f"of {frontier.tolerance.unit}, with 95 % interval")


def _floor(measured: Sequence[Share], bound: float) -> float:
    """The bottom of a logarithmic axis that has all that was counted on it, and the tolerance."""
    told = [one.value if one.counted and not math.isnan(one.value) else one.high / 2 for one in measured]
    return 0.4 * min(bound, *(value for value in told if value > 0), 1.0)


def _money(ax: Axes, frontier: Frontier) -> None:
    """What is saved, net, of the bill; without prices, the time to the first token."""
    x = [point.threshold for point in frontier.points]
    net = np.array([point.saved_ratio for point in frontier.points])
    if np.isnan(net).all():
        _ttft(ax, frontier)
        return
    ax.set_title("money saved, embeddings and store paid")
    bill = frontier.nothing.total("bill_usd")
    gross = [point.total("saved_usd") / bill for point in frontier.points]
    alone = frontier.exact_only.saved_ratio
    ax.fill_between(x, net, gross, color=_MONEY, alpha=0.18, hatch="////", edgecolor="none", linewidth=0)
    ax.plot(x, net, color=_MONEY, linewidth=1.6)
    ax.plot(x, gross, color=_MONEY, linewidth=0.8, linestyle=(0, (4, 2)))
    ax.axhline(alone, color=MUTED, linewidth=1.0, linestyle=":")
    _at_right(ax, alone, f"exact-match cache alone: {share(alone)}", INK, below=True, away=14)
    ax.annotate("before costs", (x[0], gross[0]), xytext=(2, 4), textcoords="offset points", color=_MONEY, fontsize=8)
    ax.annotate("net", (x[0], net[0]), xytext=(2, -11), textcoords="offset points", color=_MONEY, fontsize=8)
    values = [*net.tolist(), *gross, alone]
    ax.set_ylim(min(0.0, *values) * 1.1, max(1e-9, *values) * 1.15)
    _percent(ax)
    ax.set_ylabel("of the bill without a cache")


def _ttft(ax: Axes, frontier: Frontier) -> None:
    ax.set_title("mean time to first token")
    x = [point.threshold for point in frontier.points]
    ax.plot(x, [point.mean("ttft_mean_s") for point in frontier.points], color=_MONEY, linewidth=1.6)
    for point, text in ((frontier.exact_only, "exact-match cache alone"), (frontier.nothing, "no cache")):
        value = point.mean("ttft_mean_s")
        ax.axhline(value, color=MUTED, linewidth=1.0, linestyle=":")
        _at_right(ax, value, f"{text}: {format_duration(value)}", INK, below=True)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value) if value else "0"))
    ax.set_ylabel("TTFT")


def _lives(ax: Axes, frontier: Frontier) -> None:
    """Hits and outdated answers by time to live, at one threshold."""
    lives: list[Point] = list(frontier.ttls)
    last = [one.ttl_s for one in lives if math.isfinite(one.ttl_s)]
    x = [one.ttl_s if math.isfinite(one.ttl_s) else 2 * max(last, default=1.0) for one in lives]
    ax.set_title(f"time to live, at threshold {lives[0].threshold:.3g}")
    rates, outdated = [one.hit_rate for one in lives], [one.outdated for one in lives]
    _shares(ax, x, rates, _HITS, marker=".")
    _shares(ax, x, outdated, _OUTDATED, marker="x", markersize=4, linestyle=(0, (4, 2)))
    ax.annotate("hits", (x[0], rates[0].value), xytext=(2, 5), textcoords="offset points", color=_HITS, fontsize=8)
    ax.annotate(
        "outdated answers", (x[-1], outdated[-1].value), xytext=(0, 6), textcoords="offset points", color=_OUTDATED,
        fontsize=8, ha="right",
    )  # fmt: skip
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(x))
    ax.xaxis.set_minor_formatter(NullFormatter())
    names = [_length(one.ttl_s) for one in lives]
    ax.xaxis.set_major_formatter(FuncFormatter(lambda _, at: names[at] if at is not None and at < len(names) else ""))
    ax.set_ylim(0, max(1e-9, *(one.high for one in rates)) * 1.15)
    _percent(ax)
    ax.set_xlabel("time to live")
    ax.set_ylabel("of requests")


def _trade_off(ax: Axes, frontier: Frontier) -> None:
    """Hits against wrong answers; a threshold at some points."""
    measured = [frontier.measured(point) for point in frontier.points]
    floor = _floor(measured, frontier.tolerance.bound)
    x = [one.high if math.isnan(one.value) else max(one.value, floor * 1.15) for one in measured]
    y = [point.hit_rate.value for point in frontier.points]
    ax.hlines(y, [max(one.low, floor) for one in measured], [one.high for one in measured], color=_WRONG, alpha=0.35)
    ax.plot(x, y, color=_HITS, linewidth=1.2, marker="o", markersize=3)
    alone = frontier.exact_only.hit_rate.value
    ax.axhline(alone, color=MUTED, linewidth=1.0, linestyle=":")
    _at_right(ax, alone, "exact-match cache alone", INK, below=True)
    ax.axvline(frontier.tolerance.bound, color=LOAD, linewidth=1.0)
    step = max(1, len(y) // 5)
    chosen = next((number for number, point in enumerate(frontier.points) if point is frontier.recommended), -step)
    for number, point in enumerate(frontier.points):
        best = number == chosen
        if (number % step == 0 and measured[number].counted and abs(number - chosen) > step / 2) or best:
            ax.annotate(
                f"{point.threshold:.3g}", (x[number], y[number]), xytext=(-2, 5), textcoords="offset points",
                ha="right" if x[number] > 2 * floor else "left", color=INK, fontsize=7,
                weight="bold" if best else "normal",
            )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(left=floor)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(0, max(1e-9, *y, alone) * 1.15)
    _percent(ax)
    ax.set_title("hits against wrong answers, by threshold")
    ax.set_xlabel(f"wrong, of {frontier.tolerance.unit} ({frontier.tolerance.text})")
    ax.set_ylabel("hits, of requests")


def _length(ttl_s: float) -> str:
    return "for ever" if math.isinf(ttl_s) else format_duration(ttl_s)
