"""Adaptive concurrency limits side by side: what each allowed, turned away, and made callers wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.report.figures import share
from llmsim.report.plots.canvas import KEY_STYLE, Picture, bare, style, time_axis

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["limit_steps", "plot_limits"]

_BINS = 80
_LINES = ("-", "--", "-.", ":")  # tell them apart without colour
Floats = NDArray[np.float64]


def limit_steps(result: Result, *, initial: float | None = None) -> tuple[Floats, Floats]:
    """When a concurrency limit moved, and to what (first replication; of several limits all their moves, in order).

    Parameters
    ----------
    result
        Of a scenario with an adaptive ``concurrency_limit``.
    initial
        What it was at time 0; None: as its spec says, NaN if there is none.

    Returns
    -------
    times_s, limits : ndarray
        Beginning with time 0.
    """
    rows = result.events.filter((pl.col("kind") == "concurrency_limit") & (pl.col("replication") == 0)).sort("time_s")
    moves = [float(json.loads(detail)["limit"]) for detail in rows["detail"]]
    first = _initial(result) if initial is None else initial
    return np.array([0.0, *rows["time_s"].to_list()]), np.array([first, *moves])


def _initial(result: Result) -> float:
    gateway = result.scenario.gateway
    for spec in (*gateway.policies, *gateway.upstream):
        if getattr(spec, "kind", "") == "concurrency_limit":
            chosen = spec.aimd or spec.vegas or spec.gradient2
            return float(chosen.initial if chosen is not None else spec.limit)
    return float("nan")


def plot_limits(results: Mapping[str, Result]) -> Picture:
    """The limits of several runs over one time axis, the share each turned away, and the median time of an answer.

    Parameters
    ----------
    results
        By the name each is to have in the legend; runs of the same length.
    """
    end_s = max(result.scenario.clock.duration for result in results.values())
    edges = np.linspace(0.0, end_s, _BINS + 1)
    with style():
        picture = bare(9.5, 6.2)
        panels = picture.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1.6, 1.0, 1.0]})
        for number, (name, result) in enumerate(results.items()):
            look = {"label": name, "color": KEY_STYLE[number % len(KEY_STYLE)][0], "linewidth": 1.6}
            look["linestyle"] = _LINES[number % len(_LINES)]
            times, limits = limit_steps(result)
            panels[0].step([*times, end_s], [*limits, limits[-1]], where="post", **look)
            turned_away, medians = _over_time(result, edges)
            panels[1].plot(edges[:-1], turned_away, **look)
            panels[2].plot(edges[:-1], medians, **look)
        panels[0].set_ylabel("limit")
        panels[1].set_ylabel("turned away")
        panels[1].yaxis.set_major_formatter(lambda value, _: share(value))
        panels[2].set_ylabel("median time, s")
        for panel in panels:
            panel.set_ylim(bottom=0)
        panels[0].legend(loc="upper left", ncols=len(results))
        time_axis(panels[2], end_s)
        panels[2].set_xlabel("time since the end of warm-up, by arrival")
        panels[0].set_title("Concurrency limits")
        picture.align_ylabels(panels)
    picture.alt = _alt(results)
    return picture


def _over_time(result: Result, edges: Floats) -> tuple[Floats, Floats]:
    """Share rejected, and median time of the answered, by arrival; NaN where nobody came."""
    table = result.requests.filter(pl.col("arrival_s").is_between(0.0, edges[-1], closed="left"))
    place = np.searchsorted(edges, table["arrival_s"].to_numpy(), side="right") - 1
    rejected = (table["outcome"] == "rejected").to_numpy()
    answered = (table["outcome"] == "ok").to_numpy()
    times = table["e2e_s"].to_numpy()
    shares, medians = np.full(_BINS, np.nan), np.full(_BINS, np.nan)
    for number in range(_BINS):
        here = place == number
        if here.any():
            shares[number] = rejected[here].mean()
        if (here & answered).any():
            medians[number] = np.median(times[here & answered])
    return shares, medians


def _alt(results: Mapping[str, Result]) -> str:
    names = [*results]
    listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
    told = []
    for name, result in results.items():
        _, limits = limit_steps(result)
        outcomes = result.requests["outcome"]
        rejected = int((outcomes == "rejected").sum()) / max(1, len(outcomes))
        ends = f"between {np.nanmin(limits):.0f} and {np.nanmax(limits):.0f}"
        told.append(f"{name}: {ends}, {share(rejected)} turned away")
    return f"Concurrency limits of {listed} over time. {'; '.join(told)}."
