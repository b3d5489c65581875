"""Spaces: what can be written, what it means in a scenario, and what is refused before anything is run."""

import pytest
from tuning.spaces import shop

from llmsim.errors import ScenarioError
from llmsim.tuning.space import settings_key, shown
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.standing import Absent, standing

SHOP = shop()


def only(given, path="gateway.retry.backoff.initial"):
    (one,) = parse_space({path: given}, SHOP).dimensions
    return one


@pytest.mark.parametrize(
    ("given", "number", "value"),
    [
        (("50ms", "2000ms"), 312.4567, "310ms"),
        (("50ms", "2s", "log"), 312.4567, "312ms"),  # two units: durations find a common one
        ("50ms..2s log", 312.4567, "312ms"),
        ((0.05, 2.0), 0.312, 0.31),  # bare numbers are SI
    ],
)
def test_a_range_of_durations(given, number, value):
    one = only(given)
    assert one.value(number) == value
    assert SHOP.with_values({one.path: value}) != SHOP
    assert one.number(value) == pytest.approx(number, rel=0.01)
    assert one.value(-1e9) == one.ends[0]
    assert one.value(1e9) == one.ends[1]


def test_some_values_of_a_range_are_choices_in_its_unit():
    assert only("100ms..10s in 3 log").choices == ("100ms", "1000ms", "10000ms")
    assert only("1..9 in 3", "gateway.retry.max_attempts").choices == (1, 5, 9)
    assert only("1..3 in 9", "gateway.retry.max_attempts").choices == (1, 2, 3)


def test_a_fault_is_on_or_off():
    blip = {"name": "blip", "provider": "a", "at": "2s", "duration": "5s", "latency": {"multiplier": "3x"}}
    scenario = shop(faults=[blip])
    space = parse_space({"faults.blip": "on,off"}, scenario)
    assert [len(space.settled(scenario, one).faults) for one in space.all()] == [1, 0]
    assert space.current(scenario) == {"faults.blip": True}


def test_two_units_find_a_common_one():
    one = only(("1s", "2m"), "upstream.timeout.ttft")
    assert one.value(61.26) == "61s"
    assert one.ends == ["1s", "120s"]


def test_whole_numbers_shares_and_choices():
    assert only((1, 8), "gateway.retry.max_attempts").value(3.4) == 3
    assert only("1..8", "gateway.retry.max_attempts").whole
    assert only("10%..80%", "gateway.retry.budget").value(33.333) == "33.3%"
    assert only("1,2,4", "gateway.retry.max_attempts").choices == (1, 2, 4)
    assert only("1|2|4", "gateway.retry.max_attempts") == only("1,2,4", "gateway.retry.max_attempts")
    assert only([1, 2, 4], "gateway.retry.max_attempts").ordered
    assert not only(["none", "full"], "gateway.retry.backoff.jitter").ordered
    assert only(["100ms", "1s"]).ordered


def test_settings_are_set_in_the_scenario():
    space = parse_space(
        {
            "gateway.retry.max_attempts": [1, 2, 3],
            "upstream.timeout.ttft": ("1s", "9s"),
            "upstream.circuit_breaker": [True, False],
            "upstream.circuit_breaker.failure_rate": (0.1, 0.9),
        },
        SHOP,
    )
    assert space.settled(SHOP, {}) is SHOP
    settings = {
        "gateway.retry.max_attempts": 3,
        "upstream.timeout.ttft": "2.5s",
        "upstream.circuit_breaker": True,
        "upstream.circuit_breaker.failure_rate": 0.4,
    }
    found = space.settled(SHOP, settings)
    assert found.gateway.policies[0].max_attempts == 3
    assert found.gateway.upstream[0].ttft == 2.5
    assert found.gateway.upstream[1].failure_rate == 0.4
    assert found.seed == SHOP.seed
    # Off: the policy is gone, what was inside of it is left out, and the rest is as it was.
    off = space.settled(SHOP, {**settings, "upstream.circuit_breaker": False})
    assert [one.kind for one in off.gateway.upstream] == ["timeout"]
    assert off.gateway.upstream[0].ttft == 2.5
    assert off.gateway.policies == found.gateway.policies


