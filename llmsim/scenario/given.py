"""A scenario, whatever it is given as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim.errors import ScenarioError
from llmsim.scenario.spec import Scenario

__all__ = ["ScenarioLike", "load"]

ScenarioLike = Scenario | str | Path | Mapping[str, Any]


def load(scenario: ScenarioLike, overrides: Sequence[str] = ()) -> Scenario:
    """A scenario from a YAML file or a mapping (a `Scenario` is passed through).

    Parameters
    ----------
    scenario
        File name, mapping, or Scenario.
    overrides
        ``path=value`` texts, e.g. ``gateway.retry.max_attempts=2``.

    Raises
    ------
    ScenarioError
        With every problem, its line and column, and what to type instead.
    """
    if isinstance(scenario, Scenario):
        if overrides:
            from llmsim.scenario.load import read_value

            return scenario.with_values({path: read_value(value) for path, value in map(_split, overrides)})
        return scenario
    if not isinstance(scenario, str | Path | Mapping):
        raise TypeError(f"a scenario is a file name, a mapping or a Scenario, not a {type(scenario).__name__}")
    from llmsim.scenario.load import load_scenario

    return load_scenario(scenario, overrides)


def _split(text: str) -> tuple[str, str]:
    path, _, value = text.partition("=")
    if not path or not value:
        raise ScenarioError(f"{text!r} is no override; write path=value, e.g. gateway.retry.max_attempts=2", "--set")
    return path.strip(), value.strip()
