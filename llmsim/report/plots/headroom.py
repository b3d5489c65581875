"""How near the rate limits were: what each had left over time, and the calls that found nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter

from llmsim.errors import LlmsimError
from llmsim.report.figures import clock, count, share
from llmsim.report.plots.bins import stairs, time_bins
from llmsim.report.plots.canvas import (
    INK,
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
from llmsim.report.plots.levels import Levels, levels_of, limited
from llmsim.report.plots.panels import shade_faults
from llmsim.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["headroom"]

_MOST = 6  #: panels; of more accounts those that came nearest to their limits
_REFUSED = KEY_STYLE[3][0]


def headroom(
    result: Result, provider: str | None = None, *, replication: int = 0, ax: Axes | None = None
) -> Picture | Axes:
    """What each rate limit had left, at its lowest in each stretch of time, and where calls were refused.

    The provider's own counters are charged again with the calls of one replication. For simulated providers that is
    what they really held, but for what no table tells: `llmsim.report.plots.levels.calls_of` says what that is.

    Parameters
    ----------
    result
        Any result.
    provider
        A provider with limits, or a quota group; None: all of them, into `ax` the one that came nearest to a limit.
    replication
        Which: levels of several cannot be averaged.
    ax
        Draw one account into these axes and return them.

    Raises
    ------
    LlmsimError
        If that provider has no rate limit.
    """
    accounts = limited(result)
    if provider is not None:
        accounts = {name: them for name, them in accounts.items() if name == provider or provider in them}
        if not accounts:
            known = ", ".join(limited(result)) or "none has"
            raise LlmsimError(f"{provider!r} has no rate limit in this scenario; those that have: {known}")
    edges = time_bins(result)
    there = any(one.number == replication for one in result.replications)
    told = {name: levels_of(result, them, edges, replication) for name, them in accounts.items()} if there else {}
    nearest = sorted(told, key=lambda name: float(told[name].least.min()))[: 1 if ax is not None else _MOST]
    shown = {name: one for name, one in told.items() if name in nearest}
    end_s = float(edges[-1])
    with style():
        if ax is not None:
            _draw(ax, shown, result, end_s)
            return ax
        picture = bare(9.0, 1.9 * max(1, len(shown)) + 0.8)
        panels = list(picture.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0])
        if not shown:
            _draw(panels[0], {}, result, end_s)
        for panel, (name, one) in zip(panels, shown.items(), strict=False):
            _draw(panel, {name: one}, result, end_s)
        which = f", replication {replication}" if len(result.replications) > 1 else ""
        hidden = f" (of {len(told)} accounts the tightest)" if len(told) > len(shown) else ""
        panels[0].set_title(f"{result.scenario.name}: left of the rate limits{which}{hidden}")
        panels[-1].set_xlabel("time since the end of warm-up")
        for panel in panels[:-1]:
            panel.tick_params(labelbottom=False)
        picture.align_ylabels(panels)
    picture.alt = f"{result.scenario.name}: {_alt(shown) or 'no provider has a rate limit'}."
    return picture


def _draw(ax: Axes, shown: dict[str, Levels], result: Result, end_s: float) -> None:
    shade_faults(ax, result, end_s)
    time_axis(ax, end_s)
    if not shown:
        say(ax, "no provider has a rate limit" if result.replications else "nothing was run")
        return
    ((name, told),) = shown.items()
    # The tightest limit is the lowest line, and comes first in the legend.
    order = np.argsort(told.least.min(axis=1), kind="stable")
    for place, number in enumerate(order):
        least = told.least[number]
        x, y = stairs(told.edges_s, least)
        label = f"{words(told.names[number])}, down to {share(max(0.0, float(least.min())))}"
        ax.plot(x, y, color=KEY_STYLE[place % len(KEY_STYLE)][0], linestyle=LINES[place % len(LINES)],
                linewidth=1.6 if not place else 1.1, label=label)  # fmt: skip
    lowest = max(-1.0, min(0.0, float(told.least.min())))
    refused = told.refused > 0
    if refused.any():
        # A strip below the axis: full where calls were turned away.
        x, y = stairs(told.edges_s, refused.astype(float))
        label = f"429: {counted(int(told.refused.sum()), 'call')}"
        ax.fill_between(x, lowest - 0.11, lowest - 0.04, where=y > 0, facecolor=_REFUSED, edgecolor="white",
                        hatch="\\\\\\\\", linewidth=0, label=label)  # fmt: skip
    ax.axhline(0, color=MUTED, linewidth=0.8)
    ax.set_ylim(lowest - (0.13 if refused.any() else 0.02), 1.06)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value) if value >= 0 else f"−{share(-value)}"))
    ax.set_ylabel(f"{name}:\nleft", color=INK, fontsize=side_size(ax, name))
    key(ax, handlelength=2.2)


def _alt(shown: dict[str, Levels]) -> str:
    parts = []
    for name, told in shown.items():
        number = int(told.least.min(axis=1).argmin())
        low = told.least[number]
        at = clock(float(told.edges_s[int(low.argmin())]))
        refused = float(told.refused.sum())
        parts.append(
            f"{name} had {share(max(0.0, float(low.min())))} of its {words(told.names[number])} left at {at}, "
            + (f"{count(refused)} calls were answered 429" if refused else "no call was refused")
        )
    return "; ".join(parts)
