"""What an upstream had to bear at one moment."""

import math

import pytest
from telemetry.recorded import attempt, request, sample

from llmsim.scenario.objectives import parse_objective
from llmsim.telemetry.metrics import evaluate, evaluate_condition


def calls(*times, upstream="openai", cause="first", first=0):
    return [
        attempt(session=first + n, start_s=start, end_s=end, upstream=upstream, cause=cause)
        for n, (start, end) in enumerate(times)
    ]


def both(attempts):
    measured = sample([request(session=n) for n in range(20)], attempts)
    return evaluate(measured, "max_upstream_in_flight"), evaluate(measured, "max_retries_at_once")


def test_calls_under_way_are_counted_by_upstream_and_an_end_makes_room():
    at_openai = calls((0, 10), (1, 3), (3, 4), (9, math.nan))
    assert both(at_openai) == (2, 0)
    assert both([*at_openai, *calls((2, 3), upstream="anthropic", first=10)]) == (2, 0)
    assert both([*at_openai, *calls((2, 3), first=10)]) == (3, 0)


def test_retries_at_once_are_those_of_ten_milliseconds_at_one_upstream():
    came = calls((5.0, 6), (5.004, 6), (5.009, 6), (5.02, 6), cause="retry")
    assert both(came) == (4, 3)
    assert both(calls((0.0, 1), (0.01, 1), cause="retry"))[1] == 2  # ten milliseconds later is still at once
    assert both([*came, *calls((5.005, 6), upstream="anthropic", cause="retry", first=10)])[1] == 3
    assert both([*came, *calls((5.005, 6), cause="fallback", first=10)])[1] == 3


def test_without_requests_it_cannot_be_told_and_where_nothing_was_sent_it_is_none():
    assert both([]) == (0, 0)
    nobody = sample([], [])
    assert math.isnan(evaluate(nobody, "max_upstream_in_flight"))
    assert math.isnan(evaluate(nobody, "max_retries_at_once"))


def test_a_provider_is_where_the_calls_went_whoever_answered():
    # Both failed at openai at the same time, and were answered elsewhere.
    asked = [request(session=n, served_by="anthropic", first_choice="openai") for n in range(2)]
    sent = [*calls((0, 5), (1, 5)), *calls((5, 6), (6, 7), upstream="anthropic", cause="fallback")]
    sent += calls((0, 5), (0, 5), (0.001, 5), cause="retry")
    measured = sample(asked, sent)

    def at(provider, metric):
        return evaluate(measured, metric, tags=(("provider", provider), ("route", "chat")))

    assert [at(name, "max_upstream_in_flight") for name in ("openai", "anthropic", "spare")] == [4, 1, 0]
    assert [at(name, "max_retries_at_once") for name in ("openai", "anthropic", "spare")] == [2, 0, 0]


def test_a_window_of_a_provider_counts_its_calls_too():
    asked = [request(session=n, served_by="anthropic", first_choice="openai") for n in range(20)]
    measured = sample(asked, calls((0, 5), (1, 5)))
    line = parse_objective("max_upstream_in_flight{provider:openai}", "max < 2 window 10s")
    assert evaluate_condition(measured, line) == 2


@pytest.mark.parametrize("metric", ["max_upstream_in_flight", "max_retries_at_once"])
def test_attempts_of_other_requests_do_not_count(metric):
    measured = sample([request(session=0)], calls((0, 1), (0, 1), (0, 1), cause="retry"))
    assert evaluate(measured, metric) == 1
