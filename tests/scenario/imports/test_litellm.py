"""LiteLLM's documented numbers, and what they become."""

from __future__ import annotations

from typing import Any

import pytest

from llmsim.algorithms.backoff import Backoff
from llmsim.errors import ScenarioError
from llmsim.scenario.imports import Imported, import_gateway
from llmsim.scenario.load import parse_scenario

ONE = "model_list: [{model_name: chat, litellm_params: {model: gpt-4o-mini}}]\n"
TWO = """\
model_list:
  - {model_name: chat, litellm_params: {model: azure/a}, model_info: {base_model: gpt-4o-mini}}
  - {model_name: chat, litellm_params: {model: gpt-4o-mini}}
"""
NAMES = ["azure-gpt-4o-mini", "openai-gpt-4o-mini"]
GROUPS = """\
model_list:
  - {model_name: chat, litellm_params: {model: gpt-4o-mini}}
  - {model_name: second, litellm_params: {model: anthropic/claude-sonnet-5}}
  - {model_name: third, litellm_params: {model: groq/llama3-70b-8192}}
  - {model_name: long, litellm_params: {model: gemini/gemini-1.5-pro}}
"""
CHAT, SECOND, THIRD, LONG = (
    "openai-gpt-4o-mini", "anthropic-claude-sonnet-5", "groq-llama3-70b-8192", "gemini-gemini-1.5-pro"
)  # fmt: skip


def read(text: str, **options: Any) -> Imported:
    """The import of a configuration, which must make a scenario."""
    imported = import_gateway(text, "config.yaml", **options)
    parse_scenario(imported.scenario())
    return imported


def policy(text: str, kind: str, **options: Any) -> dict[str, Any]:
    return read(text, **options).plan.policy(kind)


def noted(imported: Imported, kind: str, words: str) -> list[str]:
    return [line for line in imported.notes if f": {kind}: " in line and words in line]


# Retries


def test_num_retries_are_without_the_first_call() -> None:
    assert policy(f"{ONE}router_settings: {{num_retries: 3}}", "retry")["max_attempts"] == 4
    assert policy(f"{ONE}litellm_settings: {{num_retries: 5}}", "retry")["max_attempts"] == 6
    assert policy(ONE, "retry")["max_attempts"] == 3  # 2 of the OpenAI SDK
    assert policy(f"{ONE}router_settings: {{num_retries: 0}}", "retry") == {"max_attempts": 1}


def test_the_router_comes_before_the_library_and_a_deployment_before_both() -> None:
    both = f"{ONE}router_settings: {{num_retries: 3}}\nlitellm_settings: {{num_retries: 5}}"
    imported = read(both)
    assert imported.plan.policy("retry")["max_attempts"] == 4
    assert noted(imported, "not expressed", "router_settings.num_retries comes before it")
    own = ONE.replace("gpt-4o-mini}", "gpt-4o-mini, num_retries: 1}")
    assert policy(f"{own}router_settings: {{num_retries: 3}}", "retry")["max_attempts"] == 2


def test_one_deployment_waits_as_documented() -> None:
    """min(0.5 s * 2^n, 8 s) + U(0, 0.75 s), a Retry-After up to 60 s instead."""
    found = policy(ONE, "retry")
    assert found["backoff"] == {"initial": "500ms", "max": "8.75s", "jitter": "added", "spread": "750ms"}
    assert (found["max_retry_after"], found["beyond_max_retry_after"]) == ("60s", "back_off")
    backoff = Backoff(initial=0.5, max=8.75, jitter="added", spread=0.75)
    assert [backoff.delay(retry, 0.0, 0.0) for retry in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("retry_after", "retries", "waits"),
    [(5, 3, [5, 5, 5]), (20, 2, [8, 8]), (0, 3, [0.5, 1, 2]), (1, 2, [1, 1])],
)
def test_retry_after_is_the_least_wait(retry_after: int, retries: int, waits: list[float]) -> None:
    """min(max(0.5 * 2^n, retry_after), 8), without its jitter."""
    assert waits == [min(max(0.5 * 2**n, retry_after), 8) for n in range(retries)]
    imported = read(f"{ONE}router_settings: {{retry_after: {retry_after}, num_retries: {retries}}}")
    gateway = parse_scenario(imported.scenario()).gateway
    backoff = gateway.policies[0].backoff
    assert [backoff.delay(n + 1, 0.0, 0.0) for n in range(retries)] == waits
    assert not noted(imported, "approximated", "later waits")


