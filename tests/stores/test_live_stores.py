"""What a gateway that runs for real is given to keep answers in."""

import asyncio

import pytest
from stores.toys import Angles, Watched, entry, question, spec

from llmsim.gateway.caching import CacheUse
from llmsim.stores import LiveStores
from llmsim.stores import vectors as vectors_module


def test_memory_finds_what_is_near_and_exact_does_not():
    async def script(backend):
        store = LiveStores(Angles()).open(spec(backend=backend), Watched())
        await store.put(question("30"), entry("e", "30"), CacheUse())
        match = await store.nearest(question("31"), 0.0, CacheUse())
        await store.aclose()
        return match and match.entry.id

    assert asyncio.run(script("memory")) == "e"
    assert asyncio.run(script("exact")) is None


@pytest.mark.parametrize(
    ("stores", "backend", "words"),
    [
        (LiveStores(), "memory", ["support_cache", "LiveStores(MiniLm())", "backend: exact"]),
        (LiveStores(redis="redis://127.0.0.1:1"), "redis", ["support_cache", "LiveStores(MiniLm())"]),
        (LiveStores(Angles()), "redis", ["support_cache", 'redis="redis://127.0.0.1:6379"', "backend: memory"]),
        (LiveStores(Angles()), "disk", ["'disk'", "memory, redis or exact"]),
    ],
)
def test_what_is_missing_is_said_before_the_first_request(stores, backend, words):
    with pytest.raises(ValueError, match="support_cache") as raised:
        stores.open(spec(backend=backend), Watched("support_cache"))
    for word in words:
        assert word in str(raised.value)


def test_who_runs_it_learns_once_that_a_graph_is_missing(monkeypatch):
    monkeypatch.setattr(vectors_module, "graph_library", lambda: None)
    monkeypatch.setattr(
        vectors_module.VectorIndex.__init__, "__kwdefaults__", {"graph_from": 3, "capacity": 0, "say": None}
    )
    run = Watched()

    async def script():
        store = LiveStores(Angles()).open(spec(), run)
        for number in range(10):
            await store.put(question(str(number)), entry(f"e{number}", str(number)), CacheUse())

    asyncio.run(script())
    ((kind, fields),) = run.said
    assert kind == "store_notice"
    assert "llmsim[hnsw]" in fields["text"]


def test_the_judge_is_the_one_that_was_given():
    async def judge(request, kept):
        return True

    assert LiveStores(judge=judge).judge(Watched()) is judge
    assert LiveStores().judge(Watched()) is None
