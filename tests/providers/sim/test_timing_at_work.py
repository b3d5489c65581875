"""The latency model in a provider that runs: what the formulas say, a call sees. The formulas are in test_latency."""

import asyncio
import dataclasses
import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from providers.sim.bench import play

import llmsim as ls
from llmsim.distributions import Constant, Exponential, Uniform
from llmsim.errors import StreamStalled
from llmsim.luck import Luck
from llmsim.pricing import TokenPrice
from llmsim.providers.dialects import ErrorRates, Limits
from llmsim.providers.faults import Fault, Scale, Stall
from llmsim.providers.sim.congestion import SharedCongestion
from llmsim.providers.sim.congestion_spec import Congestion
from llmsim.providers.sim.incidents_spec import Incidents
from llmsim.providers.sim.latency import Load, LoadPoint, Prefill, PromptCache, StreamStall
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import SimProvider
from llmsim.providers.sim.timing import PromptCacheState, mean_service_s
from llmsim.scenario.load import load_scenario
from llmsim.types import Request, Usage

BASE = {"ttft": Constant(0.2), "inter_token": Constant(0.01)}


def _spec(**settings):
    return SimProvider(**{**BASE, **settings})


def _one(spec, **how):
    return play(spec, lambda bench: bench.go(0, **{"tokens": 11, **how}))[0]


def test_the_network_delays_what_the_caller_sees_and_holds_no_slot():
    spec = _spec(network=Constant(0.3), concurrency=1)
    seen = play(spec, lambda bench: [bench.go(0, tokens=1), bench.go(1, at=0.2, tokens=1)])
    assert [visit.first_s for visit in seen] == [pytest.approx(0.5), pytest.approx(0.7)]
    refused = play(_spec(network=Constant(0.3), errors=ErrorRates(server_error=1.0)), lambda bench: bench.go(0))[0]
    assert refused.end_s == pytest.approx(0.33), "a failure comes over the same network"
    left = play(spec, lambda bench: bench.go(0, leave_at=0.1))[0]
    assert (left.word, left.usage) == ("left", Usage()), "it never reached the server"


def test_a_longer_prompt_takes_longer_to_read():
    spec = _spec(prefill=Prefill(per_1k=0.02, per_1k_squared=0.001))
    assert _one(spec, input_tokens=10_000).first_s == pytest.approx(0.2 + 0.2 + 0.1)


def test_reading_has_a_pace_of_its_own_for_each_call():
    assert _one(_spec(prefill=Prefill(per_1k=0.02, pace=Constant(3.0))), input_tokens=10_000).first_s == pytest.approx(
        0.8
    )
    varied = _spec(prefill=Prefill(per_1k=0.02, pace=Uniform(0.5, 1.5)))
    seen = play(varied, lambda bench: [bench.go(number, input_tokens=10_000) for number in range(200)])
    reading = np.array([visit.first_s for visit in seen]) - 0.2
    assert 0.1 <= reading.min() < 0.12
    assert 0.28 < reading.max() <= 0.3
    assert np.mean(reading) == pytest.approx(0.2, abs=4 * 0.2 * 0.289 / math.sqrt(200))
    assert mean_service_s(varied, 10_000, 1) == pytest.approx(0.4)


def test_a_flushed_answer_comes_whole_and_a_slow_one_slowly():
    flushed = _one(_spec(flush=1.0), how="iterate")
    assert flushed.first_s == flushed.end_s == pytest.approx(0.2)
    assert flushed.tokens == 11
    slow = _one(_spec(pace=Constant(3.0)))
    assert slow.end_s - slow.first_s == pytest.approx(0.3)
    assert slow.response.longest_gap_s == pytest.approx(0.03)


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_an_answer_that_stalls_once_is_late_by_that_and_a_limit_on_gaps_sees_it(how):
    spec = _spec(stall=StreamStall(probability=1.0, per="answer", duration=Constant(2.0)))
    seen = _one(spec, how=how)
    assert seen.end_s == pytest.approx(0.2 + 0.1 + 2.0)
    assert seen.response.longest_gap_s == pytest.approx(2.01)
    limited = _one(spec, how=how, gap_s=1.0)
    assert limited.word == "stream_stalled"
    assert 1 <= limited.tokens == limited.error.tokens_delivered <= 10
    assert limited.end_s == pytest.approx(0.2 + (limited.tokens - 1) * 0.01 + 1.0)
    many = play(spec, lambda bench: [bench.go(number, how=how, tokens=6, gap_s=1.0) for number in range(100)])
    assert {visit.tokens for visit in many} == {1, 2, 3, 4, 5}, "after any of them"
    flushed = dataclasses.replace(spec, flush=1.0)
    assert [_one(flushed).end_s, _one(spec, tokens=1).end_s] == pytest.approx([0.2, 0.2]), "nothing to stall in"


