"""Calls on a serving engine, as their readers see them: chunks, silences, limits, leaving, outages."""

import asyncio
import math
from itertools import pairwise

import numpy as np
import pytest
from providers.sim.engine_bench import play_engine
from providers.sim.serving_oracle import SMALL, Oracle

from llmsim.distributions import Constant
from llmsim.providers.faults import Fault, Scale, Stall
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import Queue, SimProvider
from llmsim.types import Usage

SPEC = SimProvider(answer_time=Constant(0.03))
# A prompt of 100 tokens takes 1 s by itself, a token 0.1 s for each that decodes.
SLOW = Serving(slots=2, prefill_step=0.0, prefill_token=0.01, decode_sequence=0.1)


def _traffic(seed=1, count=120, per_s=0.5):
    rng = np.random.default_rng(seed)
    times = rng.exponential(1 / per_s, count).cumsum()
    return [(float(t), int(rng.integers(10, 300)), int(rng.integers(1, 80))) for t in times]


def _visits(traffic, **how):
    def script(bench):
        for number, (at, prompt, answer) in enumerate(traffic):
            bench.go(number, at=at, input_tokens=prompt, tokens=answer, **how)

    return script


def _oracle(traffic, spec=SMALL):
    oracle = Oracle(spec, "free")
    oracle.run([(at, "arrive", prompt, answer) for at, prompt, answer in traffic])
    return oracle.calls


@pytest.mark.parametrize(
    "how", [{"how": "read"}, {"how": "iterate"}, {"stream": False}, {"how": "iterate", "gap_s": 1e6}]
)
def test_every_way_of_reading_sees_the_same_timeline(how):
    traffic = _traffic()
    calls = _oracle(traffic)
    seen = play_engine(SPEC, SMALL, _visits(traffic, **how))
    assert [visit.word for visit in seen] == ["ok"] * len(traffic)
    assert [visit.end_s for visit in seen] == pytest.approx([call.times[-1] for call in calls], abs=1e-9)
    assert [visit.usage for visit in seen] == [Usage(prompt, answer) for _, prompt, answer in traffic]
    waits = [visit.response.queue_s for visit in seen]
    assert waits == pytest.approx([call.slot_s - call.arrived_s for call in calls], abs=1e-9)
    assert min(waits) == 0.0 < max(waits)
    if how.get("stream", True):
        assert [visit.first_s for visit in seen] == pytest.approx([call.times[0] for call in calls], abs=1e-9)
        gaps = [visit.response.longest_gap_s for visit in seen]
        assert gaps == pytest.approx([call.longest_gap(math.inf) for call in calls], abs=1e-9, nan_ok=True)


def test_a_chunk_comes_with_its_last_token_and_hides_no_silence():
    traffic = _traffic(2)
    calls = _oracle(traffic)
    seen = play_engine(SPEC, SMALL, _visits(traffic, how="iterate"))
    hidden = 0
    for visit, call in zip(seen, calls, strict=True):
        ends = np.cumsum([chunk.tokens for _, chunk in visit.chunks])
        assert ends[-1] == len(call.times)
        assert max(chunk.tokens for _, chunk in visit.chunks) <= 8
        for (when, _), end in zip(visit.chunks, ends, strict=True):
            assert when == pytest.approx(call.times[end - 1], abs=1e-9)
        inside = set(range(1, len(call.times))) - set(ends.tolist())
        silences = [n for n, (a, b) in enumerate(pairwise(call.times), 1) if b - a > 0.25]
        assert not inside & set(silences)
        hidden += len(silences)
    assert hidden > 100, "there were silences to hide"


def test_a_slow_reader_finds_what_came_in_the_meantime():
    traffic = [(0.0, 100, 30)]
    seen = play_engine(SPEC, SLOW, _visits(traffic, how="iterate", pause_s=0.75))[0]
    assert [chunk.tokens for _, chunk in seen.chunks] == [1, 8, 8, 13]
    assert seen.end_s == pytest.approx(1.0 + 5 * 0.75)  # with a pause before it looks for more


# -- limits ------------------------------------------------------------------------------------------------------------
# One stream: first token at 1.0, then one each 0.1 s. A prompt of 100 tokens comes at 1.55: a step from 1.6 to 2.7.


