"""What an upstream had to bear at one moment."""

import math

import pytest
from telemetry.recorded import attempt, request, sample

from llmsim.telemetry.metrics import evaluate


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
    assert both([*came, *calls((5.005, 6), upstream="anthropic", cause="retry", first=10)])[1] == 3
    assert both([*came, *calls((5.005, 6), cause="fallback", first=10)])[1] == 3


def test_nothing_was_sent():
    assert all(math.isnan(value) for value in both([]))


@pytest.mark.parametrize("metric", ["max_upstream_in_flight", "max_retries_at_once"])
def test_attempts_of_other_requests_do_not_count(metric):
    measured = sample([request(session=0)], calls((0, 1), (0, 1), (0, 1), cause="retry"))
    assert evaluate(measured, metric) == 1
