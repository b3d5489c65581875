"""The same policy objects give the same attempts, outcomes, events and times in the lab and over real sockets.

Facts may not differ at all. Spans between two moments may differ by 20 ms, for what sockets and httpx take, and by
twice what the loop itself was late, which is nothing on a quiet machine: a heartbeat in the same run measures it. Since
a busy machine can change even facts (a token just before a deadline), a story is told up to three times.
"""

import asyncio
import dataclasses

import pytest
from loopback import Cut, Stall, completion, failure, hang, hang_up, stream
from parity.worlds import Story, Upstream, live, simulated, tries_of

import llmsim as ls
from llmsim.algorithms import Aimd
from llmsim.distributions import Constant
from llmsim.errors import StreamBroken
from llmsim.gateway.policies import (
    ActiveBudget,
    AdaptiveRate,
    AdaptiveThrottling,
    Backoff,
    Budget,
    Cascade,
    ConcurrencyLimit,
    Cooldown,
    Hedge,
    MaxTokens,
    OutlierEjection,
    Quota,
    RetryRule,
    Routing,
    RunawayGuard,
    SingleFlight,
    StructuredOutput,
)
from llmsim.pricing import TokenPrice
from llmsim.providers.faults import Abort, Fault, StreamBreak
from llmsim.providers.faults import Stall as StallFault
from llmsim.providers.sim.outputs import JsonDefects, Output
from llmsim.providers.sim.spec import SimProvider
from llmsim.types import Response, WholeAnswer

pytestmark = pytest.mark.clock
TOLERANCE_S = 0.020


def _sim(ttft=0.05, gap=0.02):
    return SimProvider(ttft=Constant(ttft), inter_token=Constant(gap), answer_time=Constant(0.0))


def _fault(**effects):
    return Fault(name="f", provider="p", **effects)


def fine(ttft=0.05, gap=0.02):
    """An upstream that answers with four tokens."""
    return Upstream([stream("a", "b", "c", "d", ttft_s=ttft, gap_s=gap)], _sim(ttft, gap))


def _priced(upstream):
    """The same for money: a call of 10 and 4 tokens costs $0.0003."""
    return dataclasses.replace(upstream, price=TokenPrice(input=1e-5, output=5e-5))


def failing(status, **answer):
    """One that answers every call with this status, at once."""
    return Upstream([failure(status, **answer)], _sim(), [_fault(abort=Abort(status=status))])


@ls.policy
async def small_ones_go_to_b(request, call_next):
    return await call_next(request.to("b") if request.input_tokens < 50 else request)


@ls.policy
async def stubborn(request, call_next):
    """What is often written by hand: try for ever, wait half a second."""
    while True:
        try:
            return await call_next(request)
        except ls.GatewayError:
            await asyncio.sleep(0.5)


@ls.policy
async def whole_or_again(request, call_next):
    """Read the whole answer; if it breaks, ask again."""
    while True:
        response = await call_next(request)
        try:
            text = await response.read()
        except StreamBroken as error:
            ls.current_run().emit("again", request, delivered=error.tokens_delivered)
            continue
        tokens = response.tokens_delivered
        return Response(WholeAnswer(text, tokens, response.usage), upstream=response.upstream, parents=(response,))


@ls.policy
async def hedge(request, call_next):
    """Ask b too when a has said nothing for 0.15 s."""
    first = asyncio.ensure_future(call_next(request.to("a")))
    done, _ = await asyncio.wait({first}, timeout=0.15)
    if not done:
        second = asyncio.ensure_future(call_next(request.to("b")))
        done, others = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
    return done.pop().result()


FALLBACK = ls.Fallback(order=("a", "b"))
RETRY = ls.Retry(max_attempts=3, backoff=Backoff(initial=0.1, jitter="full"))
RULES = ls.Retry(
    max_attempts=3,
    backoff=Backoff(initial=0.1, jitter="added", spread=0.1),
    rules=(RetryRule(on=(503,), max_attempts=2),),
    quota=Quota(),
    active_budget=ActiveBudget(),
)
BUFFERING = ls.Retry(max_attempts=2, backoff=Backoff(initial=0.1, jitter=0.25), on=("stream_broken",), buffer=True)
WAITING_A_LITTLE = ls.Retry(max_attempts=3, backoff=Backoff(initial=0.1, jitter="none"))
WAITING = ls.Retry(max_attempts=3, backoff=Backoff(initial=1.0, jitter="none"))

