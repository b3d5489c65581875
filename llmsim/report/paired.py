"""Two results of one scenario under the same luck, metric by metric: what changed, how surely, and whether it matters.

Replication *r* of both meets the same arrivals and the same providers' luck, so what differs between the two is the
gateway's doing: differences are looked at pair by pair. Whether a metric moved is asked by the sign test, which holds
for any distribution and for +inf; over all metrics the error is kept at 5 % by Holm's method (1979). Eleven numbers
are compared, so it takes 9 pairs to call a single one changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmsim.report.figures import MISSING, figure
from llmsim.report.verdict import median
from llmsim.scenario.sum_text import parse_sum
from llmsim.scenario.sums import Sum

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = [
    "COMPARED",
    "ERROR",
    "FEWEST_PAIRS",
    "HOW",
    "Difference",
    "fewest_pairs",
    "interval_of_median",
    "paired",
    "paired_with_each",
    "values_by_metric",
]

ERROR = 0.05  #: of calling anything changed where nothing did, over all metrics


#: Pairs it takes to call one of all metrics changed: `fewest_pairs` of them.
FEWEST_PAIRS = 9


def fewest_pairs(metrics: int) -> int:
    """Pairs with which one of so many metrics can be called changed, if it moved the same way in all of them.

    Examples
    --------
    >>> fewest_pairs(len(COMPARED)) == FEWEST_PAIRS, fewest_pairs(6), fewest_pairs(13)
    (True, 8, 10)
    """
    pairs = 1
    while metrics * 2 / 2**pairs > ERROR:
        pairs += 1
    return pairs


#: What is compared, by the name it goes by.
COMPARED: dict[str, Sum] = {
    name: parse_sum(name)
    for name in (
        "ttft p(50)",
        "ttft p(95)",
        "ttft p(99)",
        "e2e p(95)",
        "error_rate",
        "goodput",
        "cost_per_ok",
        "retry_amplification",
        "fallback_rate",
        "cache_hit_rate",
        "false_hit_rate",
    )
}


#: What the columns of a table of differences are.
HOW = "95 %: interval of each metric's median change; p: sign test over the pairs, adjusted over the metrics (Holm)."


class Difference(NamedTuple):
    """One metric, before and after."""

    name: str
    before: float  #: medians over the pairs
    after: float
    change: float  #: median of the paired differences, after - before
    interval: tuple[float, float] | None  #: of that median, 95 %; None: too few pairs
    p: float  #: of the sign test, adjusted by Holm
    pairs: int
    verdict: str  #: ``worse``, ``better``, ``changed`` or ``same``
    unit: str = ""  #: as `llmsim.report.figures.figure` takes it

    @property
    def relative(self) -> float:
        """The change as a share of what it was."""
        if not self.change:
            return 0.0
        if not self.before or math.isinf(self.change):
            return math.copysign(math.inf, self.change)
        return self.change / abs(self.before)

    def shown(self) -> tuple[str, str, str]:
        """Before, after and change as texts."""
        unit = self.unit
        sign = "+" if self.change > 0 else "−" if self.change < 0 else "±"
        percent = f" ({sign}{abs(self.relative):.1%})" if math.isfinite(self.relative) and self.change else ""
        moved = f"{sign}{figure(abs(self.change), unit)}{percent}"
        return figure(self.before, unit), figure(self.after, unit), moved

    def between(self) -> str:
        """The interval of the change as a text."""
        if self.interval is None:
            return MISSING
        return " … ".join(
            figure(end, self.unit)
            if math.isinf(end)
            else f"{'+' if end > 0 else '−' if end < 0 else ''}{figure(abs(end), self.unit)}"
            for end in self.interval
        )


def values_by_metric(result: Result, compared: Mapping[str, Sum] = COMPARED) -> dict[str, list[float]]:
    """Every number that is compared in every whole replication, in order; NaN where it cannot be told."""
    samples = result.samples[: result.complete]
    return {name: [one.of(sample) for sample in samples] for name, one in compared.items()}


def paired(
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    *,
    compared: Mapping[str, Sum] = COMPARED,
    least_effect: float = 0.05,
) -> list[Difference]:
    """Compare replication by replication, as far as both go.

    Parameters
    ----------
    before, after
        As `values_by_metric` gives them, of the same seed.
    compared
        What is compared, by the name it goes by.
    least_effect
        Share of the value before by which it must have moved to be called worse or better.

    Examples
    --------
    >>> one = {"error_rate": [0.01, 0.02, 0.01, 0.03, 0.02, 0.01, 0.02, 0.01]}
    >>> two = {"error_rate": [2 * value for value in one["error_rate"]]}
    >>> [(found.verdict, round(found.p, 4)) for found in paired(one, two)]
    [('worse', 0.0078)]
    """
    (found,) = paired_with_each(before, [after], compared=compared, least_effect=least_effect)
    return found


def paired_with_each(
    before: Mapping[str, Sequence[float]],
    afters: Sequence[Mapping[str, Sequence[float]]],
    *,
    compared: Mapping[str, Sum] = COMPARED,
    least_effect: float = 0.05,
) -> list[list[Difference]]:
    """Compare one with several others, metric by metric: the error of calling anything changed is kept over all.

    Parameters
    ----------
    before
        What the others are compared with, as `values_by_metric` gives it.
    afters
        The others, of the same seed.
    compared
        What is compared, by the name it goes by.
    least_effect
        Share of the value before by which it must have moved to be called worse or better.
    """
    tested = []
    for number, after in enumerate(afters):
        for name in compared:
            pairs = [
                (b, a)
                for b, a in zip(before.get(name, ()), after.get(name, ()), strict=False)
                if not (math.isnan(b) or math.isnan(a))
            ]
            if pairs:
                changes = [0.0 if b == a else a - b for b, a in pairs]  # inf - inf is no change
                tested.append((number, name, pairs, changes, _sign_test(changes)))
    adjusted = _holm([p for *_, p in tested])
    found: list[list[Difference]] = [[] for _ in afters]
    for (number, name, pairs, changes, _), p in zip(tested, adjusted, strict=True):
        found[number].append(_difference(name, compared[name], pairs, changes, p, least_effect))
    return found


def _difference(
    name: str,
    compared: Sum,
    pairs: Sequence[tuple[float, float]],
    changes: Sequence[float],
    p: float,
    least_effect: float,
) -> Difference:
    before, after = median([b for b, _ in pairs]), median([a for _, a in pairs])
    found = Difference(
        name, before, after, median(changes), interval_of_median(changes), p, len(pairs), "same", compared.unit
    )
    if p > ERROR or not abs(found.relative) >= least_effect:
        return found
    low_is_good = compared.low_is_good
    if low_is_good is None:
        return found._replace(verdict="changed")
    return found._replace(verdict="better" if (found.change < 0) == low_is_good else "worse")


def _sign_test(changes: Sequence[float]) -> float:
    """Two-sided: how often coins would be as one-sided as these signs; pairs without a change say nothing."""
    up, down = sum(one > 0 for one in changes), sum(one < 0 for one in changes)
    n = up + down
    if not n:
        return 1.0
    fewer = sum(math.comb(n, k) for k in range(min(up, down) + 1))
    return float(min(1.0, 2 * fewer / 2**n))


def _holm(ps: Sequence[float]) -> list[float]:
    order = sorted(range(len(ps)), key=lambda number: ps[number])
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[number]))
        adjusted[number] = highest
    return adjusted


def interval_of_median(values: Sequence[float]) -> tuple[float, float] | None:
    """Order statistics that cover the median of what these are draws of with at least 95 %; None: fewer than 6.

    What could not be told (NaN) may lie on either side of all others.

    Examples
    --------
    >>> interval_of_median([3.0, 1.0, 2.0, 5.0, 4.0, math.inf]), interval_of_median([1.0] * 5)
    ((1.0, inf), None)
    """
    n, missing = len(values), sum(map(math.isnan, values))
    rank, tail = 0, 0.0
    while rank < n // 2 and (tail + math.comb(n, rank) / 2**n) <= ERROR / 2:
        tail += math.comb(n, rank) / 2**n
        rank += 1
    if not rank:
        return None
    if missing >= rank:
        return math.nan, math.nan
    ordered = sorted(value for value in values if not math.isnan(value))
    return ordered[rank - 1 - missing], ordered[missing - rank]
