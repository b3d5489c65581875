"""What ships: the scenarios, their sizes, and the JSON Schema that editors check them with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import schema
from jsonschema import Draft202012Validator

from llmsim.scenario.load import load_scenario, parse_scenario, read_document
from llmsim.scenario.preflight import preflight
from llmsim.scenario.values import from_values, to_values

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))
SPIKE, ARTICLE = (next(f for f in FILES if f.stem == stem) for stem in ("hacker-news-spike", "article-gateway"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    made = schema.validator()
    Draft202012Validator.check_schema(made.schema)
    return made


@pytest.mark.matrix
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_is_valid_for_both_the_loader_and_the_schema(path: Path, validator: Draft202012Validator) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.description
    document, problems = read_document(path.read_bytes(), str(path))
    assert not problems
    assert [error.message for error in validator.iter_errors(document.data)] == []
    assert from_values(json.loads(json.dumps(to_values(scenario)))) == scenario


def test_the_two_differ_in_nothing_but_the_gateway_and_what_is_expected() -> None:
    spike, article = load_scenario(SPIKE), load_scenario(ARTICLE)
    own: dict[str, Any] = {
        "name": spike.name,
        "description": spike.description,
        "gateway": spike.gateway,
        "expect": spike.expect,
    }
    same = dataclasses.replace(article, **own)
    assert same == spike


def test_sizes_make_the_story() -> None:
    spike = load_scenario(SPIKE)
    found = preflight(spike)
    assert found.expected_requests == pytest.approx(4440, rel=0.15)
    assert found.peak_per_s == pytest.approx(10 * found.base_per_s)
    loads = {(load.provider, load.limit): load for load in found.loads}
    tokens = loads["openai", "tokens"]
    assert tokens.first_choice
    assert tokens.rho_base < 0.8
    assert tokens.rho_peak > 2  # what a cache that answers two in five leaves is still above the limit
    assert tokens.empty_at_s is not None
    assert 120 < tokens.empty_at_s < 200  # during the spike
    assert not loads["openai", "requests"].exceeded
    assert all(load.rho_peak < 1 for load in found.loads if load.provider == "anthropic")
    assert "openai (first choice) tokens" in str(found)
    assert "runs out at 2m" in str(found)


def test_preflight_of_a_closed_loop_and_of_slots() -> None:
    text = """
version: 1
clock: {duration: 100s}
traffic: {executor: constant-vus, vus: 30, think_time: 8s, mix: [{output_tokens: 101}]}
providers:
  a: {ttft: 1s, inter_token: 10ms, concurrency: 10, rate_limit: {requests: 60/min}}
  b: {}
gateway: {policies: [fallback: {order: [b, a]}]}
"""
    found = preflight(parse_scenario(text))
    # b answers in 0.5 s + 100 gaps of 20 ms; with thinking that makes a cycle of 10.5 s
    assert found.base_per_s == pytest.approx(30 / 10.5)
    assert found.closed_loop
    assert found.unlimited == ("b",)
    requests, slots = found.loads
    assert not slots.first_choice
    assert slots.rho_peak == pytest.approx(30 / 10.5 * 2 / 10)
    # the bucket holds 60 requests and loses 30 / 10.5 - 1 a second
    assert requests.empty_at_s == pytest.approx(60 / (30 / 10.5 - 1), abs=0.5)
    assert "at most 286 requests" in str(found)


def test_preflight_of_a_quota_that_is_counted_by_the_minute() -> None:
    text = """
version: 1
clock: {duration: 5m}
traffic:
  base_rate: 0.5/s
  executor: ramping-arrival-rate
  stages: [{duration: 60s, target: 1x}, {duration: 1ms, target: 3x}]
providers:
  a: {dialect: DIALECT, rate_limit: {requests: 60/min, burst: 60s}}
"""
    # A bucket refills 1/s and loses 1.5/s: 60 last for two minutes. A minute's 60 last for 40 s, whatever was left.
    found = {
        dialect: preflight(parse_scenario(text.replace("DIALECT", dialect))).loads[0].empty_at_s
        for dialect in ("openai", "azure")
    }
    assert found["openai"] == pytest.approx(60 + 120, abs=1)
    assert found["azure"] == pytest.approx(60 + 40, abs=1)


def test_preflight_of_a_serving_engine_of_longer_answers_and_of_the_way_there() -> None:
    text = """
version: 1
clock: {duration: 100s}
traffic: {TRAFFIC, mix: [{input_tokens: 1000, output_tokens: 101, max_tokens: 150}]}
providers:
  own: {network: 1s, serving: {slots: 10, prefill_token: 100us, decode_step: 20ms, decode_sequence: 1ms}}
  wordy: {output: {length: 2x}, rate_limit: {output_tokens: 6000/min}, concurrency: 10, ttft: 1s, inter_token: 10ms}
