import asyncio
import itertools

import pytest
from gateway.policies.toys import Toy, World, ask, chain, run
from gateway.site import Site, play

from llmsim.errors import Rejected, ServerError
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import AdaptiveAdmission

SPEC = AdaptiveAdmission(target=1.0, interval=5.0)


def every_second(provider, count, spec=SPEC):
    """What comes of requests that come one a second: "ok" or the error's word; and the world."""
    world = World()

    async def main():
        call = chain(world.start(spec), inner=provider.send)

        async def one(number):
            await asyncio.sleep(number)
            try:
                await (await call(ask(number))).read()
            except (Rejected, ServerError) as error:
                return error.word
            return "ok"

        return await asyncio.gather(*(one(number) for number in range(count)))

    return run(main()), world


def test_a_standing_delay_is_shed_gently():
    results, world = every_second(Toy(2.0), 40)
    shed = [second for second, result in enumerate(results) if result == "rejected"]
    # The first is slow at 2 s, all have been for 5 s at 7 s, and then one is shed 5, 5/√2, 5/√3 … seconds later. (Once
    # two are shed in a row nobody is there, and it begins anew.)
    assert shed[0] in (7, 8)
    steps = [after - before for before, after in itertools.pairwise(shed)][:6]
    assert steps == pytest.approx([5 / n**0.5 for n in range(1, 7)], abs=1.0)
    assert world.of("adaptive_admission")[0] == {"state": "shedding"}
    assert len(world.of("rejected")) == len(shed)


def test_a_burst_is_no_standing_delay():
    results, _ = every_second(Toy(*[2.0] * 4, 0.2, *[2.0] * 4, 0.2, *[2.0] * 4, 0.2), 14)
    assert "rejected" not in results


def test_the_first_quick_one_ends_it():
    results, world = every_second(Toy(*[2.0] * 10, 0.2), 30)
    assert results.count("rejected") == 1
    assert world.of("adaptive_admission") == [{"state": "shedding"}, {"state": "admitting"}]


@pytest.mark.parametrize(("delay_s", "sheds"), [(0.1, False), (2.0, True)])
def test_a_failure_says_how_long_it_was_waited_for_only_if_that_was_long(delay_s, sheds):
    results, _ = every_second(Toy(ServerError(), delay_s=delay_s), 30)
    assert ("rejected" in results) == sheds


def test_a_quick_failure_is_no_quick_answer():
    results, _ = every_second(Toy(*[2.0, ServerError()] * 20, delay_s=0.1), 40)
    assert "rejected" in results


def test_nobody_there_is_no_queue():
    async def main():
        handler = World().start(SPEC)
        call = chain(handler, inner=Toy(2.0).send)
        for number in range(10):
            await (await call(ask(number))).read()
            assert handler._in_flight == 0

    run(main())


def test_it_runs_on_an_ordinary_loop():
    async def main():
        site = Site(Gateway(policies=(AdaptiveAdmission(target=0.001, interval=0.02),)), Toy(0.01, gap_s=0.0))

        async def one(number):
            await asyncio.sleep(0.004 * number)
            await site.send(ask(number))

        results = await asyncio.gather(*(one(number) for number in range(40)), return_exceptions=True)
        assert 0 < sum(isinstance(result, Rejected) for result in results) < 40

    asyncio.run(main())


@pytest.mark.slow
def test_twice_the_capacity():
    """Ten slots of a second each and 20 requests a second: without it the queue grows to the end; with it, not."""

    class Slots(Toy):
        slots = None

        async def send(self, request):
            self.slots = self.slots or asyncio.Semaphore(10)
            async with self.slots:
                return await super().send(request)

    def slowest(policies):
        async def script():
            site, loop, waits = Site(Gateway(policies=policies), Slots(1.0, gap_s=0.0)), asyncio.get_running_loop(), []

            async def one(number):
                await asyncio.sleep(number / 20)
                start = loop.time()
                try:
                    await site.send(ask(number))
                except Rejected:
                    return
                if start > 60:
                    waits.append(loop.time() - start)

            await asyncio.gather(*(one(number) for number in range(2400)))
            return max(waits)

        return play(script)

    without, having = slowest(()), slowest((AdaptiveAdmission(target=2.0, interval=1.0),))
    assert without > 60
    assert having < 8
