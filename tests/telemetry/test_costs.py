import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry.recorded import attempt, request, sample

from llmsim.pricing import TokenPrice
from llmsim.telemetry.costs import COST_PARTS, cost_parts
from llmsim.telemetry.metrics import evaluate

PRICES = {"openai": TokenPrice(input=0.01, output=0.1), "anthropic": TokenPrice(input=0.02, output=0.2)}


def parts(requests, attempts):
    told = cost_parts(sample(requests, attempts, prices=PRICES))
    assert math.isclose(sum(told[name] for name in COST_PARTS), told["total"], abs_tol=1e-9)
    return {name: value for name, value in told.items() if value}


def test_a_plain_answer_is_useful():
    assert parts([request()], [attempt(cost_usd=2.1)]) == {"useful": 2.1, "total": 2.1}


def test_a_fallback_costs_what_it_costs_more_than_the_first_choice():
    rows = [
        attempt(outcome="rate_limited", status=429),
        attempt(attempt=2, cause="fallback", upstream="anthropic", cost_usd=4.2),
    ]
    told = parts([request(served_by="anthropic", attempts=2)], rows)
    assert told == pytest.approx({"useful": 100 * 0.01 + 11 * 0.1, "fallback_difference": 2.1, "total": 4.2})


def test_the_difference_of_a_cheaper_fallback_is_negative():
    told = parts(
        [request(first_choice="anthropic", served_by="openai", attempts=2)], [attempt(attempt=2, cost_usd=2.1)]
    )
    assert told == pytest.approx({"useful": 4.2, "fallback_difference": -2.1, "total": 2.1})


def test_cached_input_at_the_first_choices_price():
    prices = {"openai": TokenPrice(input=0.01, output=0.1, cached_input=0.001), "b": TokenPrice(input=0.02, output=0.1)}
    rows = [attempt(upstream="b", input_tokens=100, cached_input_tokens=50, output_tokens=0, cost_usd=2.0)]
    told = cost_parts(sample([request(served_by="b")], rows, prices=prices))
    assert told["useful"] == pytest.approx(50 * 0.01 + 50 * 0.001)


def test_attempts_given_up_and_tried_again_are_retries():
    rows = [attempt(outcome="cancelled", cost_usd=1.0), attempt(attempt=2, cause="retry", cost_usd=2.0)]
    assert parts([request(attempts=2)], rows) == {"useful": 2.0, "retry": 1.0, "total": 3.0}


def test_what_was_under_way_when_the_user_left_is_abandoned():
    rows = [
        attempt(outcome="server_error", status=500, cost_usd=0.5),
        attempt(attempt=2, cause="retry", outcome="cancelled", cost_usd=2.0),
    ]
    assert parts([request(outcome="abandoned", attempts=2)], rows) == {"retry": 0.5, "abandoned": 2.0, "total": 2.5}


def test_the_loser_of_a_hedge():
    rows = [
        attempt(outcome="cancelled", cost_usd=1.0),
        attempt(attempt=2, cause="hedge", upstream="openai", cost_usd=2.0),
    ]
    assert parts([request(attempts=2)], rows) == {"useful": 2.0, "hedge_losing": 1.0, "total": 3.0}


def test_a_stream_that_broke():
    rows = [
        attempt(outcome="stream_broken", first_s=0.5, status=200, cost_usd=1.5),
        attempt(attempt=2, cause="retry", cost_usd=2.0),
    ]
    assert parts([request(attempts=2)], rows) == {"useful": 2.0, "broken": 1.5, "total": 3.5}


def test_an_answer_that_came_too_late_was_not_useful():
    rows = [attempt(outcome="deadline_exceeded", first_s=0.5, won=True, cost_usd=1.5)]
    assert parts([request(outcome="deadline_exceeded")], rows) == {"broken": 1.5, "total": 1.5}


def test_an_answer_that_could_not_be_used_is_broken_and_no_retry():
    rows = [attempt(won=True, cost_usd=1.5)]
    assert parts([request(outcome="bad_output")], rows) == {"broken": 1.5, "total": 1.5}
    # One that a policy threw away to ask again was not the caller's answer.
    again = [attempt(won=False, cost_usd=1.5), attempt(attempt=2, cause="fallback", cost_usd=2.0)]
    assert parts([request(attempts=2)], again) == {"useful": 2.0, "retry": 1.5, "total": 3.5}


def test_cost_per_success_divides_by_successes_only():
    rows = [request(), request(session=1, outcome="timeout")]
    tries = [attempt(cost_usd=2.0), attempt(session=1, outcome="cancelled", cost_usd=1.0)]
    assert evaluate(sample(rows, tries, prices=PRICES), "cost_per_ok") == 3.0
    assert evaluate(sample(rows[1:], tries[1:], prices=PRICES), "cost_per_ok") == math.inf
    assert math.isnan(evaluate(sample(), "cost_per_ok"))


def test_an_attempt_that_outlived_its_request_still_belongs_to_it():
    # Its own arrival is not known any more: the address decides, not the window in its row.
    rows = [attempt(cost_usd=1.0), attempt(attempt=2, arrival_s=500.0, outcome="cancelled", cost_usd=1.0)]
    assert parts([request(arrival_s=99.0)], rows)["total"] == 2.0
    assert parts([request(arrival_s=-1.0)], rows) == {}


_ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["ok", "cancelled", "stream_broken", "server_error"]),
        st.sampled_from(["first", "retry", "fallback", "hedge"]),
        st.sampled_from(["openai", "anthropic", "unpriced"]),
        st.booleans(),
        st.floats(0, 1),
    ),
    max_size=20,
)
_OUTCOMES = st.lists(st.sampled_from(["ok", "abandoned", "timeout", "unfinished"]), min_size=5, max_size=5)


def _adds_up(rows, outcomes):
    requests = [request(session=number, outcome=outcome) for number, outcome in enumerate(outcomes)]
    attempts = [
        attempt(
            session=session, attempt=number, outcome=outcome, cause=cause, upstream=upstream, won=won, cost_usd=cost
        )
        for number, (session, outcome, cause, upstream, won, cost) in enumerate(rows)
    ]
    told = cost_parts(sample(requests, attempts, prices=PRICES))
    assert math.isclose(math.fsum(told[name] for name in COST_PARTS), told["total"], abs_tol=1e-9)
    assert math.isclose(told["total"], math.fsum(row[-1] for row in rows), abs_tol=1e-9)


@settings(max_examples=15)
@given(_ROWS, _OUTCOMES)
def test_parts_always_add_up_to_what_was_billed(rows, outcomes):
    _adds_up(rows, outcomes)


@pytest.mark.slow
@settings(max_examples=100)
@given(_ROWS, _OUTCOMES)
def test_parts_always_add_up_to_what_was_billed_in_many_cases(rows, outcomes):
    _adds_up(rows, outcomes)
