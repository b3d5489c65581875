"""A gateway that is closed: what was begun is ended, and stores are let go of."""

import asyncio

import pytest
from gateway.policies.angles import DOWN, Lab, Stores, about
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.gateway.contract import policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import SemanticCache


class Closing(Stores):
    """Stores that note when they are closed."""

    def open(self, spec, run):
        store, closed = super().open(spec, run), []

        async def aclose():
            closed.append(len(store))

        store.aclose, store.closed = aclose, closed
        return store


@pytest.mark.parametrize(("shared", "kept"), [(False, [[1], [1], [0]]), (True, [[2]])])
def test_answers_on_their_way_into_the_store_are_written_before_it_is_closed(shared, kept):
    async def script():
        stores = Closing()
        lab = Lab(SemanticCache(shared=shared), stores=stores, replicas=3)
        for store in stores.made:
            store.trouble["put"] = 1.0
        async with lab.running:
            await lab.ask(about(0))
            await lab.ask(about(90, 1))
        assert sorted((store.closed for store in stores.made), reverse=True) == kept
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


@pytest.mark.parametrize("trouble", [DOWN, 1e6])
def test_a_store_in_trouble_does_not_keep_it_open(trouble):
    async def script():
        stores = Closing()
        lab = Lab(SemanticCache(store_timeout=2.0), stores=stores)
        stores.store.trouble["put"] = trouble
        await lab.ask(about(0))
        begin = asyncio.get_running_loop().time()
        await lab.running.aclose()
        assert asyncio.get_running_loop().time() - begin == (0.0 if trouble is DOWN else 2.0)
        assert stores.store.closed == [0]

    play(script)


def test_an_answer_that_is_being_renewed_is_not_waited_for():
    async def script():
        provider = Toy(["old"], 1e6)
        lab = Lab(SemanticCache(ttl=10.0, stale_while_revalidate=90.0), provider, stores=Closing())
        await lab.ask(about(0))
        await asyncio.sleep(11.0)
        assert await lab.served(about(0)) == ["exact"]
        await asyncio.sleep(0.05)
        assert provider.in_flight == 1
        begin = asyncio.get_running_loop().time()
        await lab.running.aclose()
        assert asyncio.get_running_loop().time() == begin
        assert lab.told("refreshed") == [
            {"request_id": "0/0/0", "policy": "semantic_cache", "upstream": "", "replica": 0, "made_for": "0/0/0",
             "outcome": "cancelled"}
        ]  # fmt: skip
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


def test_a_policy_of_ones_own_is_told_and_one_that_fails_keeps_none_of_the_others_from_it():
    class Mine:
        def __init__(self, name, error=None):
            self.name, self.error = name, error

        def start(self, run):
            return self

        async def __call__(self, request, call_next):
            return await call_next(request)

        async def aclose(self):
            closed.append(self.name)
            if self.error:
                raise self.error

    @policy
    async def nothing_to_close(request, call_next):
        return await call_next(request)

    closed = []

    async def script():
        policies = (Mine("a"), nothing_to_close, Mine("b", OSError("no")), Mine("c"))
        site = Site(Gateway(policies=policies, upstream=(Mine("d"),)))
        await site.send(ask())
        with pytest.raises(OSError, match="no"):
            await site.running.aclose()

    play(script)
    assert sorted(closed) == ["a", "b", "c", "d"]
