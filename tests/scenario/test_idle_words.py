"""Words that would change nothing are refused, with what to write instead: nobody tunes a knob that moves nothing."""

import pytest

from llmsim.errors import ScenarioError
from llmsim.scenario.load import load_scenario, read_value

SERVING = {"slots": 16, "prefill_token": "20us", "decode_sequence": "200us"}
LIMIT = {"requests": "60/min"}
JSON = {"json_defects": {"prose": "5%"}}


def _load(provider, fault=None, **more):
    faults = [{"name": "f", "provider": "a", "at": "5s", **fault}] if fault else []
    return load_scenario(
        {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": provider, **more}, "faults": faults}
    )


@pytest.mark.parametrize(
    ("provider", "fault", "path", "message", "hint"),
    [
        ({"queue": {"limit": 3}}, None, "providers.a.queue", "queue has no effect", "concurrency: 32"),
        ({"quota_group": "g"}, None, "providers.a.quota_group", "quota_group has no effect", "rate_limit: {requests"),
        ({"incident_group": "v"}, None, "providers.a.incident_group", "no effect without congestion", "or remove"),
        (
            {"dialect": "openai", "rate_limit": {"burst": "1s", "tokens": "9k/min"}},
            None,
            "providers.a.rate_limit",
            "burst holds requests to",
            "requests: 500/min",
        ),
        (
            {"dialect": "anthropic", "rate_limit": {"count_cached": True}},
            None,
            "providers.a.rate_limit",
            "it limits nothing",
            "at least one limit",
        ),
        (
            {"incidents": {"maintenance": [{"duration": "5s"}, {"duration": "5s", "effect": "reduced"}]}},
            None,
            "providers.a.incidents.maintenance[1].effect",
            "no slots to be reduced",
            "concurrency: 32",
        ),
        ({"prefill": {"pace": "2x"}}, None, "providers.a.prefill.pace", "nothing for it to multiply", "per_1k: 20ms"),
        ({}, {"drift": {}}, "faults[0].drift", "this drift changes nothing", "output_tokens: 1.4x"),
        ({}, {"drift": {"ttft": "1x"}}, "faults[0].drift", "this drift changes nothing", "output_tokens: 1.4x"),
        ({}, {"drift": {"refusals": "3x"}}, "faults[0].drift.refusals", "has no refusals", "{refusals: 1%}"),
        ({"output": JSON}, {"drift": {"refusals": "3x"}}, "faults[0].drift.refusals", "has no refusals", "1%"),
        ({}, {"drift": {"json_defects": "3x"}}, "faults[0].drift.json_defects", "has no json_defects", "{prose: 5%}"),
        ({"ttft": "1s"}, {"price": {"multiplier": "2x"}}, "faults[0].price", "has no price", "input: $3/Mtok"),
        ({"serving": SERVING}, {"drift": {"ttft": "3x"}}, "faults[0].drift.ttft", "serving engine's steps", "latency:"),
    ],
)
def test_a_word_without_effect_is_refused(provider, fault, path, message, hint):
    with pytest.raises(ScenarioError) as caught:
        _load(provider, fault)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("provider", "fault"),
    [
        ({"queue": {"limit": 3}, "concurrency": 4}, None),
        ({"queue": {"limit": 3}, "serving": SERVING}, None),
        ({"queue": {}}, None),
        ({"quota_group": "g", "rate_limit": LIMIT}, None),
        ({"quota_group": "g", "profile": "openai-gpt-4o", "tier": "tier-1"}, None),
        ({"incident_group": "v", "congestion": {"preset": "openai-2024-04"}}, None),
        ({"incidents": {"maintenance": [{"duration": "5s", "effect": "reduced"}]}, "concurrency": 4}, None),
        ({"incidents": {"maintenance": [{"duration": "5s", "effect": "reduced"}]}, "serving": SERVING}, None),
        ({"output": {"refusals": "1%"}}, {"drift": {"refusals": "3x"}}),
        ({"output": {"json_defects_by_style": {"terse": {"cut": "1%"}}}}, {"drift": {"json_defects": "3x"}}),
        ({"profile": "openai-gpt-4o"}, {"drift": {"json_defects": "3x"}}),
        ({"serving": SERVING}, {"drift": {"latency": "3x", "output_tokens": "2x"}}),
        ({"profile": "openai-gpt-4o", "tier": "tier-1"}, {"rate_limit": {"multiplier": "0.5x"}}),
        ({"profile": "openai-gpt-4o"}, {"price": {"multiplier": "2x"}}),
    ],
)
def test_a_word_with_an_effect_is_not(provider, fault):
    _load(provider, fault)


