"""Slots, the bounded queue, and what a caller who leaves frees and is billed for."""

import asyncio

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Exponential
from llmsim.providers.faults import Fault, Scale
from llmsim.providers.sim.spec import Queue, SimProvider

# Prefill 1 s, then 9 gaps of 0.1 s: ten tokens take 1.9 s.
SLOW = {"ttft": Constant(1.0), "inter_token": Constant(0.1), "answer_time": Constant(0.03)}


def test_slots_are_held_to_the_last_token_and_the_queue_is_first_in_first_out():
    def script(bench):
        for number in range(5):
            bench.go(number, at=number * 0.01, tokens=10)

    seen = play(SimProvider(**SLOW, concurrency=2), script)
    assert [visit.first_s for visit in seen] == pytest.approx([1.0, 1.01, 2.9, 2.91, 4.8])
    assert [visit.end_s for visit in seen] == pytest.approx([1.9, 1.91, 3.8, 3.81, 5.7])


def test_queue_seconds_are_exact_and_zero_for_who_never_waited():
    def script(bench):
        for number in range(3000):
            bench.go(number, at=number * 0.037, tokens=1 + number % 3)

    spec = SimProvider(ttft=Exponential(1.0), inter_token=Exponential(0.1), concurrency=33)
    seen = play(spec, script)
    waits = [visit.response.queue_s for visit in seen]
    assert min(waits) == 0.0, "no rounding below zero"
    # Whoever did not wait shows exactly 0, or P(wait > 0) would count rounding errors.
    assert not [wait for wait in waits if 0 < wait < 1e-6]
    assert 0.05 < sum(wait == 0.0 for wait in waits) / len(waits) < 0.95


@pytest.mark.parametrize("stream", [True, False])
def test_queue_seconds_are_the_same_streamed_or_not(stream):
    def script(bench):
        bench.go(0, tokens=10, stream=stream)
        bench.go(1, at=0.5, tokens=10, stream=stream)

    seen = play(SimProvider(**SLOW, concurrency=1), script)
    assert seen[1].response.queue_s == pytest.approx(1.4)
    assert seen[1].end_s == pytest.approx(3.8)


def test_a_full_queue_refuses_with_503_after_the_answer_time():
    def script(bench):
        for number in range(5):
            bench.go(number, at=number * 0.01)

    seen = play(SimProvider(**SLOW, concurrency=1, queue=Queue(limit=2)), script)
    assert [visit.word for visit in seen] == ["ok", "ok", "ok", "overloaded", "overloaded"]
    assert seen[3].error.status == 503
    assert [visit.end_s for visit in seen[3:]] == pytest.approx([0.06, 0.07])


def test_a_queue_is_full_when_the_slots_that_are_left_are():
    cut = Fault(name="f", provider="p", duration=10.0, capacity=Scale(multiplier=0.25))
    spec = SimProvider(**SLOW, concurrency=4, queue=Queue(limit=1))
    seen = play(spec, lambda bench: [bench.go(n, at=n * 0.01) for n in range(4)], [cut])
    assert [visit.word for visit in seen] == ["ok", "ok", "overloaded", "overloaded"]


def test_queue_limit_zero_is_a_loss_system():
    def script(bench):
        bench.go(0)
        bench.go(1, at=0.5)
        bench.go(2, at=1.0)  # the slot is given back at this very moment, before this call came

    seen = play(SimProvider(**SLOW, concurrency=1, queue=Queue(limit=0)), script)
    assert [visit.word for visit in seen[:2]] == ["ok", "overloaded"]


def test_who_leaves_the_queue_makes_room_in_it():
    def script(bench):
        bench.go(0)
        bench.go(1, at=0.1, leave_at=0.3)
        bench.go(2, at=0.2)  # refused: one already waits
        bench.go(3, at=0.4)  # takes the place

    seen = play(SimProvider(**SLOW, concurrency=1, queue=Queue(limit=1)), script)
    assert [visit.word for visit in seen] == ["ok", "left", "overloaded", "ok"]
    assert seen[3].end_s == pytest.approx(2.0)


