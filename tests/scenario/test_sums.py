"""Numbers of a run that are asked for: metrics without a bound, and sums of them."""

import math
import pickle
import random

import pytest

from llmsim.scenario.objectives import ObjectiveError
from llmsim.scenario.sum_text import parse_sum
from llmsim.scenario.sums import metric_name

FAULTS = ["brown-out", "quota * (half)"]
COST, WRONG, LATE = "cost_per_ok", "false_hit_rate", "ttft p(95)"


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("cost_per_ok", COST, "usd"),
        ("  cost_per_ok_usd ", COST, "usd"),
        ("ttft{route: chat}  p( 95 )", "ttft{route:chat} p(95)", "s"),
        ("ttft_s p(95) during brown-out", "ttft p(95) during brown-out", "s"),
        ("error_rate during quota * (half) window 10s", "error_rate during quota * (half) window 10s", "ratio"),
        ("error_rate rate", "error_rate rate", "ratio"),
        ("cost_per_ok+0.020*false_hit_rate", "cost_per_ok + 0.02*false_hit_rate", "usd"),
        ("1e-3 * ttft p(95) +cost_per_ok", "0.001*ttft p(95) + cost_per_ok", "usd"),
        ("saved_net-cost_per_ok", "saved_net - cost_per_ok", "usd"),
        ("-(goodput - 2*error_rate)", "-(goodput - 2*error_rate)", "per_s"),
        ("ttft p(95) during brown-out - 3*error_rate", "ttft p(95) during brown-out - 3*error_rate", "s"),
        ("2*cost_per_ok", "2*cost_per_ok", ""),
        ("0.5*error_rate + .5*ttft p(95)", "0.5*error_rate + 0.5*ttft p(95)", ""),
        ("requests*error_rate", "requests*error_rate", ""),
        ("error_rate + abandoned_rate", "error_rate + abandoned_rate", "ratio"),
        ("cost_per_ok + 1*ttft p(95)", "cost_per_ok + 1*ttft p(95)", "usd"),
    ],
)
def test_what_is_asked_and_in_which_unit_it_is(text, name, unit):
    found = parse_sum(text, fault_names=FAULTS)
    assert (found.name, found.unit) == (name, unit)
    again = parse_sum(name, fault_names=FAULTS)
    assert again == found and pickle.loads(pickle.dumps(again)) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the text ends where a metric or a number belongs"),
        ("cost_per_ok +", r"^after 'cost_per_ok \+' the text ends"),
        ("cost_per_ok false_hit_rate", r"after 'cost_per_ok' there is no \+, - or \* before 'false_hit_rate'"),
        ("ttft p(95) error_rate", r"there is no \+, - or \* before 'error_rate'"),
        ("(cost_per_ok", r"a \( is not closed"),
        ("cost_per_ok)", "closes nothing"),
        ("cost_per_ok ** 2", "there is '\\*' where a metric or a number belongs"),
        ("cost_per_ok / 1000", "instead of /1000 write 0.001"),
        ("cost_per_ok + 2% * error_rate", "A weight is a plain number"),
        ("$0.02*false_hit_rate", "A weight is a plain number"),
        ("250ms*error_rate", "A weight is a plain number"),
        ("cost_per_ok + 0.02*false_hits", "Did you mean 'false_hit"),
        ("cost_per_ok + 0.02*ttft", r"say which number of it: ttft p\(95\)"),
        ("ttft p95 + 1*error_rate", r"Write p\(95\)"),
        ("cost_per_ok + ttft p(95)", r"is in dollars and ttft p\(95\) in seconds.*cost_per_ok \+ 0.5\*ttft p\(95\)"),
        ("cost_per_ok < $0.02", "a bound belongs to"),
        ("0.02", "names no metric"),
        ("0*cost_per_ok", "names no metric that counts"),
        ("1e999*cost_per_ok", "out of range"),
        ("1e200*1e200*cost_per_ok", "out of range"),
        ("(" * 3000 + "cost_per_ok", "deep"),
        ("-" * 3000 + "cost_per_ok", "deep"),
        ("*".join(["(cost_per_ok + error_rate*1)"] * 9), "more than 200 terms"),
        ("error_rate burn(99%, 5m, 30s)", "a burn rate"),
        ("ttft p(95) during blackout", "no fault 'blackout'"),
        ("__import__('os').system('true')", "unknown metric '__import__'"),
    ],
)
def test_what_is_wrong_says_where_and_what_to_type(text, says):
    with pytest.raises(ObjectiveError, match=says):
        parse_sum(text, fault_names=FAULTS)


def test_values_are_those_of_arithmetic():
    """Random expressions, against Python's own reading of the same text."""
    draw = random.Random(5)
    metrics = {"cost_per_ok": 0.25, "saved": 1.5, "cost": 3.0, "saved_net": -0.75}

    def expression(depth):
        if not depth or draw.random() < 0.25:
            return draw.choice([*metrics, *metrics, "0.5", "2"])
        one, other = expression(depth - 1), expression(depth - 1)
        return draw.choice([f"{one} + {other}", f"({one}-{other})", f"({one} + {other})*{other}", f"-{one}*{other}"])

    seen = 0
    for _ in range(200):
        text = expression(3)
        try:
            found = parse_sum(text)
        except ObjectiveError:
            assert not any(name in text for name in metrics) or "-" in text or "*" in text
            continue
        seen += len(found.parts) > 1
        measured = [metrics[metric.metric] for metric in found.metrics]
        assert found.value(measured) == pytest.approx(eval(text, {}, metrics), abs=1e-9)
    assert seen > 50


def test_what_cannot_be_told():
    both = parse_sum("cost_per_ok + 0.02*false_hit_rate")
    assert [metric_name(one) for one in both.metrics] == [COST, WRONG]
    assert math.isnan(both.value([1.0, math.nan]))
    assert both.value([math.inf, 0.5]) == math.inf
    assert math.isnan(parse_sum("cost_per_ok - 2*false_hit_rate").value([math.inf, math.inf]))
    assert parse_sum("cost_per_ok + 0*false_hit_rate").value([1.0, math.nan]) == 1.0, "a weight of 0 leaves it out"
    alone = parse_sum(COST)
    assert math.copysign(1.0, alone.value([-0.0])) == -1.0, "to the bit"


@pytest.mark.parametrize(
    ("text", "low_is_good"),
    [
        (COST, True), ("goodput", False), ("fallback_rate", None), ("requests", None),
        ("cost_per_ok + 0.02*false_hit_rate", True), ("goodput - 100*error_rate", False),
        ("cost_per_ok - saved", True), ("goodput + 2*error_rate", None), ("requests*error_rate", True),
        ("-1*cost_per_ok", False), ("cost_per_ok + 0.1*fallback_rate", True), ("goodput*error_rate", None),
    ],
)  # fmt: skip
def test_whether_small_is_good(text, low_is_good):
    assert parse_sum(text).low_is_good is low_is_good


def test_parts_are_what_a_sum_is_made_of():
    assert parse_sum(COST).parts == ()
    parts = parse_sum("cost_per_ok + 0.02*false_hit_rate - 0.01*false_hit_rate").parts
    assert parts == (parse_sum(COST), parse_sum(WRONG))


def test_the_worst_window_is_the_one_that_is_least_good():
    low, high = parse_sum("error_rate window 10s"), parse_sum("goodput window 10s")
    assert (low.metrics[0].low_is_good, high.metrics[0].low_is_good) == (True, False)