@pytest.mark.parametrize(
    ("route", "provider", "message", "hint"),
    [
        ({"prompt_style": "dspy"}, {"profile": "openai-gpt-4o"}, "takes any answer", "expects: json"),
        ({"prompt_style": "dsyp", "expects": "json"}, {"profile": "openai-gpt-4o"}, "'dsyp'", "Did you mean 'dspy'?"),
        ({"prompt_style": "terse", "expects": "json"}, {}, "no provider knows", "{terse: {prose: 5%}}"),
        ({"prompt_style": "dspy", "expects": "json"}, {"profile": "openai-gpt-4o"}, "", ""),
        ({"prompt_style": "a", "expects": "json"}, {"output": {"json_defects_by_style": {"a": {}}}}, "", ""),
    ],
)
@pytest.mark.parametrize("client", [False, True])
def test_a_prompt_style_that_makes_no_difference_is_refused(route, provider, message, hint, client):
    mix = [{"route": "x"}, {"route": "y", **route}]
    own = {"count": 10, "named": [{"client": "c", "share": "10%", "mix": mix}]}
    traffic = {"base_rate": "4/s", **({"clients": own} if client else {"mix": mix})}
    data = {"version": 1, "traffic": traffic, "providers": {"a": provider}}
    if not message:
        load_scenario(data)
        return
    with pytest.raises(ScenarioError) as caught:
        load_scenario(data)
    (problem,) = caught.value.problems
    assert problem.path == f"traffic.{'clients.named[0].' if client else ''}mix[1].prompt_style"
    assert message in problem.message and hint in problem.hint


def test_a_quota_group_of_two_minds_is_refused_before_anything_runs():
    one, other = ({"quota_group": "g", "rate_limit": {"requests": rate}} for rate in ("60/min", "50/min"))
    with pytest.raises(ScenarioError) as caught:
        _load(one, b=other)
    (problem,) = caught.value.problems
    assert problem.path == "providers.b.quota_group"
    assert "a and b share the quota_group 'g'" in problem.message
    _load(one, b={"quota_group": "g", "rate_limit": {"requests": "1/s"}})  # the same in other words


@pytest.mark.parametrize(("family", "word"), [("gamma", "mean"), ("weibull", "mean"), ("log_logistic", "p50")])
def test_what_a_half_written_distribution_is_told_to_be_is_one(family, word):
    with pytest.raises(ScenarioError) as caught:
        _load({"ttft": {family: {word: "300ms"}}})
    (problem,) = caught.value.problems
    written = problem.hint[problem.hint.index("{") : problem.hint.rindex("}") + 1]
    _load({"ttft": read_value(written)})


