"""Scenarios back into documents of plain values, and copies of scenarios with some values replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llmsim.distributions import Distribution, values_of
from llmsim.errors import ScenarioError
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.presets import preset
from llmsim.gateway.registry import policy_kinds
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.document import Document
from llmsim.scenario.keys import keys_of
from llmsim.scenario.overrides import change
from llmsim.scenario.profiles import MERGED, defaults_of
from llmsim.scenario.spec import Scenario
from llmsim.scenario.validate import validated

__all__ = ["from_values", "to_values", "with_values"]

#: Keys that name where the defaults of those beside them come from.
_NAMES = ("profile", "tier", "preset")


def to_values(scenario: Scenario) -> dict[str, Any]:
    """What a scenario says, as dicts, lists and SI numbers; what is at its default is left out.

    JSON can hold it, unless the scenario has policies, distributions or a gateway function that were written in
    Python: these stay the objects they are.

    Examples
    --------
    >>> from llmsim.scenario.load import load_scenario
    >>> scenario = load_scenario({"version": 1, "traffic": {"base_rate": "240/min"}, "providers": {"a": {}}})
    >>> to_values(scenario)
    {'version': 1, 'traffic': {'base_rate': 4.0}, 'providers': {'a': {}}}
    >>> from_values(to_values(scenario)) == scenario
    True
    """
    values = _fields(scenario)
    gateway = values.get("gateway", {})
    for scope in ("policies", "upstream"):
        if scope in gateway:
            gateway[scope] = [_policy(spec) for spec in getattr(scenario.gateway, scope)]
    if scenario.gateway.entry is not None:
        gateway["entry"] = scenario.gateway.entry
    return values


def from_values(values: Mapping[str, Any], source: str = "scenario") -> Scenario:
    """The scenario that `to_values` describes.

    Raises
    ------
    ScenarioError
        With all problems.
    """
    return validated(Document(dict(values), source), si=True)


def with_values(scenario: Scenario, values: Mapping[str, Any]) -> Scenario:
    """A copy with the values at these paths replaced; see `Scenario.with_values`."""
    origin = scenario.source
    document = Document(to_values(scenario), origin.source if origin is not None else "scenario")
    try:
        changed = change(document, values)
    except ScenarioError as error:
        raise ScenarioError(error.problems, scenario.name) from None
    try:
        result = validated(changed.document, si=True)
    except ScenarioError as error:
        raise changed.explain(error, scenario.name) from None
    return dataclasses.replace(result, source=origin)


def _fields(spec: Any) -> dict[str, Any]:
    """The keys of a spec that differ from their defaults."""
    values = {}
    named = _defaults(spec)
    for key, field in zip(keys_of(type(spec)), _written(type(spec)), strict=True):
        value = getattr(spec, field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if named is not None and key not in _NAMES:
            default = getattr(named, field.name)
        if value != default:
            merged = named is not None and key in MERGED and value is not None and default is not None
            values[key] = _beside(default, value) if merged else _plain(value)
    return values


def _defaults(spec: Any) -> Any:
    """What a spec is like where it says no more than the name of a profile or preset; None where it names none."""
    if isinstance(spec, SimProvider) and spec.profile:
        return defaults_of(spec.profile, spec.tier)
    return preset(spec.preset) if isinstance(spec, Gateway) and spec.preset else None


def _beside(default: Any, spec: Any) -> dict[str, Any]:
    """The keys of a spec that are not as in the profile's, be they llmsim's own defaults."""
    names = [field.name for field in dataclasses.fields(spec)]
    return {name: _plain(getattr(spec, name)) for name in names if getattr(spec, name) != getattr(default, name)}


def _written(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    alias = getattr(cls, "__pydantic_config__", {}).get("alias_generator", str)
    return [field for field in dataclasses.fields(cls) if alias(field.name) in keys_of(cls)]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value  # most are; asking a protocol takes twenty times as long
    if isinstance(value, Distribution):
        return values_of(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _policy(spec: Any) -> Any:
    kind = getattr(spec, "kind", None)
    return {kind: _fields(spec)} if isinstance(kind, str) and policy_kinds().get(kind) is type(spec) else spec
