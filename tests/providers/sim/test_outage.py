"""An outage loses everything: running streams break, the queue is gone, and afterwards it starts empty."""

import asyncio
import dataclasses

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Exponential
from llmsim.providers.dialects import Limits
from llmsim.providers.faults import Fault
from llmsim.providers.sim.spec import Queue, SimProvider
from llmsim.types import Usage

SPEC = SimProvider(ttft=Constant(1.0), inter_token=Constant(0.1), concurrency=2, answer_time=Constant(0.03))


def _outage(at, duration):
    return [Fault(name="down", provider="p", at=at, duration=duration, outage=True)]


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_running_streams_break_and_waiting_calls_are_refused(how):
    def script(bench):
        bench.go(0, tokens=10, how=how)
        bench.go(1, at=1.0, tokens=10, how=how)  # in prefill when it happens
        bench.go(2, at=1.1, tokens=10, how=how)  # waits
        bench.go(3, at=2.0, tokens=10, how=how)  # comes during the outage
        bench.go(4, at=6.0, tokens=10, how=how)  # afterwards

    seen = play(SPEC, script, _outage(1.35, 4.0))
    assert [v.word for v in seen] == [
        "stream_broken",
        "connection_failed",
        "connection_failed",
        "connection_failed",
        "ok",
    ]
    assert [v.end_s for v in seen] == pytest.approx([1.35, 1.35, 1.35, 2.03, 7.9])
    assert seen[0].error.tokens_delivered == seen[0].tokens == 4
    assert seen[0].usage == Usage(10, 4)


def test_calls_that_an_outage_refuses_are_not_charged_to_the_account():
    spec = dataclasses.replace(SPEC, concurrency=None, rate_limit=Limits(requests=2 / 60))
    seen = play(spec, lambda bench: [bench.go(n, at=n) for n in range(8)], _outage(0.0, 5.5))
    assert [v.word for v in seen] == ["connection_failed"] * 6 + ["ok"] * 2


def test_a_slow_reader_gets_what_was_made_and_then_the_error():
    def script(bench):
        bench.go(0, tokens=10, how="iterate", pause_s=5.0)

    seen = play(SPEC, script, _outage(1.35, 1.0))[0]
    assert (seen.word, seen.tokens, seen.error.tokens_delivered) == ("stream_broken", 4, 4)


def test_a_whole_answer_that_is_cut_is_an_error_of_the_call():
    async def script(bench):
        seen = await bench.visit(0, tokens=10, stream=False)
        assert bench.provider.cancelled_usage(bench.request(0)) == Usage(10, 4), "what had been made is billed"
        assert bench.provider.cancelled_usage(bench.request(0)) == Usage(0, 0), "once"
        return [seen]

    seen = play(SPEC, script, _outage(1.35, 1.0))[0]
    assert (seen.word, seen.end_s, seen.tokens) == ("stream_broken", 1.35, 0)
    assert seen.error.tokens_delivered == 0, "who asked for it in one piece was given nothing"


def test_an_answer_that_ends_at_the_very_moment_was_in_time_or_is_broken_but_ends():
    def script(bench):
        bench.go(0, tokens=4)

    seen = play(SPEC, script, _outage(1.3, 1.0))[0]
    assert seen.word in ("ok", "stream_broken")
    assert seen.end_s == pytest.approx(1.3)


@pytest.mark.parametrize("mode", ["free", "finish_prefill", "continue"])
def test_recovery_is_complete(mode):
    """After an outage in the middle of traffic with leavers, every slot is there again, and not one more."""

    async def script(bench):
        for number in range(300):
            leave = number * 0.05 + number * 0.7919 % 3.0 if number % 2 else float("inf")
            bench.go(number, at=number * 0.05, tokens=1 + number % 12, leave_at=leave)
        seen = await bench.all()
        await asyncio.sleep(60)
        assert (bench.sim.server.busy, bench.sim.server.waiting) == (0, 0)
        bench.tasks.clear()
        for number in range(1000, 1006):
            bench.go(number, tokens=1)
        after = await bench.all()
        start = after[0].start_s
        assert [visit.end_s - start for visit in after] == pytest.approx([0.5, 0.5, 0.5, 1.0, 1.0, 1.0])
        return seen

    spec = SimProvider(
        ttft=Constant(0.5), inter_token=Exponential(0.1), concurrency=3, queue=Queue(limit=20), on_cancel=mode
    )
    seen = play(spec, script, _outage(5.0, 2.0))
    assert {"ok", "left", "connection_failed"} <= {visit.word for visit in seen}


def test_two_overlapping_outages_are_one():
    faults = [*_outage(1.0, 2.0), Fault(name="again", provider="p", at=2.0, duration=3.0, outage=True)]

    def script(bench):
        for number, at in enumerate([0.9, 1.0, 2.5, 4.9, 5.0]):
            bench.go(number, at=at)

    words = [visit.word for visit in play(SPEC, script, faults)]
    assert words == ["connection_failed"] * 4 + ["ok"]
