"""Random histories: `RedisStore` answers as `LocalStore` does, and evicts as a list that is searched to its end."""

from __future__ import annotations

import asyncio
import itertools
import math
import random

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from stores.redis_server import RedisServer, needs_redis
from stores.redis_toys import ToyEmbedder, entry, question, spec

from llmsim.gateway.caching import CacheUse
from llmsim.stores.index import Found
from llmsim.stores.local import LocalStore

pytestmark = needs_redis

TOY = ToyEmbedder(24)
START_S = 4e9  #: of the story's clock: so late that Redis's own lets nothing expire
WORDS = [f"{verb} {thing}" for verb in ("open", "close") for thing in ("account", "card", "letter")]
PARTITIONS = [("acme",), ("globex",)]
numbers = itertools.count()


class BruteForce:
    """An `Index` that compares with everything."""

    def __init__(self):
        self.entries = {}

    def add(self, partition, entry, probe):
        self.entries[partition, entry] = probe

    def remove(self, partition, entry):
        self.entries.pop((partition, entry), None)

    def nearest(self, partition, probe):
        near = [
            Found(name, cosine(probe, other)) for (place, name), other in self.entries.items() if place == partition
        ]
        return max(near, key=lambda found: found.similarity, default=None)


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


class Listed:
    """What should be there: every entry with all that decides over it, and every question answered from all."""

    def __init__(self, spec, size):
        self.spec, self.size = spec, size
        self.kept, self.tick, self.floor = {}, 0, 0.0

    def living(self, now_s):
        return {place: one for place, one in self.kept.items() if now_s < one["entry"].expires_s}

    def put(self, asked, entry, now_s):
        self.kept = self.living(now_s)
        self.kept.pop((entry.partition, entry.key), None)
        size = self.size(entry)
        if now_s >= entry.expires_s or size > self.spec.capacity_bytes:
            return
        while self.kept and (
            len(self.kept) >= self.spec.capacity or size + sum(map(self._size, self.kept)) > self.spec.capacity_bytes
        ):
            place = min(self.kept, key=lambda place: self.kept[place]["rank"])
            self.floor = self.kept[place]["rank"][0]
            del self.kept[place]
        self.kept[entry.partition, entry.key] = {"entry": entry, "uses": 0}
        self.touch(entry)

    def _size(self, place):
        return self.size(self.kept[place]["entry"])

    def touch(self, entry, expires_s=None):
        one = self.kept.get((entry.partition, entry.key))
        if one is None or one["entry"].id != entry.id:
            return
        self.tick += 1
        one["uses"] += 1
        least = {
            "lru": self.tick,
            "lfu": one["uses"],
            "cost": self.floor + one["uses"] * entry.cost_usd / self.size(entry),
        }[self.spec.eviction]
        one["rank"] = (least, self.tick)
        if expires_s is not None and expires_s > one["entry"].expires_s:
            one["entry"] = one["entry"]._replace(expires_s=expires_s)

    def drop(self, entry):
        one = self.kept.get((entry.partition, entry.key))
        if one is not None and one["entry"].id == entry.id:
            del self.kept[entry.partition, entry.key]


WHAT = ["put"] * 4 + ["near", "touch", "touch", "touch", "longer", "drop", "wait"]


@st.composite
def steps(draw):
    """A history that is long enough for everything to be asked for, used again, and forced out."""
    luck = random.Random(draw(st.integers(0, 2**32)))
    return [
        (luck.choice(WHAT), luck.choice(WORDS), luck.choice(PARTITIONS), luck.randint(0, 9))
        for _ in range(draw(st.integers(1, 60)))
    ]


few = settings(max_examples=examples(40))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


def play(server, specified, history):
    """``await history(store)`` with a store that nobody has used yet."""
    from llmsim.stores.redis import RedisStore

    async def main():
        fresh = specified._replace(name=f"history {next(numbers)}")
        store = RedisStore(fresh, None, server.url, TOY)
        try:
            async with asyncio.timeout(60):
                return await history(store)
        finally:
            await store.aclose()

    return asyncio.run(main())