"""
    own, output, slots = preflight(parse_scenario(text.replace("TRAFFIC", "base_rate: 2/s"))).loads
    # ten prompts of 0.1 s, and 100 steps of 30 ms for ten sequences: ten calls in 4 s
    assert (own.provider, own.limit, own.capacity) == ("own", "slots", 10)
    assert own.rho_peak == pytest.approx(2 / (10 / 4))
    assert output.rho_peak == pytest.approx(2 * 150 / 100)
    assert slots.rho_peak == pytest.approx(2 * (1 + 1.49) / 10)
    closed = preflight(parse_scenario(text.replace("TRAFFIC", "executor: constant-vus, vus: 30, think_time: 8s")))
    # alone: a second on the way, 0.1 s of prompt, 100 steps of 21 ms
    assert closed.base_per_s == pytest.approx(30 / (8 + 1 + 0.1 + 2.1))


def test_preflight_counts_no_answer_of_less_than_a_token() -> None:
    mix = "[{input_tokens: {exponential: {mean: 0}}, output_tokens: {constant: 0}}]"
    text = f"version: 1\ntraffic: {{base_rate: 1/s, mix: {mix}}}\nproviders: {{a: {{}}}}\n"
    found = preflight(parse_scenario(text))
    assert (found.input_tokens, found.output_tokens) == (1.0, 1.0)


def test_preflight_says_where_no_call_fits() -> None:
    """Bedrock reserves its model's maximum of 64,000 for a call that names no max_tokens."""
    text = """
version: 1
traffic: {base_rate: 1/s, mix: [{input_tokens: 500, output_tokens: 100}]}
providers:
  a: {dialect: bedrock, rate_limit: {tokens: 60k/min}}
  b: {dialect: anthropic, rate_limit: {output_tokens: 6k/min}}
  c: {rate_limit: {tokens: 60/min}}
  d: {dialect: openai, rate_limit: {tokens: 600/min}}
"""
    found = preflight(parse_scenario(text))
    assert found.never_fit == (
        "a: an average call asks for 64,500 tokens at once, and 60,000 is all there can be; give its route max_tokens",
        "c: an average call asks for 600 tokens at once, and 60 is all there can be",
    )
    assert "! a: an average call asks for 64,500 tokens" in str(found)
    named = preflight(parse_scenario(text.replace("output_tokens: 100}", "output_tokens: 100, max_tokens: 700}")))
    assert [words.partition(":")[0] for words in named.never_fit] == ["c", "d"]
    assert not named.never_fit[1].endswith("max_tokens")


def test_preflight_caps_answers_at_max_tokens() -> None:
    text = """
version: 1
traffic: {base_rate: 1/s, mix: [{output_tokens: {exponential: {mean: 100}}, max_tokens: 50}]}
providers: {a: {}}
"""
    assert preflight(parse_scenario(text)).output_tokens == pytest.approx(100 * (1 - 2.71828**-0.5), rel=0.01)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "wrong",
    [
        {"nme": "x"},
        {"version": 2},
        {"clock": {"duration": 30}},
        {"clock": {"duration": "30 seconds"}},
        {"traffic": {"base_rate": "4"}},
        {"traffic": {"base_rate": "4/s", "patience": {"lognorm": {}}}},
        {"providers": {}},
        {"providers": {"a": {"price": {"inputs": "$3/Mtok"}}}},
        {"gateway": {"policies": ["retri"]}},
        {"gateway": {"policies": ["timeout"]}},
        {"gateway": {"policies": [{"retry": {"max_attemps": 3}}]}},
        {"gateway": {"policies": [{"retry": {}, "cache": {}}]}},
        {"gateway": {"upstream": [{"fallback": {"order": ["a"]}}]}},
        {"gateway": {"entry": "x"}},
        {"faults": [{"name": "x", "provider": "a"}]},
        {"slo": {"ttfb": ["p(95) < 2s"]}},
        {"slo": {"ttft": ["p95 < 2s"]}},
        {"slo": {"ttft": ["p(95) < 2s afterwards"]}},
        {"slo": {"ttft": ["p(95) < 2s window"]}},
        {"slo": {"ttft{model:x}": ["p(95) < 2s"]}},
        {"source": 3},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(wrong: dict, validator: Draft202012Validator) -> None:
    good = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}}
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, **wrong})


def test_the_schema_takes_every_form_the_loader_takes(validator: Draft202012Validator) -> None:
    text = """
version: 1
clock: {warm_up: 0, duration: 1m30s}
traffic:
  executor: ramping-arrival-rate
  base_rate: 2.5k/h
  stages: [{duration: 10s, target: 10}, {duration: 10s, target: 0.5x}]
  patience: {exponential: 20s}
  mix: [{input_tokens: {uniform: {low: 10, high: 2k}}, weight: 0.5, output_tokens: 1_000}]
providers: {a: {ttft: {gamma: {mean: 1s, cv: 0.4}}, queue: {limit: null}, rate_limit: null}}
gateway:
  policies:
    - cache
    - retry: null
    - timeout: {total: 1h}
    - fallback: {orders: {context_too_long: [a], "429": [a]}, ttft: 3s, on_ttft: keep}
    - route: {strategy: weighted, weights: {a: 3}, models: {a: gpt}}
  stream: false
faults: [{name: script, provider: a, at: 20s, duration: 20s, sequence: [429, ok, 503], sequence_per: request}]
slo:
  "ttft{route:default}": ["p(99.9) <= 2s", p(95) < 3s after script window 10s abort_on_fail]
  goodput: [value > 3/s, value > 2/s during fault]
  error_rate: ["burn(99%, 60s, 10s) < 2x", value < 5% window 20s]
"""
    parse_scenario(text)
    document, _ = read_document(text)
    assert [error.message for error in validator.iter_errors(document.data)] == []


def test_the_schema_is_closed_and_described(validator: Draft202012Validator) -> None:
    schema = validator.schema
    assert isinstance(schema, dict)
    for name, definition in schema["$defs"].items():
        assert definition["additionalProperties"] is False, name
        assert definition["description"], name
    assert "source" not in schema["properties"]
    assert schema["$defs"]["Traffic"]["properties"]["patience"]["description"].startswith("How long a user waits")
    assert schema["$defs"]["Clock"]["properties"]["duration"]["default"] == "5m"