def test_a_limit_on_gaps_looks_at_what_is_still_to_come():
    spec = SimProvider(
        ttft=Constant(0.1),
        inter_token=Constant(0.01),
        stall=StreamStall(probability=1.0, per="answer", duration=Constant(1.0)),
    )

    async def read(bench, number):
        response = await bench.provider.send(bench.request(number, tokens=201))
        while response.tokens_delivered < 101:
            await anext(response)
        late = bench.loop.time() < 1.5  # the silence is still to come
        response.limit(gap_s=0.5)
        try:
            async for _ in response:
                pass
        except StreamStalled:
            return late, "stalled"
        return late, "ok"

    async def script(bench):
        return await asyncio.gather(*(read(bench, number) for number in range(30)))

    seen = play(spec, script)
    assert {word for late, word in seen if late} == {"stalled"}
    assert {word for late, word in seen if not late} == {"ok"}


def test_stalls_may_come_with_any_gap():
    spec = _spec(stall=StreamStall(probability=0.002, duration=Constant(1.0)))
    seen = play(spec, lambda bench: [bench.go(number, tokens=101) for number in range(400)])
    stalled = [round((visit.end_s - visit.first_s - 1.0) / 0.99) for visit in seen]
    assert np.mean(stalled) == pytest.approx(0.2, abs=4 * math.sqrt(0.2 / 400))
    assert set(stalled) <= {0, 1, 2, 3, 4}


def test_a_full_server_is_slower():
    curve = Load(points=(LoadPoint(at=0.25), LoadPoint(at=1.0, ttft=4.0, inter_token=2.0)))
    seen = play(_spec(load=curve, concurrency=4), lambda bench: [bench.go(number, tokens=11) for number in range(4)])
    assert [visit.first_s for visit in seen] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert seen[3].end_s - seen[3].first_s == pytest.approx(0.2)
    far = _spec(load=curve, concurrency=4, network=Constant(0.1), prefill=Prefill(per_1k=0.01))
    seen = play(far, lambda bench: [bench.go(number, input_tokens=2000) for number in range(4)])
    assert seen[3].first_s == pytest.approx(0.1 + 4 * (0.2 + 0.02)), "not the network"


def test_load_by_requests_counts_those_that_queue():
    """Ten a second come and two a second are served: that is a load of 100 % and not of 20 %."""
    points = (LoadPoint(at=0.3), LoadPoint(at=0.9, ttft=3.0))
    busy = Load(of="requests", capacity=10.0, averaged_over=2.0, points=points)
    spec = SimProvider(ttft=Constant(0.5), inter_token=Constant(0.0), concurrency=1, load=busy)
    seen = play(spec, lambda bench: [bench.go(n, at=n / 10) for n in range(200)])
    ends = sorted(visit.end_s for visit in seen)
    assert ends[0] == pytest.approx(0.5), "nobody had come before"
    late = [b - a for a, b in pairwise(ends) if 10 < b < 20]
    assert min(late) > 1.4, "they wait at the slot, and the slot is slow"