def test_a_retry_after_that_later_waits_pass_is_noted() -> None:
    assert noted(read(f"{ONE}router_settings: {{retry_after: 1, num_retries: 4}}"), "approximated", "later waits")


def test_several_deployments_do_not_wait() -> None:
    found = policy(TWO, "retry")
    assert found["backoff"] == {"initial": "0s", "jitter": "none"}
    assert found["honor_retry_after"] is False


def test_a_retry_policy_becomes_rules() -> None:
    text = f"{ONE}router_settings: {{num_retries: 2, retry_policy: {{RateLimitErrorRetries: 5, TimeoutErrorRetries: 0, \
InternalServerErrorRetries: 2, AuthenticationErrorRetries: 3}}}}"
    imported = read(text)
    rules = imported.plan.policy("retry")["rules"]
    assert rules == [{"on": ["rate_limited"], "max_attempts": 6}, {"on": ["timeout"], "max_attempts": 1}]
    assert noted(imported, "not expressed", "AuthenticationErrorRetries")


# Cooldowns


def test_cooldowns() -> None:
    found = policy(f"{TWO}router_settings: {{allowed_fails: 3, cooldown_time: 30}}", "cooldown")
    assert (found["failures"], found["time"], found["jitter"]) == (4, "30s", "0%")  # "if it fails > allowed_fails"
    assert 429 in found["on"]
    assert policy(TWO, "cooldown")["time"] == "5s"
    assert 429 in policy(TWO, "cooldown")["at_once"]
    assert 429 not in policy(f"{ONE}router_settings: {{cooldown_time: 60}}", "cooldown")["at_once"]
    breaker = policy(f"{TWO}router_settings: {{cooldown_time: 60}}", "circuit_breaker")
    assert (breaker["failure_rate"], breaker["minimum_calls"], breaker["wait_in_open"]) == ("50.1%", 5, "1m")
    for quiet in (ONE, f"{TWO}router_settings: {{disable_cooldowns: true, cooldown_time: 60}}"):
        assert not policy(quiet, "cooldown")
        assert not policy(quiet, "circuit_breaker")


def test_allowed_fails_by_class_are_one_number() -> None:
    fails = "TimeoutErrorAllowedFails: 12, RateLimitErrorAllowedFails: 100, BadRequestErrorAllowedFails: 1000"
    text = f"{TWO}router_settings: {{allowed_fails_policy: {{{fails}}}}}"
    imported = read(text)
    assert imported.plan.policy("cooldown")["failures"] == 13
    assert noted(imported, "not expressed", "BadRequestErrorAllowedFails")
    assert noted(imported, "approximated", "one number")


# Fallbacks


def test_fallbacks_are_an_order() -> None:
    found = policy(f"{GROUPS}router_settings: {{fallbacks: [{{chat: [second, third]}}]}}", "fallback")
    assert found["order"] == [CHAT, SECOND, THIRD]
    assert found["on"] == ["any"]
    assert found["max_fallbacks"] == 5


def test_fallbacks_of_fallbacks_come_before_the_next_one() -> None:
    text = f"{GROUPS}litellm_settings: {{fallbacks: [{{chat: [second, third]}}, {{second: [long, chat]}}]}}"
    assert policy(text, "fallback")["order"] == [CHAT, SECOND, LONG, THIRD]
    imported = read(f"{text}\nrouter_settings: {{max_fallbacks: 2}}")
    assert imported.plan.policy("fallback")["order"] == [CHAT, SECOND, LONG]
    assert imported.plan.policy("fallback")["max_fallbacks"] == 2
    assert noted(imported, "not expressed", "more fallbacks than max_fallbacks (2): 1 left")


def test_default_fallbacks_are_for_groups_without_their_own() -> None:
    default = "default_fallbacks: [third]"
    assert policy(f"{GROUPS}litellm_settings: {{{default}}}", "fallback")["order"] == [CHAT, THIRD]
    fallbacks = "fallbacks: [{chat: [second]}, {second: [long]}, {long: [chat]}]"
    own = f"{GROUPS}litellm_settings: {{{default}, {fallbacks}}}"
    assert policy(own, "fallback")["order"] == [CHAT, SECOND, LONG]
    some = f"{GROUPS}litellm_settings: {{{default}, fallbacks: [{{chat: [second]}}]}}"
    assert policy(some, "fallback")["order"] == [CHAT, SECOND, THIRD], "second has none of its own"


