import pytest

from llmsim.api import load
from llmsim.errors import ScenarioError
from llmsim.scenario.objectives import METRICS, ObjectiveError, parse_objective, parse_objectives, rehearsed


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("ttft", "p(95) < 2s", ("ttft", (), "p", 95.0, "<", 2.0)),
        ("ttft", " p( 99.9 )<=250ms ", ("ttft", (), "p", 99.9, "<=", 0.25)),
        ("ttft{route:chat}", "p(95) < 1.5s", ("ttft", (("route", "chat"),), "p", 95.0, "<", 1.5)),
        (
            "e2e{tenant:acme, route:chat}",
            "med < 3s",
            ("e2e", (("route", "chat"), ("tenant", "acme")), "med", 50.0, "<", 3.0),
        ),
        ("error_rate", "value < 1%", ("error_rate", (), "value", None, "<", 0.01)),
        ("error_rate", "rate<0.01", ("error_rate", (), "rate", None, "<", 0.01)),
        ("retry_amplification", "max < 1.5", ("retry_amplification", (), "max", None, "<", 1.5)),
        ("retry_amplification", "value < 1.2x", ("retry_amplification", (), "value", None, "<", 1.2)),
        ("recovery_time", "value < 1m", ("recovery_time", (), "value", None, "<", 60.0)),
        ("cost_per_ok", "value < $0.02", ("cost_per_ok", (), "value", None, "<", 0.02)),
        ("max_spend_per_user", "max <= $1.50", ("max_spend_per_user", (), "max", None, "<=", 1.5)),
        ("goodput", "value > 240/min", ("goodput", (), "value", None, ">", 4.0)),
        ("leaked_streams", "value <= 0", ("leaked_streams", (), "value", None, "<=", 0.0)),
        ("requests", "value >= 5k", ("requests", (), "value", None, ">=", 5000.0)),
    ],
)
def test_reads(key: str, text: str, expected: tuple) -> None:
    o = parse_objective(key, text, 7)
    assert (o.metric, o.tags, o.aggregate, o.percentile, o.comparison, o.bound) == expected
    assert (o.key, o.text, o.line) == (key, text, 7)


@pytest.mark.parametrize(
    ("text", "phase", "window_s", "abort"),
    [
        ("p(95) < 2s", None, None, False),
        ("p(95) < 2s during fault", ("during", ""), None, False),
        ("p(95) < 2s before faults", ("before", ""), None, False),
        ("p(95)<2s  after  brown out", ("after", "brown out"), None, False),
        ("p(95) < 2s window 10s", None, 10.0, False),
        ("p(95) < 2s during window window 1m abort_on_fail", ("during", "window"), 60.0, True),
        ("p(95) < 2s abort_on_fail", None, None, True),
    ],
)
def test_which_part_of_the_run(text, phase, window_s, abort):
    o = parse_objective("ttft", text)
    assert (o.phase, o.window_s, o.abort_on_fail) == (phase, window_s, abort)
    assert o.bound == 2.0


def test_burn_rates():
    o = parse_objective("error_rate", "burn(99.9%, 5m, 30s) < 14.4x during fault")
    assert (o.aggregate, o.bound, o.phase) == ("burn", 14.4, ("during", ""))
    assert o.burn == pytest.approx((0.999, 300.0, 30.0))


