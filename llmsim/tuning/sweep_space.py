"""What a sweep is over: paths into a scenario, with values, choices or ranges for each.

One grammar for Python and for ``--over``: ``1,2,3`` are values, ``300ms..2s`` is a range, ``300ms..2s in 5 log`` are
five values of it at equal ratios. In Python a list holds values, and a pair ``(0.80, 0.98)`` is a range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, get_args

from llmsim.errors import Problem, ScenarioError
from llmsim.gateway.registry import policy_kinds
from llmsim.report.figures import figure
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import at_path
from llmsim.scenario.overrides import change, resolve
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values
from llmsim.tuning.sweep_words import plain_text, read_over
from llmsim.units import (
    BYTE_PRICE,
    BYTES,
    COUNT,
    DURATION,
    EVENT_PRICE,
    MULTIPLIER,
    PRICE,
    RATE,
    RATIO,
    STORAGE_PRICE,
    USD,
    Unit,
)

__all__ = ["SOURCE", "Parameter", "Range", "parameters_of"]

SOURCE = "--over"
#: Without meaning for a sweep: all its points share seed and replications, and are read by one version.
_FIXED = ("seed", "replications", "version", "name", "description", "expect")


class _Kind(NamedTuple):
    """How values of a unit are written: in messages, in column names, and as a scenario file would."""

    figure: str
    suffix: str
    text: str


_BARE = _Kind("", "", "{:.6g}")
_KINDS: dict[str, _Kind] = {
    DURATION.name: _Kind("s", "_s", "{:.6g}s"),
    RATE.name: _Kind("per_s", "_per_s", "{:.6g}/s"),
    RATIO.name: _Kind("ratio", "", "{:.6g}"),
    MULTIPLIER.name: _Kind("factor", "", "{:.6g}x"),
    COUNT.name: _Kind("count", "", "{:.6g}"),
    USD.name: _Kind("usd", "_usd", "${:.6g}"),
    PRICE.name: _Kind("usd", "_usd_per_token", "${:.6g}/tok"),
    BYTES.name: _Kind("", "_bytes", "{:.6g}B"),
    BYTE_PRICE.name: _Kind("usd", "_usd_per_byte", "${:.6g}/B"),
}
#: Units a text can be told by where the schema has none at this path (parts of distributions).
_GUESSED = (DURATION, RATE, RATIO, MULTIPLIER, PRICE, USD, BYTES, COUNT, EVENT_PRICE, STORAGE_PRICE)


class Range(NamedTuple):
    """All values between two, both included."""

    low: float
    high: float
    log: bool = False  #: equal ratios are equally likely, instead of equal differences
    many: int | None = None  #: as many values of it; None: a design draws from it


@dataclass(frozen=True)
class Parameter:
    """One thing that is varied.

    Parameters
    ----------
    path
        As it was typed.
    levels
        Its values as they were given; empty for a range.
    range
        What is drawn from; None for values.
    unit
        Of its values; None: bare numbers, or choices.
    whole
        Its values are whole numbers.
    switch
        The path leads to a whole policy (or fault), which can be ``off``.
    """

    path: str
    levels: tuple[Any, ...] = ()
    range: Range | None = None
    unit: Unit | None = None
    whole: bool = False
    switch: bool = False

    @property
    def _kind(self) -> _Kind:
        return _KINDS.get(self.unit.name, _BARE) if self.unit is not None else _BARE

    @cached_property
    def numeric(self) -> bool:
        """Whether all its values are quantities of one kind, so that they have an order and distances."""
        return self.range is not None or all(self.number(level) is not None for level in self.levels)

    @property
    def log(self) -> bool:
        """Whether its values are spread by ratios."""
        if self.range is not None:
            return self.range.log
        return self.numeric and _geometric([self.number(level) or 0.0 for level in self.levels])

    @property
    def column(self) -> str:
        """Its name in tables: with the unit, as everywhere."""
        return self.path + (self._kind.suffix if self.numeric else "")

    @property
    def figure_unit(self) -> str:
        """What `llmsim.report.figures.figure` calls its unit; empty for bare numbers and choices."""
        return self._kind.figure if self.numeric else ""

    def number(self, value: Any) -> float | None:
        """A value in SI units; None if it is no quantity of this kind."""
        if isinstance(value, bool) or value is None:
            return None
        if self.unit is None:
            return float(value) if isinstance(value, int | float) else None
        try:
            return float(self.unit.parse(value, si=True))
        except ValueError:
            return None

    def cell(self, value: Any) -> float | int | str:
        """A value as tables hold it: in SI units, or as text."""
        number = self.number(value) if self.numeric else None
        if number is None:
            return plain_text(value)
        return int(number) if self.whole else number

    def text(self, value: Any) -> str:
        """A value as ``--set`` takes it."""
        if isinstance(value, int | float) and not isinstance(value, bool) and self.numeric:
            return str(int(value)) if self.whole else self._kind.text.format(value)
        return plain_text(value)

    def shown(self, value: Any) -> str:
        """A value for people."""
        number = self.number(value) if self.numeric else None
        if number is None or isinstance(value, str):
            return plain_text(value)
        return figure(number, self.figure_unit) if self.figure_unit else f"{number:.6g}"

    def values_in_range(self) -> tuple[float, ...]:
        """The values that ``in 5`` stands for."""
        assert self.range is not None
        low, high, _, count = self.range
        assert count is not None
        steps = [low] if count == 1 else [self._between(n / (count - 1), low, high) for n in range(count)]
        found = [round(step) if self.whole else step for step in steps]
        return tuple(dict.fromkeys(found))

    def at(self, share: float) -> Any:
        """The value at a share of the way, in (0, 1): each level, and each whole number, has an equal part of it."""
        if self.range is None:
            return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]
        low, high = self.range.low, self.range.high
        if not self.whole:
            return self._between(share, low, high)
        # From half a step below the lowest, so that the two ends are as likely as those between.
        edge = max(low - 0.5, 0.5) if self.range.log else low - 0.5
        return int(min(max(round(self._between(share, edge, high + 0.5)), low), high))

    def _between(self, share: float, low: float, high: float) -> float:
        assert self.range is not None
        value = low * (high / low) ** share if self.range.log else low + (high - low) * share
        return float(f"{value:.6g}")  # so that what is shown and what --set takes is the value itself


def parameters_of(scenario: Scenario, over: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """What a mapping of paths to values, choices or ranges says.

    Parameters
    ----------
    scenario
        Whose paths.
    over
        By path: a list of values, a pair (or triple with ``"log"``) that is a range, or a text as ``--over`` takes it.

    Raises
    ------
    ScenarioError
        With all that is wrong.
    """
    if not over:
        raise ScenarioError([Problem("nothing varies", hint="Write gateway.retry.max_attempts=1,2,3.")], SOURCE)
    problems: list[Problem] = []
    found: list[Parameter] = []
    document = change(Document(to_values(scenario), scenario.name), {}).document
    anew = any(path in ("gateway", "gateway.preset") for path in over)
    for path, given in over.items():
        try:
            found.append(_parameter(document, path, given, anew=anew))
        except ScenarioError as error:
            problems += error.problems
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            problems.append(Problem(message, path, None, None, hint[:1].upper() + hint[1:]))
    if problems:
        raise ScenarioError(problems, SOURCE)
    return tuple(found)


def _parameter(document: Document, path: str, given: Any, *, anew: bool) -> Parameter:
    if path.partition(".")[0] in _FIXED:
        raise ValueError(f"{path} is the same for all points of a sweep; vary what the gateway, traffic or faults do")
    try:
        place: Path = resolve(document, path)
    except ScenarioError:
        if not anew:  # else another gateway may have it
            raise
        place = ()
    annotation = _annotation(place)
    unit, whole = _unit_of(annotation), annotation is int
    levels, ends = read_over(given)
    if ends is None:
        if not levels:
            raise ValueError("there is no value; give at least one, e.g. [1, 2, 3]")
        _told_apart(levels)
        unit = unit or _guess(levels)
        _with_units(unit, levels, given)
        whole = whole or bool(unit and unit.whole) or (unit is None and all(type(level) is int for level in levels))
        return Parameter(path, tuple(levels), None, unit, whole, _is_item(place))
    low, high, log, count = ends
    unit = unit or _guess([low, high])
    _with_units(unit, [low, high], given)
    whole = whole or bool(unit and unit.whole) or (annotation is None and type(low) is type(high) is int)
    return _ranged(Parameter(path, (), None, unit, whole), low, high, log=log, count=count)


def _told_apart(levels: Sequence[Any]) -> None:
    """That no two values go by the same text, which is what points are known by."""
    named: dict[str, Any] = {}
    for level in levels:
        text = plain_text(level)
        if named.setdefault(text, level) != level:
            raise ValueError(f"two values are both called {text}; give their class a __repr__, or make it a dataclass")


def _with_units(unit: Unit | None, values: Sequence[Any], given: Any) -> None:
    """That numbers in a text have their unit, as in a file: seconds are not meant by all who write 500."""
    if unit is None or not isinstance(given, str):
        return
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool):
            unit.parse(value)


def _ranged(plain: Parameter, low: Any, high: Any, *, log: bool, count: int | None) -> Parameter:
    first, last = plain.number(low), plain.number(high)
    if first is None or last is None:
        wrong = plain_text(low if first is None else high)
        what = plain.unit.name if plain.unit is not None else "a number"
        example = f"; write it like {' or '.join(plain.unit.examples)}" if plain.unit is not None else ""
        raise ValueError(f"{wrong} is not {what}{example}")
    if not first < last:
        raise ValueError(f"{plain_text(low)} to {plain_text(high)} is no range; write the smaller one first")
    if log and first <= 0:
        raise ValueError(f"a log range cannot begin at {plain_text(low)}; begin above 0")
    if count is not None and count < 2:
        raise ValueError("a range has two ends; write in 2 or more, or one value")
    ranged = Parameter(plain.path, (), Range(first, last, log, count), plain.unit, plain.whole)
    if count is None:
        return ranged
    return Parameter(plain.path, ranged.values_in_range(), None, plain.unit, plain.whole)


def _annotation(place: Path) -> Any:
    """What the schema says of this place; None where it says nothing."""
    if place[:1] == ("gateway",) and len(place) > 4 and place[1] in ("policies", "upstream"):
        cls = policy_kinds().get(str(place[3]))
        return at_path(cls, place[4:]) if cls is not None else None
    return at_path(Scenario, place) if place else None


def _unit_of(annotation: Any) -> Unit | None:
    for note in getattr(annotation, "__metadata__", ()):
        if isinstance(note, Unit):
            return note
    units = (_unit_of(inner) for inner in get_args(annotation) if inner is not annotation)
    return next((unit for unit in units if unit is not None), None)


def _guess(values: Sequence[Any]) -> Unit | None:
    """The unit that all these are written in."""
    if not any(isinstance(value, str) for value in values):
        return None
    for unit in _GUESSED:
        if all(Parameter("", unit=unit).number(value) is not None and isinstance(value, str) for value in values):
            return unit
    return None


def _is_item(place: Path) -> bool:
    """Whether a path leads to a whole policy or fault."""
    if place[:1] == ("gateway",):
        return len(place) == 4 and isinstance(place[2], int)
    return len(place) == 2 and place[0] == "faults" and isinstance(place[1], int)


def _geometric(values: Sequence[float]) -> bool:
    if len(values) < 3 or min(values) <= 0:
        return False
    ordered = sorted(set(values))
    ratios = [high / low for low, high in pairwise(ordered)]
    # Whole numbers and rounded ones are only nearly at equal ratios: 1, 2, 5, 10.
    return len(ratios) > 1 and min(ratios) > 1.2 and math.log(max(ratios)) / math.log(min(ratios)) < 1.6
