"""The serving engine that jumps over its steps, against one that takes them one by one."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from providers.sim.serving_oracle import SMALL, Oracle

from llmsim.providers.sim.serving import ServingEngine
from llmsim.providers.sim.serving_spec import Serving

# Times and costs are multiples of small powers of two, so that all arithmetic is exact and equal means equal.
_TICK = 2.0**-14


@st.composite
def specs(draw):
    slots = draw(st.integers(1, 4))
    ticks = st.integers(0, 40)
    return Serving(
        slots=slots,
        prefill_step=draw(ticks) * _TICK,
        prefill_token=draw(st.integers(1, 20)) * _TICK,
        decode_step=draw(ticks) * _TICK,
        decode_sequence=draw(st.integers(1, 40)) * _TICK,
        decode_context=draw(st.integers(0, 3)) * _TICK,
        batch_tokens=draw(st.integers(slots + 1, 40)),
    )


@st.composite
def scripts(draw):
    """(time, what, …) in order of time; ties are frequent."""
    actions = []
    now = 0.0
    for number in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0, 0, 1, 2, 8, 40, 300, 2000])) * _TICK
        kind = draw(st.sampled_from(["arrive"] * 8 + ["cancel"] * 3 + ["ask"] * 4 + ["slots", "scale", "clear"]))
        if kind == "arrive":
            actions.append((now, kind, draw(st.integers(0, 120)), draw(st.integers(1, 60))))
        elif kind in ("cancel", "ask"):
            actions.append((now, kind, draw(st.integers(0, 12))))
        elif kind == "slots":
            # Off the grid: who came at the very instant of a cut has its slot already, or not, by order of events.
            now += (number + 1) * 2.0**-30
            actions.append((now, kind, draw(st.integers(0, 4))))
        elif kind == "scale":
            actions.append((now, kind, draw(st.sampled_from([0.5, 1.0, 2.0, 4.0]))))
        else:
            actions.append((now, kind))
    return [*actions, (now + 2000 * _TICK, "slots", 4)]  # so that nobody waits for ever


class Driven:
    """An engine that is told the actions, and what it said."""

    def __init__(self, spec, on_cancel, *, woken=False):
        self.engine = ServingEngine(spec, on_cancel)
        self.jobs, self.events, self.asked, self.cancelled = [], [], [], {}
        self.woken = woken

    def run(self, actions):
        for action in actions:
            self.wake_until(action[0])
            self.apply(*action)
        self.wake_until(math.inf)
        return self

    def wake_until(self, now):
        while self.woken and (when := self.engine.next_event_s) <= now and when < math.inf:
            self.events += self.engine.advance(when)
        if not self.woken:
            self.events += self.engine.advance(now)

    def apply(self, now, what, *rest):
        engine = self.engine
        if what == "arrive":
            self.jobs.append(engine.arrive(len(self.jobs), *rest, now))
        elif what in ("cancel", "ask"):
            number = rest[0]
            if number < len(self.jobs) and number not in self.cancelled:
                job = self.jobs[number]
                if what == "cancel":
                    self.cancelled[number] = now, engine.cancel(job, now)
                else:
                    self.asked.append((number, now, engine.generated(job, now), engine.longest_gap_s(job, now)))
        elif what == "slots":
            engine.rescale(now, slots=rest[0])
        elif what == "scale":
            engine.rescale(now, scale=rest[0])
        else:
            engine.clear(now)


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def _agrees(spec, on_cancel, actions, woken):
    oracle = Oracle(spec, on_cancel)
    oracle.run(actions)
    driven = Driven(spec, on_cancel, woken=woken).run(actions)

    told = [[] for _ in driven.jobs]
    for job, kind, time in driven.events:
        told[job.call].append((kind, time))
    assert told == [call.events() for call in oracle.calls]
    assert all(a.time_s <= b.time_s for a, b in pairwise(driven.events))
    for number, now, made, gap in driven.asked:
        call = oracle.calls[number]
        assert made == call.made(now)
        assert same(gap, call.longest_gap(now))
    for number, (now, made) in driven.cancelled.items():
        assert made == oracle.calls[number].made(now)
    for job, call in zip(driven.jobs, oracle.calls, strict=True):
        if call.cancelled_s == math.inf:
            assert not call.times or job.slot_s == call.slot_s  # lost at the instant it got one: it never had it
            assert job.made == len(call.times)
            assert same(job.longest_gap_s, call.longest_gap(math.inf))
    engine = driven.engine
    assert (engine.busy, engine.waiting, engine.next_event_s) == (0, 0, math.inf)


_TICKING = Serving(slots=1, prefill_step=0.0, prefill_token=_TICK, decode_sequence=_TICK, batch_tokens=2)


@settings(max_examples=examples(120), deadline=None)
@given(specs(), st.sampled_from(["free", "finish_prefill", "continue"]), scripts(), st.booleans())
@example(  # it gets its slot and leaves at one instant: its prefill has not begun
    _TICKING, "finish_prefill", [(0.0, "arrive", 0, 1), (0.0, "arrive", 0, 1), (0.0, "cancel", 0)], True
)
def test_jumping_over_steps_is_exactly_taking_them(spec, on_cancel, actions, woken):
    _agrees(spec, on_cancel, actions, woken)


@pytest.mark.slow
@settings(max_examples=700, deadline=None)
@given(specs(), st.sampled_from(["free", "finish_prefill", "continue"]), scripts(), st.booleans())
def test_jumping_over_steps_is_exactly_taking_them_in_many_cases(spec, on_cancel, actions, woken):
    _agrees(spec, on_cancel, actions, woken)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(specs(), st.sampled_from(["free", "finish_prefill", "continue"]), scripts(), st.booleans())
def test_jumping_over_steps_is_exactly_taking_them_in_very_many_cases(spec, on_cancel, actions, woken):
    _agrees(spec, on_cancel, actions, woken)


def _traffic(seed, calls, per_s):
    """Arrivals as they are: no two at one time, no cost a power of two."""
    rng = np.random.default_rng(seed)
    times = rng.exponential(1 / per_s, calls).cumsum()
    inputs, outputs = rng.lognormal(5.5, 1.2, calls), rng.lognormal(4.5, 1.0, calls)
    return [(float(t), "arrive", int(i), 1 + int(o)) for t, i, o in zip(times, inputs, outputs, strict=True)]


def test_ordinary_numbers_agree_to_rounding_error():
    spec = replace(SMALL, batch_tokens=512)
    actions = _traffic(1, 300, 0.25)
    oracle = Oracle(spec, "free")
    oracle.run(actions)
    driven = Driven(spec, "free").run(actions)
    assert [job.first_s for job in driven.jobs] == pytest.approx([call.times[0] for call in oracle.calls], abs=1e-9)
    assert [job.end_s for job in driven.jobs] == pytest.approx([call.times[-1] for call in oracle.calls], abs=1e-9)
    assert max(call.slot_s - call.arrived_s for call in oracle.calls) > 10, "some had to wait"
    assert max(job.input_tokens for job in driven.jobs) > 4 * 512, "some prompts take several steps"


def test_work_goes_with_arrivals_and_departures_not_with_tokens(monkeypatch):
    plans = []
    plan = ServingEngine._plan
    monkeypatch.setattr(ServingEngine, "_plan", lambda self, now: (plans.append(now), plan(self, now)))

    def count(stretch):
        plans.clear()
        actions = [(t, kind, i * stretch, o * stretch) for t, kind, i, o in _traffic(2, 400, 0.02)]
        spec = Serving(
            slots=8, prefill_step=0.0, prefill_token=0.001 / stretch, decode_sequence=0.01 / stretch, batch_tokens=2048
        )
        Driven(spec, "free").run(actions)
        return len(plans)

    # Each call: it comes, the step that runs ends and lets it in, its prompt is done, its answer is; chunks beside.
    assert count(1) <= 4.2 * 400
    assert count(1000) <= 6 * 400 < 1e-3 * sum(1000 * o for _, _, _, o in _traffic(2, 400, 0.02))


def test_watching_changes_nothing_to_the_last_bit_and_comes_when_the_token_does():
    spec = replace(SMALL, slots=3, prefill_step=0.013, batch_tokens=100)
    plain = Driven(spec, "free", woken=True).run(_traffic(3, 120, 0.3))
    watched = Driven(spec, "free", woken=True)
    engine, seen = watched.engine, {}
    arrivals = iter([*_traffic(3, 120, 0.3), (math.inf, "")])
    coming = next(arrivals)
    while (when := min(engine.next_event_s, coming[0])) < math.inf:
        if when == coming[0]:
            watched.apply(*coming)
            coming = next(arrivals)
        for job, kind, time in engine.advance(when):
            watched.events.append((job, kind, time))
            made = engine.generated(job, when)
            if kind == "tokens":
                assert (time, made) == (when, seen[job])
            if kind != "end" and made + 7 < job.output_tokens:
                seen[job] = made + 7
                engine.watch(job, made + 7, when)
    assert sum(kind == "tokens" for _, kind, _ in watched.events) > 500
    assert [job.end_s for job in watched.jobs] == [job.end_s for job in plain.jobs]
    assert [job.longest_gap_s for job in watched.jobs] == [job.longest_gap_s for job in plain.jobs]


def test_a_prompt_stalls_every_running_stream():
    """Two streams of 20 ms a token; 100 tokens of prompt at 10 ms come in between."""
    spec = Serving(slots=3, prefill_step=0.5, prefill_token=0.01, decode_sequence=0.01, decode_step=0.0)
    engine = ServingEngine(spec)
    one, two = engine.arrive("a", 1, 200, 0.0), engine.arrive("b", 1, 200, 0.0)
    engine.advance(1.0)
    assert engine.longest_gap_s(one, 1.0) == pytest.approx(0.02)
    long = engine.arrive("c", 100, 9, 1.001)
    # Both streams were in the step up to 1.02 (0.52 + 25 steps of 20 ms), then in one of 0.5 + 1.0 + 0.02.
    assert engine.silence(1.1) == pytest.approx((1.02, 2.54))
    assert engine.generated(one, 2.53) == engine.generated(two, 2.53) == 26
    assert [(e.job, e.kind) for e in engine.advance(2.6)][-1] == (long, "first")
    assert engine.longest_gap_s(one, 2.6) == pytest.approx(1.52)
    assert engine.longest_gap_s(long, 2.6) == pytest.approx(0.03)


def test_a_long_context_slows_every_step_and_a_cached_prompt_is_context_too():
    spec = Serving(slots=2, prefill_token=0.01, decode_sequence=0.01, decode_context=1e-4)
    engine = ServingEngine(spec)
    short, long = engine.arrive("a", 10, 100, 0.0), engine.arrive("b", 10, 100, 0.0, cached_tokens=1000)
    engine.advance(math.inf)
    # As if every step were counted: each token has the prompt and all earlier tokens behind it.
    steps = [0.02 + 1e-4 * (10 + 10 + 1000 + 2 * made) for made in range(1, 100)]
    assert short.end_s == long.end_s == pytest.approx(0.2 + sum(steps))


@pytest.mark.parametrize("gap_s", [0.1, 1 / 3, 0.0168, 1e-3])
def test_a_token_is_there_at_its_very_time_whatever_rounding_says(gap_s):
    engine = ServingEngine(Serving(slots=4, prefill_token=0.07, decode_sequence=gap_s))
    job = engine.arrive("a", 3, 3000, 0.1)
    first_s = 0.1 + 0.07 * 3
    for token in range(1, 2000):
        when = first_s + token * gap_s
        assert engine.generated(job, math.nextafter(when, 0.0)) == token
        assert engine.generated(job, when) == token + 1
        assert engine.generated(job, math.nextafter(when, math.inf)) == token + 1


def test_a_batch_needs_room_for_prompts():
    with pytest.raises(ValueError, match="make it larger than slots"):
        replace(SMALL, slots=64, batch_tokens=64)


def test_words():
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Serving)
    words = {
        "slots": 4,
        "prefill_step": "20ms",
        "prefill_token": "7.5ms",
        "decode_sequence": "16ms",
        "batch_tokens": "2k",
    }
    read = adapter.validate_python(words)
    assert read == Serving(
        slots=4, prefill_step=0.02, prefill_token=0.0075, decode_sequence=0.016, decode_step=0.0, batch_tokens=2000
    )
    assert adapter.json_schema()
    with pytest.raises(ValidationError, match="write it like 250ms"):
        adapter.validate_python({**words, "prefill_token": 7.5})
    with pytest.raises(ValidationError, match="decode_token"):
        adapter.validate_python({**words, "decode_token": "7.5ms"})
