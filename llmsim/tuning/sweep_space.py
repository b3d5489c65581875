"""What a sweep is over: the values and ranges of `llmsim.tuning.ways`, in SI units and as columns of a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from llmsim.report.figures import figure
from llmsim.scenario.spec import Scenario
from llmsim.tuning.ways import Ways, number_of, ways_of
from llmsim.tuning.written import plain_text
from llmsim.units import BYTE_PRICE, BYTES, COUNT, DURATION, MULTIPLIER, PRICE, RATE, RATIO, USD, Unit

__all__ = ["SOURCE", "Parameter", "Range", "parameters_of"]

SOURCE = "--over"


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
        return number_of(value, self.unit)

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
        As `llmsim.tuning.ways.ways_of` reads it.

    Raises
    ------
    ScenarioError
        With all that is wrong.
    """
    return tuple(map(_parameter, ways_of(scenario, over, SOURCE)))


def _parameter(ways: Ways) -> Parameter:
    written = ways.written
    if written.ends is None:
        return Parameter(ways.path, written.values, None, ways.unit, ways.whole, ways.switch)
    low, high = (number_of(end, ways.unit) for end in written.ends)
    assert low is not None and high is not None, "a range was checked"
    ranged = Parameter(ways.path, (), Range(low, high, written.log, written.many), ways.unit, ways.whole)
    if written.many is None:
        return ranged
    return dataclasses.replace(ranged, levels=ranged.values_in_range(), range=None)


def _geometric(values: Sequence[float]) -> bool:
    if len(values) < 3 or min(values) <= 0:
        return False
    ordered = sorted(set(values))
    ratios = [high / low for low, high in pairwise(ordered)]
    # Whole numbers and rounded ones are only nearly at equal ratios: 1, 2, 5, 10.
    return len(ratios) > 1 and min(ratios) > 1.2 and math.log(max(ratios)) / math.log(min(ratios)) < 1.6
