"""Boundary faults, the wrapper in front of any provider."""

import asyncio
import math

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Exponential
from llmsim.errors import AuthError, BadRequest, Overloaded, RateLimited, ServerError
from llmsim.providers.faults import Abort, Delay, Fault, Stall, StreamBreak
from llmsim.providers.faulty import error_of_status
from llmsim.providers.sim.spec import SimProvider
from llmsim.types import Usage

# First token after 0.1 s, then gaps of 0.3 s: each token is a chunk of its own.
SPEC = SimProvider(ttft=Constant(0.1), inter_token=Constant(0.3), answer_time=Constant(0.0))
HOWS = ["read", "iterate"]


def _fault(name="f", at=0.0, duration=1000.0, **effects):
    return Fault(name=name, provider="p", at=at, duration=duration, **effects)


def _one(faults, **visit):
    return play(SPEC, lambda bench: bench.go(0, **{"tokens": 6, **visit}), faults)[0]


def _many(faults, count=1500, **visit):
    def script(bench):
        for number in range(count):
            bench.go(number, **visit)

    return play(SPEC, script, faults)


def _within_luck(share, expected, count):
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


# -- abort -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimited),
        (500, ServerError),
        (502, ServerError),
        (408, ServerError),
        (503, Overloaded),
        (529, Overloaded),
        (401, AuthError),
        (403, AuthError),
        (400, BadRequest),
        (404, BadRequest),
    ],
)
def test_abort_answers_with_the_error_of_the_status(status, kind):
    seen = _one([_fault(abort=Abort(status=status))])
    assert type(seen.error) is kind
    assert (seen.error.status, seen.error.upstream, seen.end_s) == (status, "p", 0.0)
    assert type(error_of_status(status, "p")) is kind


def test_abort_says_when_to_come_back_as_a_provider_would():
    seen = _one([_fault(abort=Abort(status=429, retry_after=2.5))])
    assert seen.error.retry_after_s == 2.5
    assert float(seen.error.headers["retry-after"]) == 2.5


def test_abort_hits_its_share_in_its_window_only():
    faults = [_fault(at=1.0, duration=1.0, abort=Abort(status=503, percentage=0.3))]
    inside = _many(faults, at=1.0)
    assert _within_luck(sum(v.word == "overloaded" for v in inside) / 1500, 0.3, 1500)
    for at in (0.999, 2.0):
        assert {v.word for v in _many(faults, 300, at=at)} == {"ok"}


def test_two_aborts_overlap_as_independent_ones():
    faults = [_fault(name, abort=Abort(status=500, percentage=0.4)) for name in ("a", "b")]
    assert _within_luck(sum(v.word != "ok" for v in _many(faults)) / 1500, 1 - 0.6**2, 1500)


def test_the_next_attempt_of_a_request_has_luck_of_its_own():
    async def script(bench):
        twice = []
        for number in range(1000):
            first = await bench.visit(number)
            twice.append((first.word, (await bench.visit(number)).word))
        return twice

    pairs = play(SPEC, script, [_fault(duration=1e9, abort=Abort(status=500, percentage=0.5))])
    both = sum(pair == ("server_error", "server_error") for pair in pairs)
    assert _within_luck(both / 1000, 0.25, 1000)


# -- delay -------------------------------------------------------------------------------------------------------------


def test_delay_comes_before_the_call():
    seen = _one([_fault(delay=Delay(time=Constant(2.0)))], at=1.0)
    assert (seen.first_s, seen.end_s) == (pytest.approx(3.1), pytest.approx(4.6))


@pytest.mark.slow
def test_delays_are_drawn_for_each_call_and_hit_their_share():
    seen = _many([_fault(delay=Delay(time=Exponential(2.0), percentage=0.25))], tokens=1)
    late = [v.first_s - 0.1 for v in seen if v.first_s > 0.1000001]
    assert _within_luck(len(late) / 1500, 0.25, 1500)
    assert len(set(late)) == len(late)
    assert sum(late) / len(late) == pytest.approx(2.0, rel=4 / math.sqrt(len(late)))


def test_delay_and_abort_of_one_fault_both_happen():
    seen = _one([_fault(delay=Delay(time=Constant(2.0)), abort=Abort(status=503))])
    assert (seen.word, seen.end_s) == ("overloaded", 2.0)