def test_a_policy_can_be_chosen_with_its_settings():
    space = parse_space({"upstream.circuit_breaker": [{"failure_rate": "30%"}, {"failure_rate": "60%"}, "off"]}, SHOP)
    rates = [space.settled(SHOP, one).gateway.upstream[1:] for one in space.all()]
    assert [one[0].failure_rate if one else None for one in rates] == [0.3, 0.6, None]


def test_what_stands_there_now():
    space = parse_space(
        {"gateway.retry.backoff.initial": ("50ms", "2s", "log"), "gateway.retry.max_attempts": [1, 2, 3]}, SHOP
    )
    assert space.now(SHOP) == {"gateway.retry.backoff.initial": "100ms", "gateway.retry.max_attempts": "2"}
    assert space.current(SHOP) == {"gateway.retry.backoff.initial": "100ms", "gateway.retry.max_attempts": 2}
    outside = SHOP.with_values({"gateway.retry.backoff.initial": "5s"})
    assert space.current(outside) is None
    assert space.now(outside)["gateway.retry.backoff.initial"] == "5000ms"
    assert standing(SHOP, "gateway.retry.max_retry_after") == 60.0  # a default
    assert standing(SHOP, "gateway.hedge.after") is Absent


def test_a_small_space_can_be_told_in_full():
    space = parse_space({"gateway.retry.max_attempts": (1, 3), "gateway.retry.backoff.jitter": ["none", "full"]}, SHOP)
    assert space.size == 6
    assert len({settings_key(one) for one in space.all()}) == 6
    assert parse_space({"gateway.retry.budget": (0.1, 0.5)}, SHOP).size == float("inf")


def test_neighbours_are_beside():
    assert only((1, 8), "gateway.retry.max_attempts").neighbours(1) == [2]
    assert only([1, 2, 4], "gateway.retry.max_attempts").neighbours(2) == [1, 4]
    assert only(["none", "full", "equal"], "gateway.retry.backoff.jitter").neighbours("full") == ["none", "equal"]
    low, high = only(("10ms", "1000ms", "log")).neighbours("100ms")
    assert (low, high) == ("63.1ms", "158ms")
    assert only(("10ms", "1000ms", "log")).neighbours("10ms") == ["15.8ms"]


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "the space is empty"),
        ({"gateway.retry.max_atempts": [1, 2]}, "max_attempts"),
        ({"gateway.rerty.max_attempts": [1, 2]}, "has no policy 'rerty'"),
        ({"gateway.retry.max_attempts": [0, 2]}, "out of range"),
        ({"gateway.retry.max_attempts": (3, 1)}, "lower end first"),
        ({"gateway.retry.max_attempts": [2]}, "one choice only"),
        ({"gateway.retry.max_attempts": [2, 2]}, "stands twice"),
        ({"gateway.retry.max_attempts": 2}, "one choice only"),
        ({"gateway.retry.backoff.initial": ("50ms", "2x")}, "'2x' is not a duration"),
        ({"traffic.base_rate": ("60/min", "5/s")}, "not in one unit"),
        ({"gateway.retry.backoff.initial": (0.0, 2.0, "log")}, "begins above 0"),
        ({"gateway.retry.backoff.initial": (0.1, 2.0, "lg")}, "is no range"),
        ({"gateway.retry.budget": ("10%", "200%")}, "out of range"),
        ({"gateway.retry": [True, 3]}, "on, off, or a mapping"),
        ({"seed": [1, 2]}, "the same for all settings"),
        ({"upstream.timeout.ttft": ["1s", "1000ms"]}, "every value means the same scenario"),
        ({"traffic.base_rate": ["a", "b"]}, "is not a rate"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(space, says):
    with pytest.raises(ScenarioError) as caught:
        parse_space(space, SHOP)
    assert says in str(caught.value)


def test_all_problems_at_once():
    with pytest.raises(ScenarioError) as caught:
        parse_space({"gateway.retry.max_attempts": [0, 2], "upstream.timeout.ttft": ("9s", "1s")}, SHOP)
    assert len(caught.value.problems) >= 1
    with pytest.raises(ScenarioError) as caught:
        parse_space({"gateway.retry.max_attempts": [0, 2], "upstream.timeout.ttft": ["-1s", "1s"]}, SHOP)
    assert {problem.path for problem in caught.value.problems} == {
        "gateway.retry.max_attempts",
        "upstream.timeout.ttft",
    }


def test_values_for_people():
    assert [shown(one) for one in (0.5, "on", False, None)] == ["0.5", "on", "off", "null"]