STORIES = {
    "429 with Retry-After, then fine": Story(
        ls.Gateway(policies=(RETRY,)),
        {
            "a": Upstream(
                [failure(429, headers={"Retry-After": "0.2"}), *fine().live],
                _sim(),
                [_fault(duration=0.1, abort=Abort(status=429, retry_after=0.2))],
            )
        },
    ),
    "no first token in time, then the fallback": Story(
        ls.Gateway(policies=(FALLBACK,), upstream=(ls.Timeout(ttft=0.15),)),
        {"a": Upstream([hang()], _sim(ttft=60.0)), "b": fine()},
    ),
    "a failing upstream, three attempts with jitter, then the fallback": Story(
        ls.Gateway(policies=(FALLBACK, RETRY)), {"a": failing(500), "b": fine()}
    ),
    "a rule for overload, and a mark that ends the retry around it": Story(
        ls.Gateway(policies=(ls.Retry(max_attempts=3, name="outer"), FALLBACK, RULES)),
        {"a": failing(503), "b": failing(500)},
    ),
    "a stream is cut, and a retry that held it back asks again": Story(
        ls.Gateway(policies=(BUFFERING,)),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Cut()]), *fine().live],
                _sim(),
                [_fault(duration=0.05, break_=StreamBreak(after_tokens=1))],
            )
        },
    ),
    "adaptive throttling refuses, and the fallback takes over": Story(
        ls.Gateway(
            policies=(ls.Fallback(order=("a", "b"), on=("server_error", "rejected")),),
            upstream=(AdaptiveThrottling(minimum_requests=0),),
        ),
        {"a": failing(500), "b": fine()},
        requests=({},) * 5,
    ),
    "a throttled client holds back, half a call a second": Story(
        # It measures by the clock's own half seconds, at which a story begins in one world and not in the other.
        ls.Gateway(upstream=(AdaptiveRate(min_rate=5.0, bucket=1000.0),)),
        {"a": failing(429)},
        requests=({},) * 3,
    ),
    "every upstream fails": Story(ls.Gateway(policies=(FALLBACK, RETRY)), {"a": failing(503), "b": failing(529)}),
    "an error that is not retried": Story(ls.Gateway(policies=(FALLBACK, RETRY)), {"a": failing(400), "b": fine()}),
    "the deadline passes while a user's policy backs off": Story(
        ls.Gateway(policies=(ls.Deadline(timeout=0.3), stubborn)), {"a": failing(503)}
    ),
    "a retry that would sleep past the deadline does not": Story(
        ls.Gateway(policies=(ls.Deadline(timeout=0.3), WAITING)), {"a": failing(503)}
    ),
    "the deadline passes in the middle of a stream": Story(
        ls.Gateway(policies=(ls.Deadline(timeout=0.3),)), {"a": fine(gap=0.1)}
    ),
    "the stream falls silent": Story(
        ls.Gateway(policies=(FALLBACK,), upstream=(ls.Timeout(ttft=1.0, inter_token=0.15),)),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Stall()])],
                _sim(),
                [_fault(stall=StallFault(after_tokens=1, time=Constant(60.0)))],
            ),
            "b": fine(),
        },
    ),
    "the stream is cut": Story(
        ls.Gateway(policies=(FALLBACK, RETRY)),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Cut()])],
                _sim(),
                [_fault(break_=StreamBreak(after_tokens=1))],
            ),
            "b": fine(),
        },
    ),
    "the stream is cut and a user's policy asks again": Story(
        ls.Gateway(policies=(whole_or_again,)),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Cut()]), *fine().live],
                _sim(),
                [_fault(duration=0.05, break_=StreamBreak(after_tokens=1))],
            )
        },
    ),
    "the stream is cut and the fallback goes on with the answer": Story(
        ls.Gateway(policies=(ls.Fallback(mid_stream="continue"), Routing(strategy="ordered"))),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Cut()])],
                _sim(),
                [_fault(break_=StreamBreak(after_tokens=1))],
            ),
            "b": Upstream([stream("b", "c", "d", ttft_s=0.05, gap_s=0.02)], _sim()),
        },
    ),
    "no first token in time, and both are waited for": Story(
        ls.Gateway(policies=(ls.Fallback(ttft=0.1, on_ttft="keep"),)),
        {"a": Upstream([stream("a", "b", "c", "d", ttft_s=0.2, gap_s=0.02)], _sim(ttft=0.2)), "b": fine(ttft=0.4)},
    ),
    "routed by chance, and on to another when it fails": Story(
        ls.Gateway(policies=(ls.Fallback(), Routing(strategy="weighted"))),
        {"a": failing(503), "b": fine(), "c": failing(429)},
        requests=({},) * 4,
    ),
    "the server hangs up": Story(
        ls.Gateway(policies=(FALLBACK,)),
        {"a": Upstream([hang_up()], _sim(), [_fault(outage=True)]), "b": fine()},
    ),
    "a user's policy routes": Story(
        ls.Gateway(policies=(small_ones_go_to_b,)),
        {"a": fine(ttft=0.2), "b": fine()},
        requests=({"input_tokens": 20}, {"input_tokens": 80}),
    ),
    "a hedge wins and the loser is cancelled": Story(
        ls.Gateway(policies=(hedge,)), {"a": Upstream([hang()], _sim(ttft=60.0)), "b": fine()}
    ),
    "the library's hedge wins": Story(
        ls.Gateway(policies=(Hedge(after=0.15, to=("b",), budget=None),)),
        {"a": Upstream([hang()], _sim(ttft=60.0)), "b": fine()},
    ),
    "the library's hedge goes out at once after a failure": Story(
        ls.Gateway(policies=(SingleFlight(), Hedge(after=5.0, to=("b",), budget=None))),
        {"a": failing(503), "b": fine()},
    ),
    "a shared flight of one is a flight, with a permit and a limit on silence": Story(
        ls.Gateway(
            policies=(ls.Timeout(inter_token=0.15), SingleFlight()), upstream=(ConcurrencyLimit(aimd=Aimd(initial=1)),)
        ),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Stall()])],
                _sim(),
                [_fault(stall=StallFault(after_tokens=1, time=Constant(60.0)))],
            )
        },
    ),
    "an attempt that could not finish is not begun": Story(
        ls.Gateway(
            policies=(ls.Deadline(timeout=0.3), WAITING_A_LITTLE),
            upstream=(ls.Deadline(timeout=None, minimum=0.25),),
        ),
        {"a": failing(503)},
    ),
    "a whole answer takes too long": Story(
        ls.Gateway(policies=(RETRY,), upstream=(ls.Timeout(total=0.15),)),
        {"a": Upstream([completion("a b c d", usage=(10, 4), delay_s=1.0)], _sim(ttft=1.0))},
        requests=({"stream": False},),
    ),
    "a whole answer in time": Story(
        ls.Gateway(policies=(RETRY,), upstream=(ls.Timeout(total=1.0),)),
        {"a": Upstream([completion("a b c d", usage=(10, 4), delay_s=0.11)], _sim())},
        requests=({"stream": False},),
    ),
    "the breaker opens": Story(
        ls.Gateway(policies=(FALLBACK,), upstream=(ls.CircuitBreaker(minimum_calls=2, failure_rate=0.5),)),
        {"a": failing(500), "b": fine()},
        requests=({}, {}, {}),
    ),
    "the third call of a session is refused": Story(
        ls.Gateway(policies=(RunawayGuard(max_calls=2),)),
        {"a": fine()},
        requests=({"session": "s"},) * 3,
    ),
    "a cascade goes on from a broken stream": Story(
        ls.Gateway(policies=(Cascade(order=("a", "b")),)),
        {
            "a": Upstream(
                [stream("a", "b", ttft_s=0.05, after=1, then=[Cut()])],
                _sim(),
                [_fault(break_=StreamBreak(after_tokens=1))],
            ),
            "b": fine(),
        },
    ),
    "a cascade is content with the first": Story(
        ls.Gateway(policies=(Cascade(order=("a", "b"), min_tokens=4), MaxTokens(cap=50))), {"a": fine(), "b": fine()}
    ),
    "no JSON, and none when asked again": Story(
        ls.Gateway(policies=(StructuredOutput(),)),
        {"a": Upstream(fine().live, dataclasses.replace(_sim(), output=Output(json_defects=JsonDefects(no_json=1.0))))},
        requests=({"response_schema": '{"type": "object"}'},),
    ),
    "the budget is spent and the next call would pass it": Story(
        ls.Gateway(policies=(Budget(limit=0.005), FALLBACK)),
        {"a": failing(500), "b": _priced(Upstream([completion("a b c d", usage=(10, 4), delay_s=0.11)], _sim()))},
        requests=({"stream": False, "max_tokens": 90},) * 4,
    ),
    "a 429 cools an upstream down": Story(
        ls.Gateway(policies=(FALLBACK,), upstream=(Cooldown(time=0.1, ramp=60.0),)),
        {"a": failing(429), "b": fine()},
        requests=({},) * 3,
    ),
    "errors in a row eject an upstream": Story(
        ls.Gateway(policies=(FALLBACK,), upstream=(OutlierEjection(consecutive_errors=2),)),
        {"a": failing(500), "b": fine()},
        requests=({},) * 4,
    ),
    "slow first tokens open the breaker": Story(
        ls.Gateway(
            policies=(FALLBACK,),
            upstream=(ls.CircuitBreaker(minimum_calls=2, sliding_window_calls=2, slow_call=0.12),),
        ),
        {"a": fine(ttft=0.2), "b": fine()},
        requests=({},) * 3,
    ),
    "the second time it comes from the cache": Story(
        ls.Gateway(policies=(ls.Cache(),)),
        {"a": fine()},
        requests=({"messages": (ls.Message("user", "the same"),)},) * 2,
    ),
}


