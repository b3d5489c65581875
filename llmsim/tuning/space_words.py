"""A space as one writes it: lists of choices, ranges, and the texts of the command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from llmsim.errors import ScenarioError
from llmsim.scenario.document import Document, Path
from llmsim.scenario.overrides import change, resolve
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values
from llmsim.tuning.space import SOURCE, Dimension, Space, shown
from llmsim.units import DURATION

__all__ = ["parse_space"]

_ON, _OFF = (True, "on"), (False, "off")
_FORMS = 'a list of choices, (low, high), (low, high, "log"), or a text: "50ms..2s log", "1|2|4", "on|off"'
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
    for path, given in space.items():
        try:
            dimensions.append(_dimension(path, given, scenario))
        except ScenarioError as error:
            problems += [p._replace(path=p.path or path) for p in error.problems]
    if problems:
        raise ScenarioError(problems, SOURCE)
    found = Space(tuple(dimensions))
    found.check(scenario)
    return found


def _dimension(path: str, given: Any, scenario: Scenario) -> Dimension:
    if isinstance(given, str):
        given = _from_text(given)
    if isinstance(given, tuple):
        return _range(path, given)
    if not isinstance(given, list) or not given:
        raise ScenarioError(f"{given!r} is no set of values; write {_FORMS}", SOURCE)
    if len({json.dumps(one, default=str) for one in given}) < len(given):
        raise ScenarioError("a choice stands twice", SOURCE)
    document = Document(to_values(scenario), "scenario")
    place = resolve(change(document, {}).document, path)
    if len(given) < 2:
        raise ScenarioError(f"there is one choice only ({shown(given[0])}); set it with --set", SOURCE)
    if _is_policy(place):
        words = [one for one in given if not isinstance(one, dict)]
        if any(
            word not in (*_ON, *_OFF) or (isinstance(word, float | int) and not isinstance(word, bool))
            for word in words
        ):
            raise ScenarioError("a whole policy is on, off, or a mapping of its settings", SOURCE)
        given = [one if isinstance(one, dict) else one in _ON for one in given]
        return Dimension(path, "policy", choices=tuple(given))
    return Dimension(path, "choice", choices=tuple(given))


def _is_policy(place: Path) -> bool:
    return len(place) in (3, 4) and place[0] == "gateway" and isinstance(place[2], int)


def _from_text(text: str) -> Any:
    """``50ms..2s log`` and ``1|2|4`` as a tuple and a list."""
    from llmsim.scenario.load import read_value

    words = text.strip()
    if words.startswith("["):
        return read_value(words)
    if ".." in words:
        low, _, high = words.partition("..")
        high, log = (high.strip().removesuffix("log").strip(), True) if high.strip().endswith(" log") else (high, False)
        ends = (read_value(low.strip()), read_value(high.strip()))
        return (*ends, "log") if log else ends
    return [{"on": True, "off": False}.get(one.strip(), read_value(one.strip())) for one in words.split("|")]


def _range(path: str, given: tuple[Any, ...]) -> Dimension:
    if len(given) not in (2, 3) or (len(given) == 3 and given[2] not in ("log", "linear")):
        raise ScenarioError(f'{given!r} is no range; write (low, high) or (low, high, "log")', SOURCE)
    low, high, log = given[0], given[1], given[2:] == ("log",)
    if any(isinstance(end, bool) or not isinstance(end, int | float | str) for end in (low, high)):
        raise ScenarioError(f"{given!r} is no range of numbers", SOURCE)
    unit, ends = _in_one_unit(low, high)
    if not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise ScenarioError(f"the range goes from {low} to {high}; write the lower end first", SOURCE)
    if log and ends[0] <= 0:
        raise ScenarioError(f"a log range begins above 0, not at {low}", SOURCE)
    whole = isinstance(low, int) and isinstance(high, int)
    return Dimension(path, "range", ends[0], ends[1], log, whole, unit)


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
    raise ScenarioError(f"{low} and {high} are not in one unit; write both ends alike, 50ms..2000ms", SOURCE)
