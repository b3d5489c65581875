"""A space as one writes it: what `llmsim tune` may choose from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.spec import Scenario
from llmsim.tuning.space import SOURCE, Dimension, Space, shown
from llmsim.tuning.ways import Ways, ways_of
from llmsim.tuning.written import is_off, is_on
from llmsim.units import DURATION

__all__ = ["parse_space"]

_NUMBER = re.compile(r"(\$?)\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(.*)")


def parse_space(space: Mapping[str, Any], scenario: Scenario) -> Space:
    """A space as one writes it: paths to choices and ranges.

    Parameters
    ----------
    space
        ``{"gateway.retry.max_attempts": [1, 2, 3], "gateway.semantic_cache.threshold": (0.80, 0.98)}``; a third
        ``"log"`` makes a range even in the logarithm, and a list of on and off is about a whole policy.
    scenario
        What it is a space of.

    Raises
    ------
    ScenarioError
        With every problem.
    """
    if not space:
        raise ScenarioError("the space is empty; name a path and its values, or a recipe", SOURCE)
    dimensions, problems = [], []
    for ways in ways_of(scenario, space, SOURCE):
        try:
            dimensions.append(_dimension(ways))
        except ValueError as error:
            problems.append(Problem(str(error), ways.path))
    if problems:
        raise ScenarioError(problems, SOURCE)
    found = Space(tuple(dimensions))
    found.check(scenario)
    return found


def _dimension(ways: Ways) -> Dimension:
    path, written = ways.path, ways.written
    if written.ends is not None:
        range_ = _range(ways, *written.ends)
        if written.many is None:
            return range_
        return Dimension(path, "choice", choices=tuple(dict.fromkeys(range_.spread(written.many))))
    choices = written.values
    if ways.switch:
        choices = tuple(True if is_on(one) else False if is_off(one) else one for one in choices)
    if len({json.dumps(one, default=str) for one in choices}) < len(choices):
        raise ValueError("a choice stands twice")
    if len(choices) < 2:
        raise ValueError(f"there is one choice only ({shown(choices[0])}); set it with --set")
    return Dimension(path, "policy" if ways.switch else "choice", choices=choices)


def _range(ways: Ways, low: Any, high: Any) -> Dimension:
    unit, ends = _in_one_unit(low, high)
    whole = (type(low) is int and type(high) is int) or (ways.whole and unit is None)
    return Dimension(ways.path, "range", ends[0], ends[1], ways.written.log, whole, unit)


def _in_one_unit(low: Any, high: Any) -> tuple[tuple[str, str] | None, tuple[float, float]]:
    if not isinstance(low, str) and not isinstance(high, str):
        return None, (float(low), float(high))
    found = [_NUMBER.fullmatch(str(end).strip()) for end in (low, high)]
    if found[0] and found[1]:
        units = [(one[1], one[3].strip()) for one in found if one]
        if units[0] == units[1]:
            return units[0], (float(found[0][2]), float(found[1][2]))
    seconds = [DURATION.read(str(end)) for end in (low, high)]
    if seconds[0] is not None and seconds[1] is not None:
        fine = seconds[0] < 1
        return ("", "ms" if fine else "s"), (seconds[0] * (1000 if fine else 1), seconds[1] * (1000 if fine else 1))
    raise ValueError(f"{low} and {high} are not in one unit; write both ends alike, 50ms..2000ms")