def test_fallbacks_of_all_groups_are_for_those_without_their_own() -> None:
    text = f"{GROUPS}router_settings: {{fallbacks: [{{'*': [second]}}, {{second: [third]}}]}}"
    assert policy(text, "fallback")["order"] == [CHAT, SECOND, THIRD]
    assert policy(text, "fallback", model_group="third")["order"] == [THIRD, SECOND]


def test_fallbacks_after_certain_errors() -> None:
    text = f"{GROUPS}router_settings: {{fallbacks: [{{chat: [second]}}], context_window_fallbacks: [{{chat: [long]}}], \
content_policy_fallbacks: [{{chat: [third]}}]}}"
    imported = read(text)
    found = imported.plan.policy("fallback")
    assert found["orders"] == {"context_too_long": [LONG], "content_filtered": [THIRD]}
    assert found["order"] == [CHAT, SECOND]
    assert len(noted(imported, "approximated", "an error that never comes")) == 2
    alone = policy(f"{GROUPS}router_settings: {{context_window_fallbacks: [{{chat: [long]}}]}}", "fallback")
    assert alone == {"order": [CHAT], "on": ["context_too_long"], "orders": {"context_too_long": [LONG]}}


def test_a_group_of_several_goes_on_to_other_groups_only_after_its_retries() -> None:
    text = f"{TWO}  - {{model_name: second, litellm_params: {{model: anthropic/claude-sonnet-5}}}}\n\
router_settings: {{fallbacks: [{{chat: [second]}}]}}"
    imported = read(text)
    kinds = [entry.kind for entry in imported.plan.policies]
    assert kinds == ["fallback", "retry", "route"]
    assert imported.plan.policy("fallback")["orders"] == {"any": [SECOND]}
    assert "order" not in imported.plan.policy("fallback")
    assert imported.plan.policy("route")["to"] == NAMES


def test_fallbacks_to_what_is_not_there_are_said() -> None:
    imported = read(f"{GROUPS}router_settings: {{fallbacks: [{{chat: [nowhere, second]}}, {{gone: [chat]}}]}}")
    assert imported.plan.policy("fallback")["order"] == [CHAT, SECOND]
    assert noted(imported, "not expressed", "'nowhere'")
    assert noted(imported, "not expressed", "there is no such model group")


# Routing


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("simple-shuffle", "weighted"),
        ("least-busy", "least_busy"),
        ("latency-based-routing", "latency"),
        ("usage-based-routing", "quota"),
        ("usage-based-routing-v2", "quota"),
        ("cost-based-routing", "cost"),
    ],
)
def test_strategies(theirs: str, ours: str) -> None:
    found = policy(f"{TWO}router_settings: {{routing_strategy: {theirs}}}", "route")
    assert (found["strategy"], found["to"]) == (ours, NAMES)


def test_a_strategy_that_is_not_known_is_said() -> None:
    imported = read(f"{TWO}router_settings: {{routing_strategy: wonderful, routing_strategy_args: {{ttl: 10}}}}")
    assert imported.plan.policy("route")["strategy"] == "weighted"
    assert noted(imported, "not expressed", "no such strategy here")
    assert noted(imported, "not expressed", "ttl")


@pytest.mark.parametrize(
    ("first", "second", "weights"),
    [
        ("weight: 9", "weight: 1", [9, 1]),
        ("rpm: 900", "rpm: 10", [900, 10]),
        ("tpm: 1000, weight: 1", "tpm: 9000, weight: 3", [1, 3]),  # weight comes first
        ("rpm: 60", "tpm: 9000", [60, 0]),  # what the first has decides; who has none of it gets nothing
        ("weight: 2", "weight: 2", None),
        ("", "rpm: 60", None),
    ],
)
def test_weights(first: str, second: str, weights: list[float] | None) -> None:
    text = TWO.replace("azure/a}", f"azure/a, {first}}}" if first else "azure/a}")
    text = text.replace("{model: gpt-4o-mini}", f"{{model: gpt-4o-mini, {second}}}")
    found = policy(text, "route").get("weights")
    assert found == (None if weights is None else dict(zip(NAMES, weights, strict=True)))


