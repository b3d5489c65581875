import asyncio
import dataclasses
import math

import pytest
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play

from llmsim.errors import (
    BadRequest,
    CircuitOpen,
    RateLimited,
    ServerError,
    StreamBroken,
)
from llmsim.gateway.contract import current_run, policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker, Cooldown, Deadline, Fallback, Timeout

COOL = Cooldown(time=5.0, jitter=0.0)


def now():
    return asyncio.get_running_loop().time()


def gateway(*upstream, policies=(), order=None, **fields):
    fallback = (Fallback(order=order),) if order else ()
    return Gateway(policies=(*policies, *fallback), upstream=upstream, **fields)


def of(site, state):
    return [fields for kind, fields in site.events if kind == "cooldown" and fields["state"] == state]


async def errors(site, times=1, **fields):
    """The outcomes of so many requests, one after the other, each read to its end."""
    return [(await outcome(site.send(ask(number, **fields))))[0] for number in range(times)]


def test_a_retry_after_is_kept_and_then_it_is_asked_again():
    async def main():
        a = Toy(RateLimited(retry_after_s=20.0), 0.0)
        site = Site(gateway(COOL), a)
        await errors(site)
        await asyncio.sleep(8)
        (error,) = await errors(site)
        assert isinstance(error, CircuitOpen)
        assert (error.upstream, error.retry_after_s) == ("a", 12.0)
        assert "a cools down; try again in 12s" in str(error)
        await asyncio.sleep(12)
        await site.send()
        assert a.times == [0.0, 20.0]
        assert [(fields["for_s"], fields["error"]) for fields in of(site, "cooling")] == [(20.0, "rate_limited")]

    play(main)


@pytest.mark.parametrize(
    ("script", "refused"),
    [
        ([RateLimited()], True),
        ([RateLimited(retry_after_s=0.0)] * 5, False),
        ([ServerError()] * 2, False),
        ([ServerError()] * 3, True),
        ([ServerError(), ServerError(), 0.0, ServerError(), ServerError()], False),
        ([ServerError(), ServerError(), BadRequest(), ServerError(), ServerError()], False),
        ([ServerError(retry_after_s=3.0)], True),
        ([["x", StreamBroken()]] * 3, True),
        ([BadRequest(retry_after_s=9.0)] * 5, False),
    ],
)
def test_what_starts_a_cooldown(script, refused):
    async def main():
        site = Site(gateway(COOL), Toy(*script, 0.0))
        await errors(site, len(script))
        (last,) = await errors(site)
        assert isinstance(last, CircuitOpen) == refused

    play(main)


def test_a_long_retry_after_is_capped():
    async def main():
        site = Site(gateway(COOL), Toy(RateLimited(retry_after_s=86400.0)))
        assert (await errors(site, 2))[1].retry_after_s == 300.0

    play(main)


def test_the_longer_deadline_wins_whatever_comes_first():
    """Two calls in flight: one is told 60 s, the other nothing (5 s)."""

    async def main(first, second):
        a = Toy(first, second, delay_s=1.0)
        site = Site(gateway(COOL), a)
        await asyncio.gather(errors(site), errors(site))
        assert (await errors(site))[0].retry_after_s == 60.0
        await asyncio.sleep(59.9)
        assert isinstance((await errors(site))[0], CircuitOpen)

    long, short = RateLimited(retry_after_s=60.0), RateLimited()
    play(lambda: main(long, short))
    play(lambda: main(short, long))


def test_jitter_is_added_and_differs_from_replica_to_replica():
    async def main():
        a = Toy(RateLimited(retry_after_s=100.0))
        site = Site(gateway(dataclasses.replace(COOL, jitter=0.25), replicas=4), a)
        await errors(site, 4)
        waits = [error.retry_after_s for error in await errors(site, 4)]
        assert len(set(waits)) == 4
        assert all(100.0 < wait < 125.0 for wait in waits)

    play(main)


def test_what_the_gateway_says_itself_does_not_count():
    """A breaker inside refuses: nobody asked the upstream (BerriAI/litellm PRs 40718 and 40958)."""

    async def main():
        breaker = CircuitBreaker(minimum_calls=2, wait_in_open=100.0)
        spec = Cooldown(failures=3, on=["any"], jitter=0.0)
        site = Site(gateway(spec, breaker), Toy(ServerError()))
        await errors(site, 20)
        assert not of(site, "cooling")
        assert len(site.attempts) == 2

    play(main)


def test_a_cancelled_call_says_nothing_and_a_timeout_of_ours_is_a_failure():
    async def main():
        a = Toy(9.0)
        site = Site(gateway(COOL), a)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await site.send()
        assert not of(site, "cooling")
        site = Site(gateway(Timeout(ttft=1.0), COOL), Toy(9.0))
        await errors(site, 3)
        assert of(site, "cooling")
        site = Site(gateway(COOL, policies=[Deadline(timeout=1.0)]), Toy(9.0))
        await errors(site, 5)
        assert not of(site, "cooling")

    play(main)


def test_the_deadline_is_posted_for_those_who_choose():
    seen = []

    @policy
    async def look(request, call_next):
        run = current_run()
        seen.append(run.health.refused_until_s("a"))
        return await call_next(request)

    async def main():
        site = Site(gateway(COOL, policies=[look]), Toy(RateLimited(retry_after_s=30.0)))
        await errors(site, 2)
        assert seen == [-math.inf, 30.0]

    play(main)


def test_after_the_end_a_growing_share_is_let_through():
    async def main():
        a = Toy(RateLimited(retry_after_s=10.0), 0.0, gap_s=0.0)
        site = Site(gateway(dataclasses.replace(COOL, ramp=20.0)), a)
        await errors(site)
        await asyncio.sleep(10)
        shares = []
        for _ in range(5):
            results = await errors(site, 400)
            shares.append(sum(not isinstance(result, Exception) for result in results) / 400)
            await asyncio.sleep(5)
        # 400 coins: a standard error of 2.5 % at most.
        assert all(abs(s - e) < 0.1 for s, e in zip(shares, (0.1, 0.25, 0.5, 0.75, 1.0), strict=True))
        assert (shares[0] < 0.2) and shares[4] == 1.0

    play(main)


@pytest.mark.parametrize(("shared", "attempts"), [(False, 3), (True, 1)])
def test_shared_by_replicas_it_is_told_once(shared, attempts):
    async def main():
        a = Toy(RateLimited(retry_after_s=60.0))
        site = Site(gateway(dataclasses.replace(COOL, shared=shared), replicas=3), a)
        await errors(site, 12)
        assert len(site.attempts) == attempts

    play(main)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"time": 0.0}, "time must be above 0"),
        ({"max": -1.0}, "max must be above 0"),
        ({"ramp": 0.0}, "ramp must be above 0"),
        ({"failures": 0}, "failures must be at least 1"),
        ({"jitter": 1.5}, "write 25%"),
        ({"when_all": "panic"}, "fail, ask or wait"),
        ({"among": ["a"]}, "write when_all: wait, or remove it"),
        ({"among": "a", "when_all": "ask"}, "takes a list"),
        ({"at_once": []}, "at_once is empty"),
        ({"at_once": ["nope"]}, "unknown error word"),
        ({"on": ["rejected"]}, "take it out of on:"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Cooldown(**fields)
