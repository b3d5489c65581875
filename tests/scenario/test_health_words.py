"""Words of breakers, cooldowns and ejections: what they mean in a file, and where they would mean nothing."""

import dataclasses

import pytest

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.gateway.policies import CircuitBreaker, Cooldown, OutlierEjection
from llmsim.scenario.load import load_scenario


def _load(upstream=(), policies=(), providers=3):
    return load_scenario(
        {
            "version": 1,
            "traffic": {"base_rate": "4/s"},
            "providers": {name: {} for name in "abcdefgh"[:providers]},
            "gateway": {"policies": list(policies), "upstream": list(upstream)},
        }
    )


def test_a_file_says_it_with_units():
    breaker = {
        "sliding_window_calls": 100,
        "minimum_calls": 50,
        "slow_call": "5s",
        "slow_call_by": "e2e",
        "slow_call_rate": "80%",
        "ramp": "30s",
        "wait_multiplier": "2x",
        "max_wait_in_open": "2m",
    }
    cooldown = {"time": "30s", "max": "10m", "jitter": "10%", "ramp": "20s", "when_all": "wait", "among": ["a", "b"]}
    ejection = {"consecutive_errors": 3, "max_ejection_percent": "34%", "failure_rate": "85%", "ramp": "30s"}
    scenario = _load([{"circuit_breaker": breaker}, {"cooldown": cooldown}, {"outlier_ejection": ejection}])
    assert scenario.gateway.upstream == (
        CircuitBreaker(
            sliding_window_calls=100,
            minimum_calls=50,
            slow_call=5.0,
            slow_call_by="e2e",
            slow_call_rate=0.8,
            ramp=30.0,
            wait_multiplier=2.0,
            max_wait_in_open=120.0,
        ),
        Cooldown(time=30.0, max=600.0, jitter=0.1, ramp=20.0, when_all="wait", among=("a", "b")),
        OutlierEjection(consecutive_errors=3, max_ejection_percent=0.34, failure_rate=0.85, ramp=30.0),
    )


@pytest.mark.parametrize(
    ("upstream", "providers", "path", "message", "hint"),
    [
        ({"circuit_breaker": {"slow_call_rate": "80%"}}, 3, "slow_call_rate", "no effect without slow_call", "5s"),
        ({"circuit_breaker": {"slow_call_by": "e2e"}}, 3, "slow_call_by", "no effect without slow_call", "5s"),
        ({"circuit_breaker": {"max_wait_in_open": "2m"}}, 3, "max_wait_in_open", "without wait_multiplier", "2x"),
        (
            {"circuit_breaker": {"sliding_window": "10s", "sliding_window_calls": 50}},
            3,
            "sliding_window",
            "sliding_window has no effect",
            "Remove one",
        ),
        (
            {"outlier_ejection": {"minimum_calls": 9}},
            3,
            "minimum_calls",
            "without failure_rate or",
            "failure_rate: 85%",
        ),
        ({"outlier_ejection": {"max_ejection_percent": "30%"}}, 3, "max_ejection_percent", "0.3 of 3", "34%"),
        ({"outlier_ejection": {"always_eject_one": True}}, 3, "always_eject_one", "one at least", "Remove it"),
        ({"outlier_ejection": {}}, 1, "", "nobody can be left out", "circuit_breaker"),
        (
            {"outlier_ejection": {"success_rate_stdev": 1.9}},
            4,
            "success_rate_stdev",
            "more than 1.73 standard",
            "failure_rate: 85%",
        ),
        ({"cooldown": {"when_all": "ask", "among": ["a", "bb"]}}, 3, "among[1]", "no provider 'bb'", "b"),
    ],
)
def test_a_word_without_effect_is_refused(upstream, providers, path, message, hint):
    with pytest.raises(ScenarioError) as caught:
        _load([upstream], providers=providers)
    (problem,) = caught.value.problems
    kind = next(iter(upstream))
    assert problem.path == f"gateway.upstream[0].{kind}" + (f".{path}" if path else "")
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize("kind", ["cooldown", "outlier_ejection"])
def test_what_stands_in_front_of_each_upstream_does_not_stand_in_front_of_all(kind):
    with pytest.raises(ScenarioError, match=r"Move it to gateway\.upstream"):
        _load(policies=[{kind: {}}])


@pytest.mark.parametrize(
    "spec",
    [
        CircuitBreaker(slow_call=5.0),
        CircuitBreaker(sliding_window_calls=50),
        CircuitBreaker(wait_multiplier=2.0),
        Cooldown(),
        OutlierEjection(),
        OutlierEjection(success_rate_stdev=1.4, minimum_calls=5),
    ],
)
def test_from_python_defaults_are_no_words(spec):
    scenario = _load()
    gateway = dataclasses.replace(scenario.gateway, upstream=(spec,))
    assert ls.load(dataclasses.replace(scenario, gateway=gateway)).gateway.upstream == (spec,)
    assert _load([spec]).gateway.upstream == (spec,)
