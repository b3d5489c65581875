"""What stateful policies were doing, lane by lane: breakers, cooldowns, ejections, shedding, limits that move."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.patches import Patch

from llmsim.report.figures import share
from llmsim.report.plots.bins import measured_end_s
from llmsim.report.plots.canvas import (
    CLASS_STYLE,
    LOAD,
    MUTED,
    Picture,
    bare,
    is_small,
    key,
    say,
    style,
    time_axis,
    words,
)
from llmsim.report.plots.panels import shade_faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["Lane", "lanes", "states"]

_MOST = 14  #: lanes; of more those that were longest in another state than the usual one
_QUIET = ("closed", "admitting", "in service")
#: Colour and hatch of every state but the usual one, which is a thin line.
_LOOKS: dict[str, tuple[str, str]] = {
    "open": CLASS_STYLE["server_errors"],
    "half_open": CLASS_STYLE["rate_limited"],
    "ramping": CLASS_STYLE["shed"],
    "cooling": CLASS_STYLE["timeouts"],
    "ejected": CLASS_STYLE["all_failed"],
    "shedding": CLASS_STYLE["unusable"],
}
#: Policies whose state is a word, with the usual one; and those whose state is a number, with its name.
_WORDED = {
    "circuit_breaker": "closed",
    "cooldown": "in service",
    "outlier_ejection": "in service",
    "adaptive_admission": "admitting",
}
_NUMBERED = {"concurrency_limit": "limit", "adaptive_rate": "rate_per_s"}


class Lane(NamedTuple):
    """One policy in front of one provider, in one replica of the gateway.

    Attributes
    ----------
    name
        As the axis says it.
    spans
        Begin, end and word of every stretch, without gaps from the begin of warm-up on; none, if its state is a number.
    times_s, values
        When its number moved, and to what; begins with the time before the first move (NaN where nothing tells).
    """

    name: str
    spans: tuple[tuple[float, float, str], ...] = ()
    times_s: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def away(self, end_s: float) -> float:
        """Seconds of the measured time in another state than the usual one; of a number, how often it moved."""
        if self.values:
            return float(len(self.values) > 1)
        inside = ((min(end, end_s) - max(0.0, start), word) for start, end, word in self.spans)
        return sum(max(0.0, length) for length, word in inside if word not in _QUIET)


def lanes(result: Result, replication: int = 0) -> list[Lane]:
    """The states of one replication, from its events; a policy that reported nothing was as it began all the time."""
    kinds = [*_WORDED, *_NUMBERED]
    mine = pl.col("replication") == replication
    rows = (
        result.events.lazy()
        .filter(mine & pl.col("kind").cast(pl.String).is_in(kinds))
        .with_columns(pl.col("kind", "policy", "upstream").cast(pl.String))
        .sort("time_s", maintain_order=True)
        .collect()
    )
    told: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {key: [] for key in _expected(result)}
    for row in rows.iter_rows(named=True):
        key = (row["kind"], row["policy"], row["upstream"], row["replica"])
        told.setdefault(key, []).append(row)
    several = len({replica for *_, replica in told}) > 1
    named = {key: _name(key, several=several) for key in told}
    return [_lane(result, key, named[key], moves) for key, moves in told.items()]


def _expected(result: Result) -> list[tuple[str, str, str, int]]:
    """Lanes that the gateway's policies have, whether they report anything or not."""
    gateway = result.scenario.gateway
    found = []
    for specs, upstreams in ((gateway.policies, [""]), (gateway.upstream, [*result.scenario.providers])):
        for spec in specs:
            kind = getattr(spec, "kind", "")
            if kind in _WORDED or (kind in _NUMBERED and _moves(spec)):
                replicas = 1 if getattr(spec, "shared", False) else gateway.replicas
                name = getattr(spec, "name", None) or kind
                found += [(kind, name, upstream, replica) for upstream in upstreams for replica in range(replicas)]
    return found


