"""Breaker, cooldown and ejection together, whatever happens to the calls."""

import asyncio
import itertools

import pytest
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.errors import RateLimited, ServerError, StreamBroken, TtftTimeout
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker, Cooldown, Fallback, OutlierEjection, Timeout

ITEMS = st.one_of(
    st.floats(0.0, 2.0),
    st.builds(RateLimited, retry_after_s=st.sampled_from([None, 0.0, 1.0, 8.0])),
    st.builds(ServerError),
    st.builds(lambda: ["x", StreamBroken()]),
)
CALLERS = st.tuples(
    st.floats(0.0, 30.0),  # when it comes
    st.one_of(st.none(), st.floats(0.0, 3.0)),  # when it goes away
    st.booleans(),  # whether it closes politely
)


class Noted(list):
    """Events with their times."""

    def append(self, event):
        super().append((asyncio.get_running_loop().time(), *event))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.lists(ITEMS, min_size=1, max_size=12),
    st.lists(ITEMS, min_size=1, max_size=12),
    st.lists(CALLERS, min_size=1, max_size=15),
    st.sampled_from(["fail", "ask", "wait"]),
    st.sampled_from([None, 4.0]),
)
def test_nothing_leaks_and_every_promise_is_kept(a_script, b_script, callers, when_all, ramp):
    async def main():
        a, b = Toy(*a_script, 0.1), Toy(*b_script, 0.1, name="b")
        upstream = (
            OutlierEjection(consecutive_errors=2, base_ejection_time=3.0, ramp=ramp),
            Cooldown(when_all=when_all, ramp=ramp),
            CircuitBreaker(minimum_calls=2, wait_in_open=2.0, permitted_in_half_open=1, slow_call=1.5, ramp=ramp),
            Timeout(ttft=1.8),
        )
        site = Site(Gateway(policies=(Fallback(order=("a", "b")),), upstream=upstream), a, b)
        noted = site.events = Noted()

        async def caller(number, come, go, politely):
            await asyncio.sleep(come)
            task = asyncio.create_task(outcome(site.running.send(ask(number))))
            await asyncio.wait([task], timeout=go)
            if not task.done() and not politely:
                task.cancel()
                await asyncio.wait([task])
                return
            result, _ = await task
            if isinstance(result, Exception):
                return
            if politely and go is not None:
                result.close()
            else:
                await outcome(result.read())

        await asyncio.gather(*(caller(number, *one) for number, one in enumerate(callers)))
        assert (a.in_flight, b.in_flight, a.open_streams, b.open_streams, site.running.in_flight) == (0,) * 5
        assert not [kind for _, kind, _ in noted if kind == "leaked_stream"]
        for number in range(26):  # until the scripts are played out; after 400 s every refusal is over
            await asyncio.sleep(400)
            await outcome(site.send(ask(1000 + number)))
        ends = [await outcome(site.send(ask(2000 + number))) for number in range(2)]
        assert all(not isinstance(result, Exception) for result, _ in ends)
        keeps_its_promises(noted)

    play(main)


def keeps_its_promises(noted):
    """Never both ejected at once; the end of a cooldown never earlier than it was."""
    ejections = [(at, at + fields["for_s"]) for at, kind, fields in noted if kind == "outlier_ejection"]
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(sorted(ejections)))
    for name in ("a", "b"):
        ends = [
            at + fields["for_s"]
            for at, kind, fields in noted
            if kind == "cooldown" and fields["state"] == "cooling" and fields["upstream"] == name
        ]
        assert ends == sorted(ends)


def test_who_waits_and_is_timed_out_has_not_failed_the_upstream():
    async def main():
        a = Toy(RateLimited(retry_after_s=20.0), 0.0)
        cooldown = Cooldown(when_all="wait", time=30.0, failures=1, jitter=0.0)
        site = Site(Gateway(upstream=(Timeout(ttft=3.0), cooldown)), a)
        await outcome(site.send())
        for _ in range(3):
            assert isinstance((await outcome(site.send()))[0], TtftTimeout)
        await asyncio.sleep(11)
        await site.send()
        assert a.times == [0.0, 20.0]

    play(main)
