"""What stands at a path of a scenario, its defaults included."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llmsim.errors import ScenarioError
from llmsim.scenario.document import Document
from llmsim.scenario.overrides import change, resolve
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values

__all__ = ["Absent", "standing"]

#: Nothing stands there.
Absent: Any = object()


def standing(scenario: Scenario, path: str) -> Any:
    """The value at a path, in SI units; `Absent` where it leads to nothing.

    Examples
    --------
    >>> from llmsim.scenario.load import load_scenario
    >>> scenario = load_scenario(
    ...     {
    ...         "version": 1,
    ...         "traffic": {"base_rate": "240/min"},
    ...         "providers": {"a": {}},
    ...         "gateway": {"policies": [{"retry": {"backoff": {"initial": "50ms"}}}]},
    ...     }
    ... )
    >>> [standing(scenario, f"gateway.retry.{key}") for key in ("max_attempts", "backoff.initial")]
    [3, 0.05]
    """
    document = change(Document(to_values(scenario), "scenario"), {}).document
    try:
        place = resolve(document, path)
    except ScenarioError:
        return Absent
    here: Any = scenario
    for part in place:
        here = _step(here, part)
        if here is Absent:
            return Absent
    return here


def _step(here: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return here[part] if isinstance(here, tuple | list) and part < len(here) else Absent
    if isinstance(here, Mapping):
        return here.get(part, Absent)
    if getattr(here, "kind", None) == part and part not in _fields(here):
        return here  # the kind of a policy stands in the document, not in the object
    name = _fields(here).get(part)
    return getattr(here, name) if name is not None else Absent


def _fields(here: Any) -> dict[str, str]:
    """Names of a dataclass's fields by the keys they have in a file."""
    if not dataclasses.is_dataclass(here):
        return {}
    alias = getattr(here, "__pydantic_config__", {}).get("alias_generator", str)
    return {alias(field.name): field.name for field in dataclasses.fields(here)}