# -- stall -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_stall_is_silence_and_then_everything_that_came_meanwhile(how):
    seen = _one([_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))], how=how)
    # Two tokens at 0.1 and 0.4, then nothing for 5 s, by when the rest (until 1.6) is there.
    assert (seen.word, seen.tokens, seen.end_s) == ("ok", 6, pytest.approx(5.4))
    assert seen.response.longest_gap_s == pytest.approx(5.0)
    assert seen.usage == Usage(10, 6)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("gap_s", [2.0, 4.99])
def test_a_stall_longer_than_the_gap_limit_is_stream_stalled(how, gap_s):
    seen = _one([_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))], how=how, gap_s=gap_s)
    assert (seen.word, seen.end_s) == ("stream_stalled", pytest.approx(0.4 + gap_s))
    assert seen.tokens == seen.error.tokens_delivered == 2


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("until_s", "tokens"), [(3.0, 2), (0.3, 1)])
def test_a_deadline_passes_during_a_stall(how, until_s, tokens):
    seen = _one([_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))], how=how, until_s=until_s, gap_s=30.0)
    assert (seen.word, seen.end_s) == ("deadline_exceeded", pytest.approx(until_s))
    assert seen.tokens == seen.error.tokens_delivered == tokens


@pytest.mark.parametrize("how", HOWS)
def test_a_stall_within_the_limits_is_sat_out(how):
    seen = _one([_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))], how=how, gap_s=5.0, until_s=5.5)
    assert (seen.word, seen.end_s) == ("ok", pytest.approx(5.4))


@pytest.mark.parametrize("how", HOWS)
def test_a_stall_after_the_last_token_holds_back_the_end(how):
    seen = _one([_fault(stall=Stall(after_tokens=6, time=Constant(5.0)))], how=how)
    assert (seen.word, seen.tokens, seen.end_s) == ("ok", 6, pytest.approx(6.6))


@pytest.mark.parametrize("how", HOWS)
def test_a_stall_beyond_the_end_never_comes(how):
    seen = _one([_fault(stall=Stall(after_tokens=7, time=Constant(5.0)))], how=how)
    assert (seen.word, seen.end_s) == ("ok", pytest.approx(1.6))


def test_a_stalled_call_that_is_not_streamed_takes_longer():
    seen = _one([_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))], stream=False)
    assert (seen.word, seen.first_s, seen.tokens) == ("ok", pytest.approx(5.4), 6)


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_during_a_stall_frees_the_call_and_pays_for_what_was_made(stream):
    async def script(bench):
        seen = await bench.visit(0, tokens=6, stream=stream, leave_at=1.1)
        assert bench.sim.server.busy == 0
        return [seen]

    seen = play(SPEC, script, [_fault(stall=Stall(after_tokens=2, time=Constant(5.0)))])[0]
    assert (seen.word, seen.usage) == ("left", Usage(10, 4))


# -- break -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("after", "end_s"), [(1, 0.1), (2, 0.4), (6, 1.6)])
def test_a_break_comes_after_its_tokens(how, after, end_s):
    seen = _one([_fault(break_=StreamBreak(after_tokens=after))], how=how)
    assert (seen.word, seen.end_s) == ("stream_broken", pytest.approx(end_s))
    assert seen.tokens == seen.error.tokens_delivered == after
    assert seen.usage == Usage(10, after)


@pytest.mark.parametrize("how", HOWS)
def test_a_break_beyond_the_end_never_comes(how):
    assert _one([_fault(break_=StreamBreak(after_tokens=7))], how=how).word == "ok"


def test_a_broken_call_that_is_not_streamed_is_an_error_of_the_call():
    seen = _one([_fault(break_=StreamBreak(after_tokens=2))], stream=False)
    assert (seen.word, seen.tokens, seen.end_s) == ("stream_broken", 0, pytest.approx(0.4))
    assert seen.error.tokens_delivered == 0, "who asked for it in one piece was given nothing"


def test_the_slot_of_a_broken_stream_is_free():
    async def script(bench):
        await bench.visit(0, tokens=6)
        assert bench.sim.server.busy == 0
        return []

    play(SPEC, script, [_fault(break_=StreamBreak(after_tokens=2))])


# -- several at once ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fault_that_stalls_some_and_breaks_others_does_each_to_its_own_share():
    stall, cut = Stall(after_tokens=1, percentage=0.5, time=Constant(50.0)), StreamBreak(after_tokens=2, percentage=0.1)
    for faults in ([_fault(stall=stall, break_=cut)], [_fault("a", stall=stall), _fault("b", break_=cut)]):
        seen = _many(faults, tokens=4)
        assert _within_luck(sum(v.word == "stream_broken" for v in seen) / 1500, 0.1, 1500)
        assert _within_luck(sum(v.end_s > 50 for v in seen) / 1500, 0.5, 1500)
        both = sum(v.end_s > 50 and v.word == "stream_broken" for v in seen)
        assert _within_luck(both / 1500, 0.05, 1500)


