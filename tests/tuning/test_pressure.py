"""How full limits were, by hand."""

import pytest
from report.results import scenario
from telemetry.recorded import attempt, numbered, replication, request

from llmsim.report.result import Result
from llmsim.tuning.pressure import Pressure, pressures, what_binds

SLOTS = {"providers": {"openai": {"concurrency": 4}}, "faults": []}


def told(attempts, runs=1, **changes):
    rows = numbered([request(arrival_s=one["arrival_s"]) for one in attempts])
    one = scenario(**changes)
    return pressures(Result(one, [replication(rows, attempts, number=n, simulated_s=110.0) for n in range(runs)]))


def test_slots():
    # Two calls, each waits 1 s and then holds a slot for 10 s, across two windows of 10 s.
    tries = [
        attempt(session=n, arrival_s=4.0, start_s=4.0, queue_s=1.0, first_s=6.0, end_s=15.0) for n in range(2)
    ]  # fmt: skip
    (slots,) = told(tries, runs=2, **SLOTS)
    assert slots.limit == "slots"
    assert slots.used == pytest.approx(2 * 5 / (4 * 10))
    assert slots.refused == 0
    assert not slots.binds


def test_a_fault_that_cuts_slots_makes_them_fuller():
    tries = [attempt(arrival_s=20.0, start_s=20.0, first_s=21.0, end_s=30.0)]
    cut = {"name": "cut", "provider": "openai", "at": "25s", "duration": "5s", "capacity": {"multiplier": "0.5x"}}
    (slots,) = told(tries, **{**SLOTS, "faults": [cut]})
    assert slots.used == pytest.approx(10 / (4 * 10 * 0.75))


def test_rates_by_kind():
    limits = {"requests": "60/min", "tokens": "6000/min", "input_tokens": "6000/min", "output_tokens": "600/min"}
    tries = [
        attempt(session=n, arrival_s=n * 2.0, start_s=n * 2.0, end_s=n * 2.0 + 1, input_tokens=100, output_tokens=10)
        for n in range(30)
    ]
    tries += [
        attempt(session=n, attempt=2, cause="retry", arrival_s=n * 2.0, start_s=n * 2.0 + 1, status=429,
                outcome="rate_limited", input_tokens=0)
        for n in range(10)
    ]  # fmt: skip
    found = told(tries, providers={"openai": {"rate_limit": limits}}, faults=[])
    used = {one.limit: one.used for one in found}
    assert used == pytest.approx({"requests": 0.5, "tokens": 0.55, "input_tokens": 0.5, "output_tokens": 0.5})
    assert {one.refused for one in found} == {0.25}
    assert found[0].limit == "tokens"


def test_limits_of_a_second_and_of_a_day_count_what_those_of_a_minute_do():
    tries = [attempt(session=n, arrival_s=n / 2, start_s=n / 2, end_s=n / 2 + 1) for n in range(4)]
    limits = {"requests": "60/min", "requests_per_second": 4}
    found = told(tries, providers={"openai": {"rate_limit": limits}}, faults=[])
    assert {one.limit: one.used for one in found} == pytest.approx({"requests": 4 / 60, "requests_per_second": 0.5})
    limits = {"requests_per_day": 86_400_000}
    found = told(tries, providers={"openai": {"dialect": "openai", "rate_limit": limits}}, faults=[])
    assert [one.limit for one in found] == ["requests_per_day"]


def test_what_is_said_of_it():
    full = Pressure("openai", "input_tokens", 0.97, 1.2, 0.12)
    loose = Pressure("local", "slots", 0.4, 0.5, 0.0)
    assert what_binds([full, loose]) == (
        "What binds: openai's input tokens (97 % used at its busiest); openai refused 12 % of its calls."
    )
    assert what_binds([loose]) == "No provider's limit binds: the fullest is local's slots, at 40 % at its busiest."
    assert what_binds([]) == "No provider has a limit, so none binds."


def test_nothing_measured():
    assert [one.used for one in told([], **SLOTS)] == [0.0]
    assert pressures(Result(scenario(**SLOTS), []))[0].used == 0.0