def _disturbed(how, **limits):
    def script(bench):
        bench.go(0, input_tokens=100, tokens=20, how=how, **limits)
        bench.go(1, at=1.55, input_tokens=100, tokens=1)

    return play_engine(SPEC, SLOW, script)[0]


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize(
    ("gap_s", "word", "end_s", "tokens"),
    [(1.1 + 1e-9, "ok", 3.9, 20), (1.0, "stream_stalled", 2.6, 7), (0.5, "stream_stalled", 2.1, 7)],
)
def test_a_silence_that_was_not_to_be_foreseen_is_too_long(how, gap_s, word, end_s, tokens):
    seen = _disturbed(how, gap_s=gap_s)
    assert (seen.word, seen.end_s, seen.tokens) == (word, pytest.approx(end_s), tokens)
    if word != "ok":
        assert seen.error.tokens_delivered == tokens
        assert seen.usage == Usage(100, tokens)


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize(
    ("until_s", "word", "tokens"),
    [(3.901, "ok", 20), (3.85, "deadline_exceeded", 19), (2.0, "deadline_exceeded", 7), (1.05, "deadline_exceeded", 1)],
)
def test_an_end_in_time_is_held_to_the_instant(how, until_s, word, tokens):
    seen = _disturbed(how, until_s=until_s)
    assert (seen.word, seen.end_s, seen.tokens) == (word, pytest.approx(min(until_s, 3.9)), tokens)


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize(("disturbed", "end_s"), [(False, 2.0), (True, 2.75)])
def test_an_end_at_the_very_limit_is_in_time(how, disturbed, end_s):
    """Whether the timer of the limit was set before that of the end, or after it."""
    exact = Serving(slots=2, prefill_step=0.5, prefill_token=0.25, decode_sequence=0.125)

    def script(bench):
        bench.go(0, input_tokens=2, tokens=9, how=how, until_s=end_s)
        if disturbed:
            bench.go(1, at=1.0625, input_tokens=1, tokens=1)

    seen = play_engine(SPEC, exact, script)[0]
    assert (seen.word, seen.end_s) == ("ok", end_s)


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_the_earlier_of_two_limits_wins(how):
    assert _disturbed(how, gap_s=0.5, until_s=2.2).word == "stream_stalled"
    assert _disturbed(how, gap_s=0.5, until_s=2.0).word == "deadline_exceeded"


# -- leaving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_cancel", "leave_at", "usage", "next_first_s"),
    [
        # Two streams run from 1.0 and 2.1 in two slots; a third waits from 2.2. Who leaves is the second.
        ("free", 0.5, (0, 0, 0), None),  # in the queue: not yet in a slot at 0.5, since the first step runs to 1.0
        ("free", 1.5, (100, 0, 0), 2.1 + 1.1),  # in prefill: out at the end of that step
        ("finish_prefill", 1.5, (100, 0, 0), 2.1 + 1.1),
        ("free", 2.35, (100, 2, 0), 2.5 + 1.1),
        ("finish_prefill", 2.35, (100, 2, 0), 2.5 + 1.1),
        ("continue", 2.35, (100, 8, 0), None),
    ],
)
def test_who_leaves_frees_a_slot_and_is_billed_as_the_provider_says(on_cancel, leave_at, usage, next_first_s):
    def script(bench):
        bench.go(0, input_tokens=100, tokens=60)
        bench.go(1, at=0.1, input_tokens=100, tokens=8, leave_at=leave_at)
        bench.go(2, at=1.2 if leave_at < 2 else 2.2, input_tokens=100, tokens=2)

    seen = play_engine(SimProvider(on_cancel=on_cancel), SLOW, script)
    assert (seen[1].word, seen[1].end_s, seen[1].usage) == ("left", pytest.approx(leave_at), Usage(*usage))
    if next_first_s is not None:
        assert seen[2].first_s == pytest.approx(next_first_s)
    if on_cancel == "continue":  # tokens at 2.1, 2.3 … 3.5: then it is the third's turn
        assert seen[2].first_s == pytest.approx(3.5 + 1.1)


def test_a_full_queue_is_a_503():
    def script(bench):
        for number in range(5):
            bench.go(number, at=0.01 * number, input_tokens=100, tokens=5)

    seen = play_engine(SimProvider(answer_time=Constant(0.03), queue=Queue(limit=1)), SLOW, script)
    # The second waits for the end of a step, not for a slot: it has no part in the queue's limit.
    assert [visit.word for visit in seen] == ["ok", "ok", "ok", "overloaded", "overloaded"]


def test_a_reader_who_closes_is_billed_for_what_was_made():
    async def script(bench):
        response = await bench.provider.send(bench.request(0, tokens=50, input_tokens=100))
        await anext(response)
        await asyncio.sleep(0.55)
        response.close()
        assert response.usage == Usage(100, 6)
        assert response.longest_gap_s == pytest.approx(0.1)
        await asyncio.sleep(0.1)
        assert bench.sim.server.busy == 0

    play_engine(SPEC, SLOW, script)


