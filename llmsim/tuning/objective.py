"""What a tuning wants: a number that is to be small or large, and lines that must hold."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.errors import LlmsimError, Problem, ScenarioError
from llmsim.report.figures import figure
from llmsim.report.numbers import over_replications
from llmsim.scenario.objectives import METRICS as WORDS
from llmsim.scenario.objectives import Objective, ObjectiveError, objectives_of, parse_objective
from llmsim.scenario.spec import Expect, Scenario
from llmsim.telemetry.metrics import METRICS

__all__ = ["Goal", "centre", "goals_of", "limits_of", "violation"]

_TEXT = re.compile(r"\s*([^\s{<>=]+(?:\{[^{}]*\})?)\s*(.*?)\s*")
_COLUMN = ("_per_s", "_usd", "_s")  # a column carries its unit, the word of an SLO does not


class Goal(NamedTuple):
    """One number that is to be as small (or as large) as can be."""

    line: Objective  #: its metric, aggregate and part of the run; the bound means nothing
    low_is_good: bool

    @property
    def name(self) -> str:
        """As one asks for it: ``cost_per_ok``, ``ttft p(95)``."""
        told = self.line.text.partition(" < ")[0]
        return self.line.key if told == "value" else f"{self.line.key} {told}"

    @property
    def unit(self) -> str:
        """As in `llmsim.telemetry.metrics.METRICS`."""
        return METRICS[self.line.metric].unit

    @property
    def verb(self) -> str:
        """``minimize`` or ``maximize``."""
        return "minimize" if self.low_is_good else "maximize"

    def cost(self, value: float) -> float:
        """The same with small as good; what cannot be told is as bad as can be."""
        return math.inf if math.isnan(value) else value if self.low_is_good else -value

    def value(self, cost: float) -> float:
        """The inverse of `cost`."""
        return cost if self.low_is_good else -cost

    def shown(self, cost: float) -> str:
        """A cost as the number it stands for, with its unit."""
        return figure(self.value(cost), self.unit)


def centre(goal: Goal, costs: Sequence[float]) -> float:
    """One number for all replications, as everywhere: the mean of amounts, the median of everything else."""
    return over_replications(costs, goal.unit)


def violation(line: Objective, value: float) -> float:
    """How far a value is outside of a bound: 0 is on it, below is inside, 1 infinitely far outside; always finite.

    What could not be told does not hold.

    Examples
    --------
    >>> line = parse_objective("error_rate", "value < 1%")
    >>> [violation(line, value) for value in (0.0, 0.005, 0.02, float("inf"), float("nan"))]
    [-1.0, -0.5, 0.5, 1.0, 1.0]
    """
    if math.isnan(value):
        return 1.0
    high, low = (value, line.bound) if line.low_is_good else (line.bound, value)
    if line.holds(value):
        return min(high / low, 1.0) - 1.0 if low > 0 and math.isfinite(low) else -1.0
    return 1.0 - (low / high if 0 < high < math.inf else 0.0)


def goals_of(scenario: Scenario, minimize: str | Sequence[str], maximize: str | Sequence[str]) -> tuple[Goal, ...]:
    """What is asked for, checked against a scenario.

    Raises
    ------
    ScenarioError
        For what is no number of a run.
    """
    asked = [(text, True) for text in _listed(minimize)] + [(text, False) for text in _listed(maximize)]
    if not asked:
        raise LlmsimError("nothing is asked for; say what to minimize or maximize, e.g. cost_per_ok")
    goals = [Goal(_line(scenario, text, "minimize" if low else "maximize", bound=False), low) for text, low in asked]
    if len({(goal.line.key, goal.line.text) for goal in goals}) < len(goals):
        raise LlmsimError("one number is asked for twice")
    return tuple(goals)


def limits_of(scenario: Scenario, subject_to: Sequence[str] | None) -> tuple[Objective, ...]:
    """The lines that must hold: those given, or the scenario's own SLOs.

    Raises
    ------
    ScenarioError
        For what is no line.
    """
    if subject_to is None:
        return tuple(objectives_of(scenario))
    return tuple(_line(scenario, text, "subject_to", bound=True) for text in _listed(subject_to))


def _listed(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) and given else list(given)


def _line(scenario: Scenario, text: str, source: str, *, bound: bool) -> Objective:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ScenarioError(f"{text!r} names no metric", source)
    key, rest = found[1], found[2]
    metric, brace, tags = key.partition("{")
    known = next((metric.removesuffix(unit) for unit in ("", *_COLUMN) if metric.removesuffix(unit) in WORDS), metric)
    key = known + brace + tags
    if not bound:
        rest = _unbounded(known, rest, text, source)
    elif rest[:1] in ("<", ">"):
        rest = f"value {rest}"
    try:
        line = parse_objective(key, rest)
        # Tags and faults are known there; a story that is meant to break other lines does not matter here.
        dataclasses.replace(scenario, expect=Expect()).with_values({"slo": {key: [rest]}})
    except ObjectiveError as error:
        raise ScenarioError([Problem(error.message, text, hint=error.hint)], source) from None
    except ScenarioError as error:
        raise ScenarioError([problem._replace(path=text) for problem in error.problems], source) from None
    return line


def _unbounded(metric: str, rest: str, text: str, source: str) -> str:
    """An expression with a bound that says nothing, so that one grammar reads both."""
    if metric not in WORDS:
        return rest or "value < 1"
    word = WORDS[metric]
    if re.search(r"[<>]", rest):
        raise ScenarioError(f"{text!r} has a bound; a bound belongs to what it is subject to", source)
    aggregate, _, part = rest.partition(" ")
    if aggregate in ("before", "during", "after", ""):
        aggregate, part = "", rest
    if not aggregate and "value" not in word.aggregates:
        raise ScenarioError(
            f"{metric} is a distribution; say which number of it: {metric} p(95), {metric} mean", source
        )
    return f"{aggregate or 'value'} < {word.unit.examples[0]} {part}".rstrip()
