"""Faults that grow and fade: what calls meet at every moment of it."""

import math
from itertools import pairwise

import numpy as np
import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant
from llmsim.providers.clamp import Clamp
from llmsim.providers.dialects import Accounts, Limits, Refused
from llmsim.providers.faults import Abort, Delay, Fault, Scale, Stall, StreamBreak
from llmsim.providers.ramps import RAMP_STEPS, course, mean_strength, outline, steps
from llmsim.providers.sim.conditions import Conditions
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import SimProvider

# Grows from 100 to 140, is at its full to 160, and has faded at 240.
RAMPS = {"at": 100.0, "ramp_up": 40.0, "duration": 20.0, "ramp_down": 80.0}
MOMENTS = {90.0: 0.0, 100.0: 0.0, 110.0: 0.25, 130.0: 0.75, 150.0: 1.0, 180.0: 0.75, 220.0: 0.25, 240.0: 0.0}
SPEC = SimProvider(ttft=Constant(0.1), inter_token=Constant(0.3), answer_time=Constant(0.0))


def ramped(name="f", **effects):
    return Fault(name=name, provider="p", **{**RAMPS, **effects})


def asked_at(times, faults, spec=SPEC, zero_s=0.0, **visit):
    def script(bench):
        for number, at in enumerate(times):
            bench.go(number, at=at + zero_s, **visit)

    return play(spec, script, faults, zero_s=zero_s)


# -- its strength ------------------------------------------------------------------------------------------------------


def test_it_goes_in_a_straight_line_and_the_ramps_lie_around_the_full_strength():
    fault = ramped(latency=Scale(multiplier=5.0))
    assert (fault.full_from_s, fault.full_until_s, fault.end_s) == (140.0, 160.0, 240.0)
    assert {at: fault.strength(at) for at in MOMENTS} == MOMENTS
    assert [fault.factor("latency", at) for at in MOMENTS] == [1 + 4 * part for part in MOMENTS.values()]
    assert fault.factor("capacity", 150.0) == 1.0