def test_who_closes_at_the_very_instant_of_the_end_is_billed_once_for_all():
    exact = Serving(slots=2, prefill_step=0.5, prefill_token=0.25, decode_sequence=0.125)

    async def script(bench):
        response = await bench.provider.send(bench.request(0, tokens=9, input_tokens=2))
        bench.loop.call_at(2.0, response.close)
        await bench.visit(1, at=1.0625, input_tokens=1, tokens=1)  # the end moves to 2.75
        response = await bench.provider.send(bench.request(2, tokens=9, input_tokens=2))
        end_s = bench.loop.time() + 1.0
        bench.loop.call_at(end_s, response.close)
        await bench.visit(3, at=end_s, input_tokens=2, tokens=2)
        assert response.usage == Usage(2, 9)
        assert bench.sim.server.busy == 0

    play_engine(SPEC, exact, script)


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_an_outage_breaks_streams_and_forgets_the_queue(how):
    def script(bench):
        bench.go(0, input_tokens=100, tokens=60, how=how)
        bench.go(1, at=1.15, input_tokens=100, tokens=6, how=how)  # in prefill
        bench.go(2, at=1.3, input_tokens=100, tokens=6, how=how)  # waits
        bench.go(3, at=2.0, input_tokens=100, tokens=6, how=how)  # comes during the outage
        bench.go(4, at=4.0, input_tokens=100, tokens=6, how=how)

    faults = [Fault(name="down", provider="p", at=1.75, duration=1.0, outage=True)]
    seen = play_engine(SPEC, SLOW, script, faults)
    lost = "connection_failed"
    assert [visit.word for visit in seen] == ["stream_broken", lost, lost, lost, "ok"]
    assert [visit.end_s for visit in seen] == pytest.approx([1.75, 1.75, 1.75, 2.03, 5.5])
    assert seen[0].tokens == seen[0].error.tokens_delivered == 3
    assert seen[0].usage == Usage(100, 3)


def test_what_ends_at_the_very_moment_of_an_outage_was_in_time():
    exact = Serving(slots=2, prefill_token=0.25, decode_sequence=0.125)
    faults = [Fault(name="down", provider="p", at=1.0, duration=1.0, outage=True)]
    seen = play_engine(SPEC, exact, _visits([(0.0, 2, 5), (0.0, 2, 99)]), faults)
    # Both prompts take 1.0 s together: at that moment the first tokens are there.
    assert [visit.word for visit in seen] == ["stream_broken", "stream_broken"]
    assert [visit.error.tokens_delivered for visit in seen] == [1, 1]
    assert [visit.first_s for visit in seen] == [1.0, 1.0], "they had begun"
    seen = play_engine(SPEC, exact, _visits([(0.0, 2, 5)]), faults)
    assert (seen[0].word, seen[0].tokens, seen[0].end_s) == ("ok", 5, 1.0)


def test_latency_and_capacity_change_what_is_running():
    def script(bench):
        bench.go(0, input_tokens=100, tokens=21)
        bench.go(1, at=1.55, input_tokens=100, tokens=2)

    faults = [
        Fault(name="slow", provider="p", at=2.05, duration=10.0, latency=Scale(multiplier=2.0)),
        Fault(name="cut", provider="p", at=1.5, duration=1.0, capacity=Scale(multiplier=0.5)),
    ]
    seen = play_engine(SPEC, SLOW, script, faults)
    # Steps of 0.1 s to 2.1, then of 0.2 s; a second slot from 2.5 on, where a step of 2 · (1.0 + 0.1) begins.
    assert seen[1].first_s == pytest.approx(2.5 + 2.2)
    assert seen[1].response.queue_s == pytest.approx(0.95)
    assert seen[1].end_s == pytest.approx(4.7 + 0.4)
    # 12 tokens by 2.1, 14 by 2.5, the 15th with the other's first, the 16th with its second, then five alone.
    assert seen[0].end_s == pytest.approx(5.1 + 5 * 0.2)


def test_boundary_faults_work_in_front_of_it():
    faults = [Fault(name="stall", provider="p", stall=Stall(after_tokens=9, time=Constant(7.0)))]
    seen = play_engine(SPEC, SLOW, _visits([(0.0, 100, 30)], how="iterate"), faults)[0]
    assert (seen.word, seen.tokens) == ("ok", 30)
    assert seen.response.longest_gap_s == pytest.approx(7.0)
