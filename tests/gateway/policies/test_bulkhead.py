import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, outcome, run

from llmsim.errors import Rejected
from llmsim.gateway.policies import Bulkhead, WaitingLine


class Bench:
    def __init__(self, *script, **spec):
        self.world = World()
        self.handler = self.world.start(Bulkhead(**spec))
        self.toy = Toy(*script, gap_s=0.25)

    async def call(self, number, **fields):
        response = await self.handler(ask(number, **fields), self.toy.send)
        return await response.read()


@pytest.mark.parametrize("per", ["tenant", "user", "route", "feature", "session"])
def test_each_has_its_own(per):
    async def main():
        bench = Bench(1.0, at_once=2, per=per)
        results = await asyncio.gather(*(outcome(bench.call(n, **{per: key})) for n, key in enumerate("aaaab")))
        assert [isinstance(result, Rejected) for result, _ in results] == [False, False, True, True, False]
        assert bench.handler._gates == {}

    run(main())


def test_a_permit_is_held_until_the_response_has_ended():
    async def main():
        bench = Bench(1.0, at_once=1)
        response = await bench.handler(ask(0), bench.toy.send)
        await anext(response)
        assert isinstance((await outcome(bench.call(1)))[0], Rejected)
        response.close()
        assert await bench.call(2) == "hello"

    run(main())


def test_who_waits_goes_in_order_and_each_line_is_its_own():
    async def main():
        bench = Bench(0.75, at_once=1, queue=WaitingLine(limit=2, timeout=2.0))
        keys = ["a", "a", "a", "a", "b", "b"]
        results = await asyncio.gather(*(outcome(bench.call(n, tenant=key)) for n, key in enumerate(keys)))
        assert [at for _, at in results] == [1.25, 2.5, 2.0, 0.0, 1.25, 2.5]
        assert [event["reason"] for event in bench.world.of("rejected")] == ["queue_full", "queue_timeout"]
        assert bench.handler._gates == {}

    run(main())


@pytest.mark.parametrize("ticks", range(8))
def test_nothing_is_left_of_who_leaves_in_the_moment_of_getting_a_permit(ticks):
    async def main():
        bench, loop = Bench(0.5, at_once=1, queue=WaitingLine(limit=2, timeout=9.0)), asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(bench.call(number)) for number in range(2)]

        def later(turns):
            loop.call_soon(later, turns - 1) if turns else tasks[1].cancel()

        loop.call_at(0.9, loop.call_at, 1.0, later, ticks)  # behind the timer that ends the first one
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
        assert bench.handler._gates == {}

    run(main())


def test_the_rejected_are_told_when_a_permit_may_come_free():
    async def main():
        bench = Bench(1.0, at_once=2)
        await bench.call(0)  # 1.5 s
        results = await asyncio.gather(*(outcome(bench.call(n)) for n in range(3)))
        error = results[2][0]
        assert "the bulkhead of tenant '' is full; try again in 750ms" in str(error)
        assert (error.retry_after_s, error.status) == (0.75, None)

    run(main())


def test_at_least_one():
    with pytest.raises(ValueError, match="at least 1"):
        Bulkhead(at_once=0)
