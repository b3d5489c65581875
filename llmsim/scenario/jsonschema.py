"""The JSON Schema of scenario files, for editors and for ``llmsim schema``."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from llmsim.distributions.units import written_once
from llmsim.gateway.presets import preset_names
from llmsim.gateway.registry import policy_kinds
from llmsim.providers.profiles import profile_names
from llmsim.scenario.keys import dataclasses_below
from llmsim.scenario.objectives import MEASURE_TAGS, METRICS
from llmsim.scenario.spec import Scenario
from llmsim.scenario.validate import adapter
from llmsim.units import DURATION, format_duration

__all__ = ["json_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: They choose between upstreams, so they cannot be policies of one of them.
_GATEWAY_ONLY = {"fallback", "route"}
_OBJECTIVE = (
    r"^\s*(p\([\d.]+\)|mean|med|min|max|rate|value|burn\([^()]+\))\s*(<|<=|>|>=)\s*\S+"
    r"(\s+(before|during|after)\s+\S.*?)?(\s+window\s+\S+)?(\s+abort_on_fail)?\s*$"
)
_EFFECTS = (
    "latency", "capacity", "rate_limit", "price", "drift", "abort", "delay", "stall", "break", "outage",
    "lose_state", "sequence",
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a scenario file, with all policies registered so far.

    It is laxer than `load_scenario`: what only several sections together can tell is not in it.

    Examples
    --------
    >>> sorted(json_schema()["required"])
    ['providers', 'traffic', 'version']
    """
    return copy.deepcopy(_schema_of(tuple(policy_kinds().items())))


@functools.lru_cache(maxsize=4)  # it takes a fifth of a second; the policies that are registered decide what is in it
def _schema_of(registered: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    kinds = dict(registered)
    roots: list[tuple[str, Any, TypeAdapter[Any]]] = [("scenario", "validation", adapter(Scenario))]
    roots += [(f"policy {kind}", "validation", adapter(cls)) for kind, cls in kinds.items()]
    distributions: dict[str, dict[str, Any]] = {}
    token = written_once.set(distributions)
    try:
        references, schema = TypeAdapter.json_schemas(roots)
    finally:
        written_once.reset(token)
    definitions: dict[str, Any] = schema["$defs"]
    classes = {cls.__name__: cls for cls in dataclasses_below(Scenario, *kinds.values())}
    for name, definition in definitions.items():
        _tidy(definition, classes.get(name))
    policies = {
        kind: {"settings": references[f"policy {kind}", "validation"], "bare": _works_bare(cls)}
        for kind, cls in kinds.items()
    }
    gateway = definitions["Gateway"]["properties"]
    gateway.pop("entry")
    gateway["preset"]["enum"] = ["", *preset_names()]
    gateway["policies"] = _policy_list(gateway["policies"], policies)
    inner = {kind: policy for kind, policy in policies.items() if kind not in _GATEWAY_ONLY}
    gateway["upstream"] = _policy_list(gateway["upstream"], inner)
    definitions["SimProvider"]["properties"]["profile"]["anyOf"] = [
        {"enum": ["", *profile_names()]},
        {"pattern": r"\.ya?ml$"},
    ]
    definitions["Fault"]["anyOf"] = [{"required": [effect]} for effect in _EFFECTS]
    definitions["SemanticCache"]["properties"].pop("verifier")
    scenario = definitions.pop("Scenario")
    scenario["properties"].pop("source")
    scenario["properties"]["providers"] |= {"minProperties": 1, "propertyNames": {"not": {"enum": ["", "cache"]}}}
    for section in ("slo", "steady_state"):
        scenario["properties"][section] |= _objectives()
    kept: dict[str, Any] = {}
    whole = _shared({**scenario, "$defs": definitions}, distributions, kept)
    return {"$schema": _DIALECT, "title": "llmsim scenario", **whole, "definitions": kept}


def _shared(node: Any, kinds: dict[str, dict[str, Any]], kept: dict[str, Any]) -> Any:
    """The same schema with each kind of distribution written out once: there are a dozen places for one."""
    if isinstance(node, list):
        return [_shared(item, kinds, kept) for item in node]
    if not isinstance(node, dict):
        return node
    if "$distribution" in node:
        kind = node["$distribution"]
        name = kind.replace(" ", "-")
        kept[name] = kinds[kind]
        others = {key: value for key, value in node.items() if key != "$distribution"}
        return {**others, "$ref": f"#/definitions/{name}"}
    return {key: _shared(value, kinds, kept) for key, value in node.items()}


def _works_bare(cls: type[Any]) -> bool:
    """Whether ``- cache`` without settings is enough."""
    try:
        cls()
    except (TypeError, ValueError):
        return False
    return True


def _policy_list(described: dict[str, Any], policies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An array of objects with a single key, or of bare names where a policy needs no settings."""
    alternatives: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {
                kind: {"anyOf": [policy["settings"], {"type": "null"}]} if policy["bare"] else policy["settings"]
            },
            "required": [kind],
            "additionalProperties": False,
        }
        for kind, policy in policies.items()
    ]
    alternatives.append({"enum": [kind for kind, policy in policies.items() if policy["bare"]]})
    return {**described, "items": {"oneOf": alternatives}}


def _objectives() -> dict[str, Any]:
    tag = rf"({'|'.join(MEASURE_TAGS)})\s*:[^{{}},]+"
    key = rf"^\s*({'|'.join(METRICS)})\s*(\{{\s*{tag}(,\s*{tag})*\}})?\s*$"
    line = {"type": "string", "pattern": _OBJECTIVE, "examples": ["p(95) < 2s", "value < 1%"]}
    return {"propertyNames": {"pattern": key}, "additionalProperties": {"type": "array", "items": line}}


def _tidy(definition: dict[str, Any], cls: Any) -> None:
    """Descriptions from the docstring, no keys but the known ones, defaults as one would write them."""
    summary, parameters = _described(cls) if cls is not None else ("", {})
    definition.pop("title", None)
    definition["description"] = summary
    definition["additionalProperties"] = False
    for name, schema in definition.get("properties", {}).items():
        schema.pop("title", None)
        unit = schema.get("description", "")
        text = parameters.get(name, "")
        if text or unit:
            schema["description"] = f"{text} ({unit})" if text and unit else text or unit
        default = schema.get("default")
        if unit == DURATION.name and isinstance(default, float):
            schema["default"] = format_duration(default)
        elif isinstance(default, dict | list) or default is None or isinstance(default, float):
            schema.pop("default", None)


@cache
def _described(cls: Any) -> tuple[str, dict[str, str]]:
    """Summary and description of each parameter from a numpydoc docstring."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    summary = " ".join(lines[: lines.index("")] if "" in lines else lines)
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following.startswith("---"):
            inside = line == "Parameters"
        elif inside and re.match(r"[a-z_]", line):
            names = [name.strip().rstrip("_") for name in line.split(",")]
        elif inside and line.startswith("    "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    bases = [base for base in cls.__mro__[1:] if base is not object]
    for name in [name for name, text in found.items() if text.startswith("See `")]:  # where it was inherited from
        found[name] = next((text[name] for _, text in map(_described, bases) if name in text), found[name])
    return summary, found
