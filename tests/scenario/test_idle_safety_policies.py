"""Policies of cost and safety that would change nothing where they stand are refused, with what to write instead."""

import pytest

from llmsim.errors import ScenarioError
from llmsim.gateway.policies import MaxTokens, StructuredOutput
from llmsim.scenario.load import load_scenario

PRICE = {"input": "$0.15/Mtok", "output": "$0.60/Mtok"}


def _load(policies=(), upstream=(), mix=({"route": "chat"},), priced=True):
    price = {"price": PRICE} if priced else {}
    return load_scenario({
        "version": 1,
        "traffic": {"base_rate": "4/s", "mix": list(mix)},
        "providers": {"cheap": {"ttft": "100ms", **price}, "dear": {"ttft": "1s"}},
        "gateway": {"policies": list(policies), "upstream": list(upstream)},
    })  # fmt: skip


BUDGET = {"budget": {"limit": "$5", "per": "user", "window": "day", "warn": "80%"}}
GUARD = {"runaway_guard": {"max_calls": 40}}
CASCADE = {"cascade": {"order": ["cheap", "dear"]}}
FALLBACK = {"fallback": {"order": ["cheap", "dear"]}}
JSON = {"route": "chat", "expects": "json"}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("scenario", "path", "message", "hint"),
    [
        ({"policies": [BUDGET], "priced": False}, "policies[0].budget", "no provider has a price", "price: {input"),
        (
            {"policies": [{"runaway_guard": {"max_spend": "$1"}}], "priced": False},
            "policies[0].runaway_guard",
            "no provider has a price",
            "price: {input",
        ),
        ({"upstream": [GUARD]}, "upstream[0].runaway_guard", "count attempts", "Move it to gateway.policies"),
        ({"upstream": [CASCADE]}, "upstream[0].cascade", "chooses between upstreams", "Move it to gateway.policies"),
        ({"policies": [FALLBACK, CASCADE]}, "policies[1].cascade", "no effect", "before the fallback"),
        ({"policies": ["retry", GUARD]}, "policies[1].runaway_guard", "attempts of the retry", "before the retry"),
        ({"policies": [FALLBACK, GUARD]}, "policies[1].runaway_guard", "of the fallback", "before the fallback"),
        ({"policies": ["hedge", GUARD]}, "policies[1].runaway_guard", "attempts of the hedge", "before the hedge"),
        ({"policies": ["route", CASCADE]}, "policies[1].cascade", "the route before it", "before the route"),
        (
            {"policies": [{"max_tokens": {"cap": 9, "max_attempts": 2}}, {"structured_output": {}}], "mix": [JSON]},
            "policies[1].structured_output",
            "structured_output refuses them first",
            "before the max_tokens",
        ),
        (
            {"policies": [{"structured_output": {"explain": False}}, {"cache": {}}], "mix": [JSON]},
            "policies[1].cache",
            "the same answer",
            "before the structured_output",
        ),
        (
            {"policies": [{"cascade": {"order": ["cheep", "dear"]}}]},
            "policies[0].cascade.order[0]",
            "no provider 'cheep'",
            "cheap",
        ),
        (
            {"policies": [{"runaway_guard": {"degrade_to": "cheep"}}]},
            "policies[0].runaway_guard.degrade_to",
            "no provider 'cheep'",
            "cheap",
        ),
        (
            {"policies": [{"max_tokens": {"routes": {"chatt": 500}}}]},
            "policies[0].max_tokens.routes.chatt",
            "no route 'chatt'",
            "chat",
        ),
        (
            {"policies": [{"structured_output": {}}]},
            "policies[0].structured_output",
            "no route expects JSON",
            "expects: json",
        ),
        (
            {"policies": [{"max_tokens": {"cap": 9, "floor": 5}}]},
            "policies[0].max_tokens.floor",
            "without quantile",
            "99%",
        ),
        ({"policies": [{"max_tokens": {"cap": 9, "grow": "2x"}}]}, "policies[0].max_tokens.grow", "max_attempts", "2"),
        (
            {"policies": [{"structured_output": {"max_attempts": 1, "explain": True}}], "mix": [JSON]},
            "policies[0].structured_output.explain",
            "no effect without max_attempts",
            "max_attempts: 2",
        ),
        ({"policies": [{"budget": {"limit": 5}}]}, "policies[0].budget.limit", "amount of money", ""),
        ({"policies": [{"budget": {"limit": "$5", "per": "usr"}}]}, "policies[0].budget.per", "", ""),
    ],
)
def test_refused(scenario, path, message, hint):
    with pytest.raises(ScenarioError) as caught:
        _load(**scenario)
    (problem,) = caught.value.problems
    assert problem.path == f"gateway.{path}"
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    "scenario",
    [
        {"policies": [GUARD, BUDGET, CASCADE, FALLBACK, "retry"]},
        {"policies": [GUARD], "priced": False},
        {"upstream": [BUDGET]},
        {"policies": [{"max_tokens": {"cap": "1k", "routes": {"chat": 500}}}]},
        {"policies": [{"max_tokens": {"quantile": "99%", "margin": "2x", "max_attempts": 2, "grow": "2x"}}]},
        {"policies": [MaxTokens(cap=9), StructuredOutput(max_attempts=1)], "mix": [JSON]},
        {"policies": [{"structured_output": {"max_attempts": 3, "temperature": 0}}], "mix": [JSON]},
        {"policies": [{"structured_output": None}], "mix": [{"route": "chat", "weight": "50%"}, JSON]},
    ],
)
def test_not_refused(scenario):
    _load(**scenario)


def test_the_words_have_their_units():
    gateway = _load(
        [BUDGET, {"runaway_guard": {"max_spend": "$0.5", "forget_after": "10m", "similarity": "90%"}}]
    ).gateway
    budget, guard = gateway.policies
    assert (budget.limit, budget.per, budget.window, budget.warn) == (5.0, "user", "day", 0.8)
    assert (guard.max_spend, guard.forget_after, guard.similarity) == (0.5, 600.0, 0.9)