LIVE = tries_of(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_the_same_in_both_worlds(name):
    story = STORIES[name]
    expected = simulated(story)
    assert simulated(story) == expected
    for found in LIVE(name):
        difference = _difference(expected, found)
        if not difference:
            break
    assert not difference


def _difference(expected, found):
    """What differs, in words."""
    for what, ours, theirs in zip(("answers", "attempts", "events"), expected.facts, found.facts, strict=True):
        if ours != theirs:
            return f"{what} differ:\n  in the lab {ours}\n  live       {theirs}"
    apart_s = expected.apart_s(found)
    if apart_s <= TOLERANCE_S + 2 * found.lag_s:
        return ""
    return f"{apart_s * 1e3:.0f} ms apart, while the loop was late by {found.lag_s * 1e3:.0f} ms at most"


def test_the_stories_tell_different_things():
    """Each outcome, cause and event that parity is claimed for occurs in some story."""
    seen = [simulated(story) for story in STORIES.values()]
    outcomes = {answer[0] for one in seen for answer in one.answers}
    assert {"ok", "all_upstreams_failed", "bad_request", "deadline_exceeded", "overloaded"} <= outcomes
    assert {"stream_stalled", "stream_broken", "total_timeout"} <= outcomes
    assert {attempt[2] for one in seen for attempt in one.attempts} == {"first", "retry", "fallback", "hedge"}
    attempts = {attempt[4] for one in seen for attempt in one.attempts}
    assert {"rate_limited", "ttft_timeout", "cancelled", "connection_failed", "server_error"} <= attempts
    assert {event[0] for one in seen for event in one.events} >= {
        "retry",
        "retry_refused",
        "fallback",
        "circuit_breaker",
        "cooldown",
        "outlier_ejection",
    }


def test_jitter_is_that_of_the_seed():
    """The delay of a retry is the same number in both worlds, and another one under another seed."""
    story = STORIES["a failing upstream, three attempts with jitter, then the fallback"]
    delays = [dict(event[1:])["delay_s"] for event in simulated(story).events if event[0] == "retry"]
    again = [dict(event[1:])["delay_s"] for event in live(story).events if event[0] == "retry"]
    assert delays == again
    assert len(set(delays)) == 2
    assert all(0 < delay < 0.2 for delay in delays)