@pytest.mark.parametrize("how", HOWS)
def test_two_stalls_add_up(how):
    faults = [_fault("a", stall=Stall(after_tokens=1, time=Constant(5.0)))]
    faults += [_fault("b", stall=Stall(after_tokens=3, time=Constant(7.0)))]
    seen = _one(faults, how=how)
    # At 0.1 the first token, silent until 5.1, by when all the others are there: the second silence comes with them.
    assert (seen.word, seen.tokens, seen.end_s) == ("ok", 6, pytest.approx(12.1))


@pytest.mark.parametrize("how", HOWS)
def test_two_stalls_at_one_place_add_up(how):
    faults = [_fault(name, stall=Stall(after_tokens=2, time=Constant(time))) for name, time in (("a", 5.0), ("b", 7.0))]
    seen = _one(faults, how=how)
    assert (seen.word, seen.tokens, seen.end_s) == ("ok", 6, pytest.approx(0.1 + 0.3 + 12.0))


@pytest.mark.parametrize("how", HOWS)
def test_the_earlier_of_two_breaks_counts(how):
    faults = [_fault("a", break_=StreamBreak(after_tokens=4)), _fault("b", break_=StreamBreak(after_tokens=2))]
    assert _one(faults, how=how).tokens == 2


# -- sequence ----------------------------------------------------------------------------------------------------------


def test_a_sequence_for_the_provider_is_one_script_for_all_calls():
    faults = [_fault(sequence=(429, "ok", 503, 529))]
    seen = [v.word for v in _many(faults, 6)]
    assert seen == ["rate_limited", "ok", "overloaded", "overloaded", "ok", "ok"]


def test_a_sequence_per_request_starts_anew_for_each():
    async def script(bench):
        return [(await bench.visit(number)).word for number in (0, 0, 1, 0, 1, 1, 2)]

    words = play(SPEC, script, [_fault(sequence=(429, 500), sequence_per="request")])
    assert words == ["rate_limited", "server_error", "rate_limited", "ok", "server_error", "ok", "rate_limited"]


def test_a_sequence_counts_only_the_calls_in_its_window():
    async def script(bench):
        return [(await bench.visit(0, at=at)).word for at in (0.0, 1.0, 1.2, 3.0)]

    words = play(SPEC, script, [_fault(at=1.0, duration=1.0, sequence=(500, "ok", 500))])
    assert words == ["ok", "server_error", "ok", "ok"]


# -- being a provider --------------------------------------------------------------------------------------------------


def test_without_an_active_fault_nothing_is_in_between():
    async def script(bench):
        response = await bench.provider.send(bench.request(0, tokens=3))
        assert not response.parents
        await response.read()
        await bench.provider.aclose()
        return []

    play(SPEC, script, [_fault(at=5.0, stall=Stall())])


def test_a_spoiled_response_is_that_of_the_provider():
    async def script(bench):
        for stream in (True, False):
            request = bench.request(int(stream), tokens=3, stream=stream)._replace(model="m2")
            response = await bench.provider.send(request)
            assert (response.upstream, response.model, response.status) == ("p", "m2", 200)
            assert response.queue_s == 0.0
            await response.read()
            assert [segment.tokens for segment in response.segments] == [3]
        return []

    play(SPEC, script, [_fault(stall=Stall(after_tokens=1, time=Constant(1.0)))])


def test_a_call_cancelled_in_a_delay_has_not_reached_the_provider():
    async def script(bench):
        seen = await bench.visit(0, leave_at=1.0)
        assert (bench.sim.server.busy, seen.usage) == (0, Usage())
        await asyncio.sleep(10)
        assert bench.sim.server.busy == 0
        return []

    play(SPEC, script, [_fault(delay=Delay(time=Constant(2.0)))])


def test_the_calls_of_a_fault_that_is_over_are_forgotten():
    faults = [_fault(at=1.0, duration=1.0, abort=Abort(status=503, percentage=0.5))]

    async def script(bench):
        for number in range(30):
            await bench.visit(number, at=number * 0.1)
        kept = len(bench.provider._calls)
        await bench.visit(99, at=10.0)
        return [kept, len(bench.provider._calls)]

    assert play(SPEC, script, faults) == [0, 0]
