"""What a scenario file may say about limits and queues."""

import asyncio
import dataclasses

import pytest
from gateway.policies.toys import Toy, ask, levels, outcome
from gateway.site import Site, play
from pydantic import TypeAdapter, ValidationError

from llmsim.errors import GatewayError, ScenarioError
from llmsim.gateway.contract import PolicySpec
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Budget, Bulkhead, FairQueue, LoadShedding, RateLimit, WaitingLine, WaitingRoom
from llmsim.gateway.registry import kind_of, policy_kinds
from llmsim.pricing import TokenPrice
from llmsim.scenario.load import load_scenario

LINE = WaitingLine(limit=100, timeout=10.0)
FORMS = {
    "rate_limit": (
        {
            "requests": "600/min",
            "tokens": "60k/min",
            "input_tokens": "1k/s",
            "output_tokens": "6k/min",
            "burst": "10s",
            "per": "tenant",
            "expected_output": 300,
            "queue": {"limit": 100, "timeout": "10s"},
            "failed_requests": "free",
            "shared": True,
        },
        RateLimit(
            requests=10.0, tokens=1000.0, input_tokens=1000.0, output_tokens=100.0, burst=10.0, per="tenant",
            expected_output=300, queue=LINE, failed_requests="free", shared=True,
        ),
    ),
    "bulkhead": (
        {"at_once": 10, "per": "user", "queue": {"limit": 100, "timeout": "10s"}},
        Bulkhead(at_once=10, per="user", queue=LINE),
    ),
    "fair_queue": (
        {
            "at_once": 32, "queue": {"limit": 100, "timeout": "10s"},
            "weights": {"gold": 4, "trial": "0.5x"}, "cost": "requests",
        },
        FairQueue(at_once=32, queue=LINE, weights={"gold": 4.0, "trial": 0.5}, cost="requests"),
    ),
    "load_shedding": (
        {
            "at_once": 100, "delay": "2s", "window": "5s",
            "levels": [{"priority": 0, "above": "60%"}, {"priority": 10, "above": "95%"}],
        },
        LoadShedding(at_once=100, delay=2.0, window=5.0, levels=levels({0: 0.6, 10: 0.95})),
    ),
    "waiting_room": (
        {
            "rate": "20/s", "at_once": 50, "queue": {"limit": 100, "timeout": "10s"},
            "patience": {"chat": "5s", "batch": "10m"}, "order": "lifo", "drop": "oldest",
        },
        WaitingRoom(
            rate=20.0, at_once=50, queue=LINE, patience={"chat": 5.0, "batch": 600.0}, order="lifo", drop="oldest"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMS)
def test_the_yaml_form_becomes_the_spec(kind):
    written, spec = FORMS[kind]
    adapter = TypeAdapter(policy_kinds()[kind])
    parsed = adapter.validate_python(written)
    assert parsed == spec
    assert hash(parsed) == hash(spec)
    assert kind_of(parsed) == kind
    assert isinstance(parsed, PolicySpec)
    assert dataclasses.replace(spec, name="other").name == "other"
    assert adapter.json_schema()["additionalProperties"] is False
    with pytest.raises(ValidationError):
        adapter.validate_python({**written, "quue": {}})


def scenario(
    policies=(), upstream=(), mix=({"route": "chat"}, {"route": "batch", "priority": 1, "tenant": "acme"}), **more
):
    return {
        "version": 1,
        "clock": {"duration": "10s"},
        "traffic": {"base_rate": "20/s", "mix": list(mix)},
        "providers": {"llm": {"ttft": "100ms", "inter_token": "1ms"}},
        "gateway": {"policies": list(policies), "upstream": list(upstream)},
        **more,
    }


def test_a_scenario_knows_them_all():
    loaded = load_scenario(
        scenario(
            [{kind: FORMS[kind][0]} for kind in ("waiting_room", "load_shedding", "bulkhead")],
            [{kind: FORMS[kind][0]} for kind in ("rate_limit", "fair_queue")],
            mix=[{"route": "chat", "tenant": "gold", "priority": 10}, {"route": "batch", "tenant": "trial"}],
        )
    )
    assert loaded.gateway.policies[1] == FORMS["load_shedding"][1]
    changed = loaded.with_values({"gateway.waiting_room.patience.chat": "9s", "upstream.rate_limit.requests": "1/s"})
    assert changed.gateway.policies[0].patience == {"chat": 9.0, "batch": 600.0}
    assert changed.gateway.upstream[0].requests == 1.0


USERS = {
    "rate_limit": RateLimit(requests=1 / 60, per="user"),
    "bulkhead": Bulkhead(at_once=1, per="user"),
    "budget": Budget(limit=0.2, per="user"),
}


@pytest.mark.parametrize("spec", USERS.values(), ids=USERS)
def test_two_tenants_may_each_have_an_alice(spec):
    async def script():
        provider = Toy(1.0)
        provider.price = TokenPrice(input=0.01, output=0.01)
        site = Site(Gateway(policies=(spec,)), provider)
        fields = {"user": "alice", "input_tokens": 10, "max_tokens": 10}
        asked = [ask(0, tenant="acme", **fields), ask(1, tenant="globex", **fields), ask(2, tenant="acme", **fields)]
        results = await asyncio.gather(*(outcome(site.send(request)) for request in asked))
        assert [isinstance(result, GatewayError) for result, _ in results] == [False, False, True]

    play(script)


@pytest.mark.parametrize(
    ("kind", "written", "where", "says"),
    [
        ("rate_limit", {}, "", "limits nothing"),
        ("rate_limit", {"tokens": 5000}, "tokens", "Write it like 40/s"),
        ("rate_limit", {"requests": "1/s", "queue": {"limit": 5}}, "queue", "timeout"),
        ("bulkhead", {}, "at_once", "'at_once' is missing. Add at_once: 3"),
        ("bulkhead", {"at_once": 3, "per": "customer"}, "per", "'user', 'tenant', 'route', 'feature' or 'session'"),
        ("waiting_room", {"queue": {"limit": 5, "timeout": "1s"}}, "", "at_once: 50, rate: 20/s, or both"),
        ("waiting_room", {"at_once": 5}, "queue", "Add queue: {limit: 100, timeout: 10s}"),
        ("load_shedding", {"at_once": 5, "levels": [{"priority": 0, "above": "110%"}]}, "levels[0].above", "at most 1"),
        (
            "load_shedding",
            {"at_once": 5, "levels": [{"priority": 0, "above": "90%"}, {"priority": 5, "above": "60%"}]},
            "",
            "Both must rise",
        ),
        ("load_shedding", {"at_once": 5}, "levels", "Add levels: "),
        ("fair_queue", {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "weights": {"a": 0}}, "", "above 0"),
    ],
)
def test_mistakes_are_located_and_say_what_to_type(kind, written, where, says):
    with pytest.raises(ScenarioError, match=says) as raised:
        load_scenario(scenario([{kind: written}]))
    assert all(where in problem.path for problem in raised.value.problems)


@pytest.mark.parametrize(
    ("policy", "where", "says"),
    [
        (
            {"waiting_room": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "patience": {"chatt": "1s"}}},
            "gateway.policies[0].waiting_room.patience.chatt",
            "no request has the route or feature 'chatt'",
        ),
        (
            {"waiting_room": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "order": "priority"}},
            "gateway.policies[0].waiting_room.order",
            "all requests have the same priority",
        ),
        (
            {"fair_queue": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "weights": {"acne": 2}}},
            "gateway.policies[0].fair_queue.weights.acne",
            "no request has the tenant 'acne'",
        ),
        (
            {"fair_queue": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "per": "feature"}},
            "gateway.policies[0].fair_queue.per",
            "all requests have the same feature",
        ),
        ({"bulkhead": {"at_once": 5}}, "gateway.policies[0].bulkhead", "all requests have the same tenant"),
        ({"rate_limit": {"requests": "1/s", "per": "tenant"}}, "gateway.policies[0].rate_limit.per", "the same tenant"),
        (
            {"load_shedding": {"at_once": 5, "levels": [{"priority": 0, "above": 0.5}, {"priority": 5, "above": 0.9}]}},
            "gateway.policies[0].load_shedding.levels",
            "all requests have the same priority",
        ),
    ],
)
def test_words_that_change_nothing_are_refused(policy, where, says):
    tenant = "acme" if "weights" in str(policy) else ""
    with pytest.raises(ScenarioError) as raised:
        load_scenario(scenario([policy], mix=({"route": "chat"}, {"route": "chat", "tenant": tenant})))
    (problem,) = raised.value.problems
    assert problem.path == where
    assert says in problem.message


def test_words_that_change_something_are_not():
    load_scenario(
        scenario(
            [
                {"bulkhead": {"at_once": 5}},
                {"waiting_room": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "order": "priority"}},
                {"fair_queue": {"at_once": 5, "queue": {"limit": 5, "timeout": "1s"}, "weights": {"acme": 2}}},
                {"rate_limit": {"requests": "1/s", "per": "user"}},
            ]
        )
    )
