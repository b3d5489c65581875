"""What is asked of a run as one number: a metric, or several weighed against each other.

``cost_per_ok + 0.02*false_hit_rate`` is what a good answer costs, where each wrong one from the cache costs $0.02 more.
How a sum is written says `llmsim.scenario.sum_text`; a metric alone is a sum of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from llmsim.scenario.objectives import Objective
from llmsim.telemetry.metrics import METRICS, evaluate_condition
from llmsim.telemetry.sample import Sample

__all__ = ["Sum", "Term", "metric_name", "metric_unit", "sign_of"]

_HIGH_IS_GOOD = ("goodput", "saved", "saved_net", "exact_hit_rate", "semantic_hit_rate")
#: More of them is neither good nor bad: a cache that hits more may be wrong more.
_NEITHER = ("requests", "fallback_rate", "fallback_activations", "cache_hit_rate")


class Term(NamedTuple):
    """A product: a weight, and metrics."""

    weight: float
    metrics: tuple[Objective, ...]  #: their bounds mean nothing; empty: the weight alone
    bare: bool  #: a metric that nothing stands beside


@dataclass(frozen=True)
class Sum:
    """One number of a replication.

    Parameters
    ----------
    name
        As one asks for it: ``cost_per_ok``, ``ttft p(95)``, ``cost_per_ok + 0.02*false_hit_rate``.
    terms
        What is added up; parentheses are multiplied out.
    unit
        As in `llmsim.telemetry.metrics.METRICS`: that of the metrics without a weight. A weight says what one of its
        metric is worth in that unit. Empty, where every metric has a weight: a number without a unit.
    """

    name: str
    terms: tuple[Term, ...]
    unit: str

    @cached_property
    def metrics(self) -> tuple[Objective, ...]:
        """Every metric once, in order."""
        return tuple(dict.fromkeys(metric for term in self.terms for metric in term.metrics))

    @property
    def parts(self) -> tuple[Sum, ...]:
        """Its metrics, each alone; none, where it is nothing else than one."""
        if len(self.terms) == 1 and self.terms[0].bare and self.terms[0].weight == 1:
            return ()
        return tuple(Sum(metric_name(one), (Term(1.0, (one,), bare=True),), metric_unit(one)) for one in self.metrics)

    @property
    def low_is_good(self) -> bool | None:
        """Whether a small one is good; None: its metrics do not agree, or are neither good nor bad."""
        found = {_direction(term) for term in self.terms} - {0}
        return None if len(found) != 1 else {1: True, -1: False}.get(found.pop())

    @property
    def meaning(self) -> str:
        """What its figures mean, in a sentence; empty for a metric alone."""
        if not self.parts:
            return ""
        if not self.unit:
            return f"{self.name} is a number without a unit: every metric in it has a weight."
        bare = next(term.metrics[0] for term in self.terms if term.bare)
        return (
            f"{self.name} is shown in the unit of {metric_name(bare)}; a weight is what its metric counts for in that "
            "unit when it is 1: 1 s, or a share of 100 %."
        )

    def of(self, sample: Sample) -> float:
        """The number of one replication; NaN where a metric that counts in it cannot be told."""
        return self.value([evaluate_condition(sample, metric) for metric in self.metrics])

    def value(self, measured: Sequence[float]) -> float:
        """The number, from what was measured of `metrics`.

        What is weighed with 0 does not count, whatever it is. ``inf - inf`` cannot be told.
        """
        values = dict(zip(self.metrics, measured, strict=True))
        found = 0.0
        for number, (weight, metrics, _) in enumerate(self.terms):
            part = math.prod([values[metric] for metric in metrics], start=weight) if weight else 0.0
            found = found + part if number else part  # a metric alone is what was measured, to the bit
        return found


def _direction(term: Term) -> int:
    """1: less of it is good, -1: more, 0: neither; 2: its metrics do not agree."""
    ways = {-1 if metric.metric in _HIGH_IS_GOOD else 1 for metric in term.metrics if metric.metric not in _NEITHER}
    if not ways or not term.weight:
        return 0
    return 2 if len(ways) > 1 else ways.pop() * (1 if term.weight > 0 else -1)


def metric_name(metric: Objective) -> str:
    """As one asks for it, without the bound that means nothing: ``ttft{route:chat} p(95) during brown-out``."""
    aggregate, _, rest = metric.text.partition(f" {metric.comparison} ")
    words = (metric.key, "" if aggregate == "value" else aggregate, rest.partition(" ")[2])
    return " ".join(word for word in words if word)


def metric_unit(metric: Objective) -> str:
    """As in `METRICS`."""
    return METRICS[metric.metric].unit


def sign_of(metric: str) -> str:
    """Of the bound that means nothing: it says which of several windows is the worst."""
    return ">" if metric in _HIGH_IS_GOOD else "<"
