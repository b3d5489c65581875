"""What tests of stories share: a scenario of the library under its own gateway, or under one that is not up to it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

import llmsim as ls
from llmsim.algorithms.backoff import Backoff
from llmsim.gateway.registry import kind_of

SCENARIOS = Path(__file__).parents[2] / "scenarios"

#: What the OpenAI SDK does untold: two more attempts, after 0.5 s and 1 s or when the provider
#: says (openai-python 2.54.0, _base_client.py).
SDK = ls.Retry(
    max_attempts=3,
    backoff=Backoff(initial=0.5, max=8.0, jitter="none"),
    on=("rate_limited", "server_error", "timeout", "connection_failed"),
    max_retry_after=120.0,
)


@cache
def scenario(name: str) -> ls.Scenario:
    return ls.load(SCENARIOS / f"{name}.yaml")


def run(name: str, *, gateway: ls.Gateway | None = None, **values) -> ls.Result:
    """Six replications: what a verdict needs."""
    given = scenario(name).with_values(values)
    return ls.run(given if gateway is None else given.with_gateway(gateway), replications=6, jobs=1)


def verdicts(result: ls.Result) -> dict[str, str]:
    return {f"{line.objective.key} {line.objective.text}": line.verdict for line in result.slo}


def failed(result: ls.Result) -> set[str]:
    """The metrics (with tags) of the lines that failed; none may be undecided."""
    told = verdicts(result)
    assert "UNDECIDED" not in told.values(), told
    return {line.objective.key for line in result.slo if line.verdict == "FAIL"}


def measured(result: ls.Result) -> pl.DataFrame:
    return result.requests.filter(window="measured")


def changed(name: str, /, **changes: Any) -> ls.Gateway:
    """The scenario's own gateway with settings of some policies changed, or (None) without them, by their kinds."""
    own = scenario(name).gateway

    def applied(policies: tuple[Any, ...]) -> tuple[Any, ...]:
        kept = []
        for policy in policies:
            change = changes.get(kind_of(policy), {})
            if change is not None:
                kept.append(replace(policy, **change))
        return tuple(kept)

    kinds = {kind_of(policy) for policy in (*own.policies, *own.upstream)}
    assert set(changes) <= kinds, f"{name} has no {set(changes) - kinds}"
    return replace(own, policies=applied(own.policies), upstream=applied(own.upstream))
