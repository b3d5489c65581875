"""Parts of a run: what arrived before, during and after faults, and the worst of its windows."""

import math

import pytest
from telemetry.recorded import request, sample

from llmsim.scenario.objectives import parse_objective
from llmsim.telemetry.metrics import evaluate_condition
from llmsim.telemetry.parts import FaultWindow, Phase
from llmsim.telemetry.phases import in_phase, windows_of

TWO = (FaultWindow("brown-out", 20.0, 40.0), FaultWindow("cut", 60.0, 70.0))


def arrivals(one):
    return one.requests["arrival_s"].to_list()


def every_second(faults=TWO, failing=(), **fields):
    rows = [
        request(session=n, arrival_s=float(n), outcome="server_error" if n in failing else "ok", **fields)
        for n in range(100)
    ]
    return sample(rows, end_s=100.0, faults=faults)


@pytest.mark.parametrize(
    ("phase", "expected", "duration_s"),
    [
        (Phase("before"), [*range(14)], pytest.approx(20 * 2 / 3)),  # a third of a short calm is left out
        (Phase("during"), [*range(20, 40), *range(60, 70)], 30.0),
        (Phase("after"), [*range(70, 100)], 30.0),
        (Phase("before", "cut"), [*range(50)], 50.0),  # what is asked in the last 10 s may be answered in the fault
        (Phase("during", "cut"), [*range(60, 70)], 10.0),
        (Phase("after", "brown-out"), [*range(40, 100)], 60.0),
    ],
)
def test_arrivals_decide(phase, expected, duration_s):
    part = in_phase(every_second(), phase)
    assert arrivals(part) == expected
    assert part.duration_s == duration_s


def test_what_falls_into_a_fault_is_no_failure_of_the_calm():
    """A request of second 57 that takes 5 s meets a fault at 60; one of second 30 failed in peace."""
    line = parse_objective("error_rate", "value < 1% before cut")
    assert evaluate_condition(every_second(failing=(57,)), line) == 0.0
    assert evaluate_condition(every_second(failing=(30,)), line) == 1 / 50


def test_tiny_windows_take_no_time_and_say_nothing():
    assert math.isnan(evaluate_condition(every_second(), parse_objective("error_rate", "value < 1% window 1ms")))


def test_overlapping_faults_are_one_time():
    faults = (FaultWindow("a", 10.0, 30.0), FaultWindow("b", 20.0, 25.0), FaultWindow("c", 30.0, 35.0))
    part = in_phase(every_second(faults), Phase("during"))
    assert arrivals(part) == [*range(10, 35)]
    assert part.spans == ((10.0, 35.0),)


def test_there_may_be_no_such_time():
    assert in_phase(every_second(()), Phase("during")) is None
    assert in_phase(every_second((FaultWindow("all of it", -5.0, math.inf),)), Phase("after")) is None
    assert in_phase(every_second((FaultWindow("all of it", 0.0, math.inf),)), Phase("before")) is None
    late = (FaultWindow("in the drain", 100.0, 120.0),)
    assert in_phase(every_second(late), Phase("during")) is None


def test_a_rate_is_of_the_time_of_its_part():
    # 30 answers in the 30 s of both faults, though they lie 50 s apart
    line = parse_objective("goodput", "value > 0.5/s during fault")
    assert evaluate_condition(every_second(), line) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("value < 1%", 0.03),
        ("value < 1% during fault", 3 / 30),
        ("value < 1% during cut", 0.0),
        ("value < 1% before fault", 0.0),
        ("value < 1% window 10s", 3 / 10),
        ("value < 1% window 20s", 3 / 20),
        ("value < 1% during brown-out window 10s", 3 / 10),
        ("value < 1% after fault window 10s", 0.0),
        ("value > 1% window 10s", 0.0),  # bounded from below, the lowest is the worst
    ],
)
def test_what_is_measured(text, expected):
    one = every_second(failing=(31, 32, 33))
    assert evaluate_condition(one, parse_objective("error_rate", text)) == pytest.approx(expected)


def test_thin_windows_say_nothing():
    # a window of 5 s has 5 requests
    assert math.isnan(evaluate_condition(every_second(), parse_objective("error_rate", "value < 1% window 5s")))


def test_windows_are_whole():
    ends = [(part.start_s, part.end_s) for part in windows_of(every_second(), 30.0)]
    assert ends == [(0.0, 30.0), (30.0, 60.0), (60.0, 90.0)]
    # unless there is no whole one
    assert [(part.start_s, part.end_s) for part in windows_of(every_second(), 200.0)] == [(0.0, 100.0)]


def test_windows_and_tags():
    rows = [
        request(session=n, arrival_s=n / 2, route="rag" if n % 2 else "chat", outcome="ok" if n % 2 else "server_error")
        for n in range(100)
    ]
    one = sample(rows, end_s=50.0)
    line = parse_objective("error_rate{route:rag}", "value < 1% window 10s")
    assert evaluate_condition(one, line) == 0.0
    assert evaluate_condition(one, parse_objective("error_rate", "value < 1% window 10s")) == 0.5


class TestBurn:
    @staticmethod
    def burn(failing, text, faults=()):
        return evaluate_condition(every_second(faults, failing), parse_objective("error_rate", text))

    def test_both_windows_must_burn(self):
        # 5 of 10 in the short window, 5 of 50 in the long one: the lower counts
        assert self.burn(range(60, 65), "burn(99%, 50s, 10s) < 1x") == pytest.approx(10.0)
        # long over when the long window is full
        assert self.burn(range(5), "burn(99%, 50s, 10s) < 1x") == 0.0

    def test_of_a_budget(self):
        assert self.burn(range(100), "burn(99.9%, 50s, 10s) < 1x") == pytest.approx(1000.0)
        assert self.burn((), "burn(99.9%, 50s, 10s) < 1x") == 0.0

    def test_too_little_time(self):
        assert math.isnan(self.burn((), "burn(99.9%, 101s, 10s) < 1x"))
        faults = (FaultWindow("short", 20.0, 40.0),)
        assert math.isnan(self.burn((), "burn(99.9%, 30s, 10s) < 1x during fault", faults))
