"""Two samples of a latency in pictures: their distribution functions, and quantiles against quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from llmsim.report.colours import KEY_STYLE
from llmsim.report.figures import share
from llmsim.report.plots.canvas import INK, MUTED, Picture, bare, style
from llmsim.report.reality.curves import LABELS, Axis, Sides, ecdf_told, label_places, qq_told, quantiles, tolerance_of
from llmsim.report.reality.curves import ecdf as steps
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RealityPlots", "ecdf", "qq"]

_COLOURS = (KEY_STYLE[0][0], KEY_STYLE[3][0])
_LINES = ("-", "--")  # tell them apart without colour


def ecdf(sides: Sides, latency: str = "ttft", *, ax: Axes | None = None) -> Picture | Axes:
    """Share of the requests that took no longer, of both; what failed never gets there.

    Parameters
    ----------
    sides
        The two samples: of a reality check ``check.sides``.
    latency
        ``ttft``, ``tpot``, ``max_inter_token`` or ``e2e``.
    ax
        Draw into these axes and return them.

    Raises
    ------
    LlmsimError
        For another latency, or one that nobody has.
    """
    both = sides.of(latency, answered=False)
    axis = Axis.of(*both)
    labels = label_places(both, axis)
    with style():
        picture = None if ax is not None else bare(6.6, 3.9)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        for number, (name, values) in enumerate(zip(sides.names, both, strict=True)):
            xs, ys = steps(values)
            panel.step([*xs, axis.high], [*ys, ys[-1]], where="post", color=_COLOURS[number],
                       linestyle=_LINES[number], linewidth=1.6)  # fmt: skip
            value, at, side = labels[number]
            panel.annotate(name, (value, at), xytext=(8 * side, 0), textcoords="offset points", va="center",
                           ha="left" if side > 0 else "right", color=_COLOURS[number], fontsize=9)  # fmt: skip
            if np.isinf(values).any():
                panel.annotate(f"{name}: {share(1 - float(ys[-1]))} never", (1, float(ys[-1])), va="bottom",
                               ha="right", xycoords=("axes fraction", "data"), fontsize=8, color=INK)  # fmt: skip
        _marks(panel, axis, "x")
        panel.set_ylim(0, 1.03)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
        panel.set_ylabel("share of requests that took no longer")
        panel.set_xlabel(f"{LABELS[latency]}{' (log scale)' if axis.log else ''}")
        if picture is None:
            return panel
        panel.set_title(f"{sides.scenario}: {LABELS[latency]}")
    picture.alt = ecdf_told(sides, latency)
    return picture


def qq(sides: Sides, latency: str = "ttft", *, ax: Axes | None = None) -> Picture | Axes:
    """Equal quantiles of both; on the diagonal they agree, in the band the median would be within its tolerance.

    Parameters
    ----------
    sides
        The two samples: of a reality check ``check.sides``.
    latency
        ``ttft``, ``tpot``, ``max_inter_token`` or ``e2e``.
    ax
        Draw into these axes and return them.

    Raises
    ------
    LlmsimError
        For another latency, or one that nobody has.
    """
    one, other = quantiles(*sides.of(latency, answered=True))
    axis, band = Axis.of(one, other), tolerance_of(sides, latency)
    with style():
        picture = None if ax is not None else bare(4.9, 4.7)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        line = np.geomspace(axis.low, axis.high) if axis.log else np.linspace(axis.low, axis.high)
        panel.fill_between(line, line * (1 - band), line * (1 + band), color=MUTED, alpha=0.25, linewidth=0)
        panel.plot(line, line, color=MUTED, linewidth=1.0)
        panel.plot(other, one, "o", markersize=3.2, color=_COLOURS[0], markerfacecolor="none")
        for which in "xy":
            _marks(panel, axis, which)
        panel.set_box_aspect(1)
        panel.annotate(f"±{share(band)}", (line[-6], line[-6] * (1 + band)), fontsize=8, color=INK, ha="right",
                       va="bottom", annotation_clip=True)  # fmt: skip
        scale = " (log scale)" if axis.log else ""
        panel.set_ylabel(f"{sides.names[0]}{scale}")
        panel.set_xlabel(f"{sides.names[1]}{scale}")
        if picture is None:
            return panel
        panel.set_title(f"{sides.scenario}: {LABELS[latency]},\nquantiles of answered requests")
    picture.alt = qq_told(sides, latency)
    return picture


class RealityPlots:
    """``check.plot``: each picture as a method; given ``ax=``, it is drawn into that and `ax` returned."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides

    def ecdf(self, latency: str = "ttft", *, ax: Axes | None = None) -> Picture | Axes:
        """Share of the requests that took no longer, of both; see `ecdf`."""
        return ecdf(self._sides, latency, ax=ax)

    def qq(self, latency: str = "ttft", *, ax: Axes | None = None) -> Picture | Axes:
        """Equal quantiles of both; see `qq`."""
        return qq(self._sides, latency, ax=ax)

    def __repr__(self) -> str:
        return f"pictures of {' and '.join(self._sides.names)}: .ecdf({'|'.join(LABELS)}) .qq(…)"


def _marks(panel: Axes, axis: Axis, which: str) -> None:
    if axis.log:
        (panel.set_xscale if which == "x" else panel.set_yscale)("log")
    of = panel.xaxis if which == "x" else panel.yaxis
    of.set_major_locator(FixedLocator(axis.marks))
    of.set_minor_locator(NullLocator())
    of.set_minor_formatter(NullFormatter())
    of.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value) if value else "0"))
    (panel.set_xlim if which == "x" else panel.set_ylim)(axis.low, axis.high)
