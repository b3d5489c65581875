import asyncio
from collections import Counter

import pytest
from gateway.policies.toys import Toy, World, ask, outcome, run

from llmsim.errors import Rejected, ServerError
from llmsim.gateway.policies import FairQueue, WaitingLine

LINE = WaitingLine(limit=1000, timeout=600.0)


class Bench:
    """One slot; each call takes a second."""

    def __init__(self, *script, queue=LINE, **spec):
        self.world = World()
        self.handler = self.world.start(FairQueue(at_once=1, queue=queue, **spec))
        self.toy = Toy(*(script or (1.0,)), gap_s=0.0)

    async def call(self, number, **fields):
        return await (await self.handler(ask(number, **fields), self.toy.send)).read()

    def served(self, first):
        return Counter(request.tenant for _, request in self.toy.calls[:first])


def test_one_that_asks_little_does_not_wait_for_one_that_floods():
    async def main():
        bench = Bench()
        flood = [asyncio.ensure_future(bench.call(n, tenant="flood")) for n in range(50)]
        await asyncio.sleep(0.5)
        _, waited = await outcome(bench.call(99, tenant="quiet"))
        assert waited == 2.5  # the one under way, the one of the other's that came before it, and its own
        await asyncio.gather(*flood)

    run(main())


def test_shares_are_those_of_the_weights():
    async def main():
        bench = Bench(weights={"gold": 4.0, "trial": 0.5}, cost="requests")
        tasks = []
        for number in range(300):
            tenant = ("gold", "other", "trial")[number % 3]
            tasks.append(asyncio.ensure_future(outcome(bench.call(number, tenant=tenant))))
        await asyncio.gather(*tasks)
        served = bench.served(110)
        assert [served[tenant] for tenant in ("gold", "other", "trial")] == pytest.approx([80, 20, 10], abs=2)

    run(main())


def test_users_have_weights_by_name_and_belong_to_a_tenant():
    async def main():
        bench = Bench(weights={"gold": 4.0}, cost="requests", per="user")
        names = (("acme", "gold"), ("acme", "x"), ("globex", "x"))
        calls = [bench.call(n, tenant=names[n % 3][0], user=names[n % 3][1]) for n in range(300)]
        tasks = [asyncio.ensure_future(outcome(call)) for call in calls]
        await asyncio.gather(*tasks)
        served = bench.served(90)
        assert [served["acme"], served["globex"]] == pytest.approx([75, 15], abs=2)  # 4 : 1 : 1

    run(main())


@pytest.mark.parametrize("ticks", range(8))
def test_who_leaves_in_the_moment_of_being_called_was_given_nothing(ticks):
    async def main():
        bench, loop = Bench(), asyncio.get_running_loop()
        tasks = [asyncio.ensure_future(bench.call(n, tenant="ab"[n % 2])) for n in range(3)]

        def later(turns):
            loop.call_soon(later, turns - 1) if turns else tasks[1].cancel()

        loop.call_at(0.95, loop.call_at, 1.0, later, ticks)  # behind the timer that ends the first one
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
        assert (bench.handler._queue.keys, bench.handler._gate.permits.taken) == (0, 0)

    run(main())


def test_work_is_counted_in_tokens_and_as_used():
    """`long` has prompts of 1,000 tokens (the toy bills 10 tokens and 2 for each, whoever asks): equal, as used."""

    async def main():
        bench = Bench()
        calls = [bench.call(n, tenant=("long", "short")[n % 2], input_tokens=(1000, 10)[n % 2]) for n in range(80)]
        await asyncio.gather(*calls)
        served = bench.served(40)
        assert abs(served["long"] - served["short"]) <= 2

    run(main())


def test_a_large_prompt_is_a_large_part_while_it_is_under_way():
    async def main():
        bench = Bench(ServerError())  # refusals used nothing
        await asyncio.gather(*(outcome(bench.call(n, tenant="ab"[n % 2], input_tokens=1000)) for n in range(4)))
        assert bench.handler._queue.keys == 0
        response = await bench.handler(ask(0, tenant="a", input_tokens=1000, max_tokens=100), Toy().send)
        assert bench.handler._queue._flows["a"].tag == 1100.0
        await response.read()

    run(main())


def test_whoever_floods_a_full_queue_loses_his_own():
    async def main():
        bench = Bench(queue=WaitingLine(limit=4, timeout=600.0))
        calls = [bench.call(n, tenant="flood") for n in range(8)] + [bench.call(9, tenant="quiet")]
        results = [result for result, _ in await asyncio.gather(*map(outcome, calls))]
        assert [isinstance(result, Rejected) for result in results] == [False] * 4 + [True] * 4 + [False]

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"at_once": 0}, "at least 1"), ({"at_once": 1, "weights": {"a": 0.0}}, "weight of 'a' must be above 0")],
)
def test_what_makes_no_sense_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        FairQueue(queue=LINE, **fields)
