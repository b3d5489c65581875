"""A space of values for paths of a scenario: ranges, choices, whole policies on or off.

Values are what `Scenario.with_values` takes: texts carry their unit as in a scenario file, bare numbers are SI.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.spec import Scenario
from llmsim.tuning.settled import with_settings
from llmsim.tuning.standing import Absent, standing
from llmsim.tuning.written import plain_text
from llmsim.units import DURATION

__all__ = ["SOURCE", "Dimension", "Settings", "Space", "settings_key", "shown"]

SOURCE = "space"
Settings = Mapping[str, Any]  #: by path; empty: the scenario as it is

_NUMBER = re.compile(r"(\$?)\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(.*)")
_FINENESS = 100  # steps of a linear range at least: 0.913 says what can be told, 0.91274465 does not
_DIGITS = 3  # significant digits of a value on a log scale, for the same reason


@dataclass(frozen=True)
class Dimension:
    """What may stand at one path.

    Parameters
    ----------
    path
        As `llmsim.scenario.overrides` writes it.
    kind
        ``range``, ``choice`` or ``policy`` (whether the policy at `path` is there, or with which settings).
    low, high
        Of a range, as numbers in `unit`.
    log, whole
        Of a range: whether it is even in the logarithm; whether only whole numbers are meant.
    unit
        Prefix and suffix of its values as texts: ``("", "ms")``, ``("$", "")``; None: bare numbers.
    choices
        Of the others.
    """

    path: str
    kind: Literal["range", "choice", "policy"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    unit: tuple[str, str] | None = None
    choices: tuple[Any, ...] = ()

    @property
    def size(self) -> float:
        """How many values there are; a range of real numbers has infinitely many."""
        if self.kind != "range":
            return len(self.choices)
        return self.high - self.low + 1 if self.whole else math.inf

    @property
    def ordered(self) -> bool:
        """Whether neighbours are alike: ranges, and choices that are numbers in order."""
        if self.kind != "choice":
            return self.kind == "range"
        numbers = [number for choice in self.choices if (number := plain(choice)) is not None]
        return len(numbers) == len(self.choices) and numbers == sorted(numbers)

    def value(self, number: float) -> Any:
        """The value at a number of the range, rounded to what can be told, or the choice of that index."""
        if self.kind != "range":
            return self.choices[int(number)]
        number = min(max(number, self.low), self.high)
        rounded = float(round(number)) if self.whole else self._rounded(number)
        plain = int(rounded) if rounded == int(rounded) and (self.whole or self.unit) else rounded
        return plain if self.unit is None else f"{self.unit[0]}{plain}{self.unit[1]}"

    def _rounded(self, number: float) -> float:
        if self.log:
            places = _DIGITS - 1 - math.floor(math.log10(number)) if number else 0
        else:
            places = -math.floor(math.log10((self.high - self.low) / _FINENESS))
        return min(max(round(number, places), self.low), self.high)

    def number(self, value: Any) -> float:
        """The inverse of `value`."""
        if self.kind != "range":
            return float([json.dumps(one) for one in self.choices].index(json.dumps(value)))
        return float(plain(value, self.unit))  # type: ignore[arg-type]

    def place(self, value: Any) -> float:
        """Where a value lies between the ends, 0 and 1, on the dimension's own scale."""
        number = self.number(value)
        if self.kind != "range":
            return number / (len(self.choices) - 1)
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def at(self, place: float) -> float:
        """The number there: the inverse, for `value`. Choices have all an equal part."""
        if self.kind != "range":
            return float(int(place * len(self.choices)))
        if self.log:
            return self.low * float((self.high / self.low) ** place)
        return self.low + place * (self.high - self.low)

    def off(self, value: Any) -> bool:
        """Whether a value takes the policy away."""
        return self.kind == "policy" and value is False

    def neighbours(self, value: Any) -> list[Any]:
        """Values beside one: a tenth of the range to either side, the next whole number, every other choice."""
        if self.kind == "policy" or (self.kind == "choice" and not self.ordered):
            return [one for one in self.choices if json.dumps(one) != json.dumps(value)]
        at = self.number(value)
        if self.kind == "choice":
            found = [at - 1, at + 1]
            return [self.choices[int(n)] for n in found if 0 <= n < len(self.choices)]
        if self.whole:
            by = max(1.0, (self.high - self.low) / 10)
            found = [at - by, at + by] if not self.log else [min(at / 1.25, at - 1), max(at * 1.25, at + 1)]
        elif self.log:
            factor = (self.high / self.low) ** 0.1
            found = [at / factor, at * factor]
        else:
            by = (self.high - self.low) / 10
            found = [at - by, at + by]
        beside = [self.value(n) for n in found]
        return [one for one in dict.fromkeys(beside) if one != value]

    def spread(self, count: int) -> list[Any]:
        """So many values of a range, from end to end."""
        steps = [n / (count - 1) for n in range(count)]
        if self.log:
            return [self.value(self.low * (self.high / self.low) ** step) for step in steps]
        return [self.value(self.low + (self.high - self.low) * step) for step in steps]

    @property
    def ends(self) -> list[Any]:
        """The values that are furthest apart: both ends, or all choices."""
        return [self.value(self.low), self.value(self.high)] if self.kind == "range" else list(self.choices)

    def __str__(self) -> str:
        if self.kind == "range":
            what = " log" * self.log
            return f"{self.path}: {self.value(self.low)}..{self.value(self.high)}{what}"
        return f"{self.path}: {','.join(shown(choice) for choice in self.choices)}"