def _moves(spec: Any) -> bool:
    """Whether a limit is one that adapts."""
    return any(getattr(spec, word, None) is not None for word in ("aimd", "vegas", "gradient2")) or (
        getattr(spec, "kind", "") == "adaptive_rate"
    )


def _name(key: tuple[str, str, str, int], *, several: bool) -> str:
    kind, policy, upstream, replica = key
    label = words(policy or kind)
    about = f" {upstream}" if upstream else ""
    return f"{label}{about}{f' · {replica}' if several else ''}"


def _lane(result: Result, key: tuple[str, str, str, int], name: str, moves: Sequence[dict[str, Any]]) -> Lane:
    kind = key[0]
    begin, last = -result.scenario.clock.warm_up, math.inf
    details = [json.loads(row["detail"]) if row["detail"] else {} for row in moves]
    if kind in _NUMBERED:
        values = [float(one.get(_NUMBERED[kind], math.nan)) for one in details]
        return Lane(name, (), (begin, *(row["time_s"] for row in moves)), (_initial(result, key), *values))
    usual = _WORDED[kind]
    points: list[tuple[float, str]] = [(begin, usual)]
    for row, one in zip(moves, details, strict=True):
        at = row["time_s"]
        if kind in ("circuit_breaker", "adaptive_admission"):
            points.append((at, str(one.get("state", usual))))
        elif kind == "outlier_ejection" or one.get("state") == "cooling":
            until = at + float(one.get("for_s", 0.0))
            # A cooldown that is renewed replaces the end of the one before it.
            points = [point for point in points if point[0] <= at]
            points += [(at, "ejected" if kind == "outlier_ejection" else "cooling"), (until, usual)]
    spans = []
    for (start, word), (end, _) in zip(points, [*points[1:], (last, "")], strict=True):
        if end > start:
            spans.append((start, end, word))
    return Lane(name, tuple(spans))


def _initial(result: Result, key: tuple[str, str, str, int]) -> float:
    for spec in (*result.scenario.gateway.policies, *result.scenario.gateway.upstream):
        if (getattr(spec, "kind", ""), getattr(spec, "name", None) or getattr(spec, "kind", "")) == key[:2]:
            chosen = next(
                (getattr(spec, one) for one in ("aimd", "vegas", "gradient2") if getattr(spec, one, None)), spec
            )
            return float(getattr(chosen, "initial", None) or math.nan)
    return math.nan


def states(result: Result, *, replication: int = 0, ax: Axes | None = None) -> Picture | Axes:
    """A lane for each breaker, cooldown, ejection, shedding and moving limit: what it was doing when.

    A thin line is the usual state (closed, admitting, in service); everything else is a bar, in a colour and a hatch of
    its own. A limit that moves is a line of its own height, with its least and greatest value in its name.

    Parameters
    ----------
    result
        Any result.
    replication
        Which: states of several are not the same.
    ax
        Draw into these axes and return them.
    """
    every = lanes(result, replication)
    end_s = measured_end_s(result)
    kept = sorted(every, key=lambda lane: -lane.away(end_s))[:_MOST]
    shown = [lane for lane in every if lane in kept] if len(every) > _MOST else every
    with style():
        picture = None if ax is not None else bare(9.0, 0.27 * max(3, len(shown)) + 1.0)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        _draw(panel, shown, end_s)
        shade_faults(panel, result, end_s)
        time_axis(panel, end_s)
        panel.set_xlabel("time since the end of warm-up")
        if picture is None:
            return panel
        hidden = f", {len(shown)} of {len(every)} lanes" if len(shown) < len(every) else ""
        which = f", replication {replication}" if len(result.replications) > 1 else ""
        panel.set_title(f"{result.scenario.name}: states of policies{which}{hidden}")
    picture.alt = f"{result.scenario.name}: {_alt(shown, end_s)}."
    return picture