def test_a_fault_that_does_not_exist():
    with pytest.raises(ObjectiveError, match=r"no fault 'brownout'.*mean 'brown-out'"):
        parse_objective("ttft", "p(95) < 2s during brownout", fault_names=["brown-out"])
    with pytest.raises(ObjectiveError, match="the scenario has none"):
        parse_objective("ttft", "p(95) < 2s after fault", fault_names=[])


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("key", "text", "message", "hint"),
    [
        ("ttfb", "p(95) < 2s", "unknown metric 'ttfb'", "Did you mean 'ttft'?"),
        ("ttft_s", "p(95) < 2s", "unknown metric 'ttft_s'", "Did you mean 'ttft'?"),
        ("cost_per_ok_usd", "value < $1", "unknown metric", "Did you mean 'cost_per_ok'?"),
        ("ttft", "p95 < 2s", "'p95' is no aggregate", "Write p(95)."),
        ("ttft", "p(101) < 2s", "out of range", "p(99.9)"),
        ("ttft", "p(100) < 2s", "out of range", "Write max."),
        ("ttft", "p(0) < 2s", "out of range", "p(95)"),
        ("ttft", "p() < 2s", "needs a number", "p(95)"),
        ("ttft", "p(nan) < 2s", "out of range", "p(95)"),
        ("ttft", "value < 2s", "ttft has no 'value'", "p(N), mean, med, min, max"),
        ("ttft", "max(3) < 2s", "nothing in parentheses", "Write max."),
        ("ttft", "p(95) == 2s", "'==' in", "<, <=, > or >="),
        ("ttft", "p(95) < 2", "'2' is not a duration", '"p(95) < 250ms"'),
        ("ttft", "p(95) < 2%", "'2%' is not a duration", '"p(95) < 250ms"'),
        ("ttft", "p(95) <", "not aggregate, comparison and bound", '"p(95) < 250ms"'),
        ("ttft", "2s > p(95)", "ttft has no '2s'", "p(N)"),
        ("ttft", "", "not aggregate", "p(95)"),
        ("error_rate", "value < 150%", "out of range", "value <"),
        ("error_rate", "value < -1%", "not a ratio", "value <"),
        ("cost", "value < 5", "not an amount of money", "$0.02"),
        ("goodput", "value > 3", "not a rate", "40/s"),
        ("ttft", "p(95) < 2s during", "does not say during what", "during fault"),
        ("ttft", "p(95) < 2s window", "needs a length above 0", "window 10s"),
        ("ttft", "p(95) < 2s window 10", "needs a length above 0", "window 10s"),
        ("ttft", "p(95) < 2s window 0s", "needs a length above 0", "window 10s"),
        ("ttft", "p(95) < 2s abort on fail", "'2s abort on fail' is not a duration", "p(95) < 250ms"),
        ("recovery_time", "value < 60s after fault", "about the run as a whole", "without after"),
        ("max_in_flight", "value < 60 window 10s", "about the run as a whole", "without window"),
        ("error_rate", "burn(99.9%) < 2x", "a promise and two windows", "burn(99.9%, 5m, 30s)"),
        ("error_rate", "burn(99.9%, 30s, 5m) < 2x", "a long window and then a shorter one", "burn(99.9%, 5m, 30s)"),
        ("error_rate", "burn(100%, 5m, 30s) < 2x", "nothing can burn", "burn(99.9%, 5m, 30s)"),
        ("error_rate", "burn(99.9%, 5m, 30s) < 2x window 10s", "windows of its own", "Remove window"),
        ("ttft", "burn(99.9%, 5m, 30s) < 2x", "ttft has no 'burn'", "p(N)"),
        ("ttft{route=chat}", "p(95) < 2s", "is no tag", "ttft{route:chat}"),
        ("ttft{roote:chat}", "p(95) < 2s", "unknown tag 'roote'", "'route'"),
        ("ttft{route:caht}", "p(95) < 2s", "there is no route 'caht'", "'chat'"),
        ("ttft{route:chat,route:rag}", "p(95) < 2s", "stands twice", "one key for each"),
        ("ttft{route:chat", "p(95) < 2s", "not a metric with tags", "ttft{route:chat}"),
        ("recovery_time{route:chat}", "value < 1m", "takes no tags", "'recovery_time'"),
    ],
)
def test_says_what_to_write(key: str, text: str, message: str, hint: str) -> None:
    with pytest.raises(ObjectiveError) as caught:
        parse_objective(key, text, tag_values={"route": ["chat", "rag"]})
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_problem_at_once_with_its_line() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_objectives(
            {"ttft": ["p95 < 2s", "p(95) < 2s"], "nope": ["max < 1", "max < 2"]}, {("ttft", 0): 12, ("nope", 0): 14}
        )
    assert [(p.line, p.path) for p in caught.value.problems] == [(12, "slo.ttft"), (14, "slo.nope")]


@pytest.mark.matrix
@pytest.mark.parametrize("metric", METRICS)
def test_the_form_an_error_suggests_is_right(metric: str) -> None:
    with pytest.raises(ObjectiveError) as caught:
        parse_objective(metric, "nonsense")
    suggested = caught.value.hint.split('"')[1]
    assert parse_objective(metric, suggested).metric == metric


def test_missing_measurements_hold_nothing() -> None:
    o = parse_objective("ttft", "p(95) < 2s")
    assert not o.holds(float("nan"))
    assert not parse_objective("goodput", "value > 1/s").holds(float("nan"))


CALM = {
    "version": 1,
    "traffic": {"base_rate": "1/s"},
    "providers": {"openai": {"ttft": "300ms"}},
    "faults": [{"name": "out", "provider": "openai", "at": "60s", "duration": "10s", "outage": True}],
    "steady_state": {"error_rate": ["value < 2%"]},
    "slo": {"ttft": ["p(95) < 2s"]},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["p(95) < 2s", "value < 2% before fault"]),
        ({"faults": []}, ["p(95) < 2s"]),
        ({"steady_state": {}}, ["p(95) < 2s"]),
        ({"slo": {}}, []),
        ({"faults": [{**CALM["faults"][0], "at": "20s"}]}, ["p(95) < 2s"]),  # too early to see calm before it
    ],
)
def test_a_run_is_also_judged_by_the_calm_before_its_faults(changes, expected):
    lines = rehearsed(load({**CALM, **changes}))
    assert [line.text for line in lines] == expected
    if len(lines) == 2:
        assert (lines[1].key, lines[1].metric, lines[1].phase) == (
            "steady_state error_rate", "error_rate", ("before", "")
        )  # fmt: skip


def test_the_steady_state_is_no_part_of_itself():
    with pytest.raises(ScenarioError, match="looked at in windows of 10 s"):
        load({**CALM, "steady_state": {"error_rate": ["value < 2% before fault"]}})
    with pytest.raises(ScenarioError, match="no fault 'outage'"):
        load({**CALM, "slo": {"ttft": ["p(95) < 2s during outage"]}})
