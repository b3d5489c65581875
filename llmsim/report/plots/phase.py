"""Where a system goes when load rises and falls again: a way back other than the way there is metastable failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from llmsim.errors import LlmsimError
from llmsim.report.figures import clock, figure
from llmsim.report.plots.bins import Floats, outcome_bins
from llmsim.report.plots.canvas import INK, KEY_STYLE, MUTED, Picture, bare, say, style, width_of
from llmsim.report.plots.utilisation import under_way

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["phase"]

_STEPS = 48  #: points of the way at the most
_WIDER = 1.15  #: the axis, than the highest load: its time has room beside it
_LETTER_IN = 0.062  #: the width of a letter of 8 points; measured 0.055 to 0.062 of times
_INSIDE = 0.85  #: of a panel's width, what words on its axes leave at the least; by eye
_PATH, _FAULTY = KEY_STYLE[0][0], KEY_STYLE[3][0]
_GOOD = ("cache_hits", "semantic_hits", "answered")
_LABELS = {"goodput": "goodput, answers / s", "backlog": "backlog, requests under way"}


class _Way(NamedTuple):
    edges_s: Floats
    load: Floats
    told: Floats
    faulty: Floats  #: bool: a fault is active at the middle of the bin


def phase(result: Result, y: Literal["goodput", "backlog"] = "goodput", *, ax: Axes | None = None) -> Picture | Axes:
    """Offered load against goodput (or backlog), as a way through time with arrows; faults are marked.

    On the dashed line every request gets its answer. Who comes down another way than he went up has hysteresis: the
    same load is served before the spike and not after it.

    Parameters
    ----------
    result
        Any result; replications are averaged. User retries are part of the load.
    y
        ``goodput``: answers per second, to the requests that came in the same stretch of time; ``backlog``: requests
        under way.
    ax
        Draw into these axes and return them.

    Raises
    ------
    LlmsimError
        For another `y`.
    """
    if y not in _LABELS:
        raise LlmsimError(f"there is no phase plane of {y!r}; name goodput or backlog")
    way = _way(result, y)
    with style():
        picture = None if ax is not None else bare(6.2, 4.6)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        _draw(panel, way, y)
        if picture is None:
            return panel
        panel.set_title(f"{result.scenario.name}: load and {y}")
    picture.alt = f"{result.scenario.name}: {_alt(way, y)}"
    return picture


def _way(result: Result, y: str) -> _Way:
    bins = outcome_bins(result, _STEPS)
    edges = bins.edges_s
    if y == "goodput":
        told = sum((bins.classes[name] for name in _GOOD if name in bins.classes), np.zeros(len(bins.offered)))
    else:
        starts = result.requests["arrival_s"].to_numpy()
        lasted = result.requests["e2e_s"].fill_null(0.0).to_numpy()
        told = under_way(starts, starts + lasted, edges) / max(1, len(result.replications))
    middle = (edges[:-1] + edges[1:]) / 2
    faulty = np.zeros(len(middle), dtype=bool)
    for fault in result.scenario.faults:
        faulty |= (middle >= fault.at) & (middle < fault.end_s)
    return _Way(edges, bins.offered, told, faulty)


def _draw(ax: Axes, way: _Way, y: str) -> None:
    ax.set_xlabel("offered load, requests / s")
    ax.set_ylabel(_LABELS[y])
    if not way.load.any():
        say(ax, "no requests")
        ax.set_xticks([])
        return
    top = float(way.load.max())
    high = max(float(way.told.max()), top if y == "goodput" else 0.0) or 1.0
    if y == "goodput":
        ax.plot([0, top], [0, top], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.plot(way.load, way.told, color=_PATH, linewidth=1.0, alpha=0.65)
    _arrows(ax, way, top, high)
    calm = ~way.faulty.astype(bool)
    ax.plot(way.load[calm], way.told[calm], "o", color=_PATH, markersize=3.4, markerfacecolor="none")
    if not calm.all():
        ax.plot(way.load[~calm], way.told[~calm], "x", color=_FAULTY, markersize=5, label="while a fault is active")
        ax.legend(loc="upper left", handlelength=1.0)
    ax.set_xlim(0, top * _WIDER)
    ax.set_ylim(-0.02 * high, high * 1.12)
    above = _moments(ax, way, top, high)
    if y == "goodput":
        ax.annotate("all answered", (top, top), xytext=(0, 17 if above else 7), textcoords="offset points", ha="right",
                    fontsize=8, color=INK)  # fmt: skip


def _arrows(ax: Axes, way: _Way, top: float, high: float) -> None:
    """A head in the middle of every step that is long enough to have one."""
    for at in range(len(way.load) - 1):
        x0, x1, y0, y1 = way.load[at], way.load[at + 1], way.told[at], way.told[at + 1]
        if abs(x1 - x0) / top + abs(y1 - y0) / high < 0.08:
            continue
        ax.annotate(
            "", (x0 + 0.58 * (x1 - x0), y0 + 0.58 * (y1 - y0)), (x0 + 0.42 * (x1 - x0), y0 + 0.42 * (y1 - y0)),
            arrowprops={"arrowstyle": "-|>", "color": _PATH, "linewidth": 0.8, "mutation_scale": 9},
        )  # fmt: skip


def _moments(ax: Axes, way: _Way, top: float, high: float) -> bool:
    """Times at the beginning, at the end, at the peak and where most is missing; those at one place in one text.

    Returns
    -------
    bool
        Whether one of them stands above the upper end of the dashed line.
    """
    last = len(way.load) - 1
    peak = int(way.load.argmax())
    lowest = peak + int((way.told[peak:] - way.load[peak:]).argmin())
    end = f"end {clock(float(way.edges_s[-1]))}"
    told = [(0, f"start {clock(float(way.edges_s[0]))}", "D"), (last, end, "s")]
    told += [(at, clock(float(way.edges_s[at])), "o") for at in (peak, lowest, last // 2)]
    places: list[tuple[int, list[str]]] = []
    for at, text, marker in told:
        x, y = way.load[at] / top, way.told[at] / high
        near = (
            texts for one, texts in places
            if abs(x - way.load[one] / top) < 0.16 and abs(y - way.told[one] / high) < 0.07
        )  # fmt: skip
        found = next(near, None)
        if marker != "o" or found is None:
            ax.plot([way.load[at]], [way.told[at]], marker, color=_PATH, markersize=5.5)
        if found is None:
            places.append((at, [text]))
        elif marker != "o":
            found.append(text)
    taken = False
    for at, texts in places:
        text = ", ".join(texts)
        # Right and below, or left and above: a way that keeps near the dashed line goes through neither.
        left = 1 - way.load[at] / top / _WIDER < (_LETTER_IN * len(text) + 0.1) / (_INSIDE * width_of(ax))
        above = left or way.told[at] / high < 0.06
        ax.annotate(
            text, (way.load[at], way.told[at]), xytext=(-7 if left else 6, 5 if above else -11),
            textcoords="offset points", ha="right" if left else "left", fontsize=8, color=INK,
        )  # fmt: skip
        taken |= left and way.told[at] / high > 0.9
    return taken


def _alt(way: _Way, y: str) -> str:
    if not way.load.any():
        return "no requests."
    peak = int(way.load.argmax())

    def at(place: int) -> str:
        told = figure(float(way.told[place]), "per_s") if y == "goodput" else f"{way.told[place]:.3g} requests"
        return (
            f"{figure(float(way.load[place]), 'per_s')} offered, {told} {'answered' if y == 'goodput' else 'waiting'}"
        )

    return f"begins at {at(0)}; at the highest load, {clock(float(way.edges_s[peak]))}, {at(peak)}; ends at {at(-1)}."
