"""Portkey's documented numbers, and what they become."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.scenario.document import dotted
from llmsim.scenario.imports import Imported, import_gateway
from llmsim.scenario.load import parse_scenario, read_document

A = {"provider": "openai", "override_params": {"model": "gpt-4o"}}
B = {"provider": "anthropic", "override_params": {"model": "claude-sonnet-5"}}
C = {"provider": "groq", "override_params": {"model": "llama3-70b-8192"}}
NAME_A, NAME_B, NAME_C = "openai-gpt-4o", "anthropic-claude-sonnet-5", "groq-llama3-70b-8192"


def read(config: dict[str, Any]) -> Imported:
    """The import of a config, which must make a scenario."""
    imported = import_gateway(json.dumps(config, indent=1), "config.json")
    parse_scenario(imported.scenario())
    return imported


def policy(config: dict[str, Any], kind: str) -> dict[str, Any]:
    return read(config).plan.policy(kind)


def noted(imported: Imported, kind: str, words: str) -> list[str]:
    return [line for line in imported.notes if f": {kind}: " in line and words in line]


def fallback(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback", **more}, "targets": list(targets)}


def balance(*targets: dict[str, Any]) -> dict[str, Any]:
    return {"strategy": {"mode": "loadbalance"}, "targets": list(targets)}


def test_attempts_are_retries() -> None:
    found = policy({**A, "retry": {"attempts": 5}}, "retry")
    assert found["max_attempts"] == 6
    assert found["on"] == [429, 500, 502, 503, 504, "connection_failed"]
    assert found["backoff"] == {"initial": "1s", "max": "16s", "multiplier": "2x", "jitter": "none"}
    assert found["honor_retry_after"] is False
    capped = read({**A, "retry": {"attempts": 9}})
    assert capped.plan.policy("retry")["max_attempts"] == 6
    assert noted(capped, "approximated", "at most 5 times")
    assert not policy(A, "retry")
    assert policy({**A, "retry": {"attempts": 0}}, "retry") == {"max_attempts": 1}


@pytest.mark.parametrize("key", ["use_retry_after_header", "useRetryAfterHeader", "use_retry_after_headers"])
def test_retries_on_codes_that_heed_headers(key: str) -> None:
    imported = read({**A, "retry": {"attempts": 3, "on_status_codes": [408, 429, 401, 246], key: True}})
    found = imported.plan.policy("retry")
    assert (found["on"], found["by_status"]) == ([408, 429, 401, "connection_failed", "timeout"], True)
    assert "honor_retry_after" not in found
    assert (found["retry_after_jitter"], found["max_retry_after"]) == (False, "60s")
    assert noted(imported, "not expressed", "246 is no status of a failure")


def test_a_fallback_is_an_order() -> None:
    found = policy(fallback(A, B), "fallback")
    assert found == {"order": [NAME_A, NAME_B], "on": ["4xx", "5xx", "timeout", "connection_failed", "circuit_open"]}
    codes = policy(fallback(A, B, on_status_codes=[408, 429, 503]), "fallback")
    assert codes["on"] == [408, 429, 503, "circuit_open", "connection_failed", "timeout"]


def test_a_load_balancer_is_a_route_with_weights() -> None:
    imported = read({**balance({**A, "weight": 0.7}, {**B, "weight": 0.2}, C), "retry": {"attempts": 2}})
    found = imported.plan.policy("route")
    assert found["weights"] == {NAME_A: 0.7, NAME_B: 0.2, NAME_C: 1}  # "unset weights default to 1"
    assert [entry.kind for entry in imported.plan.policies] == ["route", "retry"], "the same target is tried again"
    assert "weights" not in policy(balance(A, B), "route")


def test_a_balancer_that_falls_back() -> None:
    imported = read(fallback(balance({**A, "weight": 3}, {**B, "weight": 1}), C))
    found = imported.plan.policy("fallback")
    assert "order" not in found
    assert found["orders"] == {word: [NAME_C] for word in found["on"]}
    assert imported.plan.policy("route")["weights"] == {NAME_A: 3, NAME_B: 1}
    assert not noted(imported, "approximated", "balancer")


def test_a_fallback_to_a_balancer_asks_all_of_it() -> None:
    imported = read(fallback(A, balance({**B, "weight": 1}, {**C, "weight": 3})))
    assert imported.plan.policy("fallback")["order"] == [NAME_A, NAME_C, NAME_B]
    assert noted(imported, "approximated", "one after the other, the heaviest first")


def test_a_balancer_with_a_fallback_in_one_branch() -> None:
    imported = read(balance({**A, "weight": 0.5}, {**fallback(B, C), "weight": 0.5}))
    assert imported.plan.policy("route")["to"] == [NAME_A, NAME_B]
    assert imported.plan.policy("fallback")["orders"]["5xx"] == [NAME_C]
    assert noted(imported, "approximated", "a fallback of one branch")


def test_shares_of_a_balancer_in_a_balancer_multiply() -> None:
    weights = policy(
        balance({**A, "weight": 1}, {**balance({**B, "weight": 3}, {**C, "weight": 1}), "weight": 1}), "route"
    )
    assert weights["weights"] == {NAME_A: 1, NAME_B: 0.75, NAME_C: 0.25}


def test_of_a_condition_only_the_default_is_imported() -> None:
    config = {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.x": "y"}, "then": "a"}],
            "default": "b",
        },
        "targets": [{**A, "name": "a"}, {**B, "name": "b"}],
    }
    imported = read(config)
    assert list(imported.plan.providers) == [NAME_B]
    assert noted(imported, "not expressed", "only the default target")


def test_settings_of_a_strategy_hold_for_its_targets_and_their_own_come_first() -> None:
    imported = read({**fallback(A, {**B, "request_timeout": 30000}), "request_timeout": 10000})
    assert imported.plan.policy("timeout") == {"ttft": "30s"}
    assert noted(imported, "not expressed", "10000 ms of one target")
    one = read(fallback({**A, "retry": {"attempts": 2}}, B))
    assert one.plan.policy("retry")["max_attempts"] == 3
    assert noted(one, "approximated", "targets without a retry get it too")
    other = read(fallback(A, {**B, "retry": {"attempts": 2}}))
    assert not other.plan.policy("retry")
    assert noted(other, "not expressed", "a retry of one target")


def test_caches() -> None:
    found = policy({**A, "cache": {"mode": "simple", "max_age": 60}}, "cache")
    assert found == {"ttl": "1m", "scope": "global", "cacheable": "all", "shared": True}
    assert policy({**A, "cache": {"mode": "simple"}}, "cache")["ttl"] == "24h"
    semantic = read({**A, "cache": {"mode": "semantic", "max_age": 60}})
    assert semantic.plan.policy("semantic_cache") == {**found, "threshold": 0.95, "on_new_model": "serve"}
    assert noted(semantic, "approximated", "system prompt")


def test_a_circuit_breaker() -> None:
    config = {"failure_threshold_percentage": 20, "minimum_requests": 10, "cooldown_interval": 60000,
              "failure_status_codes": [401, 429, 500]}  # fmt: skip
    imported = read(fallback(A, B, cb_config=config))
    assert imported.plan.policy("circuit_breaker") == {
        "failure_rate": "20%",
        "wait_in_open": "1m",
        "on": [401, 429, 500, "connection_failed"],
        "minimum_calls": 10,
    }
    assert not imported.plan.policy("cooldown")
    counted = policy(fallback(A, B, cb_config={"failure_threshold": 5, "cooldown_interval": 1000}), "cooldown")
    assert (counted["failures"], counted["time"], counted["when_all"]) == (6, "30s", "ask")  # 30 s at least
    assert 500 not in counted["on"]  # by default those above


def test_vendors_are_read_from_slugs_and_models() -> None:
    config = fallback(
        {"override_params": {"model": "@openai-prod/gpt-4o"}},
        {"virtual_key": "my-azure-openai-key", "override_params": {"model": "gpt-4o"}},
        {"provider": "@something"},
    )
    providers = read(config).plan.providers
    assert list(providers) == ["openai-gpt-4o", "azure-openai-gpt-4o", "target-3"]
    assert providers["azure-openai-gpt-4o"]["dialect"].value == "azure"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**A, "retry": {"attempts": "some"}}, "retry.attempts: needs a whole number"),
        ({**A, "retry": {"on_status_codes": [429]}}, "attempts is missing. Write attempts: 3"),
        (fallback(), "there are no targets"),
        ({"strategy": {"mode": "loadbalanced"}, "targets": [A]}, "there is no mode 'loadbalanced'"),
        (balance({**A, "weight": 0}, {**B, "weight": 0}), "all weights are 0"),
        (fallback(A, B, on_status_codes="429"), "needs a list of numbers"),
    ],
)
def test_what_cannot_be_read(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read(config)


def test_unknown_keys_are_listed() -> None:
    imported = read({**fallback(A, {**B, "wieght": 3}), "input_guardrails": ["x"], "metadata": {"a": "b"}})
    assert noted(imported, "unknown key", "this importer does not know it") == [
        "! line 17 targets[1].wieght: unknown key: this importer does not know it; left out. Did you mean weight?"
    ]
    assert noted(imported, "not expressed", "checks before or after a call")


def test_a_target_is_tried_again_before_the_next_one() -> None:
    """Three calls after 1 s and 2 s, then the other target: the documentation's retries and fallback."""
    imported = read({**fallback(balance(A, B), C), "retry": {"attempts": 2}})
    scenario = parse_scenario(imported.scenario())
    failing = {f"providers.{name}.errors.server_error": 1.0 for name in (NAME_A, NAME_B)}
    result = ls.run(scenario.with_values({**failing, "clock.duration": 20.0}), replications=1)
    calls = result.attempts.sort("request_id", "start_s").partition_by("request_id")
    for request in calls:
        upstreams = request["upstream"].to_list()
        assert upstreams[:3] in ([NAME_A] * 3, [NAME_B] * 3)
        assert upstreams[3:] == [NAME_C]
        starts, ends = request["start_s"].to_list(), request["end_s"].to_list()
        waits = [start - end for start, end in zip(starts[1:], ends, strict=False)]
        assert waits == pytest.approx([1.0, 2.0, 0.0], abs=1e-6)
    assert {request["upstream"][0] for request in calls} == {NAME_A, NAME_B}
    assert result.metrics["error_rate"] == 0


