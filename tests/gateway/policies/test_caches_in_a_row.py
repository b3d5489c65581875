"""A cache behind a cache: an answer is as old as it is, and was made for whom it was made."""

import asyncio

import pytest
from gateway.policies.angles import Lab, about
from gateway.site import play

from llmsim.gateway.policies import Cache, SemanticCache


def _uses(spec, inside, *asked):
    """What each request got: (match, similarity, made for, age of its answer), each after a wait."""

    async def script():
        lab = Lab(spec, inside=(inside,))
        found = []
        for wait_s, request in asked:
            await asyncio.sleep(wait_s)
            now = asyncio.get_running_loop().time()
            use, response = await lab.ask(request)
            hit = response.served_from == "cache"
            found.append((use.match, round(use.nearest, 3), use.made_for, round(now - use.made_s, 1)) if hit else ())
        return found

    return play(script)


NEAR = ("semantic", 0.985, "0/0/0")  # 10 degrees


def test_in_front_of_a_semantic_cache_a_wrong_answer_stays_one():
    found = _uses(
        Cache(ttl=None),
        SemanticCache(ttl=None),
        (0.0, about(0, 0)), (1.0, about(10, 1)), (1.0, about(10, 2)), (1.0, about(0, 3)),
    )  # fmt: skip
    assert found == [(), (*NEAR, 1.0), (*NEAR, 2.0), ("exact", 1.0, "0/0/0", 3.0)]


def test_in_front_of_a_store_that_others_fill_it_keeps_what_they_had():
    """An exact match of the one behind is kept in front, too, or a store far away would be asked every time."""

    async def script():
        lab = Lab(Cache(), inside=(SemanticCache(shared=True),), replicas=2)
        await lab.ask(about(0, 0))
        await lab.ask(about(0, 1))  # of the other replica
        asked = len(lab.stores.store.asked)
        assert await lab.served(about(0, 2), about(0, 3)) == ["exact", "exact"]
        assert len(lab.stores.store.asked) == asked

    play(script)


def test_in_front_an_answer_has_one_life():
    found = _uses(
        Cache(ttl=10.0), SemanticCache(ttl=10.0), (0.0, about(0, 0)), (8.0, about(10, 1)), (3.0, about(10, 2))
    )
    assert [bool(one) for one in found] == [False, True, False]


@pytest.mark.parametrize("behind", [Cache(ttl=10.0), SemanticCache(ttl=10.0, name="far")])
def test_behind_an_answer_has_one_life(behind):
    async def script():
        lab = Lab(SemanticCache(ttl=10.0), inside=(behind,))
        front = next(store for store, spec in zip(lab.stores.made, lab.stores.specs, strict=True) if spec.name != "far")
        await lab.ask(about(0, 0))
        await asyncio.sleep(8.0)
        for entry in list(front._entries.values()):  # evicted
            await front.drop(entry)
        assert await lab.served(about(0, 1), about(0, 2), wait_s=1.5) == ["exact", "exact"]
        assert await lab.served(about(0, 3)) == [""]

    play(script)


def test_near_to_what_was_near_is_not_near():
    """15 degrees are a hit, of the one behind; kept in front for these words, it would be one for 30 as well."""
    found = _uses(
        SemanticCache(threshold=0.96, per=("route",)),
        SemanticCache(threshold=0.96, name="far"),
        (0.0, about(0, 0, route="a")), (1.0, about(15, 1, route="b")), (1.0, about(30, 2, route="b")),
    )  # fmt: skip
    assert [one[:1] for one in found] == [(), ("semantic",), ()]