def test_cached_prompts_are_read_faster_cost_less_and_do_not_count_at_anthropic():
    spec = _spec(
        prefill=Prefill(per_1k=0.1),
        prompt_cache=PromptCache(share=0.8, min_tokens=1000),
        dialect="anthropic",
        rate_limit=Limits(input_tokens=12_500 / 60),
    )

    async def script(bench):
        seen = []
        for number in range(4):
            request = bench.request(number, tokens=5, input_tokens=10_000)._replace(route="chat")
            start = bench.loop.time()
            try:
                response = await bench.provider.send(request)
            except Exception as error:
                seen.append(error.word)
                continue
            first = bench.loop.time() - start
            await response.read()
            seen.append((round(first, 6), response.usage))
        return seen

    assert play(spec, script) == [
        (1.2, Usage(10_000, 5)),
        (0.4, Usage(10_000, 5, 8000)),
        "rate_limited",  # 12,500 - 10,000 - 2,000 uncached ones, and little has come back
        "rate_limited",
    ]
    price = TokenPrice(input=1e-6, output=2e-6, cached_input=1e-7)
    traffic = {"base_rate": "1/s", "mix": [{"input_tokens": 2000, "output_tokens": 10}]}
    scenario = load_scenario({"version": 1, "traffic": traffic, "providers": {"a": {}}, "clock": {"duration": "60s"}})
    cached = _spec(prompt_cache=PromptCache(share=0.5, min_tokens=1000), price=price)
    result = ls.run(dataclasses.replace(scenario, providers={"a": cached}, replications=1))
    billed = result.attempts.filter(result.attempts["cached_input_tokens"] > 0)
    assert 0 < billed.height < result.attempts.height
    assert set(billed["cached_input_tokens"]) == {1000}
    assert billed["cost_usd"].to_list() == pytest.approx([1000e-6 + 1000e-7 + 20e-6] * billed.height)


def test_a_chat_reads_from_the_cache_what_it_knows_to_share():
    spec = SimProvider(ttft=Constant(0.1), prompt_cache=PromptCache(prefix="session", share=0.5, min_tokens=0))

    async def script(bench):
        first = await bench.visit(0, input_tokens=1000)
        bench.request(1)
        bench.world.truths["1/0/0"].shared_tokens = 300
        second = await bench.visit(1, input_tokens=1200)
        third = await bench.visit(2, input_tokens=3000)
        return [first, second, third]

    # Not known: half of 1000 is there for others. Known: 300 are read, and all of its 1200 are there for others then.
    assert [visit.usage.cached_input_tokens for visit in play(spec, script)] == [0, 300, 1200]


def test_a_call_that_is_left_on_the_way_is_billed_nothing_of_an_earlier_one():
    spec = SimProvider(network=Constant(1.0), ttft=Constant(1.0), answer_time=Constant(1.0), context_window=50)

    async def left(bench):
        task = asyncio.create_task(bench.provider.send(bench.request(0)))
        await asyncio.sleep(1.5)
        task.cancel()
        await asyncio.wait([task])

    async def script(bench):
        await left(bench)  # in prefill, and nobody asks what it cost
        again = await bench.visit(0, at=5.0, leave_at=5.5)  # on the way
        await left(bench)
        refused = await bench.visit(0, at=9.0, input_tokens=51, leave_at=10.5)  # refused, and not yet told
        return [again, refused]

    assert [visit.usage for visit in play(spec, script)] == [Usage(), Usage()]


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_congestion_multiplies_times_by_what_its_process_says(part):
    law = Congestion(p99=3.0, memory=30.0, inter_token=part)
    spec = _spec(congestion=law)
    seen = play(spec, lambda bench: [bench.go(n, at=float(n), tokens=11) for n in range(60)], seed=5)
    process = SharedCongestion(law, Luck(5), "p")
    expected = [process.factors(float(n))[0] for n in range(60)]
    assert [(visit.first_s - visit.start_s) / 0.2 for visit in seen] == pytest.approx(expected)
    gaps = [process.factors(float(n))[1] for n in range(60)]
    assert [(visit.end_s - visit.first_s) / 0.1 for visit in seen] == pytest.approx(gaps)
    assert max(expected) / min(expected) > 1.5