def test_every_key_is_in_the_scenario_or_in_the_list() -> None:
    config = {
        **fallback(
            {**A, "api_key": "sk", "weight": 1, "custom_host": "h", "input_guardrails": ["g"], "metadata": {"a": "b"}},
            {**balance({**B, "request_timeout": 5, "forward_headers": ["x"]}, C), "retry": {"attempts": 1}},
            on_status_codes=[429],
            cb_config={"failure_threshold": 3, "cooldown_interval": 1, "surprise": 1},
        ),
        "cache": {"mode": "simple", "max_age": 9, "namespace": "n"},
        "strict_open_ai_compliance": True,
        "request_timeout": 7,
    }
    text = json.dumps(config, indent=1)
    document, _ = read_document(text)
    imported = read(config)
    spoken = {
        int(n)
        for found in re.findall(r"lines? (\d+)|[(](\d+)[,)]|, (\d+)[,)]", imported.scenario())
        for n in found
        if n
    }
    leaves = [place for place in document.places if place and not isinstance(document.get(place), dict | list)]
    silent = [
        dotted(place)
        for place in leaves
        if document.places[place].key.line not in spoken
        and not any(
            document.places[place[:d]].key.line in spoken for d in range(1, len(place)) if place[d - 1] != "strategy"
        )
        and place[-1] not in ("provider", "mode", "model")
        and not isinstance(place[-1], int)
    ]
    assert not silent
