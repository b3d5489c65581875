"""What was run, for the page: the gateway as it is wrapped, the providers, and where the result comes from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmsim.report.describe import describe

if TYPE_CHECKING:
    from llmsim.report.result import Result
    from llmsim.scenario.spec import Scenario

__all__ = ["faults", "flow", "policies", "provenance", "source"]


def policies(result: Result) -> list[tuple[str, str, str]]:
    """Scope, kind and settings of every policy, the outermost first; a preset is told as what it stands for."""
    given = result.scenario.gateway
    whole = dataclasses.replace(result.scenario, gateway=dataclasses.replace(given, preset=""))
    gateway = describe(whole)["scenario"].get("gateway", {})
    rows = [
        (scope, kind, flow(settings, outermost=True) or "all at their defaults")
        for scope, words in (("gateway", "policies"), ("each provider", "upstream"))
        for one in gateway.get(words, [])
        for kind, settings in one.items()
    ]
    return [("gateway", str(gateway["entry"]["code"]), "code")] if "entry" in gateway else rows


def faults(scenario: Scenario) -> list[tuple[str, str, str]]:
    """Name, provider and effects with their settings."""
    told = describe(scenario)["scenario"].get("faults", [])
    return [
        (
            fault.name,
            fault.target,
            flow({key: value for key, value in one.items() if key not in ("name", "provider")}, outermost=True),
        )
        for fault, one in zip(scenario.faults, told, strict=True)
    ]


def flow(value: Any, *, outermost: bool = False) -> str:
    """A value as YAML would have it in one line.

    Examples
    --------
    >>> flow({"max_attempts": 3, "backoff": {"initial": 1.0, "on": ["timeout"]}}, outermost=True)
    'max_attempts: 3, backoff: {initial: 1, on: [timeout]}'
    """
    if isinstance(value, Mapping):
        told = ", ".join(f"{key}: {flow(one)}" for key, one in value.items())
        return told if outermost else f"{{{told}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(flow(one) for one in value)}]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def provenance(result: Result, replay: str) -> list[tuple[str, str]]:
    """Label and text of what it takes to have the same again, and to know that it is the same."""
    from importlib.metadata import version

    rows = [
        ("scenario", result.scenario.name),
        ("file", str(getattr(result.scenario.source, "source", "") or "none: made in Python")),
        ("seed", str(result.seed)),
        ("replications", f"{len(result.replications)} of at most {result.requested}"),
        ("hash of the scenario", f"SHA-256 {hashlib.sha256(source(result).encode()).hexdigest()}"),
        ("hash of all events", f"SHA-256 {result.event_hash}"),
        ("made by", f"llmsim {version('llmsim')}, Python {platform.python_version()}"),
    ]
    return [*rows, ("the same again", replay)] if replay else rows


def source(result: Result) -> str:
    """The scenario as it was run, which overrides and another gateway may have changed."""
    return json.dumps(describe(result.scenario)["scenario"], indent=1, ensure_ascii=False, default=str)
