"""A real Redis that dies, hangs, fills up, forgets, or holds what nobody of us wrote."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from stolen import Stolen
from stores.redis_server import RedisServer, needs_redis
from stores.redis_toys import ToyEmbedder, entry, question, spec

from llmsim.gateway.caching import CacheUse, StoreError
from llmsim.stores.redis import RedisStore

pytestmark = needs_redis


def on(url, script, embedder=None, **options):
    async def main():
        store = RedisStore(spec(**options), None, url, embedder or ToyEmbedder())
        try:
            async with asyncio.timeout(60):
                return await script(store)
        finally:
            await store.aclose()

    return asyncio.run(main())


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as running:
        yield running


async def keep(store, *words, **more):
    for number, text in enumerate(words):
        asked = question(text, number=number)
        await store.put(asked, entry(asked, stored_s=time.time(), **more), CacheUse())


async def known(store, *words):
    """Which of these are found, by their letters and by their meaning."""
    found = []
    for text in words:
        exact = await store.exact(question(text), time.time())
        near = await store.nearest(question(f"{text} then"), time.time(), CacheUse())
        if exact is not None and near is not None:
            assert exact.words == near.entry.words == text
            found.append(text)
    return found


@pytest.mark.parametrize("append", [True, False])
def test_killed_and_started_again(tmp_path, append):
    texts = [f"tell me about number {number}" for number in range(20)]

    async def script(store):
        await keep(store, *texts)
        before = [await store.exact(question(text), time.time()) for text in texts]
        server.kill()
        for _ in range(3):
            with pytest.raises(StoreError, match=r"redis at 127\.0\.0\.1"):
                await store.exact(question(texts[0]), time.time())
        server.start()
        start = time.perf_counter()
        after = [await store.exact(question(text), time.time()) for text in texts]  # the same store, no new one
        took = time.perf_counter() - start
        assert after == (before if append else [None] * 20)
        assert await known(store, *texts) == (texts if append else [])
        await keep(store, "and now for something else")
        assert await known(store, "and now for something else")
        return took

    with RedisServer(tmp_path, append=append) as server:
        assert on(server.url, script) < 1.0


def test_killed_in_the_middle_of_writes(tmp_path):
    """What was acknowledged is found, and the books are right: a script is written whole or not at all."""
    acknowledged = []

    async def script(store):
        async def write(number):
            for turn in range(1000):
                text = f"writer {number} says {turn}"
                try:
                    await keep(store, text)
                except StoreError:
                    return
                acknowledged.append(text)

        writers = [asyncio.create_task(write(number)) for number in range(8)]
        await asyncio.sleep(0.4)
        server.kill()
        await asyncio.gather(*writers)
        server.start()
        found = [text for text in acknowledged if await store.exact(question(text), time.time()) is not None]
        assert found == acknowledged

    with RedisServer(tmp_path, append=True) as server:
        on(server.url, script, capacity=100_000)
        assert len(acknowledged) > 20
        look = server.client()
        (prefix,) = {name.rpartition(b":")[0] for name in look.keys("*:u")}
        places = {name.rpartition(b":")[2] for name in look.keys("*:e:*")}
        assert places == set(look.hkeys(prefix + b":m")) == {name[14:] for name in look.zrange(prefix + b":u", 0, -1)}
        assert look.execute_command("VCARD", look.keys("*:v:*")[0]) == len(places)
        look.close()


def test_a_redis_that_hangs(server):
    async def script(store):
        await keep(store, "hello")
        server.freeze()
        with Stolen() as stolen:
            start = time.perf_counter()
            with pytest.raises(StoreError, match=r"no answer within 0.3 s"):
                await store.exact(question("hello"), time.time())
            took = time.perf_counter() - start
            server.thaw()
            assert 0.25 < took < 1.5 + stolen.s
        assert await known(store, "hello")

    on(f"{server.url}?socket_timeout=0.3", script)


def test_a_pause_shorter_than_the_limit_is_waited_for(server):
    async def script(store):
        await keep(store, "hello")
        look = server.client()
        look.client_pause(200, all=True)
        look.close()
        start = time.perf_counter()
        assert await store.exact(question("hello"), time.time()) is not None
        assert time.perf_counter() - start > 0.1

    on(server.url, script)


def test_nobody_gets_the_answer_to_anothers_question(server):
    """Callers that leave while they wait: their answer arrives later, on a connection that nobody may use again."""
    luck = random.Random(7)
    texts = [f"what is {number} squared" for number in range(40)]

    async def script(store):
        await keep(store, *texts)
        look = server.client()
        asked = answered = 0

        async def one(text):
            nonlocal answered
            place = store._link, f"{store._prefix}e:{look_up[text]}"
            got = await place[0].fields(place[1], "d", "i")  # below all checks
            assert text.encode() in got[0]
            found = await store.exact(question(text), time.time())
            assert found is not None and found.words == text
            near = await store.nearest(question(text), time.time(), CacheUse())
            assert near.entry.words == text
            answered += 1

        look_up = {look.hget(name, "d").split(b'"words":"')[1].split(b'"')[0].decode(): name.decode().rpartition(":")[2]
                   for name in look.keys("*:e:*")}  # fmt: skip
        for turn in range(30):
            if turn % 5 == 0:
                look.client_pause(20, all=True)
            tasks = [asyncio.create_task(one(luck.choice(texts))) for _ in range(30)]
            asked += len(tasks)
            await asyncio.sleep(luck.random() * 0.02)
            for task in luck.sample(tasks, 15):
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result
        await asyncio.gather(*(one(text) for text in texts))  # and no connection has been lost on the way
        look.close()
        return asked, answered

    asked, answered = on(server.url, script)
    assert 0.3 * asked < answered < asked + 40


def test_memory_has_run_out(server):
    """Nothing is written any more; what is there is served, touched, and dropped."""

    async def script(store):
        await keep(store, "hello", "good bye")
        look = server.client()
        look.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="maxmemory"):
            await keep(store, "more")
        assert await known(store, "hello", "good bye") == ["hello", "good bye"]
        found = await store.exact(question("hello"), time.time())
        await store.touch(found, time.time(), time.time() + 60)
        await store.drop(found)
        assert await known(store, "hello", "good bye") == ["good bye"]
        look.config_set("maxmemory", 0)
        await keep(store, "more")
        assert await known(store, "more")
        look.close()

    on(server.url, script)


def test_a_replica_that_may_only_be_read(server):
    async def script(store):
        await keep(store, "hello")
        look = server.client()
        look.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError):
            await keep(store, "more")
        look.execute_command("REPLICAOF", "NO", "ONE")
        await keep(store, "more")
        assert await known(store, "hello", "more") == ["hello", "more"]
        look.close()

    on(server.url, script)


def test_all_is_gone(server):
    async def script(store):
        await keep(store, "hello", "good bye")
        look = server.client()
        look.flushall()
        look.script_flush()
        look.close()
        assert await known(store, "hello", "good bye") == []
        await keep(store, "hello")
        assert await known(store, "hello") == ["hello"]

    on(server.url, script)


@pytest.mark.parametrize("part", ["e:*", "m", "u", "x", "s", "v:*"])
@pytest.mark.parametrize("how", ["deleted", "another type"])
def test_a_key_of_the_store_that_somebody_else_changed(server, part, how):
    """The loss of any one key: fewer answers, or a StoreError that says which type is wrong; no wrong answer."""

    async def script(store):
        await keep(store, "hello", "good bye", "see you")
        look = server.client()
        for name in look.keys(f"*:{part}"):
            look.delete(name)
            if how == "another type":
                look.set(name, "what?")
        outcomes = []
        for text in ("hello", "good bye", "something new"):
            asked = question(text)
            for step in (
                store.exact(asked, time.time()),
                store.nearest(asked, time.time(), CacheUse()),
                store.put(asked, entry(asked, text, stored_s=time.time()), CacheUse()),
                store.touch(entry(asked, text, stored_s=1.0), time.time()),
                store.drop(entry(asked, text, stored_s=1.0)),
            ):
                try:
                    found = await step
                    assert found is None or getattr(found, "words", "") == text or found.similarity <= 1.0
                except StoreError as error:
                    outcomes.append(str(error))
        look.close()
        return outcomes

    outcomes = on(server.url, script, capacity=2)
    if how == "deleted" or part == "e:*":
        assert outcomes == []
    assert all("WRONGTYPE" in text or "wrong kind of value" in text for text in outcomes)


@pytest.mark.parametrize(
    "field, value",
    [("d", b"\x80\x04N."), ("d", b"{}"), ("d", b""), ("d", b"null"), ("x", b"soon"), ("x", b"nan"), ("x", b"9e999x")],
)
def test_what_cannot_be_read_is_dropped(server, field, value):
    async def script(store):
        await keep(store, "hello", "hello there")
        look = server.client()
        for name in look.keys("*:e:*"):
            if look.hget(name, "i") == b"r0":
                look.hset(name, field, value)
        if field == "d":
            assert await store.exact(question("hello"), time.time()) is None
        near = await store.nearest(question("hello"), time.time(), CacheUse())
        assert near.entry.words == "hello there"  # the next nearest instead
        assert await store.exact(question("hello"), time.time()) is None
        assert len(look.keys("*:e:*")) == look.execute_command("VCARD", look.keys("*:v:*")[0]) == 1
        look.close()

    on(server.url, script)


def test_an_entry_in_the_wrong_place_is_not_given_away(server):
    """Somebody copied another tenant's answer over this one's."""

    async def script(store):
        await keep(store, "hello")
        other = question("hello", ("globex",))
        await store.put(other, entry(other, "theirs", stored_s=time.time(), text="a secret"), CacheUse())
        look = server.client()
        names = {look.hget(name, "i"): name for name in look.keys("*:e:*")}
        look.hset(names[b"r0"], "d", look.hget(names[b"theirs"], "d"))
        look.close()
        assert await store.nearest(question("hello"), time.time(), CacheUse()) is None
        assert await store.exact(question("hello"), time.time()) is None
        assert (await store.exact(other, time.time())).id == "theirs"

    on(server.url, script)


def test_an_answer_in_the_place_of_another_question_is_not_given_away(server):
    async def script(store):
        await keep(store, "hello", "good bye")
        look = server.client()
        names = {look.hget(name, "i"): name for name in look.keys("*:e:*")}
        look.hset(names[b"r0"], "d", look.hget(names[b"r1"], "d"))
        look.close()
        assert await store.exact(question("hello"), time.time()) is None
        assert (await store.exact(question("good bye"), time.time())).id == "r1"

    on(server.url, script)


def test_vectors_without_an_entry_hide_nothing(server):
    """Some that no bookkeeping knows of either, nearer than the entry that there is."""

    async def script(store):
        await keep(store, "hello there")
        look = server.client()
        (vset,) = look.keys("*:v:*")
        vector = store._embedder.vector("hello").astype("f4").tobytes()
        for number in range(5):
            look.execute_command("VADD", vset, "FP32", vector, f"stray {number}", "NOQUANT")
        assert (await store.nearest(question("hello"), time.time(), CacheUse())).entry.words == "hello there"
        assert look.execute_command("VCARD", vset) == 1
        look.close()

    on(server.url, script)


def test_a_password(tmp_path):
    with RedisServer(tmp_path, "--requirepass", "open sesame/1") as server:

        async def script(store):
            await keep(store, "hello")
            return await known(store, "hello")

        async def refused(store):
            with pytest.raises(StoreError) as caught:
                await store.exact(question("hello"), time.time())
            return str(caught.value)

        right = server.url.replace("//", "//:open%20sesame%2F1@")
        assert on(right, script) == ["hello"]
        assert "Authentication required" in on(server.url, refused)
        said = on(server.url.replace("//", "//:open%20says%20me@"), refused)
        assert "invalid username-password" in said and "me" not in said.split("redis at")[1].split()


def test_a_user_who_may_only_what_the_page_says(server):
    """The permissions in `llmsim.stores.redis` are enough."""
    from llmsim.stores import redis as page

    rights = page.__doc__.split("An ACL needs ``")[1].split("``")[0].split()
    look = server.client()
    look.execute_command("ACL", "SETUSER", "gateway", "on", ">word", "~llmsim:*", *rights)
    look.close()

    async def script(store):
        await keep(store, "hello", "good bye", "see you", ttl_s=0.2)
        await keep(store, "hello", "good bye", "see you")
        found = await store.exact(question("see you"), time.time())
        await store.touch(found, time.time(), float("inf"))
        await asyncio.sleep(0.25)
        assert await known(store, "see you") == ["see you"]
        await store.drop(found)

    on(server.url.replace("//", "//gateway:word@"), script, capacity=2)
