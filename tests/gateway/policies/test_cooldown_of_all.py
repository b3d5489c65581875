"""What happens to a request when every upstream cools down: it fails, asks the first anyway, or waits for it."""

import asyncio
import dataclasses

import pytest
from gateway.policies.test_cooldown import COOL, errors, gateway, now, of
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.ramp import ramp_delay_s
from llmsim.errors import (
    AllUpstreamsFailed,
    DeadlineExceeded,
    PolicyError,
    RateLimited,
    ServerError,
)
from llmsim.gateway.policies import CircuitBreaker, Deadline

BOTH = {"a": RateLimited(retry_after_s=30.0), "b": RateLimited(retry_after_s=10.0)}


def pair(**fields):
    """Two upstreams that want to be left alone, for 30 s and for 10 s, and answer afterwards."""
    spec = dataclasses.replace(COOL, **fields)
    a, b = (Toy(error, 0.0, name=name, gap_s=0.0) for name, error in BOTH.items())
    return a, b, gateway(spec, order=("a", "b"))


def test_when_all_cool_down_it_fails_at_once():
    async def main():
        a, b, spec = pair()
        site = Site(spec, a, b)
        assert isinstance((await errors(site))[0], AllUpstreamsFailed)
        (error,) = await errors(site)
        assert [cause.retry_after_s for cause in error.causes] == [30.0, 10.0]
        assert now() == 0.0
        assert len(site.attempts) == 2

    play(main)


def test_when_all_cool_down_the_first_that_would_be_back_is_asked_anyway():
    async def main():
        a, b, spec = pair(when_all="ask")
        site = Site(spec, a, b)
        await errors(site)
        assert (await site.send()).upstream == "b"
        assert now() == 0.0
        assert [(fields["upstream"], fields["for_s"]) for fields in of(site, "asked_anyway")] == [("b", 10.0)]

    play(main)


def test_when_all_cool_down_it_waits_for_the_first():
    async def main():
        a, b, spec = pair(when_all="wait")
        site = Site(spec, a, b)
        await errors(site)
        assert (await site.send()).upstream == "b"
        assert now() == 10.0
        assert [(fields["upstream"], fields["for_s"]) for fields in of(site, "waits")] == [("b", 10.0)]

    play(main)


@pytest.mark.parametrize("when_all", ["ask", "wait"])
def test_while_another_is_up_nobody_asks_anyway_or_waits(when_all):
    async def main():
        a, b = Toy(BOTH["a"], 0.0), Toy(0.0, name="b", gap_s=0.0)
        site = Site(gateway(dataclasses.replace(COOL, when_all=when_all), order=("a", "b")), a, b)
        assert [(await site.send()).upstream for _ in range(5)] == ["b"] * 5
        assert now() == 0.0
        assert len(a.calls) == 1

    play(main)


def test_nobody_waits_past_the_deadline():
    async def main():
        a, b, spec = pair(when_all="wait")
        site = Site(dataclasses.replace(spec, policies=(Deadline(timeout=9.0), *spec.policies)), a, b)
        assert isinstance((await errors(site))[0], AllUpstreamsFailed)
        assert isinstance((await errors(site))[0], AllUpstreamsFailed)
        assert now() == 0.0
        site = Site(dataclasses.replace(spec, policies=(Deadline(timeout=11.0), *spec.policies)), *pair()[:2])
        await errors(site)
        await site.send()
        assert now() == 10.0

    play(main)


def test_who_waits_goes_on_waiting_when_the_deadline_moves():
    async def main():
        a = Toy(RateLimited(retry_after_s=10.0), ServerError(retry_after_s=30.0), 0.0, gap_s=0.0, delay_s=5.0)
        site = Site(gateway(dataclasses.replace(COOL, when_all="wait")), a)
        slow = asyncio.create_task(errors(site))  # answers at 5 s: 10 s more
        await asyncio.sleep(1)
        slower = asyncio.create_task(errors(site))  # answers at 6 s: 30 s more
        await asyncio.sleep(4.5)
        waiting = asyncio.create_task(outcome(site.send()))
        await asyncio.gather(slow, slower)
        (response, _), end = await waiting, now()
        assert (response.upstream, end) == ("a", 36.0)
        assert len(of(site, "waits")) == 1

    play(main)


def test_who_waits_keeps_to_its_place_when_another_would_be_sooner_now():
    """The fallback has gone past a already: to be refused here now would be to have waited for nothing."""

    async def main():
        a = Toy(RateLimited(retry_after_s=30.0), 0.0)
        b = Toy(RateLimited(retry_after_s=10.0), ServerError(retry_after_s=60.0), 0.0, name="b", gap_s=0.0, delay_s=5.0)
        site = Site(gateway(dataclasses.replace(COOL, when_all="wait"), order=("a", "b")), a, b)
        first = asyncio.create_task(errors(site))  # a: until 30 s; b answers at 5 s: until 15 s
        await asyncio.sleep(1)
        second = asyncio.create_task(errors(site))  # b answers at 6 s: until 66 s
        await asyncio.sleep(4.5)
        waiting = asyncio.create_task(outcome(site.send()))  # at 5.5 s b is the first
        await asyncio.gather(first, second)
        (response, _), end = await waiting, now()
        assert (response.upstream, end) == ("b", 66.0)

    play(main)


