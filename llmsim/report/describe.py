"""A scenario as JSON and back; code of the user's own becomes its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llmsim.distributions import Distribution
from llmsim.errors import PolicyError
from llmsim.scenario.document import Document, Place, Spot
from llmsim.scenario.objectives import objectives_of
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import from_values, to_values

__all__ = ["SavedCode", "describe", "restore"]

_SCOPES = ("policies", "upstream")
_CODE = "code"  # the key under which a name stands where a policy was


@dataclasses.dataclass(frozen=True)
class SavedCode:
    """Stands where a saved scenario had a policy or gateway written in Python."""

    name: str

    def start(self, run: Any) -> Any:
        """Cannot: the code was not saved."""
        raise PolicyError(
            "was code when this result was saved, and results hold no code; give it again: scenario.with_gateway(…)",
            policy=self.name,
        )

    async def __call__(self, request: Any, providers: Any) -> Any:
        """Cannot: the code was not saved."""
        self.start(None)


def describe(scenario: Scenario) -> dict[str, Any]:
    """The scenario, and where its SLOs stood in its file, for `restore`."""
    lines = [
        [section, line.key, position, line.line]
        for section in ("slo", "steady_state")
        for key in getattr(scenario, section)
        for position, line in enumerate(line for line in objectives_of(scenario, section) if line.key == key)
        if line.line is not None
    ]
    source = getattr(scenario.source, "source", "")
    return {"scenario": _plain(to_values(scenario)), "source": source, "lines": lines}


def restore(saved: Mapping[str, Any]) -> Scenario:
    """The scenario that `describe` described, with `SavedCode` in place of code.

    Raises
    ------
    ScenarioError
        If it does not fit this version's schema.
    """
    values = dict(saved["scenario"])
    gateway = values["gateway"] = dict(values.get("gateway", {}))
    for scope in _SCOPES:
        if scope in gateway:
            gateway[scope] = [_revived(one) for one in gateway[scope]]
    if "entry" in gateway:
        gateway["entry"] = _revived(gateway["entry"])
    scenario = from_values(values, saved["source"])
    places: dict[tuple[str | int, ...], Place] = {
        (section, key, position): Place(Spot(line, 1), Spot(line, 1)) for section, key, position, line in saved["lines"]
    }
    return dataclasses.replace(scenario, source=Document(values, saved["source"], places))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Distribution):
        return value.mean  # of a family of one's own: only what was recorded matters from here on
    return {_CODE: getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__}


def _revived(value: Any) -> Any:
    return SavedCode(str(value[_CODE])) if isinstance(value, Mapping) and [*value] == [_CODE] else value
