"""Whatever is the matter with a Redis: its store says so in one error, soon, and without the password."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback

import pytest
from stolen import Stolen
from stores.fake_redis import FakeRedis
from stores.redis_toys import ToyEmbedder, entry, question, spec

from llmsim.gateway.caching import CacheUse, StoreError

pytest.importorskip("redis", reason="no redis-py in this interpreter (pip install 'llmsim[redis]')")

from llmsim.stores.redis import RedisStore
from llmsim.stores.redis_codec import encoded
from llmsim.stores.redis_link import RedisLink

WORDS = ToyEmbedder()
ASKED = question("hello there")
KEPT = entry(ASKED, stored_s=1.0)

STEPS = {
    "exact": lambda store: store.exact(ASKED, 2.0),
    "nearest": lambda store: store.nearest(ASKED, 2.0, CacheUse()),
    "put": lambda store: store.put(ASKED, KEPT, CacheUse()),
    "touch": lambda store: store.touch(KEPT, 2.0, 99.0),
    "drop": lambda store: store.drop(KEPT),
}


async def outcome(step, store):
    """What a step comes to: nothing found, or the error's text. Anything else fails the test."""
    try:
        found = await STEPS[step](store)
    except StoreError as error:
        assert error.__cause__ is None and error.__context__ is None
        return str(error)
    assert found is None
    return None


def ask_fake(step, *answer, timeout="0.2", **more):
    async def main():
        async with FakeRedis(*answer, **more) as fake:
            store = RedisStore(spec(), None, f"{fake.url}?socket_timeout={timeout}", WORDS)
            start = asyncio.get_running_loop().time()
            try:
                return await outcome(step, store)
            finally:
                assert asyncio.get_running_loop().time() - start < 5
                await store.aclose()

    return asyncio.run(main())


ERRORS = {
    b"-LOADING Redis is loading the dataset in memory\r\n": "loading the dataset",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n": "maxmemory",
    b"-READONLY You can't write against a read only replica.\r\n": "read only replica",
    b"-MISCONF Redis is configured to save RDB snapshots, but it's unable to persist\r\n": "unable to persist",
    b"-NOAUTH Authentication required.\r\n": "Authentication required",
    b"-NOPERM this user has no permissions to run the 'evalsha' command\r\n": "no permissions",
    b"-BUSY Redis is busy running a script.\r\n": "busy running a script",
    b"-MASTERDOWN Link with MASTER is down\r\n": "MASTER is down",
    # What Redis 7.0, Valkey 9 and Redis 6 say to our scripts.
    b"-ERR Unknown Redis command called from script script: ab, on @user_script:65.\r\n": "needs Redis 8.0",
    b"-ERR unknown command 'VSIM', with args beginning with: \r\n": "needs Redis 8.0",
    b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'\r\n": "needs Redis 8.0",
}


@pytest.mark.matrix
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("answer", ERRORS, ids=[word.split()[0].decode() for word in ERRORS])
def test_an_error_reply(step, answer):
    said = ask_fake(step, answer)
    assert said.startswith("redis at 127.0.0.1:")
    assert ERRORS[answer] in said


@pytest.mark.matrix
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "answer, options",
    [(b"", {}), (b"", {"reset": True}), (b"$100\r\nhel", {"cut": True}), (b"HTTP/1.1 400 Bad\r\n\r\n", {"cut": True})],
    ids=["hangs up", "resets", "cuts", "is a web server"],
)  # fmt: skip
def test_a_connection_that_breaks(step, answer, options):
    assert ask_fake(step, answer, **options).startswith("redis at 127.0.0.1:")


@pytest.mark.matrix
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("answer", [None, b"$100\r\nhel", b"*3\r\n"], ids=["never", "not all", "half a list"])
def test_a_server_that_does_not_answer(step, answer):
    assert "no answer within 0.2 s" in ask_fake(step, answer)


RUBBISH = [
    b":12\r\n", b":0\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"+OK\r\n", b"$3\r\nabc\r\n", b"*1\r\n$-1\r\n",
    b"*2\r\n$-1\r\n$-1\r\n", b"*2\r\n$2\r\n{}\r\n$1\r\nx\r\n", b"*2\r\n:1\r\n:2\r\n", b"*2\r\n*0\r\n*0\r\n",
    b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n", b"*5\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n",
    b"*5\r\n$1\r\na\r\n$2\r\n{}\r\n$1\r\n9\r\n$3\r\nf32\r\n$1\r\nx\r\n", b"$99999999999999999999\r\n", b"\xff\xfe\r\n",
    b"*1\r\n-ERR inside\r\n", b"-\r\n", b":x\r\n",
]  # fmt: skip


@pytest.mark.matrix
@pytest.mark.parametrize("answer", RUBBISH)
@pytest.mark.parametrize("step", STEPS)
def test_rubbish_is_a_miss_or_a_store_error(step, answer):
    ask_fake(step, answer, timeout="0.1")


