import asyncio
from dataclasses import replace

import pytest
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.backoff import Backoff
from llmsim.errors import (
    AuthError,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
    TtftTimeout,
)
from llmsim.gateway.policies import Retry

STEADY = Backoff(initial=1.0, max=20.0, multiplier=2.0, jitter="none")


def play(spec, *script, request=None, world=None, delay_s=0.0):
    """(result or error, seconds, provider, world) of one request through one retry."""
    world = world or World()
    provider = Toy(*script, delay_s=delay_s)

    async def main():
        call = chain(world.start(spec), inner=provider.send)
        return await outcome(call(request or ask()))

    return *run(main()), provider, world


def test_waits_as_the_backoff_says_and_stops_after_max_attempts():
    error, seconds, provider, world = play(Retry(max_attempts=4, backoff=STEADY), ServerError())
    assert isinstance(error, ServerError)
    assert provider.times == [0, 1, 3, 7]
    assert seconds == 7  # no sleep after the last
    assert world.of("retry") == [
        {"attempt": attempt, "delay_s": delay, "error": "server_error"} for attempt, delay in ((2, 1), (3, 2), (4, 4))
    ]


def test_returns_the_first_answer():
    response, seconds, provider, _ = play(Retry(backoff=STEADY), ConnectionFailed(), 0.5)
    assert response.upstream == "a"
    assert seconds == 1.5
    assert len(provider.calls) == 2


def test_one_attempt_is_no_retry():
    error, seconds, provider, world = play(Retry(max_attempts=1), ServerError())
    assert isinstance(error, ServerError)
    assert (seconds, len(provider.calls), world.events) == (0, 1, [])


@pytest.mark.parametrize("error", [RateLimited(), Overloaded(), ConnectionFailed(), TtftTimeout(), TimeoutError()])
def test_retries_by_default(error):
    assert play(Retry(backoff=STEADY), error, 0.0)[0].upstream == "a"


@pytest.mark.parametrize(
    "error",
    [QuotaExhausted(), BadRequest(), AuthError(), BudgetExceeded(), DeadlineExceeded(), CircuitOpen(), KeyError()],
)
def test_does_not_retry_by_default(error):
    result, _, provider, world = play(Retry(), error)
    assert result is error
    assert len(provider.calls) == 1
    assert world.events == []


@pytest.mark.parametrize("error", [QuotaExhausted(), BadRequest(), AuthError(), BudgetExceeded(), DeadlineExceeded()])
def test_never_retries_what_waiting_does_not_cure(error):
    for on in (["any"], [429, 400, 401], ["4xx", "5xx"]):
        assert len(play(Retry(on=on), error)[2].calls) == 1


def test_on_says_which():
    assert len(play(Retry(on=["circuit_open"], backoff=STEADY), CircuitOpen())[2].calls) == 3
    assert len(play(Retry(on=[502], backoff=STEADY), ServerError(status=502))[2].calls) == 3
    assert len(play(Retry(on=[502], backoff=STEADY), ServerError(status=500))[2].calls) == 1


def test_the_jitter_is_the_requests_own_luck():
    spec = Retry(max_attempts=3, backoff=Backoff(initial=1.0, jitter="full"))
    waits = [
        [event["delay_s"] for event in play(spec, ServerError(), request=ask(n))[3].of("retry")] for n in range(40)
    ]
    again = [
        [event["delay_s"] for event in play(spec, ServerError(), request=ask(n))[3].of("retry")] for n in range(40)
    ]
    assert waits == again
    assert len({wait for pair in waits for wait in pair}) == 80
    assert all(0 < first < 1 and 0 < second < 2 for first, second in waits)
    assert 0.3 < sum(first for first, _ in waits) / 40 < 0.7


def test_decorrelated_grows_from_its_last_wait_and_not_from_retry_after():
    spec = Retry(max_attempts=6, backoff=Backoff(initial=1.0, max=50.0, jitter="decorrelated"))
    world = World()
    _, _, _, world = play(spec, ServerError(), world=world)
    previous = 1.0
    for number, event in enumerate(world.of("retry"), start=1):
        luck = world.luck.uniform("retry.backoff", "0/0/0", "", number)
        expected = min(50.0, 1.0 + luck * (3 * previous - 1.0))
        assert event["delay_s"] == pytest.approx(expected)
        previous = expected


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_retry_after_is_a_floor_with_jitter_on_top(jitter):
    spec = Retry(max_attempts=2, backoff=Backoff(initial=1.0, jitter=jitter))
    returns = sorted(play(spec, RateLimited(retry_after_s=20.0), request=ask(n))[1] for n in range(30))
    assert returns[0] > 20.0
    assert returns[-1] < 21.0
    assert len(set(returns)) == 30


def test_retry_after_can_be_ignored():
    spec = Retry(max_attempts=2, backoff=STEADY, honor_retry_after=False)
    assert play(spec, RateLimited(retry_after_s=500.0))[1] == 1.0