def shown(value: Any) -> str:
    """A value as a person writes it.

    Examples
    --------
    >>> shown("250ms"), shown(0.92), shown(True), shown({"limit": 3})
    ('250ms', '0.92', 'on', '{limit: 3}')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else plain_text(value)


@dataclass(frozen=True)
class Space:
    """Dimensions, and how they change a scenario."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> float:
        """How many settings there are."""
        return math.prod(one.size for one in self.dimensions)

    def all(self) -> list[dict[str, Any]]:
        """Every setting of a finite space, the first dimension slowest."""
        found: list[dict[str, Any]] = [{}]
        for one in self.dimensions:
            numbers = range(int(one.low), int(one.high) + 1) if one.kind == "range" else range(len(one.choices))
            found = [{**before, one.path: one.value(number)} for before in found for number in numbers]
        return found

    def meant(self, settings: Settings) -> dict[str, Any]:
        """Settings without what stands inside of a policy that is off: there it means nothing."""
        off = [one.path + "." for one in self.dimensions if one.path in settings and one.off(settings[one.path])]
        return {path: value for path, value in settings.items() if not path.startswith(tuple(off))}

    def settled(self, scenario: Scenario, settings: Settings) -> Scenario:
        """A scenario with these values in it; what would be inside a policy that is off is left out.

        Raises
        ------
        ScenarioError
            For a path that leads nowhere or a value that does not fit.
        """
        if not settings:
            return scenario
        switches = {one.path for one in self.dimensions if one.kind == "policy"}
        return with_settings(scenario, settings, switches, SOURCE)

    def check(self, scenario: Scenario) -> None:
        """That every end and every choice fits the schema, and that it changes the scenario at all.

        Raises
        ------
        ScenarioError
            With every problem.
        """
        problems: list[Problem] = []
        for one in self.dimensions:
            ends = []
            for value in one.ends:
                try:
                    ends.append(self.settled(scenario, {one.path: value}))
                except ScenarioError as error:
                    problems += [p._replace(path=p.path or one.path) for p in error.problems]
            if len(ends) == len(one.ends) and all(end == ends[0] for end in ends[1:]):
                problems.append(Problem("every value means the same scenario, so there is nothing to choose", one.path))
        if problems:
            unique = list({(p.path, p.message): p for p in problems}.values())
            raise ScenarioError(unique, SOURCE)

    def current(self, scenario: Scenario) -> dict[str, Any] | None:
        """The scenario's own values as settings of this space; None where they are outside of it."""
        found: dict[str, Any] = {}
        for one in self.dimensions:
            if one.kind == "range":
                number = self._number_now(scenario, one)
                if number is None or not one.low <= number <= one.high:
                    return None
                found[one.path] = one.value(number)
                continue
            same = [choice for choice in one.choices if self.settled(scenario, {one.path: choice}) == scenario]
            if not same:
                return None
            found[one.path] = same[0]
        return found if self.settled(scenario, found) == scenario else None

    def _number_now(self, scenario: Scenario, one: Dimension) -> float | None:
        """Where the scenario's own value lies in a range, through what both ends stand for in SI."""
        ends = [standing(self.settled(scenario, {one.path: end}), one.path) for end in one.ends]
        now = standing(scenario, one.path)
        if (
            isinstance(now, bool)
            or not isinstance(now, int | float)
            or not all(isinstance(e, int | float) for e in ends)
        ):
            return None
        return float(one.low + (now - ends[0]) * (one.high - one.low) / (ends[1] - ends[0]))

    def now(self, scenario: Scenario) -> dict[str, str]:
        """The scenario's own values, for people."""
        told = {}
        for one in self.dimensions:
            if one.kind == "policy":
                told[one.path] = "on"
                continue
            if one.kind == "range":
                number = self._number_now(scenario, one)
                if number is not None:
                    wide = dataclasses.replace(one, low=min(one.low, number), high=max(one.high, number))
                    told[one.path] = shown(wide.value(number))
                    continue
            same = [c for c in one.choices if self.settled(scenario, {one.path: c}) == scenario]
            value = standing(scenario, one.path)
            told[one.path] = shown(same[0]) if same else "–" if value is Absent or value is None else str(value)
        return told


def settings_key(settings: Settings) -> str:
    """One text for one setting, whatever the order of its paths."""
    return json.dumps(dict(sorted(settings.items())), ensure_ascii=False, separators=(",", ":"))


def plain(value: Any, unit: tuple[str, str] | None = None) -> float | None:
    """The number in a value."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    if unit is None:
        seconds = DURATION.read(value)
        return seconds if seconds is not None else float(found[2])
    return float(found[2])
