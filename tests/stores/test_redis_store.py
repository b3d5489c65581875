"""`RedisStore` on a real Redis 8: what it keeps, for how long, for whom, and how much of it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from stores.redis_server import RedisServer, needs_redis
from stores.redis_toys import ToyEmbedder, entry, question, spec

from llmsim.gateway.caching import CacheUse
from llmsim.stores.redis import RedisStore

pytestmark = needs_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def look(server):
    """A plain client, on an empty server."""
    client = server.client()
    client.flushall()
    client.config_set("maxmemory", 0)
    yield client
    client.close()


def run(server, script, *specs, embedder="toy", url=None):
    """``await script(*stores)`` with a store for each spec, on an ordinary loop; afterwards they are closed."""

    async def main():
        words = ToyEmbedder() if embedder == "toy" else embedder
        stores = [RedisStore(one, None, url or server.url, words) for one in specs or (spec(),)]
        try:
            async with asyncio.timeout(60):
                return await script(*stores)
        finally:
            for store in stores:
                await store.aclose()

    return asyncio.run(main())


def now():
    return time.time()


def test_what_is_put_is_found_again_exactly(server, look):
    async def script(one, other):
        use = CacheUse()
        asked = question("how do I reset my password")
        kept = entry(asked, stored_s=now())
        assert await one.exact(asked, now()) is None
        assert await one.nearest(asked, now(), use) is None
        await one.put(asked, kept, use)
        assert (use.queries, use.writes, use.embedded_tokens) == (1, 1, 6)  # embedded once
        for store in (one, other):  # another gateway on the same Redis has it too
            found = await store.exact(question("how do I reset my password"), now())
            assert found == kept
            assert repr(found) == repr(kept)
            near = await store.nearest(question("how do I reset a password"), now(), CacheUse())
            assert near.entry == kept
        return near.similarity

    similarity = run(server, script, spec(), spec())
    toy = ToyEmbedder()
    one, other = toy.vector("how do I reset my password"), toy.vector("how do I reset a password")
    assert similarity == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-6)
    assert similarity < 0.999  # and not (1 + cosine)/2


def test_similarity_is_a_cosine_from_minus_one_to_one(server, look):
    class Opposite(ToyEmbedder):
        def vector(self, words):
            return np.array({"here": [3.0, 0], "there": [-2.0, 0], "aside": [0, 0.1]}[words])

    async def script(store):
        asked = question("here")
        await store.put(asked, entry(asked, stored_s=now()), CacheUse())
        return [
            (await store.nearest(question(word), now(), CacheUse())).similarity for word in ("here", "there", "aside")
        ]

    assert run(server, script, embedder=Opposite()) == [1.0, -1.0, 0.0]


def test_nothing_crosses_partitions_stores_or_embedders(server, look):
    class Other(ToyEmbedder):
        name = "another"

    async def script(store, of_another_name):
        asked = question("hello there")
        await store.put(asked, entry(asked, stored_s=now()), CacheUse())
        for stranger in (question("hello there", ("globex",)), question("hello there", ("acme", ""))):
            assert await store.exact(stranger, now()) is None
            assert await store.nearest(stranger, now(), CacheUse()) is None
        assert await of_another_name.exact(asked, now()) is None
        assert await of_another_name.nearest(asked, now(), CacheUse()) is None
        for words in (Other(), ToyEmbedder(8)):
            changed = RedisStore(spec(), None, server.url, words)
            fresh = question("hello there")
            assert await changed.exact(fresh, now()) is not None  # the same to the letter: no vectors in that
            assert await changed.nearest(fresh, now(), CacheUse()) is None
            await changed.put(fresh, entry(fresh, stored_s=now()), CacheUse())
            assert (await changed.nearest(fresh, now(), CacheUse())).similarity == pytest.approx(1.0)
            await changed.aclose()

    run(server, script, spec(), spec(name="another"))
    assert len(look.keys("*:v:*")) == 1  # what stood there under the embedders before has gone with the entry


def test_without_an_embedder_only_equal_questions_are_found(server, look):
    async def script(store):
        asked, use = question("hello"), CacheUse()
        await store.put(asked, entry(asked, stored_s=now()), use)
        assert await store.exact(question("hello"), now()) is not None
        assert await store.nearest(question("hello"), now(), use) is None
        assert (use.queries, use.writes, use.embedded_tokens) == (0, 0, 0)

    run(server, script, embedder=None)
    assert look.keys("*:v:*") == []


def test_a_question_without_a_vector_is_found_by_who_asks_the_same(server, look):
    async def script(store):
        use, asked, other = CacheUse(), question("far too long"), question("far too long, and more")
        asked.comparable = False
        await store.put(asked, entry(asked, stored_s=now()), use)
        assert (await store.exact(question("far too long"), now())) is not None
        assert await store.nearest(other, now(), use) is None
        assert use.writes == 0

    run(server, script)


def test_one_entry_a_key(server, look):
    async def script(store):
        asked = question("hello")
        old, new = entry(asked, "old", stored_s=now(), text="old"), entry(asked, "new", stored_s=now(), text="new")
        await store.put(asked, old, CacheUse())
        await store.put(asked, new, CacheUse())
        assert await store.exact(asked, now()) == new
        await store.drop(old)  # which is not there any more
        await store.touch(old, now(), float("inf"))
        assert await store.exact(asked, now()) == new  # that was not meant
        assert (await store.nearest(asked, now(), CacheUse())).entry == new
        await store.drop(new)
        await store.drop(new)
        assert await store.exact(asked, now()) is None
        assert await store.nearest(asked, now(), CacheUse()) is None

    run(server, script)
    assert remains(look) == {b"seq", b"bytes", 0}


def remains(look):
    """What an empty store still has: its counters, which count nothing."""
    (key,) = look.keys()
    counters = look.hgetall(key)
    return {*counters, int(counters[b"bytes"])}


def test_redis_lets_it_expire_by_its_own_clock(server, look):
    """The gateway's clock stands still here; what is gone for Redis is gone, with its vector, and not found by it."""

    async def script(store):
        start, asked, other = now(), question("hello"), question("something else")
        await store.put(other, entry(other, "other", stored_s=start), CacheUse())
        await store.put(asked, entry(asked, stored_s=start, ttl_s=0.3), CacheUse())
        assert await store.exact(asked, start) is not None
        await asyncio.sleep(0.35)
        assert look.keys("*:e:*") and len(look.keys("*:e:*")) == 1
        assert await store.exact(asked, start) is None
        assert look.zcard(key(look, "u")) == 2  # nobody has noticed
        near = await store.nearest(asked, start, CacheUse())
        assert near.entry.id == "other"  # the second nearest is not lost
        assert look.zcard(key(look, "u")) == look.hlen(key(look, "m")) == 1
        assert look.execute_command("VCARD", look.keys("*:v:*")[0]) == 1

    run(server, script)