def test_an_open_breaker_is_a_refusal_too():
    """b never cools, but its breaker is open: a is the last one."""

    async def main():
        breaker = CircuitBreaker(minimum_calls=2, wait_in_open=60.0)
        a, b = Toy(BOTH["a"], 0.0), Toy(ServerError(), name="b")
        spec = dataclasses.replace(COOL, when_all="ask", failures=99)
        site = Site(gateway(spec, breaker, order=("a", "b")), a, b)
        await errors(site, 2)
        assert (await site.send()).upstream == "a"

    play(main)


def test_who_waits_does_so_until_a_breaker_behind_the_cooldown_lets_it_through():
    async def main():
        breaker = CircuitBreaker(minimum_calls=1, wait_in_open=40.0, on=("rate_limited",))
        spec = gateway(dataclasses.replace(COOL, when_all="wait"), order=("a",))
        site = Site(
            dataclasses.replace(spec, upstream=(*spec.upstream, breaker)), Toy(RateLimited(retry_after_s=10.0), 0.0)
        )
        await errors(site)
        assert (await site.send()).upstream == "a"
        assert now() == pytest.approx(40.0, abs=0.5)

    play(main)


def test_among_says_who_can_stand_in():
    async def main(**among):
        a, b, c = (*pair()[:2], Toy(name="c"))
        spec = dataclasses.replace(COOL, when_all="ask", **among)
        site = Site(gateway(spec, order=("a", "b")), a, b, c)  # c is there, and nobody is sent to it
        await errors(site)
        return (await errors(site))[0]

    assert isinstance(play(main), AllUpstreamsFailed)
    assert play(lambda: main(among=["a", "b"])).upstream == "b"
    with pytest.raises(PolicyError, match="did you mean 'a'"):
        play(lambda: main(among=["aa", "b"]))


def test_those_who_wait_come_back_one_by_one():
    """A hundred wait for the same moment; with a ramp each has its own."""

    async def main():
        a = Toy(RateLimited(retry_after_s=10.0), 0.0, gap_s=0.0)
        site = Site(gateway(dataclasses.replace(COOL, ramp=20.0, when_all="wait")), a)
        await errors(site)
        await asyncio.gather(*(site.send(ask(number)) for number in range(100)))
        at = a.times[1:]
        assert min(at) == 10.0
        assert len(at) == 100
        assert all(at.count(time) == 1 for time in at if time > 10.0)
        lucks = [ramp_delay_s(site_luck(number), 20.0) for number in range(100)]
        assert sorted(at) == pytest.approx(sorted(10.0 + delay for delay in lucks))

    def site_luck(number):
        from llmsim.luck import Luck

        return Luck(3).uniform("cooldown.ramp", f"{number}/0/0", "a")

    play(main)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 15.0), st.booleans()), min_size=1, max_size=8), st.booleans())
def test_nothing_is_left_of_those_who_stop_waiting(waits, ramp):
    async def main():
        a = Toy(RateLimited(retry_after_s=10.0), 1.0, gap_s=0.5)
        site = Site(gateway(dataclasses.replace(COOL, when_all="wait", ramp=5.0 if ramp else None)), a)
        await errors(site)
        tasks = []
        for number, (after, cancel) in enumerate(waits):
            tasks.append(asyncio.create_task(outcome(site.send(ask(number)))))
            asyncio.get_running_loop().call_later(after, tasks[-1].cancel if cancel else int)
        done, _ = await asyncio.wait(tasks)
        assert len(done) == len(waits)
        assert (a.in_flight, a.open_streams, site.running.in_flight) == (0, 0, 0)
        left = [task for task in tasks if not task.cancelled()]
        assert all(not isinstance(task.result()[0], Exception) for task in left)
        assert all(at >= 10.0 for at in a.times[1:])

    play(main)


def test_the_deadline_of_the_request_comes_from_the_deadline_and_not_from_the_wait():
    """A wait in the middle of which the caller's own limit passes ends as that limit says."""

    async def main():
        a = Toy(RateLimited(retry_after_s=10.0), 5.0)
        site = Site(gateway(dataclasses.replace(COOL, when_all="wait"), policies=[Deadline(timeout=12.0)]), a)
        await errors(site)
        (error,) = await errors(site)
        assert isinstance(error, DeadlineExceeded)
        assert now() == 12.0

    play(main)
