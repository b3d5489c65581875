"""What a scenario file may say about the built-in policies."""

import dataclasses

import pytest
from pydantic import TypeAdapter, ValidationError

from llmsim.algorithms import Aimd, Backoff
from llmsim.gateway.contract import PolicySpec
from llmsim.gateway.policies import (
    ActiveBudget,
    AdaptiveAdmission,
    AdaptiveRate,
    AdaptiveThrottling,
    Cache,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    Fallback,
    Hedge,
    Quota,
    Retry,
    RetryRule,
    Routing,
    SingleFlight,
    Timeout,
    WaitingLine,
)
from llmsim.gateway.registry import kind_of, policy_kinds

FORMS = {
    "adaptive_rate": (
        {"beta": "60%", "scale": 0.5, "min_rate": "60/min", "bucket": "1s", "on": [429], "shared": True},
        AdaptiveRate(beta=0.6, scale=0.5, min_rate=1.0, bucket=1.0, on=(429,), shared=True),
    ),
    "adaptive_throttling": (
        {"k": "1.5x", "window": "10s", "minimum_requests": "1k", "on": ["overloaded"]},
        AdaptiveThrottling(k=1.5, window=10.0, minimum_requests=1000, on=("overloaded",)),
    ),
    "retry": (
        {
            "max_attempts": 3,
            "backoff": {"initial": "500ms", "max": "20s", "multiplier": "2x", "jitter": "decorrelated"},
            "on": ["rate_limited", 502, "5xx"],
            "honor_retry_after": True,
            "max_retry_after": "1m",
            "budget": "20%",
            "budget_minimum": "60/min",
            "rules": [
                {"on": ["overloaded"], "max_attempts": 1},
                {"on": [500], "backoff": {"initial": "0s", "jitter": "25%", "growth": "linear"}},
            ],
            "active_budget": {"share": "10%"},
            "quota": {"capacity": 100, "cost": 2.5},
            "max_failure_rate": "30%",
        },
        Retry(
            max_attempts=3,
            backoff=Backoff(initial=0.5, max=20.0, multiplier=2.0, jitter="decorrelated"),
            on=("rate_limited", 502, "5xx"),
            budget=0.2,
            rules=(
                RetryRule(on=("overloaded",), max_attempts=1),
                RetryRule(on=(500,), backoff=Backoff(initial=0.0, jitter=0.25, growth="linear")),
            ),
            active_budget=ActiveBudget(share=0.1),
            quota=Quota(capacity=100.0, cost=2.5),
            max_failure_rate=0.3,
        ),
    ),
    "fallback": (
        {
            "order": ["openai", "anthropic"],
            "on": ["rate_limited", "ttft_timeout"],
            "orders": {"context_too_long": ["long"], 413: ["long"]},
            "max_fallbacks": 5,
            "ttft": "3s",
            "on_ttft": "keep",
            "mid_stream": "continue",
        },
        Fallback(
            order=("openai", "anthropic"),
            on=("rate_limited", "ttft_timeout"),
            orders={"context_too_long": ("long",), 413: ("long",)},
            max_fallbacks=5,
            ttft=3.0,
            on_ttft="keep",
            mid_stream="continue",
        ),
    ),
    "route": (
        {"strategy": "weighted", "weights": {"openai": 3, "azure": 0.5}, "models": {"azure": "gpt"}, "shared": True},
        Routing(weights={"openai": 3.0, "azure": 0.5}, models={"azure": "gpt"}, shared=True),
    ),
    "timeout": ({"ttft": "5s", "inter_token": "250ms", "total": "1m30s"}, Timeout(ttft=5, inter_token=0.25, total=90)),
    "deadline": ({"timeout": None, "minimum": "2s", "name": "left"}, Deadline(timeout=None, minimum=2.0, name="left")),
    "hedge": (
        {"quantile": "95%", "to": ["anthropic"], "max_hedges": 2, "budget": "5%", "budget_minimum": "1/s"},
        Hedge(quantile=0.95, to=("anthropic",), max_hedges=2, budget=0.05, budget_minimum=1.0),
    ),
    "single_flight": ({"scope": "user", "on_failure": "alone"}, SingleFlight(scope="user", on_failure="alone")),
    "concurrency_limit": (
        {
            "aimd": {"max": 400, "timeout": "2s", "backoff": "80%"},
            "sample": "e2e",
            "queue": {"limit": 9, "timeout": "5s"},
        },
        ConcurrencyLimit(
            aimd=Aimd(max=400, timeout=2.0, backoff=0.8), sample="e2e", queue=WaitingLine(limit=9, timeout=5.0)
        ),
    ),
    "adaptive_admission": ({"target": "2s", "interval": "10s"}, AdaptiveAdmission(target=2.0, interval=10.0)),
    "cache": (
        {"capacity": "10k", "ttl": "1h", "scope": "user", "cacheable": "all", "shared": True},
        Cache(capacity=10_000, ttl=3600.0, scope="user", cacheable="all", shared=True),
    ),
    "circuit_breaker": (
        {
            "failure_rate": "50%",
            "sliding_window": "30s",
            "minimum_calls": 50,
            "wait_in_open": "15s",
            "permitted_in_half_open": 5,
            "on": ["server_error"],
        },
        CircuitBreaker(failure_rate=0.5, minimum_calls=50, on=("server_error",)),
    ),
}


@pytest.mark.parametrize("kind", FORMS)
def test_the_yaml_form_becomes_the_spec(kind):
    written, spec = FORMS[kind]
    cls = policy_kinds()[kind]
    parsed = TypeAdapter(cls).validate_python(written)
    assert parsed == spec
    assert hash(parsed) == hash(spec)
    assert kind_of(parsed) == (spec.name or kind)
    assert isinstance(parsed, PolicySpec)


