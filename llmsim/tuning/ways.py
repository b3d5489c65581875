"""What may stand at paths of a scenario, as it was written and checked against what the schema says of each path.

`llmsim tune --space` and `llmsim sweep --over` mean the same by the same words; what they make of them is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from llmsim.errors import Problem, ScenarioError
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import at_path
from llmsim.scenario.overrides import change, resolve
from llmsim.scenario.spec import Scenario
from llmsim.tuning.settled import document_of
from llmsim.tuning.written import Written, is_off, is_on, plain_text, read_written
from llmsim.units import (
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

__all__ = ["Ways", "number_of", "ways_of"]

#: The same for all settings: they share seed and replications, and are read by one version.
_FIXED = ("seed", "replications", "version", "name", "description", "expect")
#: Units a text can be told by where the schema has none at this path (parts of distributions).
_GUESSED = (DURATION, RATE, RATIO, MULTIPLIER, PRICE, USD, BYTES, COUNT, EVENT_PRICE, STORAGE_PRICE)


class Ways(NamedTuple):
    """What may stand at one path."""

    path: str
    written: Written
    unit: Unit | None  #: of its values; None: bare numbers, or choices
    whole: bool  #: whether only whole numbers fit
    switch: bool  #: whether the path leads to a whole policy (or fault), which can be off


def number_of(value: Any, unit: Unit | None) -> float | None:
    """A value in SI units; None if it is no quantity of this kind."""
    if isinstance(value, bool) or value is None:
        return None
    if unit is None:
        return float(value) if isinstance(value, int | float) else None
    try:
        return float(unit.parse(value, si=True))
    except ValueError:
        return None


def ways_of(scenario: Scenario, given: Mapping[str, Any], source: str) -> tuple[Ways, ...]:
    """What a mapping of paths to values, choices or ranges says.

    Parameters
    ----------
    scenario
        Whose paths.
    given
        By path: a list of values, a pair (or triple with ``"log"``) that is a range, or a text as ``--over`` takes it.
    source
        Where problems are.

    Raises
    ------
    ScenarioError
        With all that is wrong.
    """
    if not given:
        hint = "Name a path and its values: gateway.retry.max_attempts=1,2,3."
        raise ScenarioError([Problem("nothing varies", hint=hint)], source)
    problems: list[Problem] = []
    found: list[Ways] = []
    document = change(document_of(scenario), {}).document
    anew = any(path in ("gateway", "gateway.preset") for path in given)
    for path, one in given.items():
        try:
            found.append(_ways(document, path, one, anew=anew))
        except ScenarioError as error:
            problems += error.problems
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            problems.append(Problem(message, path, None, None, hint[:1].upper() + hint[1:]))
    if problems:
        raise ScenarioError(problems, source)
    return tuple(found)


def _ways(document: Document, path: str, given: Any, *, anew: bool) -> Ways:
    if path.partition(".")[0] in _FIXED:
        raise ValueError(f"{path} is the same for all settings; vary what the gateway, traffic or faults do")
    try:
        place: Path = resolve(document, path)
    except ScenarioError:
        if not anew:  # else another gateway may have it
            raise
        place = ()
    annotation = _annotation(place)
    unit, switch = _unit_of(annotation), _is_item(place)
    written = read_written(given)
    if written.ends is None:
        written = written._replace(values=_levels(written.values, annotation, switch=switch))
    values = written.ends or written.values
    unit = unit or _guess(values)
    if unit is not None and isinstance(given, str):
        # As in a file, a number has its unit: seconds are not meant by all who write 500.
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool):
                unit.parse(value)
    if written.ends is not None:
        _check_range(written, unit)
    bare = unit is None and (annotation is None or written.ends is None)
    whole = annotation is int or bool(unit and unit.whole) or (bare and all(type(value) is int for value in values))
    return Ways(path, written, unit, whole, switch)


def _levels(values: Sequence[Any], annotation: Any, *, switch: bool) -> tuple[Any, ...]:
    if not values:
        raise ValueError("there is no value; give at least one, e.g. [1, 2, 3]")
    named: dict[str, Any] = {}
    for value in values:
        if switch and isinstance(value, str | int | float) and not (is_on(value) or is_off(value)):
            raise ValueError(f"{plain_text(value)} is no policy; write on, off, or a mapping of its settings")
        text = plain_text(value)
        if named.setdefault(text, value) != value:  # settings are known by their texts
            raise ValueError(f"two values are both called {text}; give their class a __repr__, or make it a dataclass")
    if annotation is bool:
        return tuple({"on": True, "off": False}.get(one, one) if isinstance(one, str) else one for one in values)
    return tuple(values)


def _check_range(written: Written, unit: Unit | None) -> None:
    assert written.ends is not None
    numbers = []
    for end in written.ends:
        if unit is not None:
            numbers.append(float(unit.parse(end, si=True)))
            continue
        number = number_of(end, None)
        if number is None or not math.isfinite(number):
            raise ValueError(f"{plain_text(end)} is not a number")
        numbers.append(number)
    low, high = map(plain_text, written.ends)
    if not numbers[0] < numbers[1]:
        raise ValueError(f"the range goes from {low} to {high}; write the lower end first")
    if written.log and numbers[0] <= 0:
        raise ValueError(f"a log range begins above 0, not at {low}")
    if written.many is not None and written.many < 2:
        raise ValueError("a range has two ends; write in 2 or more, or one value")


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
    if not all(isinstance(value, str) for value in values):
        return None
    return next((unit for unit in _GUESSED if all(number_of(value, unit) is not None for value in values)), None)


def _is_item(place: Path) -> bool:
    """Whether a path leads to a whole policy or fault."""
    if place[:1] == ("gateway",):
        return len(place) in (3, 4) and place[1] in ("policies", "upstream") and isinstance(place[2], int)
    return len(place) == 2 and place[0] == "faults" and isinstance(place[1], int)
