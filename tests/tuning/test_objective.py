"""What is asked for: goals and limits in the words of SLOs."""

import math

import pytest
from tuning.spaces import shop

from llmsim.errors import LlmsimError, ScenarioError
from llmsim.tuning.objective import centre, goals_of, limits_of, violation

SHOP = shop()


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("cost_per_ok", "cost_per_ok", "usd"),
        ("cost_per_ok_usd", "cost_per_ok", "usd"),  # the column's name
        ("ttft p(95)", "ttft p(95)", "s"),
        ("ttft_s mean", "ttft mean", "s"),
        ("retry_amplification max", "retry_amplification max", "factor"),
        ("error_rate", "error_rate", "ratio"),
        ("cost_per_ok_usd+0.02*false_hit_rate", "cost_per_ok + 0.02*false_hit_rate", "usd"),
        ("2*error_rate + 0.1*ttft p(95)", "2*error_rate + 0.1*ttft p(95)", ""),
    ],
)
def test_goals(text, name, unit):
    (goal,) = goals_of(SHOP, text, ())
    assert (goal.name, goal.unit, goal.low_is_good) == (name, unit, True)


def test_large_is_good_where_it_is_to_be_maximized():
    (goal,) = goals_of(SHOP, (), "goodput")
    assert goal.cost(5.0) == -5.0
    assert goal.value(goal.cost(5.0)) == 5.0
    assert goal.cost(math.nan) == math.inf
    assert goal.shown(-5.0) == "5/s"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ttft", "say which number of it: ttft p\\(95\\)"),
        ("cost", None),
        ("ttft p95", r"Write p\(95\)"),
        ("costs", "Did you mean 'cost'"),
        ("ttft p(95) < 2s", "a bound belongs to"),
        ("ttft{route:chatt} p(95)", "chatt"),
        ("", "nothing is asked for"),
        ("cost_per_ok + 0.02*false_hits", "Did you mean 'false_hit"),
        ("cost_per_ok + 0.02*error_rate{route:chatt}", "chatt"),
        ("cost_per_ok + 0.02*error_rate during blackout", "no fault 'blackout'"),
    ],
)
def test_goals_that_are_none(text, says):
    if says is None:
        assert goals_of(SHOP, text, ())
        return
    with pytest.raises((ScenarioError, LlmsimError), match=says):
        goals_of(SHOP, text, ())


def test_a_part_of_the_run_is_part_of_the_name():
    """Two goals of which one is about a fault alone are two questions, and no study answers both."""
    scenario = shop(faults=[{"name": "it", "provider": "a", "at": "5s", "duration": "5s", "abort": {"status": 503}}])
    goals = goals_of(scenario, ["ttft_ok p(50)", "ttft_ok p(50) during it"], ())
    assert [goal.name for goal in goals] == ["ttft_ok p(50)", "ttft_ok p(50) during it"]
    with pytest.raises(LlmsimError, match="asked for twice"):
        goals_of(scenario, ["cost_per_ok+2*cost", "cost_per_ok + 2.0 * cost"], ())


def test_limits():
    assert [line.key for line in limits_of(SHOP, None)] == ["error_rate"]  # the scenario's own
    assert limits_of(SHOP, []) == ()
    (line,) = limits_of(SHOP, ["error_rate < 1%"])
    assert (line.aggregate, line.bound) == ("value", 0.01)
    with pytest.raises(ScenarioError, match="Write it like"):
        limits_of(SHOP, ["ttft < 2s"])
    with pytest.raises(ScenarioError, match=r"a limit is about one metric.*put the sum into minimize"):
        limits_of(SHOP, ["cost_per_ok + 0.02*false_hit_rate < $0.01"])


def test_violations_go_from_far_inside_to_far_outside():
    (low,) = limits_of(SHOP, ["ttft p(95) < 2s"])
    found = [violation(low, value) for value in (0.0, 1.0, 2.0, 4.0, math.inf)]
    assert found == [-1.0, -0.5, pytest.approx(0.0, abs=1e-15), 0.5, 1.0]
    (high,) = limits_of(SHOP, ["goodput > 4/s"])
    found = [violation(high, value) for value in (8.0, 4.0, 2.0, 0.0)]
    assert found == [-0.5, pytest.approx(0.0, abs=1e-15), 0.5, 1.0]
    assert violation(high, math.nan) == 1.0


@pytest.mark.parametrize(
    "text", ["ttft p(95) < 2s", "ttft p(95) <= 2s", "goodput > 2/s", "error_rate <= 0", "saved > $0"]
)
def test_it_is_at_most_0_if_and_only_if_the_line_holds(text):
    (line,) = limits_of(SHOP, [text])
    for value in (0.0, 1.0, math.nextafter(2, 1), 2.0, math.nextafter(2, 3), 4.0, math.inf, math.nan):
        assert (violation(line, value) <= 0) == line.holds(value), value


def test_amounts_have_means_and_the_rest_medians():
    priced, bare = goals_of(SHOP, ["cost_per_ok + 0.02*error_rate", "2*cost_per_ok"], ())
    assert [centre(one, [1.0, 1.0, 4.0]) for one in (priced, bare)] == [2.0, 1.0]
    money, time = goals_of(SHOP, ["cost_per_ok", "ttft p(95)"], ())
    assert centre(money, [1.0, 1.0, 4.0]) == 2.0
    assert centre(time, [1.0, 1.0, math.inf]) == 1.0