# Calls 0 and 1 share one slot. Call 0 leaves; the first token of call 1, 1 s after it gets the slot, tells when that
# was free. Leaving at 0.4 is in prefill, at 1.35 after the 4th of ten tokens.
@pytest.mark.parametrize(
    ("mode", "leave_at", "slot_free_at", "billed"),
    [
        ("free", 0.4, 0.4, (10, 0)),
        ("free", 1.35, 1.35, (10, 4)),
        ("finish_prefill", 0.4, 1.0, (10, 0)),
        ("finish_prefill", 1.35, 1.35, (10, 4)),
        ("continue", 0.4, 1.9, (10, 10)),
        ("continue", 1.35, 1.9, (10, 10)),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_on_cancel_decides_when_the_slot_is_free_and_what_is_billed(mode, leave_at, slot_free_at, billed, stream):
    def script(bench):
        bench.go(0, tokens=10, leave_at=leave_at, stream=stream)
        bench.go(1, at=0.1, tokens=1)

    seen = play(SimProvider(**SLOW, concurrency=1, on_cancel=mode), script)
    assert seen[0].word == "left"
    assert seen[0].end_s == leave_at
    assert seen[1].first_s == pytest.approx(slot_free_at + 1.0)
    assert seen[0].usage[:2] == billed


@pytest.mark.parametrize("mode", ["free", "finish_prefill", "continue"])
def test_who_leaves_while_waiting_is_still_served_only_under_continue(mode):
    def script(bench):
        bench.go(0, tokens=10)
        bench.go(1, at=0.1, tokens=10, leave_at=0.5)
        bench.go(2, at=0.2)

    seen = play(SimProvider(**SLOW, concurrency=1, on_cancel=mode), script)
    assert seen[1].usage[:2] == ((10, 10) if mode == "continue" else (0, 0))
    assert seen[2].first_s == pytest.approx(1.9 + 1.0 + (1.9 if mode == "continue" else 0.0))


def test_slots_come_back_exactly_once():
    """Half of the clients leave at random moments; afterwards every slot must be there again, and no more."""

    async def script(bench):
        for number in range(200):
            leave = number * 0.05 + (number * 0.7919 % 3.0) if number % 2 else float("inf")
            bench.go(number, at=number * 0.05, tokens=1 + number % 12, leave_at=leave)
        await bench.all()
        await asyncio.sleep(100)
        assert (bench.sim.server.busy, bench.sim.server.waiting) == (0, 0)
        return []

    for mode in ("free", "finish_prefill", "continue"):
        play(SimProvider(**SLOW, concurrency=3, on_cancel=mode), script)


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize("mode", ["free", "finish_prefill", "continue"])
def test_closing_a_response_ends_its_reader_too(mode, how):
    """A racing policy closes the loser while another task reads it: that task must not hang."""

    async def script(bench):
        response = await bench.provider.send(bench.request(0, tokens=10))

        async def drain():
            if how == "read":
                await response.read()
            else:
                async for _ in response:
                    pass
            return bench.loop.time()

        reader = asyncio.create_task(drain())
        await asyncio.sleep(0.35)
        response.close()
        async with asyncio.timeout(30):
            assert await reader == pytest.approx(1.35), "the reader learns of the close at once"
        assert response.outcome.kind == "cancelled"
        assert response.usage[:2] == ((10, 10) if mode == "continue" else (10, 4))
        return []

    play(SimProvider(**SLOW, on_cancel=mode), script)


def _capacity(multiplier, at, duration):
    return Fault(name="cut", provider="p", at=at, duration=duration, capacity=Scale(multiplier=multiplier))


def test_a_capacity_cut_lets_running_calls_finish_and_starts_no_more_than_fit():
    def script(bench):
        for number in range(12):
            bench.go(number, at=0.001 * number)
        bench.go(12, at=0.5)

    # Four slots of 1 s; halved in [0.5, 2.5).
    seen = play(SimProvider(ttft=Constant(1.0), concurrency=4), script, [_capacity(0.5, 0.5, 2.0)])
    ends = [visit.end_s for visit in seen]
    assert ends[:4] == pytest.approx([1.0, 1.001, 1.002, 1.003])  # they were running when it began
    # Slots come back at 1.0, 1.001 while four run: none starts before only one runs, at 1.002.
    assert ends[4:8] == pytest.approx([2.002, 2.003, 3.002, 3.003])
    assert ends[8:10] == pytest.approx([3.5, 3.5])  # two more at once when the cut ends
    assert ends[10:] == pytest.approx([4.002, 4.003, 4.5])


def test_capacity_zero_serves_nobody_until_it_is_back():
    def script(bench):
        for number in range(3):
            bench.go(number, at=1.0 + number * 0.1)

    seen = play(SimProvider(ttft=Constant(1.0), concurrency=2), script, [_capacity(0.0, 0.5, 9.5)])
    assert [visit.first_s for visit in seen] == pytest.approx([11.0, 11.0, 12.0])


def test_capacity_zero_of_a_provider_without_slots_stops_it_too():
    def script(bench):
        bench.go(0, at=0.1)
        bench.go(1, at=1.0)
        bench.go(2, at=1.1)

    seen = play(SimProvider(ttft=Constant(1.0)), script, [_capacity(0.0, 0.5, 9.5)])
    assert [visit.end_s for visit in seen] == pytest.approx([1.1, 11.0, 11.0])


@pytest.mark.parametrize(("slots", "multiplier", "left"), [(70, 0.1, 7), (30, 0.1, 3), (100, 0.29, 29), (10, 0.25, 3)])
def test_a_capacity_multiplier_means_whole_slots_rounded_up(slots, multiplier, left):
    def script(bench):
        for number in range(slots):
            bench.go(number, at=1.0)

    seen = play(SimProvider(ttft=Constant(1.0), concurrency=slots), script, [_capacity(multiplier, 0.5, 1e6)])
    assert sum(visit.end_s < 2.5 for visit in seen) == left