@pytest.mark.parametrize("kind", FORMS)
def test_specs_are_frozen_and_sweepable(kind):
    _, spec = FORMS[kind]
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"
    assert dataclasses.replace(spec, name="other").name == "other"
    assert dataclasses.replace(spec) == spec


@pytest.mark.parametrize("kind", [kind for kind in FORMS if kind not in ("timeout", "concurrency_limit")])
def test_every_field_has_a_default(kind):
    cls = policy_kinds()[kind]
    assert TypeAdapter(cls).validate_python({}) == cls()


@pytest.mark.parametrize("kind", FORMS)
def test_unknown_keys_are_errors(kind):
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(policy_kinds()[kind]).validate_python({**FORMS[kind][0], "max_attemps": 3})
    assert raised.value.errors()[0]["loc"] == ("max_attemps",)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("kind", "written", "where", "says"),
    [
        ("retry", {"on": ["timeout", "rate_limitd"]}, ("on", 1), "did you mean 'rate_limited'"),
        ("retry", {"on": "any"}, ("on",), r"write \[any\]"),
        ("retry", {"max_attempts": 0}, ("max_attempts",), "at least 1"),
        ("retry", {"budget": "120%"}, ("budget",), "at most 1"),
        ("retry", {"backoff": {"jitter": "some"}}, ("backoff", "jitter"), "write full, equal, .* share like 25%"),
        ("retry", {"backoff": {"initial": "9s", "max": "1s"}}, ("backoff",), "write max: 9s or more"),
        ("retry", {"on": ["auth_error"]}, (), "does not cure auth_error"),
        ("retry", {"backoff": {"jitter": "added"}}, ("backoff",), "spread: 750ms"),
        ("retry", {"rules": [{"max_attempts": 2}]}, ("rules", 0, "on"), "required"),
        ("retry", {"rules": [{"on": ["timeot"], "max_attempts": 2}]}, ("rules", 0, "on", 0), "did you mean 'timeout'"),
        ("retry", {"quota": {"cost": 900}}, ("quota",), "never fits"),
        ("retry", {"active_budget": {"share": "120%"}}, ("active_budget", "share"), "at most 1"),
        ("adaptive_throttling", {"k": 0.9}, (), "write k: 2"),
        ("fallback", {"order": "openai"}, ("order",), r"write \[openai\]"),
        ("timeout", {"ttft": 5}, ("ttft",), "write it like 250ms"),
        ("timeout", {}, (), "at least one of ttft: 5s"),
        ("cache", {"scope": "world"}, ("scope",), "'tenant', 'user' or 'global'"),
        ("circuit_breaker", {"failure_rate": "0%"}, (), "write 50%"),
        ("hedge", {"after": "1s", "quantile": "95%"}, (), "remove after or quantile"),
        ("hedge", {"quantile": "100%"}, (), "write 95%"),
        ("hedge", {"to": "b"}, ("to",), r"write \[b\]"),
        ("hedge", {"minimum_requests": 2000}, (), "at most window 1000"),
        ("concurrency_limit", {}, (), "write limit: 32"),
        ("concurrency_limit", {"limit": 3, "vegas": {}}, (), "not limit and vegas"),
        ("concurrency_limit", {"limit": 3, "sample": "ttft"}, (), "no effect on a fixed limit"),
        ("concurrency_limit", {"gradient2": {}, "on": ["overloaded"]}, (), "goes by times alone"),
        ("concurrency_limit", {"limit": 3, "queue": {"limit": 5}}, ("queue", "timeout"), "required"),
        ("single_flight", {"on_failure": "retry"}, ("on_failure",), "'share' or 'alone'"),
        ("adaptive_admission", {"target": "0s"}, ("target",), "above"),
    ],
)
def test_mistakes_are_located_and_say_what_to_type(kind, written, where, says):
    with pytest.raises(ValidationError, match=says) as raised:
        TypeAdapter(policy_kinds()[kind]).validate_python(written)
    assert raised.value.errors()[0]["loc"] == where


@pytest.mark.matrix
@pytest.mark.parametrize("kind", FORMS)
def test_json_schema_for_editors(kind):
    schema = TypeAdapter(policy_kinds()[kind]).json_schema()
    assert schema["additionalProperties"] is False
    if "on" in schema["properties"]:
        words = schema["properties"]["on"]["items"]["anyOf"][0]["enum"]
        assert "rate_limited" in words


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        (
            {"strategy": "p2c", "over": "peak_ewma", "decay": "5s", "measure": "e2e"},
            Routing(strategy="p2c", over="peak_ewma", decay=5.0, measure="e2e"),
        ),
        (
            {"strategy": "latency", "quantile": "90%", "window": "2m", "explore": "5%"},
            Routing(strategy="latency", quantile=0.9, window=120.0, explore=0.05),
        ),
        (
            {"strategy": "priority", "groups": [["a", "b"], ["c"]], "full_at": 8, "headroom": "10%"},
            Routing(strategy="priority", groups=(("a", "b"), ("c",)), full_at=8, headroom=0.1),
        ),
        (
            {"to": ["a", "b"], "strategy": "sticky", "key": "prefix", "bound": "1.5x"},
            Routing(to=("a", "b"), strategy="sticky", key="prefix", bound=1.5),
        ),
        ({"strategy": "cost", "output_tokens": "1k"}, Routing(strategy="cost", output_tokens=1000)),
    ],
)
def test_every_word_of_a_route_can_be_written(written, spec):
    parsed = TypeAdapter(Routing).validate_python(written)
    assert parsed == spec
    assert hash(parsed) == hash(spec)
