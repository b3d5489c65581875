import math

from telemetry.recorded import numbered, request, sample

from llmsim.scenario.objectives import parse_objective
from llmsim.telemetry.metrics import evaluate

ERRORS = (parse_objective("error_rate", "value < 20%"),)


def recovery(failures, *, end_s=100.0, fault_end_s=20.0, steady=ERRORS, each=10):
    """Windows of 10 s from t=0, each with `each` requests of which that many fail (None: only one request)."""
    rows = []
    for window, failed in enumerate(failures):
        count = 1 if failed is None else each
        rows += [
            request(arrival_s=window * 10 + 5.0, outcome="timeout" if n < (failed or 0) else "ok") for n in range(count)
        ]
    one = sample(numbered(rows), end_s=end_s, last_fault_end_s=fault_end_s, steady_state=steady)
    return evaluate(one, "recovery_time")


def test_recovered_at_once():
    assert recovery([0, 9, 0, 0, 0, 0, 0, 0, 0, 0]) == 0.0


def test_from_the_end_of_the_last_fault_to_the_first_of_three_good_windows():
    assert recovery([0, 9, 9, 9, 0, 0, 0, 0, 0, 0]) == 20.0


def test_two_good_windows_are_luck():
    assert recovery([0, 9, 0, 0, 9, 9, 0, 0, 0, 0]) == 40.0


def test_a_recovery_that_does_not_last_is_none():
    assert recovery([0, 9, 0, 0, 0, 9, 9, 9, 9, 9]) == math.inf
    # One bad window later on is borne if all together are still inside.
    assert recovery([0, 9, 0, 0, 0, 0, 9, 0, 0, 0]) == 0.0


def test_never():
    assert recovery([0, 9, 9, 9, 9, 9, 9, 9, 9, 9]) == math.inf


def test_windows_are_counted_from_the_end_of_the_fault():
    assert recovery([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], fault_end_s=23.0) == 0.0


def test_windows_with_few_requests_are_passed_over():
    assert recovery([0, 9, None, 0, None, 0, 0, 0, 0, 0]) == 10.0
    assert recovery([0, 9, 9, 0, None, 0, None, 0, 0, 0]) == 10.0
    assert math.isnan(recovery([0, 9, None, None, None, None, None, None, None, None]))


def test_what_cannot_be_told():
    good = [0] * 10
    assert math.isnan(recovery(good, steady=()))
    assert math.isnan(recovery(good, fault_end_s=math.nan))
    assert math.isnan(recovery(good, fault_end_s=80.0))  # two windows are left
    # p(95) needs 20 requests in a window, and there are 10.
    assert math.isnan(recovery(good, steady=(parse_objective("ttft", "p(95) < 2s"),)))
    assert recovery(good, steady=(parse_objective("ttft", "p(95) < 2s"),), each=20) == 0.0


def test_all_conditions_must_hold():
    both = (*ERRORS, parse_objective("ttft_ok", "mean < 100ms"))
    assert recovery([0] * 10, steady=both) == math.inf