def test_a_connection_that_is_lost_is_opened_anew_once():
    nothing = b"*2\r\n$-1\r\n$-1\r\n"
    assert ask_fake("exact", nothing, refuse=1) is None
    assert ask_fake("exact", nothing, refuse=2).startswith("redis at 127.0.0.1:")


@pytest.mark.parametrize(
    "kind, vector", [(b"f32", b"abc"), (b"f32", b""), (b"int8", b"x" * 4 * WORDS.dimensions), (b"f32", None),
                     (b"f32", bytes(4 * WORDS.dimensions)), (b"f32", b"\xff" * 4 * WORDS.dimensions)],
)  # fmt: skip
def test_an_entry_with_a_vector_that_is_none(kind, vector):
    parts = [b"place", encoded(KEPT), b"99.0", kind, vector]
    told = b"".join(b"$-1\r\n" if part is None else b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    assert ask_fake("nearest", b"*5\r\n" + told) is None


def test_nobody_listens():
    async def main(step):
        async with FakeRedis(None) as fake:
            url = fake.url
        store = RedisStore(spec(), None, url, WORDS)
        try:
            return await outcome(step, store)
        finally:
            await store.aclose()

    for step in STEPS:
        said = asyncio.run(main(step))
        assert said.startswith("redis at 127.0.0.1:") and "onnect" in said


def test_the_time_limit_is_for_all_that_waits():
    """Sixteen connections that get no answer, and a hundred callers: nobody waits for another's limit."""

    async def main():
        async with FakeRedis(None) as fake:
            store = RedisStore(spec(), None, f"{fake.url}?socket_timeout=0.3", WORDS)
            with Stolen() as stolen:
                start = time.perf_counter()
                said = await asyncio.gather(*(outcome("exact", store) for _ in range(100)))
                took = time.perf_counter() - start - stolen.s
            connections = fake.most_open
            await store.aclose()
            return said, took, connections

    said, took, connections = asyncio.run(main())
    assert all("no answer within 0.3 s" in text for text in said)
    assert took < 2.0
    assert connections <= 16


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6379", "http://:hunter2-long@127.0.0.1/0", "redis://:hunter2-long:@h:x@127.0.0.1:port/0",
     "redis://:hunter2-long@127.0.0.1:6379/0?socket_timeout=soon", "redis://:hunter2-long@127.0.0.1:99x/0",
     "redis://127.0.0.1/0?no_such_option=1"],
)  # fmt: skip
def test_an_address_that_is_none(url):
    with pytest.raises(ValueError, match=r"written like redis://:password@host:6379/0") as caught:
        RedisStore(spec(), None, url, WORDS)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


SECRET = "hunter2-and-some-more"


def test_the_password_is_nowhere(caplog):
    """Not in a repr, an error, its traceback with the locals of our frames, or a log."""
    caplog.set_level(logging.DEBUG)
    answers = [b"-ERR wrong password hunter2-and-some-more\r\n", b"-WRONGPASS no\r\n", b"", None, b"\xff\r\n"]

    async def main(answer, said):
        async with FakeRedis(answer) as fake:
            url = fake.url.replace("redis://", f"redis://someone:{SECRET}@") + "?socket_timeout=0.2"
            store = RedisStore(spec(), None, url, WORDS)
            said.append(repr(store) + repr(store._link) + repr(vars(store)) + store._link.address)
            for step in STEPS.values():
                with pytest.raises(StoreError) as caught:
                    await step(store)
                told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
                ours = [frame for frame in told.stack if "llmsim" in frame.filename and "tests" not in frame.filename]
                assert len(ours) >= 2
                said += [str(frame.locals) for frame in ours]
                said.append("".join(traceback.format_exception(caught.value)))
            await store.aclose()

    for answer in answers:
        said: list[str] = []
        asyncio.run(main(answer, said))
        assert not [text for text in said if SECRET in text]
    assert SECRET not in caplog.text


def test_the_address_is_told_without_what_is_secret():
    link = RedisLink(f"rediss://me:{SECRET}@cache.example:7000/3?socket_timeout=0.25")
    assert (link.address, link.timeout_s) == ("cache.example:7000/3", 0.25)
    assert RedisLink(f"unix:///tmp/redis.sock?password={SECRET}").address == "/tmp/redis.sock"
    assert RedisLink("redis://127.0.0.1").timeout_s == 1.0


def test_an_embedder_that_makes_no_vector():
    class Broken(ToyEmbedder):
        async def probe(self, question):
            return self.made

    async def main(embedder):
        store = RedisStore(spec(), None, "redis://127.0.0.1:1/0", embedder)
        for made in (
            [0.0, 0.0],
            [float("nan"), 1.0],
            [[1.0, 2.0]],
            [],
            float("inf"),
            [1.0, float("inf")],
            "words",
            None,
        ):
            embedder.made = made
            with pytest.raises(StoreError, match="made no vector"):
                await store.nearest(question("hi"), 1.0, CacheUse())
            with pytest.raises(StoreError, match="made no vector"):
                await store.put(question("hi"), KEPT, CacheUse())
        await store.aclose()

    asyncio.run(main(Broken()))
