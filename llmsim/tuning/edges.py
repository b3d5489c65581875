"""Whether the best lies at an end of what was tried, so that something better may lie beyond it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmsim.errors import ScenarioError
from llmsim.scenario.spec import Scenario
from llmsim.tuning.space import Dimension, Space, plain
from llmsim.tuning.tuned import Sensitive

__all__ = ["Edge", "edges"]

#: Share of a range, on its own scale, that counts as its end: a search draws real numbers, and never the end itself.
_END = 0.05
#: How far beyond an end something must fit for the range to be one that can be widened: a hundredth of it.
_BEYOND = 0.01


class Edge(NamedTuple):
    """One parameter whose best value is at an end of its range."""

    path: str
    value: Any
    upper: bool  #: at its upper end


def edges(space: Space, scenario: Scenario, settings: Mapping[str, Any], around: Sequence[Sensitive]) -> list[Edge]:
    """Parameters that would go further if they could.

    That is where the value is at an end, one further inside is surely worse, and one further out would be allowed.

    Parameters
    ----------
    space, scenario
        What was searched, and in what.
    settings
        The best ones.
    around
        What their neighbours do.
    """
    found = []
    for one in space.dimensions:
        if not one.ordered or one.path not in settings:
            continue
        at = one.place(settings[one.path])
        if _END < at < 1 - _END:
            continue
        upper = at > 0.5
        beside = [near for near in around if near.path == one.path and (one.place(near.value) < at) == upper]
        if any(near.change.verdict == "worse" for near in beside) and _wider(space, scenario, one, upper=upper):
            found.append(Edge(one.path, settings[one.path], upper))
    return found


def _wider(space: Space, scenario: Scenario, one: Dimension, *, upper: bool) -> bool:
    """Whether a value beyond the end fits the schema."""
    prefix, suffix = one.unit or ("", "")
    if one.kind == "choice":
        end, whole = plain(one.choices[-1 if upper else 0]), all(isinstance(c, int) for c in one.choices)
        if not all(isinstance(choice, int | float) for choice in one.choices) or end is None:
            return True  # texts: nothing is known against it
        by = 1.0 if whole else abs(end) * _BEYOND
    else:
        end, whole = one.high if upper else one.low, one.whole
        by = 1.0 if whole else end * _BEYOND if one.log else (one.high - one.low) * _BEYOND
    number = end + (by if upper else -by)
    value: Any = int(number) if whole else number
    try:
        space.settled(scenario, {one.path: f"{prefix}{value}{suffix}" if one.unit is not None else value})
    except ScenarioError:
        return False
    return True