def key(look, part):
    (found,) = look.keys(f"*:{part}")
    return found


def test_the_gateways_clock_counts_too(server, look):
    async def script(store):
        asked, kept = question("hello"), None
        kept = entry(asked, stored_s=now(), ttl_s=60.0)
        await store.put(asked, kept, CacheUse())
        last = np.nextafter(kept.expires_s, 0)
        assert await store.exact(asked, last) == kept
        assert (await store.nearest(asked, last, CacheUse())).entry == kept
        assert await store.exact(asked, kept.expires_s) is None
        assert await store.nearest(asked, kept.expires_s, CacheUse()) is None

    run(server, script)
    assert remains(look) == {b"seq", b"bytes", 0}


def test_a_put_clears_away_what_expired(server, look):
    async def script(store):
        for number in range(20):
            asked = question(f"question {number}")
            await store.put(asked, entry(asked, f"e{number}", stored_s=now(), ttl_s=0.2), CacheUse())
        await asyncio.sleep(0.25)
        asked = question("the last one")
        for number in range(2):
            await store.put(asked, entry(asked, f"last{number}", stored_s=now()), CacheUse())

    run(server, script)
    assert look.zcard(key(look, "u")) == look.zcard(key(look, "x")) == look.hlen(key(look, "m")) == 1
    assert look.execute_command("VCARD", look.keys("*:v:*")[0]) == 1


