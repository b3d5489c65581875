"""Several gateways under the same luck: how far each is from one of them, metric by metric, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from llmsim.errors import LlmsimError
from llmsim.report.figures import figure
from llmsim.report.paired import COMPARED, FEWEST_PAIRS, Difference, paired, values_by_metric
from llmsim.report.plots.canvas import INK, MUTED, Picture, bare, style, width_of
from llmsim.scenario.keys import nearest
from llmsim.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from llmsim.report.result import Result

__all__ = ["FOREST", "differences", "forest"]

#: Metrics that a forest shows if nobody says which.
FOREST = ("error_rate", "ttft p(95)", "cost_per_ok")
_LETTER_IN = 0.075  # along text of 8 points, as in `heat`
_GAP = 4  # points between the line at 0 and what stands beside it
#: Colour and marker by verdict: shape tells them apart without colour (Paul Tol's "bright" scheme).
_MARKS = {"better": ("#228833", "o"), "worse": ("#cc3311", "X"), "changed": ("#4477aa", "D"), "same": (INK, "|")}


Side = Literal["left", "center", "right"]


def differences(results: Mapping[str, Result], base: str | None = None) -> dict[str, dict[str, Difference]]:
    """Paired differences of each result from one of them: by its name, then by metric.

    Parameters
    ----------
    results
        By name; of the same traffic, clock and seed.
    base
        Name of what the others are compared with; default: the first.

    Raises
    ------
    LlmsimError
        They did not meet the same luck, or there are fewer than two.
    """
    if len(results) < 2:
        raise LlmsimError("a comparison needs two results or more, by name")
    name = next(iter(results)) if base is None else base
    if name not in results:
        raise LlmsimError(f"there is no result {name!r}; {nearest(name, results)}")
    first = results[name]
    for other, result in results.items():
        for what, ours, theirs in (
            ("seed", first.seed, result.seed),
            ("traffic", first.scenario.traffic, result.scenario.traffic),
            ("clock", first.scenario.clock, result.scenario.clock),
        ):
            if ours != theirs:
                raise LlmsimError(f"{name!r} and {other!r} differ in {what}, so they cannot be compared pair by pair")
    values = {one: values_by_metric(result) for one, result in results.items()}
    return {
        one: {found.name: found for found in paired(values[name], values[one])} for one in results if one != name
    }  # fmt: skip


def forest(
    results: Mapping[str, Result],
    metrics: Sequence[str] | str | None = None,
    base: str | None = None,
    *,
    ax: Axes | None = None,
) -> Picture | Axes:
    """Differences from the base, with 95 % intervals; a panel for each metric, a row for each result.

    Parameters
    ----------
    results
        By name; of the same traffic, clock and seed.
    metrics
        Names of `llmsim.report.paired.COMPARED`; default: errors, p95 of TTFT, cost per answer.
    base
        Name of what the others are compared with; default: the first.
    ax
        Draws the first metric into these axes and returns them.

    Raises
    ------
    LlmsimError
        For an unknown metric or name, and for results that did not meet the same luck.
    """
    wanted = [metrics] if isinstance(metrics, str) else list(FOREST if metrics is None else metrics)
    for one in wanted:
        if one not in COMPARED:
            raise LlmsimError(f"there is no metric {one!r} here; {nearest(one, COMPARED)}")
    found = differences(results, base)
    first = base if base is not None else next(iter(results))
    with style():
        if ax is not None:
            _panel(ax, wanted[0], found, names=True)
            return ax
        picture = bare(2.2 + 2.6 * len(wanted), 1.25 + 0.42 * len(found))
        axes = picture.subplots(1, len(wanted), sharey=True, squeeze=False)[0]
        for number, (panel, metric) in enumerate(zip(axes, wanted, strict=True)):
            _panel(panel, metric, found, names=number == 0)
        pairs = min((one.pairs for by_metric in found.values() for one in by_metric.values()), default=0)
        few = "" if pairs >= FEWEST_PAIRS else f"; fewer than {FEWEST_PAIRS} pairs, so nothing is called changed"
        picture.suptitle(f"difference from {first}, {counted(pairs, 'pair')} under the same luck, 95 % intervals{few}",
                         fontsize=9, x=0.01, ha="left")  # fmt: skip
    picture.alt = _alt(first, wanted, found)
    return picture


def _panel(ax: Axes, metric: str, found: Mapping[str, Mapping[str, Difference]], *, names: bool) -> None:
    unit = COMPARED[metric].unit
    rows = {name: by_metric.get(metric) for name, by_metric in found.items()}
    told = [one for one in rows.values() if one is not None]
    ends = [0.0, *(end for one in told for end in (one.change, *(one.interval or ())) if math.isfinite(end))]
    reach = (max(ends) - min(ends)) or abs(ends[0]) or 1.0
    low, high = min(ends) - 0.12 * reach, max(ends) + 0.12 * reach
    low -= 0.25 * reach if any(_least(one) == -math.inf for one in told) else 0.0
    high += 0.25 * reach if any(_most(one) == math.inf for one in told) else 0.0
    ax.axvline(0, color=MUTED, linewidth=0.9)
    for row, one in enumerate(rows.values()):
        if one is None:
            ax.text(
                0.5, row, "cannot be told", transform=ax.get_yaxis_transform(), ha="center", va="center", fontsize=8
            )
            continue
        _row(ax, row, one, (low, high), unit)
    ax.set_xlim(low, high)
    ax.set_ylim(len(rows) - 0.4, -0.75)
    if names:  # panels of one picture share the axis, and its labels
        ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", length=0, labelleft=names)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(3) if any(ends) else FixedLocator([0.0]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value, unit)))
    good = {True: "← better", False: "better →", None: ""}[COMPARED[metric].low_is_good]
    ax.set_title(f"{metric}  {good}".rstrip(), fontsize=9)


def _row(ax: Axes, row: int, one: Difference, ends: tuple[float, float], unit: str) -> None:
    colour, marker = _MARKS[one.verdict]
    low, high = ends
    if one.interval is not None and not math.isnan(one.interval[0]):
        begin, end = max(one.interval[0], low), min(one.interval[1], high)
        ax.plot([begin, end], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        for at, value, arrow in ((begin, one.interval[0], "<"), (end, one.interval[1], ">")):
            if math.isinf(value):  # it goes on for ever
                ax.plot([at], [row], arrow, color=colour, markersize=7, clip_on=False)
    at = min(max(one.change, low), high)
    if math.isfinite(one.change):
        ax.plot([at], [row], marker, color=colour, markersize=8 if marker != "|" else 11, markeredgewidth=1.2)
    text = _told(one.change, unit)
    inch = (high - low) / width_of(ax)
    x, side, shift = _beside(at, ends, _LETTER_IN * len(text) * inch, _GAP / 72 * inch)
    ax.annotate(
        text, (x, row), xytext=(shift, 6), textcoords="offset points", ha=side, va="bottom", fontsize=8, color=INK
    )


def _beside(at: float, ends: tuple[float, float], wide: float, gap: float) -> tuple[float, Side, int]:
    """Where a label that is so wide goes: above its mark, but neither out of the panel nor across the line at 0.

    Examples
    --------
    >>> [_beside(at, (-0.2, 1.0), 0.4, 0.01) for at in (0.5, 0.1, -0.1, 0.95)]
    [(0.5, 'center', 0), (0.0, 'left', 4), (0.0, 'left', 4), (0.95, 'right', 0)]
    >>> _beside(-0.1, (-1.0, 1.0), 0.4, 0.01)
    (0.0, 'right', -4)
    """
    low, high = ends
    side: Side = "left" if at < low + 0.25 * (high - low) else "right" if at > high - 0.25 * (high - low) else "center"
    begin = at - {"left": 0.0, "center": wide / 2, "right": wide}[side]
    if not begin - gap < 0 < begin + wide + gap:
        return at, side, 0
    to_the_right = high > wide if at >= 0 else -low <= wide
    return (0.0, "left", _GAP) if to_the_right else (0.0, "right", -_GAP)


def _least(one: Difference) -> float:
    return min(one.change, *(one.interval or (one.change,)))


def _most(one: Difference) -> float:
    return max(one.change, *(one.interval or (one.change,)))


def _told(change: float, unit: str) -> str:
    return _signed(change, unit) if math.isfinite(change) else "now never" if change > 0 else "was never"


def _signed(value: float, unit: str) -> str:
    if abs(value) < 1e-12:
        return "±0"
    if math.isinf(value):
        return "now never" if value > 0 else "was never"
    text = figure(abs(value), unit)
    if unit == "ratio":  # of shares, the difference is in points
        text = text.replace(" %", " pt")
    return f"{'+' if value > 0 else '−'}{text}"


def _alt(base: str, metrics: Sequence[str], found: Mapping[str, Mapping[str, Difference]]) -> str:
    parts = []
    for name, by_metric in found.items():
        told = [
            f"{metric} {_told(by_metric[metric].change, COMPARED[metric].unit)} ({by_metric[metric].verdict})"
            for metric in metrics
            if metric in by_metric
        ]
        parts.append(f"{name}: {', '.join(told)}")
    return f"Differences from {base}. {'; '.join(parts)}."
