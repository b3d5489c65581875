"""Calls that were measured against those that a fit predicted without having seen them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.report.plots.canvas import INK, MUTED, Picture, bare, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Compared", "calibration_picture"]

Floats = NDArray[np.float64]

_BAR, _LINE = "#4477aa", "#ee6677"
_MOST = 4000  #: dots; more are thinned out evenly


class Compared(NamedTuple):
    """One quantity; seconds, shape ``(calls,)`` each."""

    label: str
    measured_s: Floats
    predicted_s: Floats
    busy: NDArray[np.int64]  #: calls under way when each was sent


def calibration_picture(title: str, compared: list[Compared]) -> Picture:
    """A row for each quantity: call by call, errors by how busy it was, and both distributions.

    Parameters
    ----------
    title
        What was fitted, and how.
    compared
        At least one, of at least one call.
    """
    with style():
        picture = bare(9.5, 3.1 * len(compared))
        axes = picture.subplots(len(compared), 3, squeeze=False)
        told = []
        for row, one in zip(axes, compared, strict=True):
            errors = (one.predicted_s - one.measured_s) / one.measured_s
            _dots(row[0], one)
            _errors(row[1], one, errors)
            _ecdf(row[2], one)
            middle = float(np.median(np.abs(errors)))
            told.append(f"{one.label}: {middle:.1%} off (median), bias {float(np.median(errors)):+.1%}")
        picture.suptitle(title, fontsize=10)
    picture.alt = (
        f"{title}. {'; '.join(told)}. Panels: predicted against measured, error by calls under way, distributions."
    )
    return picture


def _dots(ax: Axes, one: Compared) -> None:
    thin = slice(None, None, max(1, -(-len(one.measured_s) // _MOST)))
    measured, predicted = one.measured_s[thin], one.predicted_s[thin]
    ends = [float(min(measured.min(), predicted.min())) * 0.8, float(max(measured.max(), predicted.max())) * 1.25]
    ax.plot(ends, ends, color=MUTED, linewidth=0.8, linestyle="--")
    ax.scatter(measured, predicted, s=10, color=_BAR, alpha=0.6, linewidths=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("measured, s")
    ax.set_ylabel("predicted, s")
    ax.set_title(one.label)


def _errors(ax: Axes, one: Compared, errors: Floats) -> None:
    """Quartiles of the error for each number of calls under way; where there are many, in eight groups."""
    edges = np.unique(np.quantile(one.busy, np.linspace(0, 1, 9)))
    groups = np.clip(np.searchsorted(edges, one.busy, side="right") - 1, 0, max(len(edges) - 2, 0))
    for group in np.unique(groups):
        here = groups == group
        low, middle, high = np.quantile(100 * errors[here], [0.25, 0.5, 0.75])
        at = float(np.mean(one.busy[here]))
        ax.plot([at, at], [low, high], color=_BAR, linewidth=2.2, alpha=0.6)
        ax.plot([at], [middle], "o", color=_BAR, markersize=4)
    ax.axhline(0, color=MUTED, linewidth=0.8, linestyle="--")
    ax.set_xlabel("calls under way")
    ax.set_ylabel("error, % (quartiles)")


def _ecdf(ax: Axes, one: Compared) -> None:
    for values, label, colour, dashes in (
        (one.measured_s, "measured", _BAR, "-"),
        (one.predicted_s, "predicted", _LINE, (0, (4, 2))),
    ):
        ordered = np.sort(values)
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
        ax.step(ordered, shares, where="post", color=colour, linewidth=1.3, linestyle=dashes, label=label)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("seconds")
    ax.set_ylabel("share of calls")
    ax.legend(loc="lower right", labelcolor=INK)
