"""One request, attempt by attempt: what it waited for, what failed, and where its answer came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from llmsim.report.colours import FAULT
from llmsim.report.explain import cache_told, end_told, records_of
from llmsim.report.figures import clock
from llmsim.report.page_gantt import told_of
from llmsim.report.plots.canvas import INK, KEY_STYLE, MUTED, PART_STYLE, Picture, bare, say, style
from llmsim.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["request", "telling"]

_MOST = 24  #: attempts; of more the first and the last ones
_GAP_S = 0.0005  # shorter is no wait
_QUEUE, _WAIT = PART_STYLE["queue"], PART_STYLE["prefill"]
_STREAM = PART_STYLE["generation"]

#: How an attempt ended, as a mark: told apart without colour.
_MARKS = {"ok": "$✓$", "cancelled": "|", "rate_limited": "^", "stream_broken": "x"}


def telling(result: Result) -> tuple[str, int] | None:
    """The request that has most to tell: the most attempts, then the longest; None: there is no request.

    Returns
    -------
    tuple of str and int, or None
        Its id and its replication.
    """
    # The largest of two columns in two passes: sorting a million rows for one of them takes longer.
    measured = result.requests.lazy().filter(pl.col("window") == "measured")
    most = measured.filter(pl.col("attempts") == pl.col("attempts").max())
    rows = most.select("request_id", "replication", "e2e_s").collect()
    if rows.is_empty():
        return None
    place = rows["e2e_s"].fill_null(-1.0).arg_max() or 0
    return str(rows["request_id"][place]), int(rows["replication"][place])


def request(
    result: Result, request_id: str | None = None, *, replication: int = 0, ax: Axes | None = None
) -> Picture | Axes:
    """One request as a waterfall: a row for each attempt with queue, first token and stream; waits between them.

    Parameters
    ----------
    result
        Any result.
    request_id
        ``session/step/user_retry``, as in ``result.requests``; ``session`` alone means ``session/0/0``; None: the one
        of all replications with the most attempts.
    replication
        Which replication.
    ax
        Draw into these axes and return them.

    Raises
    ------
    LlmsimError
        If there is no such request; the message names some that there are.
    """
    if request_id is None:
        found = telling(result)
        if found is None:
            return _nothing(result, ax)
        request_id, replication = found
    row, attempts, events = records_of(result, request_id, replication)
    hidden = max(0, len(attempts) - _MOST)
    shown = attempts if not hidden else [*attempts[: _MOST // 2], *attempts[-_MOST // 2 :]]
    with style():
        picture = None if ax is not None else bare(9.5, 0.3 * (len(shown) + 1) + 1.35)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        handles = _Waterfall(panel, result, row, shown, events, hidden).draw()
        if picture is None:
            if handles:
                panel.legend(handles=handles, loc="upper right", fontsize=7)
            return panel
        if handles:
            picture.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.6)
        which = f" of replication {replication}" if len(result.replications) > 1 else ""
        panel.set_title(f"{result.scenario.name}: request {row['request_id']}{which}")
    told = [f"{one['attempt']}, {one['cause']} at {one['upstream']}: {told_of(one)}" for one in attempts]
    words = [end_told(row).removeprefix("= "), *told, cache_told(result, row).strip()]
    picture.alt = f"Request {row['request_id']}: {'. '.join(one for one in words if one).strip('. ')}."
    return picture


def _nothing(result: Result, ax: Axes | None) -> Picture | Axes:
    with style():
        picture = None if ax is not None else bare(9.5, 1.6)
        panel = ax if picture is None else picture.subplots()
        assert panel is not None
        say(panel, "no request was measured")
        panel.set_xticks([])
        panel.set_yticks([])
        if picture is None:
            return panel
        panel.set_title(result.scenario.name)
    picture.alt = f"{result.scenario.name}: no request was measured."
    return picture


class _Waterfall:
    """Rows from above: the request at the gateway, then its attempts; seconds since its arrival to the right."""

    def __init__(
        self,
        ax: Axes,
        result: Result,
        row: dict[str, Any],
        attempts: list[dict[str, Any]],
        events: list[dict[str, Any]],
        hidden: int,
    ) -> None:
        self._ax = ax
        self._result = result
        self._row = row
        self._attempts = attempts
        self._hidden = hidden
        self._start_s = float(row["arrival_s"])
        self._e2e_s = float(row["e2e_s"] or 0.0)
        last_s = max((one["end_s"] for one in attempts), default=self._start_s)
        self._whole_s = max(self._e2e_s, last_s - self._start_s, 1e-3)
        self._backoffs = [event["time_s"] for event in events if event["kind"] == "retry"]
        self._seen: set[str] = set()

    def draw(self) -> list[Any]:
        """All of it; what the key explains."""
        ax = self._ax
        names = [*self._result.scenario.providers]
        faults = self._faults()
        ok = self._row["outcome"] == "ok"
        ax.plot([0, self._e2e_s], [0, 0], color=INK, linewidth=1.6, solid_capstyle="butt")
        ax.plot([self._e2e_s], [0], "|", color=INK, markersize=11, markeredgewidth=1.6)
        self._beside(0, self._end(), strong=True)
        if ok and self._row["ttft_s"] is not None and self._row["ttft_s"] < self._e2e_s:
            ax.plot([self._row["ttft_s"]], [0], "v", color=INK, markersize=5)
            self._seen.add("first")
        before_s, labels = self._start_s, ["at the gateway"]
        for number, one in enumerate(self._attempts, start=1):
            if self._hidden and number == _MOST // 2 + 1:
                before_s = one["start_s"]
            self._attempt(number, one, before_s, names)
            before_s = max(before_s, one["end_s"])
            skipped = f"… {self._hidden} more\n" if self._hidden and number == _MOST // 2 + 1 else ""
            labels.append(f"{skipped}{one['attempt']} · {one['cause']} · {one['upstream']}")
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -0.55 - 0.42 * faults)  # their names have room above
        ax.set_xlim(0, self._whole_s * 1.01)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_duration(value) if value else "0"))
        ax.set_xlabel(f"since its arrival at {clock(self._start_s)}")
        ax.spines["left"].set_visible(False)
        ax.tick_params(left=False)
        return self._key()

    def _end(self) -> str:
        where = " from the cache" if self._row["served_from"] == "cache" else ""
        wrong = ", WRONG" if self._row["false_hit"] else ""
        return f"{self._row['outcome']}{where} after {format_duration(self._e2e_s)}{wrong}"

    def _beside(self, row: int, text: str, *, strong: bool = False) -> None:
        self._ax.annotate(
            text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8, color=INK, weight="bold" if strong else "normal", annotation_clip=False,
        )  # fmt: skip

    def _attempt(self, row: int, one: dict[str, Any], before_s: float, names: list[str]) -> None:
        ax, start = self._ax, one["start_s"] - self._start_s
        if one["start_s"] - before_s > _GAP_S:
            self._gap(row, before_s, one["start_s"])
        end = one["end_s"] - self._start_s
        first = end if one["first_s"] is None else one["first_s"] - self._start_s
        queued = min(first, start + (one["queue_s"] or 0.0))
        least = self._whole_s * 0.003  # shorter than that it could not be seen
        for name, left, right, (colour, hatch) in (
            ("queue", start, queued, _QUEUE), ("wait", queued, first, _WAIT), ("stream", first, end, _STREAM)
        ):  # fmt: skip
            if right > left:
                ax.barh(row, max(right - left, least), left=left, height=0.56, facecolor=colour, edgecolor="white",
                        hatch=hatch or None, linewidth=0)  # fmt: skip
                self._seen.add(name)
        mark = _MARKS.get(one["outcome"], "X")
        won = one["won"] and one["outcome"] == "ok"
        ax.plot([end], [row], marker=mark, color=INK if won else KEY_STYLE[3][0], markersize=7, clip_on=False)
        self._beside(row, told_of(one))

    def _gap(self, row: int, before_s: float, until_s: float) -> None:
        """Nothing was under way upstream: a backoff, as a rule."""
        left, right = before_s - self._start_s, until_s - self._start_s
        self._ax.plot([left, right], [row, row], color=MUTED, linewidth=1.2, linestyle=(0, (1, 1.5)))
        announced = any(abs(at - before_s) < 0.01 for at in self._backoffs)
        text = f"{'backoff' if announced else 'waited'} {format_duration(until_s - before_s)}"
        if (right - left) / self._whole_s > 0.012 * len(text):  # a width that was measured
            self._ax.annotate(text, ((left + right) / 2, row), xytext=(0, 2), textcoords="offset points", ha="center",
                              va="bottom", fontsize=7.5, color=INK)  # fmt: skip

    def _faults(self) -> int:
        """Faults that were active while the request was, behind it, their names above; how many."""
        over_s = self._start_s + self._whole_s
        active = [one for one in self._result.scenario.faults if one.at <= over_s and one.end_s >= self._start_s]
        for number, fault in enumerate(active):
            left, right = max(fault.at, self._start_s), min(fault.end_s, over_s)
            self._ax.axvspan(
                left - self._start_s, right - self._start_s, color=FAULT, alpha=0.09, linewidth=0, zorder=0
            )
            self._ax.annotate(
                f"fault {fault.name} ({fault.target})", (left - self._start_s, 1.0),
                xycoords=("data", "axes fraction"), xytext=(3, -2 - 9 * number), textcoords="offset points", va="top",
                fontsize=7, color=FAULT,
            )  # fmt: skip
        return len(active)

    def _key(self) -> list[Any]:
        looks = (
            ("queue", "in the provider's queue", _QUEUE),
            ("wait", "to a first token", _WAIT),
            ("stream", "stream", _STREAM),
        )
        handles: list[Any] = [
            Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=label)
            for name, label, (colour, hatch) in looks
            if name in self._seen
        ]
        if "first" in self._seen:
            (mark,) = self._ax.plot([], [], "v", color=INK, markersize=5, label="first chunk at the caller")
            handles.append(mark)
        return handles