@pytest.mark.slow
def test_incidents_come_by_chance_differ_by_replication_and_are_recorded():
    incidents = Incidents(
        preset="openai-api-2021-2024",
        at_least_one=True,
        duration=Constant(60.0),
        outage=1.0,
        partial=0.0,
        slow=0.0,
        spread=1.0,
    )
    scenario = load_scenario(
        {"version": 1, "traffic": {"base_rate": "2/s"}, "providers": {"a": {}}, "clock": {"duration": "10m"}}
    )
    down = dataclasses.replace(scenario, providers={"a": _spec(incidents=incidents)}, replications=6)
    result = ls.run(down)
    faults = result.events.filter(result.events["kind"] == "fault")
    begins = [detail for detail in faults["detail"] if '"begins"' in detail]
    assert len(begins) >= 6
    lost = result.requests.filter(result.requests["outcome"] == "connection_failed")
    per = lost.group_by("replication").len()
    assert per.height == 6
    starts = lost.group_by("replication").agg(pl.col("arrival_s").min())
    assert starts["arrival_s"].n_unique() == 6, "each replication has its own"
    again = ls.run(down)
    assert again.event_hash == result.event_hash


SERVING = {"serving": {"slots": 2, "prefill_step": "100ms", "prefill_token": "1ms", "decode_sequence": "10ms"}}


def test_a_serving_engine_in_a_scenario():
    document = {
        "version": 1,
        "clock": {"duration": "4m"},
        "traffic": {
            "base_rate": "0.8/s",
            "mix": [{"input_tokens": 300, "output_tokens": {"uniform": {"low": 5, "high": 60}}}],
        },
        "providers": {"own": SERVING},
        "replications": 1,
    }
    result = ls.run(load_scenario(document))
    assert set(result.requests["outcome"]) == {"ok"}
    lone = result.attempts.filter(result.attempts["queue_s"] == 0)
    assert lone["first_s"].len() > 10
    quickest = (lone["first_s"] - lone["start_s"]).min()
    assert quickest == pytest.approx(0.4, abs=1e-6), "100 ms a step and 300 tokens"
    for key, value in (("ttft", "1s"), ("concurrency", 4), ("prefill", {"per_1k": "1ms"})):
        wrong = {**document, "providers": {"own": {**SERVING, key: value}}}
        with pytest.raises(ls.ScenarioError, match=f"a serving engine has its own timing. Remove {key}"):
            load_scenario(wrong)


def test_a_serving_engine_cuts_refuses_settles_and_fails_as_slots_do():
    serving = Serving(slots=1, prefill_step=0.1, prefill_token=1e-9, decode_sequence=0.01)
    spec = SimProvider(
        serving=serving,
        dialect="bedrock",
        rate_limit=Limits(tokens=1000 / 60, max_output_tokens=900),
        context_window=500,
    )
    seen = play(
        spec, lambda bench: [bench.go(0, tokens=50), bench.go(1, at=0.14, tokens=5), bench.go(2, at=0.7, tokens=5)]
    )
    assert [visit.word for visit in seen] == ["ok", "rate_limited", "ok"]
    assert play(spec, lambda bench: bench.go(0, input_tokens=501))[0].word == "context_too_long"
    failing = SimProvider(serving=serving, errors=ErrorRates(in_stream=1.0), dialect="anthropic")
    broken = play(failing, lambda bench: [bench.go(n, at=float(3 * n), tokens=101) for n in range(20)])
    for visit in broken:
        made = visit.error.tokens_delivered if visit.word == "stream_broken" else 0
        assert visit.word == ("stream_broken" if made else "overloaded")
        assert visit.tokens == made
        assert visit.end_s - visit.start_s == pytest.approx(0.1 + max(made - 1, 0) * 0.01)
    assert len({visit.tokens for visit in broken}) > 10
    cut = Fault(name="less", provider="p", at=0.0, duration=1e9, capacity=Scale(multiplier=0.5))
    two = dataclasses.replace(spec, serving=dataclasses.replace(serving, slots=2), rate_limit=None, dialect="generic")
    queued = play(two, lambda bench: [bench.go(0, tokens=11), bench.go(1, tokens=11)], [cut])
    assert queued[1].response.queue_s == pytest.approx(0.2)