def test_order_is_a_priority() -> None:
    text = TWO.replace("azure/a}", "azure/a, order: 2}").replace(
        "{model: gpt-4o-mini}", "{model: gpt-4o-mini, order: 1}"
    )
    assert policy(text, "route") == {"strategy": "priority", "groups": [[NAMES[1]], [NAMES[0]]]}


# Limits, timeouts, cache, prices


def test_rpm_and_tpm_are_what_the_provider_allows() -> None:
    text = "model_list: [{model_name: chat, litellm_params: {model: gpt-4o-mini}, rpm: 480, tpm: 80_000}]"
    imported = read(text)
    assert imported.plan.providers[CHAT]["rate_limit"].value == {"requests": "480/min", "tokens": "80000/min"}
    assert not imported.plan.policy("rate_limit"), "simple-shuffle does not look at them before a call"
    other = read(text.replace("gpt-4o-mini", "anthropic/claude-sonnet-5"))
    assert other.plan.providers[SECOND]["rate_limit"].value == {"requests": "480/min", "input_tokens": "80000/min"}
    assert noted(other, "approximated", "input tokens apart")


def test_limits_that_the_proxy_keeps_to() -> None:
    same = TWO.replace("azure/a}", "azure/a, rpm: 60, max_parallel_requests: 7}").replace(
        "{model: gpt-4o-mini}", "{model: gpt-4o-mini, rpm: 60, max_parallel_requests: 7}"
    )
    checked = f"{same}router_settings: {{enable_pre_call_checks: true}}"
    assert policy(checked, "rate_limit") == {"requests": "60/min", "shared": False}
    assert policy(same, "concurrency_limit")["limit"] == 7
    imported = read(checked.replace("rpm: 60", "rpm: 90", 1).replace("requests: 7", "requests: 8", 1))
    assert not imported.plan.policy("rate_limit")
    assert not imported.plan.policy("concurrency_limit")
    assert noted(imported, "approximated", "rpm differs between deployments")
    assert noted(imported, "not expressed", "max_parallel_requests")


def test_timeouts() -> None:
    assert policy(f"{ONE}litellm_settings: {{request_timeout: 10}}", "timeout") == {"ttft": "10s", "inter_token": "10s"}
    router = f"{ONE}router_settings: {{timeout: 30, stream_timeout: 0.5}}\nlitellm_settings: {{request_timeout: 10}}"
    imported = read(router)
    assert imported.plan.policy("timeout")["ttft"] == "500ms"
    assert noted(imported, "approximated", "ttft: 30s")
    own = TWO.replace("azure/a}", "azure/a, timeout: 5}")
    assert policy(f"{own}router_settings: {{timeout: 30}}", "timeout")["ttft"] == "30s"
    assert noted(read(f"{own}router_settings: {{timeout: 30}}"), "not expressed", "5s for some deployments")
    assert policy(ONE, "timeout")["ttft"] == "100m"  # 6,000 s


def _semantic(params: str) -> Imported:
    return read(f"{ONE}litellm_settings: {{cache: true, cache_params: {{{params}}}}}")


def test_a_semantic_cache_compares_cosines_as_it_does_there() -> None:
    """A similarity_threshold of LiteLLM is 1 - cosine distance, which is the cosine: 0.8 stays 0.8."""
    redis = _semantic("type: redis-semantic, similarity_threshold: 0.8, ttl: 600")
    assert redis.plan.policy("semantic_cache") == {
        "threshold": 0.8, "ttl": "10m", "backend": "redis", "scope": "tenant", "cacheable": "all", "tools": True,
        "on_new_model": "serve", "shared": True,
    }  # fmt: skip
    assert noted(redis, "approximated", "whole conversations")
    qdrant = _semantic("type: qdrant-semantic, similarity_threshold: 0.95, semantic_cache_scope: end_user")
    found = qdrant.plan.policy("semantic_cache")
    assert (found["backend"], found["scope"], found["ttl"]) == ("memory", "user", None)
    assert noted(qdrant, "approximated", "qdrant-semantic keeps are kept in memory")
    assert not noted(qdrant, "unknown key", "similarity_threshold")
    for wrong in ("type: redis-semantic", "type: redis-semantic, similarity_threshold: 80"):
        with pytest.raises(ScenarioError, match=r"similarity_threshold: 0\.8"):
            _semantic(wrong)