def made(word, partition, number, now_s, ttl_s):
    asked = question(word, partition)
    cost, text = (number + 1) * 0.001, "x" * (number * 400)
    return asked, entry(asked, f"e{next(numbers)}", stored_s=now_s, ttl_s=ttl_s, text=text)._replace(cost_usd=cost)


@given(steps(), st.integers(1, 8), st.booleans())
@few
def test_the_same_answers_as_in_memory(server, script, capacity, mortal):
    """Either entries expire or capacity forces them out: what happens when both do is for the test below."""

    async def history(store):
        now_s = START_S
        local = LocalStore(spec(1000 if mortal else capacity), TOY, BruteForce())
        for what, word, partition, number in script:
            asked, kept = made(word, partition, number, now_s, 3.0 + number if mortal else math.inf)
            found = await store.exact(asked, now_s)
            assert found == await local.exact(asked, now_s)
            match what:
                case "put":
                    await store.put(asked, kept, CacheUse())
                    await local.put(question(word, partition), kept, CacheUse())
                case "near":
                    ours, theirs = [await one.nearest(asked, now_s, CacheUse()) for one in (store, local)]
                    assert (ours is None) == (theirs is None)
                    if ours is not None:
                        assert ours.entry == theirs.entry
                        assert ours.similarity == pytest.approx(theirs.similarity, abs=1e-6)
                        assert ours.similarity <= 1.0
                case "touch" | "longer" if found is not None:
                    until_s = found.expires_s + number if what == "longer" else None
                    for one in (store, local):
                        await one.touch(found, now_s, until_s)
                case "drop" if found is not None:
                    for one in (store, local):
                        await one.drop(found)
                case "wait":
                    now_s += number

    async def both(store):
        await history(store)

    play(server, spec(1000 if mortal else capacity), both)


@given(
    steps(), st.integers(1, 6), st.sampled_from(["lru", "lfu", "cost"]), st.sampled_from([math.inf, 9000.0, 20_000.0])
)
@few
def test_what_is_kept_is_what_should_be(server, script, capacity, eviction, capacity_bytes):
    specified = spec(capacity, capacity_bytes=capacity_bytes, eviction=eviction)

    async def history(store):
        now_s, listed = START_S, Listed(specified, lambda kept: store.bytes(kept, TOY.dimensions))
        for what, word, partition, number in script:
            asked, kept = made(word, partition, number, now_s, 3.0 + number)
            there = listed.living(now_s)
            expected = there.get((partition, asked.key), {}).get("entry")
            found = await store.exact(asked, now_s)
            assert found == expected
            match what:
                case "put":
                    await store.put(asked, kept, CacheUse())
                    listed.put(asked, kept, now_s)
                case "near":
                    near = await store.nearest(asked, now_s, CacheUse())
                    known = {
                        one["entry"].id: cosine(TOY.vector(word), TOY.vector(one["entry"].words))
                        for place, one in there.items()
                        if place[0] == partition
                    }
                    assert (near is None) == (not known)
                    if near is not None:
                        assert near.similarity == pytest.approx(max(known.values()), abs=1e-6)
                        assert known[near.entry.id] == pytest.approx(near.similarity, abs=1e-6)
                case "touch" | "longer" if found is not None:
                    until_s = found.expires_s + number - 4 if what == "longer" else None
                    await store.touch(found, now_s, until_s)
                    listed.touch(found, until_s)
                case "drop" if found is not None:
                    await store.drop(found)
                    listed.drop(found)
                case "wait":
                    now_s += number
        for word in WORDS:
            for partition in PARTITIONS:
                asked = question(word, partition)
                expected = listed.living(now_s).get((partition, asked.key), {}).get("entry")
                assert await store.exact(asked, now_s) == expected

    play(server, specified, history)
