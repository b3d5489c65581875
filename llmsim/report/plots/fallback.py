"""Who was asked first, who answered in the end, and how the calls to each provider ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from llmsim.report.figures import count, share
from llmsim.report.plots.canvas import (
    CLASS_STYLE,
    INK,
    KEY_STYLE,
    Picture,
    bare,
    height_of,
    ink_on,
    is_small,
    say,
    style,
    width_of,
)
from llmsim.telemetry.outcomes import CLASS_OF_WORD, CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["fallback"]

_LETTER_IN = 0.094  # the width of a letter and its share of the margins, measured
_SHORT_IN = 2.0  # a panel of less has no room for words below it (chosen)
_KEY_LETTER_IN, _KEY_LINE_IN = 0.05, 0.125  #: of a key in letters of 6 points: measured 0.047 and 0.108
_NOBODY = "nobody"
_MOST = 8  #: bars; what was asked least is left out, and the title says so

#: How an attempt ended, beside an answer: label, colour and hatch, and the words of `outcome`.
_ENDS: tuple[tuple[str, tuple[str, str], tuple[str, ...]], ...] = (
    ("answered", CLASS_STYLE["answered"], ("ok",)),
    ("429", CLASS_STYLE["rate_limited"], ("rate_limited", "quota_exhausted")),
    ("5xx, no connection", CLASS_STYLE["server_errors"], ("server_error", "overloaded", "connection_failed")),
    (
        "no answer in time",
        CLASS_STYLE["timeouts"],
        ("timeout", "ttft_timeout", "stream_stalled", "total_timeout", "deadline_exceeded"),
    ),
    ("stream broke", CLASS_STYLE["all_failed"], ("stream_broken",)),
    ("cancelled", CLASS_STYLE["abandoned"], ("cancelled",)),
)
_OTHER = ("another error", CLASS_STYLE["other_failures"])


class _Part(NamedTuple):
    label: str
    look: tuple[str, str]
    many: float


class _Row(NamedTuple):
    name: str
    parts: list[_Part]

    @property
    def total(self) -> float:
        return sum(part.many for part in self.parts)


def fallback(result: Result, *, ax: Axes | None = None) -> Picture | Axes:
    """A bar for each first choice, all its requests: who answered them, and what became of those nobody answered.

    Beside it, how the calls to each provider ended, which is why others were asked.

    Parameters
    ----------
    result
        Any result; requests of the measured time, all replications together.
    ax
        Draw the bars of first choices into these axes and return them.
    """
    (rows, firsts), (calls, providers) = _most(_answered_by(result)), _most(_ends(result))
    made = max(1, len(result.replications))
    with style():
        if ax is not None:
            _draw(ax, rows, made, "requests", len(rows), inside=is_small(ax) or height_of(ax) < _SHORT_IN)
            return ax
        height = 0.5 * max(len(rows), len(calls), 1) + 1.1
        picture = bare(9.5, height + 0.27 * max(len(_looks(rows)), len(_looks(calls))) ** 0.9)
        left, right = picture.subplots(1, 2)
        high = max(len(rows), len(calls))  # bars are as thick on both sides
        _draw(left, rows, made, "requests", high)
        _draw(right, calls, made, "calls", high)
        left.set_title(f"{result.scenario.name}: first asked, and who answered{firsts}")
        right.set_title(f"how the calls to each ended{providers}")
    picture.alt = f"{result.scenario.name}: {_alt(rows) or 'no request was sent to a provider'}."
    return picture


def _answered_by(result: Result) -> list[_Row]:
    measured = result.requests.lazy().filter(pl.col("window") == "measured")
    counted = (
        measured.group_by("first_choice", "outcome", "served_by", "served_from")
        .agg(pl.len())
        .with_columns(pl.col("first_choice", "outcome", "served_by", "served_from").cast(pl.String))
        .filter(pl.col("first_choice") != "")
        .collect()
    )
    names = [*result.scenario.providers]
    rows = []
    for first in _in_order(counted["first_choice"].to_list(), names):
        mine = counted.filter(pl.col("first_choice") == first)
        ok = mine.filter(pl.col("outcome") == "ok")
        answered = dict(ok.group_by("served_by").agg(pl.col("len").sum()).iter_rows())
        # The first choice itself comes first, so that where its part ends is the share of fallbacks.
        order = sorted(_in_order(list(answered), names), key=lambda name: name != first)
        parts = [_Part(name or "unknown", _style_of(name, names), answered[name]) for name in order]
        failed = mine.filter(pl.col("outcome") != "ok")
        lost: dict[str, int] = {}
        for outcome, many in failed.select("outcome", "len").iter_rows():
            kind = CLASS_OF_WORD.get(outcome, "other_failures")
            lost[kind] = lost.get(kind, 0) + many
        for one in CLASSES:
            if one.name in lost:
                colour, hatch = CLASS_STYLE[one.name]
                parts.append(_Part(f"{_NOBODY}: {one.label}", (colour, hatch or "...."), lost[one.name]))
        rows.append(_Row(first, parts))
    return sorted(rows, key=lambda row: -row.total)


def _ends(result: Result) -> list[_Row]:
    counted = (
        result.attempts.lazy()
        .filter(pl.col("window") == "measured")
        .group_by("upstream", "outcome")
        .agg(pl.len())
        .with_columns(pl.col("upstream", "outcome").cast(pl.String))
        .collect()
    )
    rows = []
    for name in _in_order(counted["upstream"].to_list(), [*result.scenario.providers]):
        mine = dict(counted.filter(pl.col("upstream") == name).select("outcome", "len").iter_rows())
        parts = [_Part(label, look, sum(mine.pop(word, 0) for word in outcomes)) for label, look, outcomes in _ENDS]
        parts.append(_Part(*_OTHER, sum(mine.values())))
        rows.append(_Row(name, [part for part in parts if part.many]))
    return rows


def _most(rows: list[_Row]) -> tuple[list[_Row], str]:
    """As many bars as can be read, in their order, and what the title says of those that are left out."""
    if len(rows) <= _MOST:
        return rows, ""
    least = sorted(range(len(rows)), key=lambda place: -rows[place].total)[_MOST:]
    return [row for place, row in enumerate(rows) if place not in least], f" ({_MOST} of {len(rows)})"


def _in_order(found: Sequence[str], names: Sequence[str]) -> list[str]:
    """Each once: as in the scenario, then others."""
    once = set(found)
    return [*(name for name in names if name in once), *sorted(once - set(names))]


def _style_of(name: str, names: Sequence[str]) -> tuple[str, str]:
    return KEY_STYLE[(names.index(name) if name in names else len(names)) % len(KEY_STYLE)]


def _looks(rows: Sequence[_Row]) -> dict[str, tuple[str, str]]:
    return {part.label: part.look for row in rows for part in row.parts}


def _draw(ax: Axes, rows: Sequence[_Row], made: int, unit: str, high: int, *, inside: bool = False) -> None:
    """Bars and what they mean; `inside`: all words stay within the axes, beside which there are others."""
    if not rows:
        say(ax, f"no {'request was' if unit == 'requests' else 'call was'} sent to a provider")
        ax.set_xticks([])
        ax.set_yticks([])
        return
    for place, row in enumerate(rows):
        left = 0.0
        for part in row.parts:
            width = part.many / row.total
            colour, hatch = part.look
            ax.barh(place, width, left=left, height=0.62, facecolor=colour, edgecolor="white", hatch=hatch or None,
                    linewidth=0.5)  # fmt: skip
            text = share(width)
            if width * width_of(ax) > _LETTER_IN * (len(text) + 1):
                box = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
                ax.text(
                    left + width / 2, place, text, ha="center", va="center", fontsize=8, color=ink_on(colour), bbox=box
                )
            left += width
    names = [f"{row.name}\n{count(row.total / made)} {unit}" for row in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(high - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
    handles = [
        Patch(facecolor=colour, edgecolor="white", hatch=hatch or None, label=label)
        for label, (colour, hatch) in _looks(rows).items()
    ]
    if inside:
        _words_inside(ax, names, handles)
        return
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -0.16), handlelength=1.6, labelcolor=INK,
              ncols=2)  # fmt: skip


def _words_inside(ax: Axes, names: Sequence[str], handles: Sequence[Patch]) -> None:
    """Names above their bars, and the key below all of them; as much lower as the words are high the bars become."""
    wide, tall = width_of(ax), height_of(ax)
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 3, int(wide / (_KEY_LETTER_IN * longest + 0.4))))
    lines = -(-len(handles) // columns)
    share_of_key = min(0.5, (lines * _KEY_LINE_IN + 0.06) / tall)
    ax.set_yticks([])
    for place, name in enumerate(names):
        ax.text(0.01, place - 0.34, name.replace("\n", ", "), ha="left", va="bottom", fontsize=7)
    rows = len(names) + 0.2
    ax.set_ylim(len(names) - 0.6 + rows * share_of_key / (1 - share_of_key), -0.8)
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 0), handlelength=1.4, labelcolor=INK,
              fontsize=6, ncols=columns, columnspacing=1.0, borderaxespad=0.2, labelspacing=0.3)  # fmt: skip


def _alt(rows: Sequence[_Row]) -> str:
    return "; ".join(
        f"of the requests first sent to {row.name}, "
        + ", ".join(f"{share(part.many / row.total)} {part.label}" for part in row.parts)
        for row in rows
    )
