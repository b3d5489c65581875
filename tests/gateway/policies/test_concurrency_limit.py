import asyncio
import contextlib
import dataclasses

import pytest
from gateway.policies.toys import Toy, World, ask, chain, run
from gateway.site import Site, play
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms import Aimd, Gradient2, Vegas
from llmsim.errors import BadRequest, Overloaded, Rejected
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import ConcurrencyLimit, Fallback, Timeout, WaitingLine


async def whole(awaitable):
    response = await awaitable
    return await response.read()


def crowd(spec, provider, count):
    """Requests at once through one limit: results in order of requests, the world, the handler, how long it took."""
    world = World()

    async def main():
        handler = world.start(spec, "a")
        call = chain(handler, inner=provider.send)
        results = await asyncio.gather(*(whole(call(ask(number))) for number in range(count)), return_exceptions=True)
        return results, world, handler, asyncio.get_running_loop().time()

    return run(main())


def test_a_permit_is_held_until_the_response_has_ended():
    async def main():
        handler = World().start(ConcurrencyLimit(limit=1), "a")
        call = chain(handler, inner=Toy().send)
        first = await call(ask())
        with pytest.raises(Rejected, match="the concurrency limit of a is full") as raised:
            await call(ask(1))
        assert raised.value.upstream == "a"
        await anext(first)
        assert handler.in_flight == 1
        await first.read()
        assert handler.in_flight == 0
        (await call(ask(2))).close()
        assert handler.in_flight == 0

    run(main())


def test_who_waits_is_served_in_order_and_in_turn():
    spec = ConcurrencyLimit(limit=2, queue=WaitingLine(limit=3, timeout=9.0))
    results, world, _, took = crowd(spec, Toy(0.8), 6)
    assert [getattr(one, "word", one) for one in results] == ["hello"] * 5 + ["rejected"]
    assert [fields["reason"] for fields in world.of("rejected")] == ["queue_full"]
    assert took == pytest.approx(3.0)


def test_who_waits_for_too_long_is_rejected():
    spec = ConcurrencyLimit(limit=1, queue=WaitingLine(limit=5, timeout=0.5))
    provider = Toy(0.9)
    results, world, handler, _ = crowd(spec, provider, 3)
    assert [getattr(one, "word", one) for one in results] == ["hello", "rejected", "rejected"]
    assert "the concurrency limit of a is full: no turn in time" in str(results[1])
    assert [fields["reason"] for fields in world.of("rejected")] == ["queue_timeout"] * 2
    assert (handler.in_flight, len(handler._gate.line), len(provider.calls)) == (0, 0, 1)


def test_a_full_upstream_and_a_fallback():
    async def script():
        fallback = Fallback(order=("a", "b"), on=("rejected",))
        site = Site(Gateway(policies=(fallback,), upstream=(ConcurrencyLimit(limit=1),)), Toy(), Toy(name="b"))
        responses = await asyncio.gather(*(site.send(ask(number)) for number in range(2)))
        assert [response.upstream for response in responses] == ["a", "b"]

    play(script)


class Gauge(Toy):
    """Knows how many calls it has in hand, first chunk or not."""

    most = 0

    async def send(self, request):
        self.most = max(self.most, self.in_flight + self.open_streams + 1)
        return await super().send(request)


callers = st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.5]), st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0]))
scripts = st.lists(st.sampled_from([0.0, 0.3, 1.0, Overloaded(), ["a"], ["a", Overloaded()]]), min_size=1, max_size=4)
limits = st.sampled_from(
    [
        ConcurrencyLimit(limit=2, queue=WaitingLine(limit=3, timeout=0.7)),
        ConcurrencyLimit(limit=1, queue=WaitingLine(limit=9, timeout=1.0)),
        ConcurrencyLimit(limit=3),
        ConcurrencyLimit(aimd=Aimd(initial=2, max=3, backoff=0.5), window=0.1, window_samples=1),
    ]
)


@given(limits, st.lists(callers, min_size=1, max_size=9), scripts, st.integers(0, 4))
def test_permits_never_exceed_the_limit_and_all_come_back(spec, schedule, script, ticks):
    most = spec.limit or spec.aimd.max

    async def main():
        provider = Gauge(*script, delay_s=0.2)
        handler = World().start(spec, "a")
        call, loop, tasks = chain(handler, inner=provider.send), asyncio.get_running_loop(), []

        def later(turns, task):
            loop.call_soon(later, turns - 1, task) if turns else task.cancel()

        async def one(at_s):
            await asyncio.sleep(at_s)
            assert 0 <= handler.in_flight <= most
            return await whole(call(ask()))

        for at_s, leaves_s in schedule:
            tasks.append(asyncio.create_task(one(at_s)))
            if leaves_s is not None:
                loop.call_at(at_s + leaves_s, later, ticks, tasks[-1])
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {str, Rejected, Overloaded, asyncio.CancelledError}
        assert provider.most <= most
        assert (handler.in_flight, len(handler._gate.line)) == (0, 0)
        assert (provider.in_flight, provider.open_streams) == (0, 0)

    run(main())