def test_gives_up_at_once_when_retry_after_is_too_long():
    error, seconds, provider, world = play(Retry(max_retry_after=60.0), RateLimited(retry_after_s=61.0))
    assert isinstance(error, RateLimited)
    assert (seconds, len(provider.calls)) == (0, 1)
    assert world.of("retry_refused") == [{"attempt": 2, "error": "rate_limited", "reason": "retry_after"}]


def test_does_not_sleep_past_the_deadline():
    error, seconds, provider, world = play(
        Retry(max_attempts=9, backoff=STEADY), ServerError(), request=ask(deadline_s=6.0)
    )
    assert isinstance(error, ServerError)
    assert provider.times == [0, 1, 3]  # the next would be at 7
    assert seconds == 3
    assert world.of("retry_refused") == [{"attempt": 4, "error": "server_error", "reason": "deadline"}]


def test_the_budget_bounds_what_an_outage_costs():
    world, provider = World(), Toy(ServerError())

    async def main():
        handler = world.start(Retry(max_attempts=3, backoff=Backoff(initial=0.001, max=0.001), budget=0.2))
        call = chain(handler, inner=provider.send)
        for number in range(2000):  # 40/s for 50 s
            task = asyncio.create_task(outcome(call(ask(number))))
            await asyncio.sleep(0.025)
            await task

    run(main())
    retries = len(provider.calls) - 2000
    assert retries == len(world.of("retry"))
    assert 0.2 * 2000 <= retries <= 0.2 * 2000 + 60
    assert {event["reason"] for event in world.of("retry_refused")} == {"budget"}


def test_budgets_are_per_instance():
    spec = Retry(max_attempts=2, backoff=STEADY, budget=0.0, budget_minimum=0.1)
    world = World()
    provider = Toy(ServerError())

    async def main():
        for handler in (world.start(spec), world.start(spec)):
            for number in range(2):
                await outcome(chain(handler, inner=provider.send)(ask(number)))

    run(main())
    assert len(provider.calls) == 2 * (2 + 1)


def test_the_errors_do_not_pile_up_as_contexts():
    error, *_ = play(Retry(max_attempts=3, backoff=STEADY), ServerError("1"), ServerError("2"), ServerError("3"))
    assert (str(error), error.__context__) == ("3", None)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 4))
def test_cancelling_at_any_time_leaves_nothing(when):
    provider, world = Toy(ServerError(), RateLimited(), 0.3, delay_s=0.2), World()

    async def main():
        call = chain(world.start(Retry(backoff=STEADY)), inner=provider.send)
        task = asyncio.create_task(call(ask()))
        await asyncio.sleep(when)
        task.cancel()
        try:
            (await task).close()
        except asyncio.CancelledError:
            pass

    run(main())
    assert (provider.in_flight, provider.open_streams) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_attempts": 0}, "includes the first; write 1"),
        ({"on": "timeout"}, r"write on=\('timeout',\)"),
        ({"on": []}, "nothing would ever match"),
        ({"on": ["rate_limitd"]}, "did you mean 'rate_limited'"),
        ({"on": ["bad_request"]}, "does not cure bad_request"),
        ({"on": ["context_too_long"]}, "does not cure context_too_long"),
        ({"budget": 20}, "write budget=0.2 for 20%"),
        ({"budget_minimum": -1.0}, "budget_minimum"),
        ({"max_retry_after": 0.0}, "max_retry_after"),
        ({"max_failure_rate": 10}, "write max_failure_rate=0.1 for 10%"),
        ({"budget_minimum": 2.0}, "budget_minimum has no effect without budget"),
        ({"honor_retry_after": False, "max_retry_after": 5.0}, "max_retry_after has no effect"),
        ({"honor_retry_after": False, "retry_after_jitter": False}, "retry_after_jitter has no effect"),
        ({"honor_retry_after": False, "beyond_max_retry_after": "back_off"}, "beyond_max_retry_after has no effect"),
        ({"buffer": True}, "add stream_broken to on:, or remove buffer"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Retry(**fields)


BY_STATUS = Retry(max_attempts=2, backoff=STEADY, on=("rate_limited", 409, 429, "5xx"), by_status=True)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (QuotaExhausted(), 2),  # a 429 like others
        (BadRequest(status=409), 2),
        (BadRequest(), 1),
        (AuthError(), 1),
        (BudgetExceeded(), 1),  # of the gateway's own
        (DeadlineExceeded(), 1),
        (BadRequest(headers={"x-should-retry": "true"}), 2),
        (QuotaExhausted(headers={"x-should-retry": "false"}), 1),
    ],
    ids=repr,
)
def test_by_status_goes_by_the_statuses_listed_and_by_what_the_upstream_says(error, calls):
    _, _, provider, _ = play(BY_STATUS, error)
    assert len(provider.calls) == calls
    _, _, provider, _ = play(replace(BY_STATUS, by_status=False), error)
    assert len(provider.calls) == 1


def test_by_status_needs_statuses():
    with pytest.raises(ValueError, match="by_status has no effect without statuses"):
        Retry(by_status=True)
