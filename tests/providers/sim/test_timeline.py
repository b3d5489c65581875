"""One timeline, however it is looked at: read, iterated, slowly, in one piece."""

import asyncio
import math

import numpy as np
import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Exponential, Gamma, Lognormal
from llmsim.luck import Luck
from llmsim.providers.faults import Fault, Scale
from llmsim.providers.sim.gaps import _POOL, GapPool
from llmsim.providers.sim.spec import SimProvider
from llmsim.types import Usage

GAPS = [Constant(0.02), Exponential(0.05), Lognormal(p50=0.02, p99=0.9), Gamma(mean=0.03, cv=2.0)]
LENGTHS = [1, 2, 3, 8, 9, 10, 17, 250, 5000]


def _spec(gaps, **more):
    return SimProvider(ttft=Constant(0.4), inter_token=gaps, **more)


def _one(spec, **visit):
    return play(spec, lambda bench: bench.go(3, at=1.0, **visit))[0]


@pytest.mark.matrix
@pytest.mark.parametrize("gaps", GAPS, ids=lambda gaps: type(gaps).__name__)
@pytest.mark.parametrize("tokens", LENGTHS)
def test_read_iterated_slowly_and_in_one_piece_agree(gaps, tokens):
    read, iterated = _one(_spec(gaps), tokens=tokens), _one(_spec(gaps), tokens=tokens, how="iterate")
    whole = _one(_spec(gaps), tokens=tokens, stream=False)
    slow = _one(_spec(gaps), tokens=tokens, how="iterate", pause_s=1.7)
    for seen in (read, iterated, whole, slow):
        assert (seen.word, seen.tokens, seen.usage[:2]) == ("ok", tokens, (10, tokens))
        assert seen.response.finish_reason == "stop"
        assert len("".join(chunk.text for _, chunk in seen.chunks).split()) == tokens
    assert read.first_s == iterated.first_s == slow.first_s == 1.4
    # The very same instant, not one within rounding: else a policy that iterates would change what happens.
    assert read.end_s == iterated.end_s == whole.end_s == whole.first_s
    assert slow.end_s >= read.end_s
    assert slow.end_s <= read.end_s + 1.7 * (len(slow.chunks) + 1)


@pytest.mark.parametrize("gaps", GAPS, ids=lambda gaps: type(gaps).__name__)
def test_chunks_come_when_their_last_token_does(gaps):
    seen = _one(_spec(gaps), tokens=400, how="iterate")
    pool = GapPool(gaps)
    # Where the window lies is the provider's business: find it by the end, then hold every chunk to it.
    total = seen.end_s - seen.first_s
    starts = [0] if pool.constant is not None else range(_POOL)
    place = min(starts, key=lambda start: abs(float(pool.window(start, 399).sum()) - total))
    times = seen.first_s + np.concatenate([[0.0], np.cumsum(pool.window(place, 399))])
    reached = 0
    for when, chunk in seen.chunks:
        reached += chunk.tokens
        assert when == pytest.approx(times[reached - 1], abs=1e-9)
        assert chunk.tokens <= 8
    # A silence that a reader's own timer could notice is never inside of a chunk.
    ends = np.cumsum([chunk.tokens for _, chunk in seen.chunks])
    inside = np.setdiff1d(np.arange(1, 400), ends)
    assert not len(inside) or np.diff(times)[inside - 1].max() <= 0.25
    assert seen.response.longest_gap_s == pytest.approx(np.diff(times).max(), abs=1e-12)


@pytest.mark.parametrize("gaps", [Constant(0.001), Exponential(0.001)], ids=["constant", "exponential"])
def test_an_answer_longer_than_the_pool(gaps):
    tokens = 3 * _POOL + 5
    read, iterated = _one(_spec(gaps), tokens=tokens), _one(_spec(gaps), tokens=tokens, how="iterate")
    assert read.tokens == iterated.tokens == tokens
    assert read.end_s == iterated.end_s
    assert read.end_s - read.first_s == pytest.approx(tokens * 0.001, rel=0.03)


def test_answers_differ_from_request_to_request_and_not_from_run_to_run():
    def script(bench):
        for number in range(50):
            bench.go(number, tokens=30)

    spec = _spec(Exponential(0.05), concurrency=None)
    first, again = play(spec, script), play(spec, script)
    ends = [visit.end_s for visit in first]
    assert ends == [visit.end_s for visit in again]
    assert len(set(ends)) == 50
    assert ends != [visit.end_s for visit in play(spec, script, seed=2)]