def test_the_cache() -> None:
    found = policy(f"{ONE}litellm_settings: {{cache: true, cache_params: {{type: redis, ttl: 600}}}}", "cache")
    assert found == {"ttl": "10m", "scope": "global", "cacheable": "all", "shared": True}
    assert "shared" not in policy(f"{ONE}litellm_settings: {{cache: true, cache_params: {{type: local}}}}", "cache")
    for off in ("cache: false", "cache: true, cache_params: {mode: default_off}",
                "cache: true, cache_params: {supported_call_types: [aembedding]}"):  # fmt: skip
        assert not policy(f"{ONE}litellm_settings: {{{off}}}", "cache")


def test_prices_and_windows_of_a_deployment() -> None:
    text = "model_list: [{model_name: chat, litellm_params: {model: gpt-4o-mini}, model_info: {input_cost_per_token: \
1.5e-07, output_cost_per_token: 0.0000006, max_input_tokens: 16000}}]\n"
    provider = read(f"{text}router_settings: {{enable_pre_call_checks: true}}").plan.providers[CHAT]
    assert provider["price"].value == {"input": "$0.15/Mtok", "output": "$0.6/Mtok"}
    assert provider["context_window"].value == 16000
    assert "context_window" not in read(text).plan.providers[CHAT]


# Groups


def test_one_group_is_imported_and_the_others_are_named() -> None:
    imported = read(GROUPS, model_group="third")
    assert list(imported.plan.providers) == [THIRD]
    assert len(noted(imported, "not expressed", "another model group; --model-group")) == 3
    alias = f"{GROUPS}router_settings: {{model_group_alias: {{fast: third, slow: {{model: long, hidden: true}}}}}}"
    assert list(read(alias, model_group="fast").plan.providers) == [THIRD]
    assert list(read(alias, model_group="slow").plan.providers) == [LONG]


def test_the_first_group_that_answers_chats_is_the_default() -> None:
    text = """\
model_list:
  - {model_name: "*", litellm_params: {model: "openai/*"}}
  - {model_name: vectors, litellm_params: {model: text-embedding-3-small}, model_info: {mode: embedding}}
  - {model_name: chat, litellm_params: {model: gpt-4o-mini}}
"""
    assert read(text).plan.name == "chat"
    assert read(text, model_group="gpt-9").plan.name == "*"  # which answers whatever no other group does


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"no model group 'chatt'. Did you mean 'chat'\?"):
        read(GROUPS, model_group="chatt")


# What is wrong, and what is not known


def test_unknown_keys_are_listed_with_their_lines() -> None:
    text = f"{ONE}router_settings:\n  num_retrys: 3\nsurprise: {{a: 1}}\n"
    lines = noted(read(text), "unknown key", "")
    assert [line.split(":")[0] for line in lines] == ["! line 3 router_settings.num_retrys", "! line 4 surprise"]
    assert lines[0].endswith("Did you mean num_retries?")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "router_settings: {num_retries: many}",
            r"config.yaml:2:19: router_settings.num_retries: needs a whole number",
        ),
        ("router_settings: {cooldown_time: -1}", r"needs a number that is not negative. Write cooldown_time: 30"),
        ("router_settings: 3", r"router_settings: this takes keys with values"),
        ("router_settings: {fallbacks: {chat: x}}", r"fallbacks: needs a list"),
        ("litellm_settings: {cache: perhaps}", r"needs true or false. Write cache: true"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        read(ONE + text)


def test_values_from_the_environment_are_not_guessed() -> None:
    imported = read(f"{ONE}router_settings: {{num_retries: os.environ/RETRIES}}")
    assert imported.plan.policy("retry")["max_attempts"] == 3
    assert noted(imported, "not expressed", "in the environment")
    model = read("model_list: [{model_name: chat, litellm_params: {model: os.environ/RETRIES, api_key: k}}]")
    assert list(model.plan.providers) == ["chat"]
    assert "environ/" not in model.scenario()
    assert noted(model, "not copied", "keys, addresses") == [
        "- line 1 api_key: not copied: keys, addresses and headers are not copied"
    ]
    assert "RETRIES" not in imported.scenario() + "".join(imported.notes)
