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

from llmsim.report.figures import figure
from llmsim.report.verdict import median
from llmsim.telemetry.metrics import METRICS, evaluate

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = [
    "COMPARED",
    "ERROR",
    "FEWEST_PAIRS",
    "Compared",
    "Difference",
    "interval_of_median",
    "paired",
    "values_by_metric",
]

ERROR = 0.05  #: of calling anything changed where nothing did, over all metrics


#: Pairs it takes to call one of all metrics changed: 11 metrics times 2 / 2**9 is below 5 %.
FEWEST_PAIRS = 9


class Compared(NamedTuple):
    """One number that is compared."""

    metric: str
    aggregate: str
    percent: float | None
    low_is_good: bool | None  #: None: neither


#: What is compared, by the name it goes by.
COMPARED: dict[str, Compared] = {
    "ttft p(50)": Compared("ttft", "p", 50.0, low_is_good=True),
    "ttft p(95)": Compared("ttft", "p", 95.0, low_is_good=True),
    "ttft p(99)": Compared("ttft", "p", 99.0, low_is_good=True),
    "e2e p(95)": Compared("e2e", "p", 95.0, low_is_good=True),
    "error_rate": Compared("error_rate", "value", None, low_is_good=True),
    "goodput": Compared("goodput", "value", None, low_is_good=False),
    "cost_per_ok": Compared("cost_per_ok", "value", None, low_is_good=True),
    "retry_amplification": Compared("retry_amplification", "value", None, low_is_good=True),
    "fallback_rate": Compared("fallback_rate", "value", None, low_is_good=None),
    "cache_hit_rate": Compared("cache_hit_rate", "value", None, low_is_good=None),
    "false_hit_rate": Compared("false_hit_rate", "value", None, low_is_good=True),
}


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
        unit = METRICS[COMPARED[self.name].metric].unit
        sign = "+" if self.change > 0 else "−" if self.change < 0 else "±"
        percent = f" ({sign}{abs(self.relative):.1%})" if math.isfinite(self.relative) and self.change else ""
        moved = f"{sign}{figure(abs(self.change), unit)}{percent}"
        return figure(self.before, unit), figure(self.after, unit), moved


def values_by_metric(result: Result) -> dict[str, list[float]]:
    """Every number of `COMPARED` in every whole replication, in order; NaN where it cannot be told."""
    samples = result.samples[: result.complete]
    return {
        name: [evaluate(sample, one.metric, one.aggregate, one.percent) for sample in samples]
        for name, one in COMPARED.items()
    }


def paired(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, least_effect: float = 0.05
) -> list[Difference]:
    """Compare replication by replication, as far as both go.

    Parameters
    ----------
    before, after
        As `values_by_metric` gives them, of the same seed.
    least_effect
        Share of the value before by which it must have moved to be called worse or better.

    Examples
    --------
    >>> one = {"error_rate": [0.01, 0.02, 0.01, 0.03, 0.02, 0.01, 0.02, 0.01]}
    >>> two = {"error_rate": [2 * value for value in one["error_rate"]]}
    >>> [(found.verdict, round(found.p, 4)) for found in paired(one, two)]
    [('worse', 0.0078)]
    """
    tested = []
    for name in COMPARED:
        pairs = [
            (b, a)
            for b, a in zip(before.get(name, ()), after.get(name, ()), strict=False)
            if not (math.isnan(b) or math.isnan(a))
        ]
        if pairs:
            changes = [0.0 if b == a else a - b for b, a in pairs]  # inf - inf is no change
            tested.append((name, pairs, changes, _sign_test(changes)))
    adjusted = _holm([p for *_, p in tested])
    return [
        _difference(name, pairs, changes, p, least_effect)
        for (name, pairs, changes, _), p in zip(tested, adjusted, strict=True)
    ]


def _difference(
    name: str, pairs: Sequence[tuple[float, float]], changes: Sequence[float], p: float, least_effect: float
) -> Difference:
    before, after = median([b for b, _ in pairs]), median([a for _, a in pairs])
    found = Difference(name, before, after, median(changes), interval_of_median(changes), p, len(pairs), "same")
    if p > ERROR or not abs(found.relative) >= least_effect:
        return found
    low_is_good = COMPARED[name].low_is_good
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


def interval_of_median(changes: Sequence[float]) -> tuple[float, float] | None:
    """Order statistics that cover the median of the differences with at least 95 %."""
    n, ordered = len(changes), sorted(changes)
    rank, tail = 0, 0.0
    while rank < n // 2 and (tail + math.comb(n, rank) / 2**n) <= 0.025:
        tail += math.comb(n, rank) / 2**n
        rank += 1
    return (ordered[rank - 1], ordered[-rank]) if rank else None