@pytest.mark.parametrize(
    ("policies", "path", "message", "hint"),
    [
        (
            [{"fallback": {"order": ["a", "b"]}}, {"route": {}}],
            "gateway.policies[1].route",
            "route has no effect",
            "Leave order out",
        ),
        (
            [{"route": {}}, {"fallback": {}}],
            "gateway.policies[0].route",
            "does not see which upstream",
            "behind the fallback",
        ),
        ([{"route": {"to": ["aa"]}}], "gateway.policies[0].route.to[0]", "no provider 'aa'", "Did you mean"),
        ([{"route": {"weights": {"c": 1}}}], "gateway.policies[0].route.weights.c", "no provider 'c'", ""),
        (
            [{"route": {"strategy": "priority", "groups": [["a"], ["bb"]]}}],
            "gateway.policies[0].route.groups[1][0]",
            "no provider 'bb'",
            "Did you mean",
        ),
        (
            [{"fallback": {"orders": {"context_too_long": ["bb"]}}}],
            "gateway.policies[0].fallback.orders.context_too_long[0]",
            "no provider 'bb'",
            "Did you mean",
        ),
        (
            [{"route": {"strategy": "cost", "bound": "2x"}}],
            "gateway.policies[0].route",
            "bound has no effect with strategy: cost",
            "It is for sticky",
        ),
        (
            [{"fallback": {"orders": {"context_to_long": ["b"]}}}],
            "gateway.policies[0].fallback.orders",
            "unknown error word",
            "context_too_long",
        ),
    ],
)
def test_routes_and_fallbacks(policies, path, message, hint):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(
            {
                "version": 1,
                "traffic": {"base_rate": "4/s"},
                "providers": {"a": {"ttft": "100ms"}, "b": {"ttft": "100ms"}},
                "gateway": {"policies": policies},
            }
        )
    (problem,) = caught.value.problems
    assert problem.path.startswith(path)
    assert message in problem.message
    assert hint in problem.hint + problem.message


def test_mid_stream_needs_a_stream():
    with pytest.raises(ScenarioError, match="mid_stream has no effect where nothing is streamed"):
        load_scenario(
            {
                "version": 1,
                "traffic": {"base_rate": "4/s"},
                "providers": {"a": {"ttft": "100ms"}},
                "gateway": {"stream": False, "policies": [{"fallback": {"mid_stream": "continue"}}]},
            }
        )


def test_a_route_cannot_guard_one_upstream():
    with pytest.raises(ScenarioError, match="route chooses between upstreams"):
        load_scenario(
            {
                "version": 1,
                "traffic": {"base_rate": "4/s"},
                "providers": {"a": {"ttft": "100ms"}},
                "gateway": {"upstream": [{"route": {}}]},
            }
        )


@pytest.mark.parametrize(
    ("gateway", "path", "message", "hint"),
    [
        (
            {"policies": [{"hedge": {}}, {"single_flight": {}}]},
            "gateway.policies[0].hedge",
            "never gets a second call",
            "below single_flight",
        ),
        (
            {"upstream": [{"hedge": {"to": ["a"]}}]},
            "gateway.upstream[0].hedge.to",
            "there is no other",
            "Move the hedge to gateway.policies",
        ),
        ({"policies": [{"hedge": {"to": ["b"]}}]}, "gateway.policies[0].hedge.to[0]", "there is no provider 'b'", "a"),
        (
            {"upstream": [{"deadline": {"timeout": None, "minimum": "2s"}}]},
            "gateway.upstream[0].deadline.timeout",
            "here none has one",
            "deadline: {timeout: 30s}",
        ),
    ],
)
def test_a_policy_without_effect_is_refused(gateway, path, message, hint):
    document = {"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}, "gateway": gateway}
    with pytest.raises(ScenarioError) as caught:
        load_scenario(document)
    (problem,) = caught.value.problems
    assert (problem.path, message in problem.message, hint in problem.hint) == (path, True, True)


@pytest.mark.parametrize(
    "gateway",
    [
        {"policies": [{"single_flight": {}}, {"hedge": {}}]},
        {"policies": [{"hedge": {"to": ["a"]}}, {"single_flight": {}}]},
        {"policies": ["deadline"], "upstream": [{"deadline": {"timeout": None, "minimum": "2s"}}]},
    ],
)
def test_and_one_with_effect_is_not(gateway):
    load_scenario({"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {}}, "gateway": gateway})
