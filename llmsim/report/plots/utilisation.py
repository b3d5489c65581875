"""How busy the providers were: calls under way of their slots, and what was admitted of what they allow per time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from matplotlib.ticker import FuncFormatter

from llmsim.providers.ramps import mean_strength
from llmsim.report.figures import clock, count, share
from llmsim.report.plots.bins import Floats, stairs, time_bins
from llmsim.report.plots.canvas import (
    KEY_STYLE,
    LINES,
    MUTED,
    Picture,
    bare,
    key,
    say,
    side_size,
    style,
    time_axis,
    words,
)
from llmsim.report.plots.levels import account_of, amounts_of, calls_of
from llmsim.report.plots.panels import shade_faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.providers.dialects import Limits
    from llmsim.report.result import Result

__all__ = ["under_way", "utilisation"]

_BINS = 80  #: a rate over less than some seconds is noise
_MOST = 8  #: panels, in the order of the scenario; the title says of how many
_SLOTS, _RATE = KEY_STYLE[0][0], KEY_STYLE[3][0]
#: Of a rate limit: what is above 1 is the burst of a bucket that was full, over in seconds. One above `_READABLE` (13
#: in ``rate-limit-storm``, where a fault cuts the limit) would press all the rest to the ground.
_READABLE, _BURST = 5.0, 2.0
_APART = 0.1  #: of the axis, between two of their numbers
_AMOUNTS = ("requests", "tokens", "input_tokens", "output_tokens")


class _Busy(NamedTuple):
    """One provider."""

    calls: Floats  #: mean number of calls under way in each bin
    slots: int | None
    rate: Floats | None  #: admitted per time, of the limit that is used most
    limit: str  #: which that is


def utilisation(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """Calls under way of the slots of each provider, and the rate limit that is used most, over time.

    Above 100 % of the slots calls wait in the provider's queue; above 100 % of a rate its bucket is being emptied. A
    burst of more than 500 % is told by its number, and the axis ends at 200 %. A call counts while the gateway waits
    for it: what a provider goes on with after its caller has left (``on_cancel: continue``) is in no table.

    Parameters
    ----------
    result
        Any result; replications are averaged.
    ax
        Draw one line a provider, the higher of its shares, into these axes and return them.
    """
    edges = time_bins(result, _BINS)
    end_s = float(edges[-1])
    busy = {name: _busy(result, name, edges) for name in list(result.scenario.providers)[:_MOST]}
    with style():
        if ax is not None:
            _together(ax, busy, edges)
            shade_faults(ax, result, end_s)
            time_axis(ax, end_s)
            return ax
        picture = bare(9.0, 1.6 * max(1, len(busy)) + 0.8)
        panels = list(picture.subplots(max(1, len(busy)), 1, sharex=True, squeeze=False)[:, 0])
        for panel, (name, one) in zip(panels, busy.items(), strict=False):
            _draw(panel, name, one, edges)
            shade_faults(panel, result, end_s)
            time_axis(panel, end_s)
            panel.tick_params(labelbottom=panel is panels[-1])
        every = len(result.scenario.providers)
        hidden = f" ({len(busy)} of {every})" if every > len(busy) else ""
        panels[0].set_title(f"{result.scenario.name}: how busy the providers were{hidden}")
        panels[-1].set_xlabel("time since the end of warm-up")
        picture.align_ylabels(panels)
    picture.alt = f"{result.scenario.name}: {'; '.join(_told(name, one, edges) for name, one in busy.items())}."
    return picture


def under_way(starts_s: Floats, ends_s: Floats, edges_s: Floats) -> Floats:
    """Mean number of calls under way in each bin.

    Parameters
    ----------
    starts_s, ends_s
        Of the calls, shape ``(calls,)``.
    edges_s
        Of the bins.

    Examples
    --------
    >>> under_way(np.array([0.0, 5.0]), np.array([10.0, 30.0]), np.array([0.0, 10.0, 20.0, 40.0])).tolist()
    [1.5, 1.0, 0.5]
    """
    # Up to an edge, those that began have lasted (edge - start) together, but for what is over.
    lasted = _since(starts_s, edges_s) - _since(ends_s, edges_s)
    mean: Floats = np.diff(lasted) / np.diff(edges_s)
    return mean


def _since(times_s: Floats, edges_s: Floats) -> Floats:
    """Sum of the time from each of `times_s` to every edge after it."""
    places = np.searchsorted(edges_s, times_s)  # the first edge that is not before it
    length = len(edges_s) + 1
    counts = np.cumsum(np.bincount(places, minlength=length)[:-1])
    sums = np.cumsum(np.bincount(places, weights=times_s, minlength=length)[:-1])
    total: Floats = counts * edges_s - sums
    return total


def _busy(result: Result, name: str, edges: Floats) -> _Busy:
    made = max(1, len(result.replications))
    mine = result.attempts.lazy().filter(pl.col("upstream").cast(pl.String) == name).select("start_s", "end_s")
    calls = mine.collect()
    mean = under_way(calls["start_s"].to_numpy(), calls["end_s"].to_numpy(), edges) / made
    spec = result.scenario.providers[name]
    rate, which = (None, "") if spec.rate_limit is None else _rate(result, name, spec.rate_limit, edges)
    return _Busy(mean, spec.concurrency, rate, which)


def _rate(result: Result, name: str, limits: Limits, edges: Floats) -> tuple[Floats | None, str]:
    """What was admitted of the limit (cut by faults or not) that is used most, and which that is.

    Of providers that share an account, this one's part.
    """
    accounting = account_of(result, [name]).accounting
    admitted = np.zeros((4, len(edges) - 1))
    for one in result.replications:
        calls = calls_of(result, [name], one.number)
        inside = calls.admitted
        taken, output = calls.taken[inside], np.maximum(calls.output, calls.used_output)[inside]
        for row, amounts in enumerate(amounts_of(accounting, taken, output).T):
            admitted[row] += np.histogram(calls.start_s[inside], edges, weights=amounts)[0]
    per_s = admitted / (np.diff(edges) * max(1, len(result.replications)))
    allowed = _allowed(result, name, edges)
    shares = {
        word: row / (getattr(limits, word) * allowed)
        for word, row in zip(_AMOUNTS, per_s, strict=True)
        if getattr(limits, word)
    }
    if limits.requests_per_second:
        shares["requests_per_second"] = per_s[0] / (limits.requests_per_second * allowed)
    if not shares:
        return None, ""
    which = max(shares, key=lambda word: float(shares[word].max()))
    return shares[which], words(which)


def _allowed(result: Result, name: str, edges: Floats) -> Floats:
    """What faults leave of its rate limits, on average over each bin."""
    left = np.ones(len(edges) - 1)
    for fault in result.scenario.faults:
        if fault.provider == name and fault.rate_limit:
            left *= 1 - mean_strength(fault, edges) * (1 - fault.rate_limit.multiplier)
    return np.maximum(left, 1e-3)


def _draw(ax: Axes, name: str, one: _Busy, edges: Floats) -> None:
    series = _series(one)
    for place, (label, values, colour) in enumerate(series):
        x, y = stairs(edges, values)
        if not place:
            ax.fill_between(x, 0, y, color=colour, alpha=0.18, linewidth=0)
        ax.plot(x, y, color=colour, linestyle=LINES[place], linewidth=1.5, label=label)
    top = _top(one)
    ax.set_ylabel(f"{name}:\n{'used' if _capped(one) else 'calls'}", fontsize=side_size(ax, name))
    if _capped(one):
        ax.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.set_ylim(0, max(1.12, top * 1.08))
        _beyond(ax, [one], edges)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
    else:
        ax.set_ylim(0, top * 1.1 or 1.0)
    if not one.calls.any():
        say(ax, "nothing was sent here")
    key(ax, handlelength=2.2)


def _top(one: _Busy) -> float:
    """How far up an axis goes."""
    if not _capped(one):
        return float(one.calls.max(initial=0.0))
    used = 0.0 if one.slots is None else float(one.calls.max(initial=0.0)) / one.slots
    rate = 0.0 if one.rate is None else float(one.rate.max(initial=0.0))
    return max(used, rate if rate <= _READABLE else _BURST)


def _beyond(ax: Axes, busy: list[_Busy], edges: Floats) -> None:
    """How high bursts are that the axis cuts off, beside them; of several that are near each other, the highest."""
    rates = [one.rate for one in busy if one.rate is not None]
    highest = np.maximum.reduce(rates) if rates else np.zeros(0)
    above = np.concatenate([[False], highest > ax.get_ylim()[1], [False]]).astype(int)
    begins, ends = (np.flatnonzero(np.diff(above) == step) for step in (1, -1))
    peaks = [(float(highest[begin:end].max()), begin, end) for begin, end in zip(begins, ends, strict=True)]
    told: list[float] = []
    for peak, begin, end in sorted(peaks, reverse=True):
        left = edges[end] > (1 - _APART) * edges[-1]
        at = float(edges[begin if left else end])
        if all(abs(at - other) > _APART * edges[-1] for other in told):
            told.append(at)
            ax.annotate(
                f"↑ {100 * peak:,.0f} %", (at, 0.99), xycoords=("data", "axes fraction"), xytext=(-3 if left else 3, 0),
                textcoords="offset points", ha="right" if left else "left", va="top", fontsize=7,
            )  # fmt: skip


def _capped(one: _Busy) -> bool:
    return one.slots is not None or one.rate is not None


def _series(one: _Busy) -> list[tuple[str, Floats, str]]:
    found = []
    if one.slots is not None:
        found.append((f"calls under way,\nof {count(one.slots)} slots", one.calls / one.slots, _SLOTS))
    if one.rate is not None:
        found.append((f"{one.limit}, of what\nthe limit allows", one.rate, _RATE))
    return found or [("calls under way\n(no limits)", one.calls, _SLOTS)]


def _together(ax: Axes, busy: dict[str, _Busy], edges: Floats) -> None:
    capped = {name: one for name, one in busy.items() if _capped(one)}
    for place, (name, one) in enumerate(capped.items()):
        x, y = stairs(edges, np.maximum.reduce([values for _, values, _ in _series(one)]))
        ax.plot(x, y, color=KEY_STYLE[place % len(KEY_STYLE)][0], linestyle=LINES[place % len(LINES)], linewidth=1.4,
                label=name)  # fmt: skip
    if not capped:
        say(ax, "no provider has slots or rate limits")
        return
    ax.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set_ylim(0, 1.08 * max(1.0, *map(_top, capped.values())))
    _beyond(ax, [*capped.values()], edges)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
    ax.set_ylabel("used, of slots\nor rate limit")
    key(ax, handlelength=2.2)


def _told(name: str, one: _Busy, edges: Floats) -> str:
    parts = []
    for label, values, _ in _series(one):
        peak = int(values.argmax()) if len(values) else 0
        highest = float(values[peak]) if len(values) else 0.0
        shown = f"{100 * highest:.3g} %" if _capped(one) else count(highest)
        parts.append(f"{label.split(',')[0].replace(chr(10), ' ')} up to {shown} at {clock(float(edges[peak]))}")
    return f"{name}: {', '.join(parts)}" if one.calls.any() else f"{name}: nothing was sent there"