def _draw(ax: Axes, shown: Sequence[Lane], end_s: float) -> None:
    ax.spines["left"].set_visible(False)
    ax.tick_params(left=False)
    if not shown:
        say(ax, "no policy of this gateway has states:\nno breaker, cooldown, ejection or moving limit")
        ax.set_yticks([])
        return
    seen: list[str] = []
    for row, lane in enumerate(shown):
        if lane.values:
            _number(ax, row, lane, end_s)
            continue
        for start, end, word in lane.spans:
            left, right = max(0.0, start), min(end, end_s)
            if right <= left:
                continue
            if word in _QUIET:
                ax.plot([left, right], [row, row], color=MUTED, linewidth=1.0, solid_capstyle="butt")
                continue
            colour, hatch = _LOOKS.get(word, CLASS_STYLE["other_failures"])
            # Shorter than a line is wide, it is seen all the same.
            width = max(right - left, end_s * 0.002)
            ax.barh(row, width, left=left, height=0.66, facecolor=colour, edgecolor="white", hatch=hatch, linewidth=0)
            seen += [word] if word not in seen else []
    size = 5.5 if is_small(ax) else 8
    ax.set_yticks(range(len(shown)), [_labelled(lane) for lane in shown], fontsize=size)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    order = [word for word in _LOOKS if word in seen] + [word for word in seen if word not in _LOOKS]
    handles: list[Any] = [
        Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=words(word))
        for word in order
        for colour, hatch in [_LOOKS.get(word, CLASS_STYLE["other_failures"])]
    ]
    if any(not lane.values for lane in shown):
        handles.append(ax.plot([], [], color=MUTED, linewidth=1.0, label=_usual(shown))[0])
    if handles:
        key(ax, handles=handles, handlelength=1.6)


def _labelled(lane: Lane) -> str:
    known = [value for value in lane.values if not math.isnan(value)]
    if not known:
        return lane.name
    low, high = min(known), max(known)
    return f"{lane.name}: {low:.3g} to {high:.3g}" if low < high else f"{lane.name}: {low:.3g}"


def _usual(shown: Sequence[Lane]) -> str:
    found = {word for lane in shown for _, _, word in lane.spans if word in _QUIET}
    return "\n".join(word for word in _QUIET if word in found) or "as usual"


def _number(ax: Axes, row: int, lane: Lane, end_s: float) -> None:
    """A limit over time, from its least to its greatest value over the height of the lane."""
    times, values = np.array(lane.times_s), np.array(lane.values)
    before = int(np.searchsorted(times, 0.0, side="right")) - 1  # what held when the measured time began
    times, values = np.append(np.maximum(times[before:], 0.0), end_s), np.append(values[before:], values[-1])
    inside = times <= end_s
    times, values = times[inside], values[inside]
    known = values[np.isfinite(values)]
    if not len(known):
        ax.plot([0, end_s], [row, row], color=LOAD, linewidth=1.0, linestyle=":")
        return
    low, high = float(known.min()), float(known.max())
    heights = row + 0.33 - 0.66 * (values - low) / (high - low) if high > low else np.full(len(values), float(row))
    ax.step(times, heights, where="post", color=LOAD, linewidth=1.1)


def _alt(shown: Sequence[Lane], end_s: float) -> str:
    if not shown:
        return "no policy of this gateway has states"
    parts = []
    for lane in shown:
        if lane.values:
            known = [value for value in lane.values if not math.isnan(value)]
            parts.append(f"{lane.name} {_range(known)}")
            continue
        by: dict[str, float] = {}
        for start, end, word in lane.spans:
            length = min(end, end_s) - max(0.0, start)
            if length > 0 and word not in _QUIET:
                by[word] = by.get(word, 0.0) + length / max(end_s, 1e-9)
        told = ", ".join(f"{words(word)} {share(part)} of the time" for word, part in by.items())
        parts.append(f"{lane.name} {told or 'as usual all the time'}")
    return "; ".join(parts)


def _range(known: Sequence[float]) -> str:
    if not known:
        return "unknown"
    low, high = min(known), max(known)
    return f"between {low:.3g} and {high:.3g}" if low < high else f"at {low:.3g} all the time"