@pytest.mark.parametrize("ticks", range(8))
def test_who_leaves_in_the_moment_of_getting_a_permit_gives_it_back(ticks):
    """The holder ends at 0.5 s; the one who waits leaves then; the next one must be let in."""

    async def main():
        loop = asyncio.get_running_loop()
        handler = World().start(ConcurrencyLimit(limit=1, queue=WaitingLine(limit=5, timeout=60.0)), "a")
        call = chain(handler, inner=Toy(0.3, 0.0).send)
        tasks = [asyncio.create_task(whole(call(ask(number)))) for number in range(3)]

        def later(turns):
            loop.call_soon(later, turns - 1) if turns else tasks[1].cancel()

        loop.call_at(0.45, loop.call_at, 0.5, later, ticks)  # behind the timer that ends the holder
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
        assert (results[0], results[2]) == ("hello", "hello")
        assert (handler.in_flight, len(handler._gate.line)) == (0, 0)

    run(main())


# -- adaptive ----------------------------------------------------------------------------------------------------------


def watched(spec, provider, *, count=1, outer=None, request=None):
    """The samples an adaptive limit gets: (seconds, in flight, dropped)."""
    seen = []

    async def main():
        world = World()
        handler = world.start(spec, "a")
        inner = handler._adaptive

        class Noting:
            limit = inner.limit

            def sample(self, now, rtt_s, in_flight, *, dropped):
                seen.append((round(rtt_s, 6), in_flight, dropped))

        handler._adaptive = Noting()
        handlers = [handler] if outer is None else [world.start(outer, "a"), handler]
        call = chain(*handlers, inner=provider.send)
        await asyncio.gather(*(whole(call(request or ask(number))) for number in range(count)), return_exceptions=True)

    run(main())
    return seen


def test_a_sample_is_the_time_to_first_chunk_or_to_the_end():
    assert watched(ConcurrencyLimit(aimd=Aimd()), Toy(0.4), count=2) == [(0.4, 1, False), (0.4, 2, False)]
    assert watched(ConcurrencyLimit(vegas=Vegas(), sample="e2e"), Toy(0.4)) == [(0.6, 1, False)]


def test_a_sample_begins_with_the_permit():
    queue = WaitingLine(limit=9, timeout=60.0)
    spec = ConcurrencyLimit(aimd=Aimd(initial=1), queue=queue)
    assert watched(spec, Toy(0.4), count=3) == [(0.4, 1, False)] * 3  # not the wait for the first one's end
    assert watched(dataclasses.replace(spec, sample="e2e"), Toy(0.4), count=2) == [(0.6, 1, False)] * 2


def test_what_took_no_time_is_no_sample():
    assert watched(ConcurrencyLimit(aimd=Aimd()), Toy(0.0)) == []
    assert watched(ConcurrencyLimit(aimd=Aimd()), Toy(Overloaded())) == []  # refused before anything was sent


def test_it_says_when_to_come_back_as_permits_have_come_free():
    async def main():
        handler = World().start(ConcurrencyLimit(limit=2), "a")
        call = chain(handler, inner=Toy(0.8).send)
        await whole(call(ask()))  # 0.8 and two gaps of 0.1
        tasks = [asyncio.ensure_future(whole(call(ask(number)))) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Rejected) as raised:
            await call(ask(3))
        assert raised.value.retry_after_s == pytest.approx(0.5)  # two permits, each for a second
        await asyncio.gather(*tasks)

    run(main())


def test_what_means_overload_is_a_drop():
    assert watched(ConcurrencyLimit(aimd=Aimd()), Toy(Overloaded(), delay_s=0.1)) == [(0.1, 1, True)]
    assert watched(ConcurrencyLimit(aimd=Aimd()), Toy(BadRequest(), delay_s=0.1)) == []
    assert watched(ConcurrencyLimit(gradient2=Gradient2()), Toy(Overloaded(), delay_s=0.1)) == []
    broken = watched(ConcurrencyLimit(aimd=Aimd()), Toy(["x", Overloaded()], delay_s=0.1))
    assert broken == [(0.1, 1, False), (0.2, 1, True)]


def test_a_timeout_outside_of_it_is_a_drop_and_a_caller_who_left_is_none():
    spec = ConcurrencyLimit(aimd=Aimd(timeout=60.0))
    assert watched(spec, Toy(9.0), outer=Timeout(ttft=2.0)) == [(2.0, 1, True)]

    async def main():
        handler = World().start(ConcurrencyLimit(aimd=Aimd(initial=8), window_samples=1, window=0.001), "a")
        task = asyncio.create_task(chain(handler, inner=Toy(9.0).send)(ask()))
        await asyncio.sleep(2.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert (handler.limit, handler.in_flight) == (8, 0)

    run(main())


def test_a_limit_that_grows_lets_in_who_waits_and_says_so():
    spec = ConcurrencyLimit(
        aimd=Aimd(initial=1), window=0.001, window_samples=1, queue=WaitingLine(limit=9, timeout=60.0)
    )
    provider = Gauge(0.5)
    results, world, handler, _ = crowd(spec, provider, 4)
    assert results == ["hello"] * 4
    assert world.of("concurrency_limit")[0] == {"limit": 2, "in_flight": 1}
    assert (provider.most, handler.limit) == (3, 5)


def test_it_runs_on_an_ordinary_loop():
    async def main():
        spec = ConcurrencyLimit(limit=1, queue=WaitingLine(limit=2, timeout=0.05))
        site = Site(Gateway(upstream=(spec,)), Toy(0.02, 0.2, gap_s=0.0))
        results = await asyncio.gather(*(site.send(ask(number)) for number in range(3)), return_exceptions=True)
        assert [getattr(one, "word", "ok") for one in results] == ["ok", "ok", "rejected"]

    asyncio.run(main())