def test_it_may_live_longer(server, look):
    async def script(store):
        start, asked = now(), question("hello")
        kept = entry(asked, stored_s=start, ttl_s=0.3)
        await store.put(asked, kept, CacheUse())
        await store.touch(kept, now(), start + 60.0)
        await asyncio.sleep(0.35)
        found = await store.exact(asked, now())
        assert found == kept._replace(expires_s=start + 60.0)
        assert (await store.nearest(asked, now(), CacheUse())).entry == found
        await store.touch(found, now(), float("inf"))
        found = await store.exact(asked, now() + 1e9)
        assert found == kept._replace(expires_s=float("inf"))
        assert look.pttl(look.keys("*:e:*")[0]) == -1
        assert look.zcard(key(look, "u")) == 1 and look.keys("*:x") == []
        await store.touch(found, now(), now() - 1.0)  # no time is ever shortened
        assert await store.exact(asked, now()) == found

    run(server, script)


def test_what_has_expired_already_is_not_kept(server, look):
    async def script(store):
        asked = question("hello")
        await store.put(asked, entry(asked, stored_s=now() - 10, ttl_s=5.0), CacheUse())
        assert await store.exact(asked, now() - 7) is None

    run(server, script)
    assert look.keys("*:v:*") == look.keys("*:e:*") == []


def test_a_shop_that_shrinks(server, look):
    """A gateway with a smaller capacity comes along: more has to go than one script lets go."""

    async def script(large, small):
        for number in range(300):
            asked = question(f"question {number}")
            await large.put(asked, entry(asked, f"e{number}", stored_s=now()), CacheUse())
        assert look.zcard(key(look, "u")) == 300
        asked = question("one more")
        await small.put(asked, entry(asked, stored_s=now()), CacheUse())

    run(server, script, spec(1000), spec(5))
    assert look.zcard(key(look, "u")) == len(look.keys("*:e:*")) == 5
    assert look.execute_command("VCARD", look.keys("*:v:*")[0]) == 5


def test_capacity_is_exact_with_gateways_at_once(server, look):
    over = []

    async def watch():
        while True:
            over.append(len([1 for _ in look.scan_iter("*:e:*", count=1000)]))
            await asyncio.sleep(0)

    async def script(*stores):
        async def work(store, number):
            for turn in range(25):
                asked = question(f"question {(number * 7 + turn * 3) % 60}")
                if (found := await store.exact(asked, now())) is not None:
                    await store.touch(found, now())
                    if turn % 5 == 0:
                        await store.drop(found)
                await store.put(asked, entry(asked, f"e{number}-{turn}", stored_s=now()), CacheUse())

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(work(stores[number % len(stores)], number) for number in range(24)))
        watching.cancel()

    run(server, script, *[spec(10, eviction=how) for how in ("lru", "lru", "lfu", "cost")])
    assert over and max(over) <= 10
    assert look.zcard(key(look, "u")) == look.hlen(key(look, "m")) == len(look.keys("*:e:*")) == 10
    assert look.execute_command("VCARD", look.keys("*:v:*")[0]) == 10
    notes = [value.split() for value in look.hvals(key(look, "m"))]
    assert int(look.hget(key(look, "s"), "bytes")) == sum(int(note[2]) for note in notes) > 0


def test_bytes_are_bounded(server, look):
    async def script(store):
        for number in range(30):
            asked = question(f"question {number}")
            await store.put(asked, entry(asked, f"e{number}", stored_s=now(), text="x" * 3000), CacheUse())
            assert int(look.hget(key(look, "s"), "bytes")) <= 40_000
        asked = question("too large for it")
        await store.put(asked, entry(asked, "large", stored_s=now(), text="x" * 50_000), CacheUse())
        assert await store.exact(asked, now()) is None

    run(server, script, spec(capacity_bytes=40_000.0))
    assert 5 <= len(look.keys("*:e:*")) <= 12


def test_no_python_hash_no_pickle_and_names_that_say_whose_they_are(server, look):
    async def script(store):
        asked = question("hello")
        await store.put(asked, entry(asked, stored_s=now()), CacheUse())

    run(server, script, spec(name="my {cache}:1"))
    assert all(name.startswith(b"llmsim:1:{my%20%7Bcache%7D%3A1}:") for name in look.keys("*"))
    assert look.hget(look.keys("*:e:*")[0], "d").startswith(b'{"id":"r0","partition":["acme"],"key":["hello",null,0.5]')
