import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, levels, outcome, run
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.shedding import RecentMean, Shedding
from llmsim.errors import Rejected, ServerError, TtftTimeout
from llmsim.gateway.policies import LoadShedding, Timeout

STARTS = {0: 0.5, 5: 0.7, 10: 0.9}


@given(st.floats(0, 1.5), st.floats(0, 1.5), st.integers(-3, 12), st.integers(-3, 12))
def test_the_chance_rises_with_load_and_falls_with_importance(low, high, less, more):
    shedding = Shedding(STARTS)
    low, high = sorted((low, high))
    less, more = sorted((less, more))
    assert 0 <= shedding.chance(less, low) <= shedding.chance(less, high) <= 1
    assert shedding.chance(more, high) <= shedding.chance(less, high)
    if shedding.chance(more, high) > 0 and shedding._edges[0] < high and more >= 5 > less:
        assert shedding.chance(less, high) == 1.0  # nobody suffers before all those below him
    assert shedding.chance(more, 1.0) == 1.0
    assert shedding.chance(less, 0.5) == 0.0
    assert shedding.chance(less, high) - shedding.chance(less, low) <= (high - low) / 0.1 + 1e-9  # no jumps


def test_the_mean_follows_and_fades():
    mean = RecentMean(10.0)
    assert mean.value(5.0) == 0.0
    for second in range(100):
        mean.add(1.0 if second < 50 else 3.0, float(second))
    assert mean.value(99.0) == pytest.approx(3.0, abs=0.02)
    assert mean.value(139.0) < 0.06


class Bench:
    def __init__(self, call_s=1.0, **spec):
        self.world = World()
        self.handler = self.world.start(LoadShedding(levels=levels(STARTS), **spec))
        self.toy = Toy(call_s, gap_s=0.0)

    async def call(self, number, priority=0):
        return await (await self.handler(ask(number, priority=priority), self.toy.send)).read()


def test_in_flight_the_unimportant_go_first():
    async def main():
        bench = Bench(at_once=1000)
        calls = [bench.call(n, (0, 5, 10)[n % 3]) for n in range(3000)]
        results = await asyncio.gather(*map(outcome, calls))
        passed = [sum(not isinstance(r, Rejected) for r, _ in results[first::3]) for first in range(3)]
        # In flight only grows here, and 2,000 want more than there is: some of each, the more the more important.
        assert sum(passed) <= 1000
        assert 150 <= passed[0] < passed[1] < passed[2]
        assert bench.handler._in_flight == 0
        event = bench.world.of("rejected")[0]
        assert (event["reason"], event["priority"]) == ("shed", 0)
        assert 0.5 < event["utilisation"] <= 0.7

    run(main())


def test_which_one_goes_is_its_own_luck():
    async def main():
        fates = []
        for _ in range(2):
            bench = Bench(at_once=10)
            results = await asyncio.gather(*(outcome(bench.call(n)) for n in range(30)))
            fates.append([isinstance(result, Rejected) for result, _ in results])
        assert fates[0] == fates[1]
        assert 0 < sum(fates[0]) < 30

    run(main())


def test_delay_is_seen_in_first_chunks_and_forgotten():
    async def main():
        bench = Bench(call_s=4.0, delay=4.0)
        assert await bench.call(0) == "hello"
        assert isinstance((await outcome(bench.call(1)))[0], Rejected)  # 4 s of 4 s
        assert isinstance((await outcome(bench.call(1, priority=10)))[0], Rejected)
        await asyncio.sleep(8.0)  # 4 · exp(−0.8) = 1.8 s, 45 %
        assert await bench.call(2) == "hello"

    run(main())


def test_delay_is_seen_where_nobody_gets_a_first_chunk():
    async def main():
        bench = Bench(call_s=60.0, delay=2.0)
        bench.toy = Limited(bench.toy)
        calls = []
        for number in range(100):
            calls.append(asyncio.ensure_future(outcome(bench.call(number, 10))))
            await asyncio.sleep(0.1)
        results = [type(result) for result, _ in await asyncio.gather(*calls)]
        assert set(results[:50]) == {TtftTimeout}  # nobody can know yet
        assert set(results[51:]) == {Rejected}

        quick = Bench(delay=2.0)
        quick.toy = Toy(1.9, ServerError(), gap_s=0.0)
        await quick.call(0)
        before = quick.handler._recent.value(15.0)
        await outcome(quick.call(1))
        assert quick.handler._recent.value(15.0) == before  # a quick failure is no quick answer

    run(main())


def test_who_failed_is_no_longer_under_way():
    async def main():
        bench = Bench(at_once=4)
        bench.toy = Toy(ServerError())
        results = [(await outcome(bench.call(number)))[0] for number in range(8)]
        assert {type(result) for result in results} == {ServerError}

    run(main())


class Limited:
    """Gives up after five seconds."""

    def __init__(self, toy):
        self._toy = toy
        self._limit = World().start(Timeout(ttft=5.0), upstream="a")

    async def send(self, request):
        return await self._limit(request, self._toy.send)


@pytest.mark.parametrize(
    ("above", "fields", "says"),
    [
        ({0: 0.5}, {}, "at_once: 100, delay: 2s, or both"),
        ({}, {"at_once": 5}, "levels is empty"),
        ({0: 0.5, 1: 0.5}, {"at_once": 5}, "priority 1 above 50% comes after priority 0 above 50%"),
        ({1: 0.5, 0: 0.7}, {"at_once": 5}, "priority 0 above 70% comes after priority 1 above 50%"),
        ({0: 1.0}, {"at_once": 5}, "write less than 100%"),
        ({0: 0.5}, {"at_once": 0}, "at_once must be above 0"),
        ({0: 0.5}, {"at_once": 5, "window": 3.0}, "window has no effect without delay"),
    ],
)
def test_what_makes_no_sense_is_refused(above, fields, says):
    with pytest.raises(ValueError, match=says):
        LoadShedding(levels=levels(above), **fields)