def test_without_a_duration_it_grows_and_stays():
    leak = Fault(name="leak", provider="p", at=10.0, ramp_up=100.0, latency=Scale(multiplier=3.0))
    assert (leak.end_s, leak.strength(60.0), leak.strength(1e9)) == (math.inf, 0.5, 1.0)
    assert course([leak], "latency")[-1] == (110.0, 3.0)
    assert outline(leak, 0.0, 60.0) == [(10.0, 0.0), (60.0, 0.5), (60.0, 0.5), (60.0, 0.5)]
    assert mean_strength(leak, np.array([0.0, 10.0, 110.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]


def test_steps_are_finer_than_what_a_metric_sees_and_right_on_average():
    fault = ramped(rate_limit=Scale(multiplier=0.2))
    edges = np.linspace(90.0, 250.0, 17)
    found = course([fault], "rate_limit", zero_s=7.0)
    assert len(found) == pytest.approx(2 * RAMP_STEPS, abs=3)
    starts, factors = np.array(found).T - [[7.0], [0.0]]
    for at in np.linspace(100.0, 240.0, 999):
        held = factors[np.searchsorted(starts, at, side="right") - 1]
        assert held == pytest.approx(fault.factor("rate_limit", at), abs=0.8 / RAMP_STEPS)
    fine = np.linspace(90.0, 250.0, 160_001)
    told = np.concatenate([[1.0], factors])[np.searchsorted(starts, fine[:-1], side="right")]
    exact = 1 - 0.8 * mean_strength(fault, edges)
    assert told.reshape(16, -1).mean(axis=1) == pytest.approx(exact, abs=1e-4)
    integral = [np.mean([fault.strength(at) for at in np.linspace(a, b, 401)]) for a, b in pairwise(edges)]
    assert mean_strength(fault, edges) == pytest.approx(integral, abs=5e-3)


def test_a_fault_without_ramps_has_two_edges_as_ever():
    plain = Fault(name="f", provider="p", at=3.0, duration=4.0, latency=Scale(multiplier=2.0))
    late = Fault(name="g", provider="p", at=5.0, latency=Scale(multiplier=3.0))
    assert course([plain, late], "latency", zero_s=1.0) == [(4.0, 2.0), (6.0, 6.0), (8.0, 3.0)]
    assert [start_s for start_s, _ in steps([], first_s=0.0)] == [0.0]
    assert [(one.start_s, one.latency, one.latency_at) for one in Conditions([plain], 0.0).phases] == [
        (0.0, 1.0, None),
        (3.0, 2.0, None),
        (7.0, 1.0, None),
    ]


# -- in front of a provider --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "each"), [("abort", 120), ("stall", 30), ("break_", 30)])
def test_shares_follow_the_line_call_by_call(effect, each):
    share = 0.6
    hits = {
        "abort": Abort(status=529, percentage=share),
        "stall": Stall(percentage=share, time=Constant(50.0)),
        "break_": StreamBreak(percentage=share),
    }
    times = np.linspace(100.0, 240.0, 7 * each, endpoint=False)
    seen = asked_at(times, [ramped(**{effect: hits[effect]})], tokens=2)
    hit = np.array([one.end_s - one.start_s > 40 if effect == "stall" else one.word != "ok" for one in seen])
    expected = np.array([share * ramped(abort=hits["abort"]).strength(at) for at in times])
    # In stretches of 20 s how many are hit is a sum of independent ones, each with its own share. Within 4 standard
    # deviations of its mean: of 21 such bounds in all, one breaks in 1 of 750 choices of a seed.
    for part in range(0, 7 * each, each):
        of = expected[part : part + each]
        assert abs(hit[part : part + each].sum() - of.sum()) < 4 * math.sqrt((of * (1 - of)).sum())


def test_who_is_hit_at_little_strength_is_hit_at_more():
    def aborted(at):
        seen = asked_at([at] * 80, [ramped(abort=Abort(status=529, percentage=0.8))])
        return {number for number, one in enumerate(seen) if one.word != "ok"}

    quarter, half, full = aborted(110.0), aborted(120.0), aborted(150.0)
    assert quarter < half < full
    assert aborted(99.0) == aborted(240.0) == set()


def test_a_delay_holds_back_by_as_much_as_its_strength():
    seen = asked_at(MOMENTS, [ramped(delay=Delay(time=Constant(8.0)))])
    held = [one.first_s - one.start_s - 0.1 for one in seen]
    assert held == pytest.approx([8.0 * strength for strength in MOMENTS.values()])


# -- within a simulated one --------------------------------------------------------------------------------------------


def test_a_call_has_the_latency_of_its_moment_to_the_last_digit():
    other = Fault(name="g", provider="p", at=0.0, latency=Scale(multiplier=2.0))
    times = [*MOMENTS, 117.7777, 201.2345]  # within steps
    fault = ramped(latency=Scale(multiplier=5.0))
    seen = asked_at(times, [fault, other], zero_s=30.0)
    assert [one.first_s - one.start_s for one in seen] == pytest.approx(
        [0.1 * 2 * (1 + 4 * fault.strength(at)) for at in times], rel=1e-9
    )


def test_a_call_that_queued_has_the_latency_of_the_moment_it_got_its_slot():
    spec = SimProvider(ttft=Constant(4.0), answer_time=Constant(0.0), concurrency=1)
    first, second = asked_at([98.0, 99.0], [ramped(latency=Scale(multiplier=5.0))], spec)
    assert (first.first_s, second.first_s) == (102.0, pytest.approx(102.0 + 4.0 * (1 + 4 * 2 / 40)))


def test_slots_go_and_come_one_by_one_and_who_waits_gets_them():
    spec = SimProvider(ttft=Constant(2.0), answer_time=Constant(0.0), concurrency=4)
    fault = ramped(capacity=Scale(multiplier=0.0))
    seen = asked_at(np.arange(90.0, 250.0, 0.25), [fault], spec)  # twice what the slots do
    ends = np.sort([one.end_s for one in seen])
    for low in range(104, 244, 8):  # what got a slot is done 2 s later
        slots = 4 * (1 - mean_strength(fault, np.array([low - 2.0, low + 6.0]))[0])
        # rounded up, so half a slot more on average (up to one, where it is 0 for a while)
        assert slots - 0.5 <= ((ends >= low) & (ends < low + 8)).sum() / 4 <= slots + 1.5


def test_a_serving_engine_slows_down_little_by_little():
    spec = SimProvider(serving=Serving(slots=4, prefill_token=0.001, decode_sequence=0.01), answer_time=Constant(0.0))
    seen = asked_at(MOMENTS, [ramped(latency=Scale(multiplier=5.0))], spec, input_tokens=100)
    took = np.array([one.first_s - one.start_s for one in seen])
    assert took / took[0] == pytest.approx([1 + 4 * strength for strength in MOMENTS.values()], rel=0.02)


LIMITS = Limits(requests=4.0, window=1.0)


def _simulated(fault, times):
    seen = asked_at(times, [fault], SimProvider(ttft=Constant(0.0), answer_time=Constant(0.0), rate_limit=LIMITS))
    return np.array([one.word == "ok" for one in seen])


def _clamped(fault, times):
    timers, clock = [], [0.0]
    accounts = [Accounts().get("p", "generic", LIMITS) for _ in range(2)]
    clamp = Clamp(*accounts, "generic", [fault], now=lambda: clock[0], at=lambda *timer: timers.append(timer))
    timers.sort(key=lambda timer: timer[0])
    let_in = []
    for at in times:
        while timers and timers[0][0] <= at:
            clock[0], change, *args = timers.pop(0)
            change(*args)
        clock[0] = at
        let_in.append(type(clamp.admit(10, 1)) is not Refused)
    assert not timers and not clamp.active
    return np.array(let_in)


@pytest.mark.parametrize("front", [_simulated, _clamped])
def test_rate_limits_close_and_open_little_by_little(front):
    fault = ramped(rate_limit=Scale(multiplier=0.2))
    times = np.arange(90.0, 260.0, 0.125)  # twice what is allowed
    edges = np.arange(100.0, 260.0, 20.0)
    found, _ = np.histogram(times[front(fault, times)], edges)
    # A bucket holds a second's worth, which at either end of 20 s may be there or not.
    assert found / 80 == pytest.approx(1 - 0.8 * mean_strength(fault, edges), abs=0.05)