def test_a_pool_has_the_moments_of_its_distribution():
    for distribution, sd in [(Exponential(0.05), 0.05), (Gamma(mean=0.03, cv=0.4), 0.012)]:
        pool = GapPool(distribution)
        totals = [pool.stretch(u, 40)[1] for u in Luck(1).series("u").array(0, 8000)]
        # The middle of 16384 equal parts stands for each part: what that loses is the far end of the tail.
        assert pool.gaps.mean() == pytest.approx(distribution.mean, rel=1e-4)
        assert np.std(totals) == pytest.approx(sd * math.sqrt(40), rel=0.05)


@pytest.mark.parametrize("count", [7, 5000, _POOL, _POOL + 9])
def test_every_gap_is_as_likely_as_any_other(count):
    """The mean over all places is that of the pool, whatever the length: no gap stands at a favoured place."""
    pool = GapPool(Gamma(mean=0.03, cv=0.4))
    totals = [pool.stretch((place + 0.5) / _POOL, count)[1] for place in range(_POOL)]
    assert np.mean(totals) / count == pytest.approx(pool.gaps.mean(), rel=1e-9)


def test_a_distribution_that_cannot_be_hashed_has_a_pool_too():
    class Odd:
        __hash__ = None
        mean = 1.0

        def quantile(self, u):
            return 2 * u

    assert GapPool.of(Odd()).gaps.mean() == pytest.approx(1.0)
    assert GapPool.of(Gamma(mean=0.03, cv=0.4)) is GapPool.of(Gamma(mean=0.03, cv=0.4))


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_a_distribution_of_other_numbers_than_doubles_has_the_pool_it_means(kind):
    class Whole:
        mean = 2.0

        def quantile(self, u):
            return np.floor(1 + 3 * u).astype(kind)

    pool = GapPool(Whole())
    place, total, longest = pool.stretch(0.3, 40)
    window = pool.window(place, 40)
    assert (total, longest) == (window.sum(), window.max())
    assert set(window) == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("count", [1, 2, 3, 40, 384, 1023, 1024, 1025, _POOL - 1, _POOL, _POOL + 1, 3 * _POOL + 7])
def test_sum_and_longest_gap_of_a_stretch_are_those_of_its_window(count):
    pool = GapPool(Exponential(1.0))
    for u in (2.0**-53, 0.1, 0.5, 0.999, 1 - 2.0**-52):
        place, total, longest = pool.stretch(u, count)
        window = pool.window(place, count)
        assert len(window) == count
        assert place >= 0
        assert total == pytest.approx(window.sum(), rel=1e-9)
        assert longest == window.max()


def test_stretches_reach_everywhere():
    pool = GapPool(Exponential(1.0))
    places = [pool.stretch(u, 40)[0] for u in Luck(1).series("u").array(0, 4000)]
    assert min(places) < 30
    assert max(places) > _POOL - 30


# -- latency -----------------------------------------------------------------------------------------------------------


def _slow(multiplier, at, duration):
    return Fault(name="slow", provider="p", at=at, duration=duration, latency=Scale(multiplier=multiplier))


def test_a_latency_multiplier_counts_for_calls_that_start_in_its_window():
    def script(bench):
        for number, at in enumerate([0.0, 2.0, 2.5, 4.0]):
            bench.go(number, at=at, tokens=11, how="iterate")

    seen = play(_spec(Constant(0.1)), script, [_slow(3.0, 2.0, 2.0)])
    assert [visit.first_s - visit.start_s for visit in seen] == pytest.approx([0.4, 1.2, 1.2, 0.4])
    assert [visit.end_s - visit.first_s for visit in seen] == pytest.approx([1.0, 3.0, 3.0, 1.0])
    assert [visit.response.longest_gap_s for visit in seen] == pytest.approx([0.1, 0.3, 0.3, 0.1])


def test_overlapping_latency_faults_multiply_and_the_slot_is_what_decides():
    faults = [_slow(2.0, 1.0, 4.0), Fault(name="b", provider="p", at=2.0, duration=2.0, latency=Scale(multiplier=5.0))]

    def script(bench):
        bench.go(0, at=1.5)
        bench.go(1, at=3.0)
        bench.go(2, at=4.5)

    # One slot: call 0 holds it from 1.5 to 2.3, call 1 from 3 to 7 (10x), call 2 gets it at 7 in good health.
    seen = play(_spec(Constant(0.1), concurrency=1), script, faults)
    assert [visit.end_s for visit in seen] == pytest.approx([2.3, 7.0, 7.4])


def test_fault_windows_are_on_the_scenarios_clock():
    def script(bench):
        bench.go(0, at=9.9)
        bench.go(1, at=10.0)
        bench.go(2, at=11.0)

    seen = play(_spec(Constant(0.1)), script, [_slow(2.0, 0.0, 1.0)], zero_s=10.0)
    assert [visit.end_s - visit.start_s for visit in seen] == pytest.approx([0.4, 0.8, 0.4])


