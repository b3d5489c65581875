"""What a tuning wants: a number that is to be small or large, and lines that must hold."""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.errors import LlmsimError, Problem, ScenarioError
from llmsim.report.figures import figure
from llmsim.report.numbers import over_replications
from llmsim.report.paired import COMPARED
from llmsim.scenario.objectives import Objective, ObjectiveError, objectives_of, parse_objective
from llmsim.scenario.spec import Expect, Scenario
from llmsim.scenario.sum_text import parse_sum, word_of
from llmsim.scenario.sums import Sum

__all__ = ["Goal", "centre", "goals_of", "limits_of", "shown_beside", "violation"]

_LINE = re.compile(r"\s*([^\s{<>=]+(?:\{[^{}]*\})?)\s*(.*?)\s*")
_OF_SEVERAL = re.compile(r"[+*]|\s-\s")  # as goals are written


class Goal(NamedTuple):
    """One number that is to be as small (or as large) as can be."""

    sum: Sum
    low_is_good: bool

    @property
    def name(self) -> str:
        """As one asks for it: ``cost_per_ok``, ``ttft p(95)``, ``cost_per_ok + 0.02*false_hit_rate``."""
        return self.sum.name

    @property
    def unit(self) -> str:
        """As in `llmsim.telemetry.metrics.METRICS`; empty: a number without a unit."""
        return self.sum.unit

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

    def shown(self, cost: float, *, share: bool = False) -> str:
        """A cost as the number it stands for, with its unit; or as the share that it is of what it was."""
        value = self.value(cost)
        return f"{value:.3f}x" if share and math.isfinite(value) else figure(value, self.unit)


def centre(goal: Goal, costs: Sequence[float]) -> float:
    """One number for all replications, as everywhere: the mean of amounts, the median of everything else."""
    return over_replications(costs, goal.unit)


def shown_beside(goals: Sequence[Sum]) -> dict[str, Sum]:
    """What is compared in the end beside the goals, by name: what `llmsim.compare` compares, and the parts of sums."""
    return COMPARED | {part.name: part for goal in goals for part in goal.parts if part.name not in COMPARED}


def violation(line: Objective, value: float) -> float:
    """How far a value is outside of a bound, 1 infinitely far; at most 0 if and only if it holds; always finite.

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
    return max(1.0 - (low / high if 0 < high < math.inf else 0.0), sys.float_info.epsilon)  # "< 20" does not hold at 20


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
    goals = [Goal(_sum(scenario, text, "minimize" if low else "maximize"), low) for text, low in asked]
    if len({goal.name for goal in goals}) < len(goals):
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
    return tuple(_limit(scenario, text, "subject_to") for text in _listed(subject_to))


def _listed(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) and given else list(given)


def _sum(scenario: Scenario, text: str, source: str) -> Sum:
    try:
        found = parse_sum(text, fault_names=[fault.name for fault in scenario.faults])
    except ObjectiveError as error:
        raise ScenarioError([Problem(error.message, text, hint=error.hint)], source) from None
    for metric in found.metrics:
        _check(scenario, metric, text, source)
    return found


def _limit(scenario: Scenario, text: str, source: str) -> Objective:
    found = _LINE.fullmatch(text)
    if found is None:
        raise ScenarioError(f"{text!r} names no metric", source)
    word, brace, tags = found[1].partition("{")
    key, rest = word_of(word) + brace + tags, found[2]
    if rest[:1] in ("<", ">"):
        rest = f"value {rest}"
    try:
        line = parse_objective(key, rest)
    except ObjectiveError as error:
        message, hint = error.message, error.hint
        if _OF_SEVERAL.search(text):
            message, hint = "a limit is about one metric", "Bound each by itself, or put the sum into minimize."
        raise ScenarioError([Problem(message, text, hint=hint)], source) from None
    _check(scenario, line, text, source)
    return line


def _check(scenario: Scenario, line: Objective, text: str, source: str) -> None:
    """Tags and faults are known there; a story that is meant to break other lines does not matter here."""
    try:
        dataclasses.replace(scenario, expect=Expect()).with_values({"slo": {line.key: [line.text]}})
    except ScenarioError as error:
        raise ScenarioError([problem._replace(path=text) for problem in error.problems], source) from None