def test_latency_words_do_not_shift_anyones_luck():
    plain = SimProvider(ttft=Exponential(0.5), inter_token=Exponential(0.02))
    richer = dataclasses.replace(plain, network=Uniform(0.01, 0.02), prefill=Prefill(per_1k=1e-9))

    def firsts(spec):
        return [v.first_s - v.start_s for v in play(spec, lambda bench: [bench.go(n, tokens=9) for n in range(50)])]

    added = np.array(firsts(richer)) - np.array(firsts(plain))
    assert (added >= 0.01).all()
    paced = dataclasses.replace(plain, prefill=Prefill(per_1k=1e-9, pace=Uniform(0.5, 2.0)))
    assert firsts(paced) == pytest.approx(firsts(plain), abs=1e-6)
    assert (added <= 0.02 + 1e-6).all()


def test_a_request_that_nobody_described_is_answered_too():
    async def script(bench):
        response = await bench.provider.send(Request("live-1", input_tokens=2000))
        return await response.read()

    assert play(_spec(prompt_cache=PromptCache(share=0.5)), script)


def test_only_who_answered_the_step_before_has_what_the_session_said():
    """A chat's second step finds its prefix where the first was answered; elsewhere, only the route's system prompt."""
    chat, other = PromptCacheState(PromptCache(min_tokens=100)), PromptCacheState(PromptCache(min_tokens=100))
    first, second = (Request("1/0/0", session="1", route="chat", input_tokens=n) for n in (1000, 3000))
    assert chat.cached(first, 0.0, 200, 200) == 0
    chat.wrote(first, 1.0, 1.0, 200, 200)
    assert chat.cached(second, 0.5, 1000, 200) == 0, "its first token has not come"
    assert chat.cached(second, 5.0, 1000, 200) == 1000
    assert other.cached(second, 5.0, 1000, 200) == 0
    other.wrote(Request("2/0/0", session="2", route="chat", input_tokens=500), 6.0, 6.0, 200, 200)
    assert other.cached(second, 7.0, 1000, 200) == 200, "another session's system prompt"
    assert chat.cached(second, 1000.0, 1000, 200) == 0, "too long ago"


def test_a_chat_is_read_faster_and_billed_less_from_its_second_step_on():
    document = {
        "version": 1,
        "replications": 1,
        "clock": {"duration": "5m"},
        "traffic": {
            "base_rate": "0.2/s",
            "mix": [{"input_tokens": 400, "output_tokens": 100, "session": {"turns": 4, "think_time": "5s"}}],
        },
        "providers": {"a": {"ttft": "200ms", "inter_token": "5ms", "prompt_cache": {"min_tokens": 256}}},
    }
    attempts = ls.run(load_scenario(document)).attempts.sort("session", "step")
    first, later = attempts.filter(pl.col("step") == 0), attempts.filter(pl.col("step") == 1)
    assert set(first["cached_input_tokens"]) == {0}
    assert set(later["cached_input_tokens"]) == {400}, "the first message; the answer to it was not a prompt yet"


@pytest.mark.parametrize("stream", [True, False])
def test_tokens_that_come_with_the_last_one_are_not_lost_behind_a_boundary_fault(stream):
    """After its silence the rest of an answer comes at once: a chunk that ends earlier is no end."""
    spec = SimProvider(
        ttft=Constant(0.1),
        inter_token=Constant(0.0),
        stall=StreamStall(probability=1.0, per="answer", duration=Constant(1.0)),
    )
    fault = Fault(name="f", provider="p", stall=Stall(after_tokens=1, time=Constant(0.2)))
    seen = play(spec, lambda bench: [bench.go(n, tokens=30, stream=stream) for n in range(20)], [fault])
    for visit in seen:
        assert (visit.word, visit.response.tokens_delivered, visit.usage.output_tokens) == ("ok", 30, 30)
        assert visit.end_s == pytest.approx(1.1)


def test_who_hangs_up_while_the_call_is_on_its_way_has_not_called():
    spec = SimProvider(network=Constant(1.0), ttft=Constant(1.0), rate_limit=Limits(requests=1 / 60))
    seen = play(spec, lambda bench: [bench.go(0, leave_at=0.5), bench.go(1, at=0.1)])
    assert (seen[0].word, seen[0].usage) == ("left", Usage())
    assert (seen[1].word, seen[1].first_s) == ("ok", 2.1), "the one request of this minute was not used up"