# -- limits ------------------------------------------------------------------------------------------------------------
# Prefill 0.4 s from t = 1, so the first token is at 1.4; gaps of 0.5 s (each its own chunk).


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize(
    ("gap_s", "word", "end_s", "tokens"),
    [(0.5, "ok", 3.4, 5), (0.4999, "stream_stalled", 1.8999, 1), (10.0, "ok", 3.4, 5)],
)
def test_a_gap_limit_counts_silence_and_is_not_passed_by_the_very_gap(gap_s, word, end_s, tokens, how):
    seen = _one(_spec(Constant(0.5)), tokens=5, how=how, gap_s=gap_s)
    assert (seen.word, seen.end_s) == (word, pytest.approx(end_s))
    assert seen.tokens == tokens
    if word != "ok":
        assert seen.error.tokens_delivered == tokens
        assert seen.usage == Usage(10, tokens)


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_a_gap_limit_stops_at_the_first_gap_that_is_longer(how):
    """Against the gaps themselves; a limit that one of them just meets is met."""
    pool = GapPool(Exponential(0.1))
    whole = _one(_spec(Exponential(0.1)), tokens=60)
    place = int(np.argmin([abs(pool.window(k, 59).sum() - (whole.end_s - 1.4)) for k in range(_POOL)]))
    gaps = pool.window(place, 59)
    for gap_s in sorted(gaps)[20:58]:
        first = int(np.flatnonzero(gaps > gap_s)[0])
        seen = _one(_spec(Exponential(0.1)), tokens=60, how=how, gap_s=float(gap_s))
        assert (seen.word, seen.tokens) == ("stream_stalled", first + 1)
        assert seen.end_s == pytest.approx(1.4 + gaps[:first].sum() + gap_s)


@pytest.mark.parametrize("how", ["read", "iterate"])
@pytest.mark.parametrize(
    ("until_s", "word", "end_s", "tokens"),
    [
        (3.5, "ok", 3.4, 5),
        (3.4, "ok", 3.4, 5),
        (3.3999, "deadline_exceeded", 3.3999, 4),
        (2.0, "deadline_exceeded", 2.0, 2),
        (1.45, "deadline_exceeded", 1.45, 1),
    ],
)
def test_an_end_in_time_is_held_to_the_instant(until_s, word, end_s, tokens, how):
    seen = _one(_spec(Constant(0.5)), tokens=5, how=how, until_s=until_s)
    assert (seen.word, seen.end_s) == (word, pytest.approx(end_s, abs=1e-9))
    assert seen.tokens == tokens
    if word != "ok":
        assert seen.error.tokens_delivered == tokens
        assert seen.usage == Usage(10, tokens)


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_what_came_before_a_stall_inside_a_chunk_is_delivered_first(how):
    """Gaps of 20 ms come in chunks of eight; a 50 ms silence among them must not swallow what came before it."""
    gaps = GapPool(Lognormal(p50=0.02, p99=0.08))
    seen = _one(_spec(Lognormal(p50=0.02, p99=0.08)), tokens=200, how=how, gap_s=0.06)
    assert seen.word == "stream_stalled"
    assert seen.error.tokens_delivered == seen.tokens == seen.response.tokens_delivered
    assert 1 < seen.tokens < 200
    assert gaps.gaps.max() > 0.06


def test_the_tighter_of_two_limits_wins_whatever_the_order():
    async def script(bench):
        for number, (first, second) in enumerate([((0.3, 5.0), (9.0, 2.1)), ((9.0, 2.1), (0.3, 5.0))]):
            response = await bench.provider.send(bench.request(number, tokens=9))
            start = bench.loop.time()
            for gap_s, until_s in (first, second):
                response.limit(gap_s=gap_s, until_s=start + until_s, late=lambda n: TimeoutError())
            with pytest.raises(Exception, match=r"no token for 0\.3s"):
                await response.read()
            assert bench.loop.time() == pytest.approx(start + 0.3)
        return []

    play(_spec(Constant(0.5)), script)


def test_who_closes_right_after_a_chunk_is_billed_for_all_of_it():
    async def script(bench):
        for number in range(200):
            response = await bench.provider.send(bench.request(number, tokens=100))
            for _ in range(1 + number % 7):
                await anext(response)
            response.close()
            assert response.usage == Usage(10, response.tokens_delivered)
        return []

    play(_spec(Exponential(0.05)), script)


def test_a_caller_that_cancels_its_own_read_leaves_the_stream():
    async def script(bench):
        response = await bench.provider.send(bench.request(0, tokens=9))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2):
                await response.read()
        assert (response.outcome.kind, response.usage) == ("cancelled", Usage(10, 3))
        assert bench.sim.server.busy == 0
        return []

    play(_spec(Constant(0.5), concurrency=1), script)
