"""`OpenAIEmbeddings` against a server on loopback: what is asked, what comes of it, and where the key goes."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from typing import Any

import numpy as np
import pytest
from loopback import Answer, LoopbackServer, Script, Wait, failure, hang, hang_up

from llmsim.gateway.caching import CacheUse, Incomparable, Question, StoreError, StoreSpec
from llmsim.pricing import FREE, TokenPrice
from llmsim.providers.live import OpenAIEmbeddings
from llmsim.types import Message, Request

KEY = "sk-proj-Zq7-TOPSECRET-93xyzABC"


def vectors(*rows: Any, tokens: Any = 5, **answer: Any) -> Answer:
    """An answer of OpenAI's, in the order given."""
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": "m", "usage": usage}
    return Answer([json.dumps(body).encode()], **answer)


def question(words: str) -> Question:
    return Question(Request("r", messages=(Message("user", words),)), ("acme",), words, words)


def asked(script: Script, use: Any, **options: Any) -> Any:
    """``await use(embedder, server)``; afterwards no task may be left."""

    async def main() -> Any:
        options.setdefault("api_key_env", None)
        options.setdefault("dimensions", 3)
        async with LoopbackServer(script) as server:
            async with OpenAIEmbeddings("m", base_url=server.url, **options) as embedder:
                result = await use(embedder, server)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in left if task.get_name() != "loopback"]
            return result

    return asyncio.run(main())


def refused(script: Script, **options: Any) -> str:
    """What is said when there is no vector."""

    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> str:
        with pytest.raises(StoreError) as caught:
            await embedder.probe(question("hello"))
        return str(caught.value)

    return str(asked(script, use, **options))


def test_what_is_sent_and_what_comes() -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        hello = question("Grüße, how are you?")
        assert embedder.tokens(hello) == 5  # 19 characters
        probe = await embedder.probe(hello)
        assert probe.dtype == np.float32
        assert probe.tolist() == pytest.approx([0.6, 0.0, 0.8])
        assert embedder.tokens(hello) == 11
        (seen,) = server.seen
        assert (seen.method, seen.path) == ("POST", "/v1/embeddings")
        assert seen.body == {"model": "m", "input": ["Grüße, how are you?"], "encoding_format": "float"}
        assert "authorization" not in seen.headers

    asked(vectors([3, 0, 4], tokens=11), use)


def test_shorter_ones_are_asked_for() -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        await embedder.probe(question("hello"))
        assert server.seen[0].body["dimensions"] == 3
        assert embedder.name == "m/3"  # others than those of the whole model

    asked(vectors([3, 0, 4]), use, shorten=True)


def test_several_in_one_call_in_their_order() -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        found = await embedder.embed(["one", "two"])
        assert found.tolist() == [[1, 0, 0], [0, 1, 0]]
        assert embedder.count_tokens("one") == 1  # of the five together nobody knows
        assert len(server.seen) == 1

    rows = [{"index": 1, "embedding": [0, 9, 0]}, {"index": 0, "embedding": [2, 0, 0]}]
    asked(Answer([json.dumps({"data": rows, "usage": {"prompt_tokens": 5}}).encode()]), use)


@pytest.mark.parametrize("usage", [None, "five", -3, True, 2.5, 0])
def test_without_a_word_about_tokens_they_are_estimated(usage: Any) -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> int:
        await embedder.probe(question("hello there"))
        return embedder.tokens(question("hello there"))

    assert asked(vectors([3, 0, 4], tokens=usage), use) == 3


@pytest.mark.parametrize(
    ("words", "answer", "calls"),
    [
        (
            "long",
            failure(400, type="invalid_request_error", message="This model's maximum context length is 8192 tokens"),
            1,
        ),
        ("long", failure(400, code="context_length_exceeded"), 1),
        ("", vectors([3, 0, 4]), 0),
    ],
)
def test_what_is_wrong_with_a_text_is_told_from_what_is_wrong_with_the_server(
    words: str, answer: Answer, calls: int
) -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> int:
        with pytest.raises(Incomparable):
            await embedder.probe(question(words))
        return len(server.seen)

    assert asked(answer, use) == calls


def test_counts_are_not_kept_for_ever() -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        for number in range(1100):
            embedder._count({"usage": {"prompt_tokens": 7}}, [str(number)])
        assert len(embedder._counts) == 1024
        assert (embedder.count_tokens("1099"), embedder.count_tokens("1")) == (7, 1)

    asked(vectors([3, 0, 4]), use)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (failure(401, message="bad key"), "HTTP 401: bad key"),
        (failure(429, message="slow down"), "HTTP 429: slow down"),
        (failure(400, message="maximum context length is 8192 tokens"), "HTTP 400: maximum context length"),
        (failure(503), "HTTP 503"),
        (failure(200, message="odd"), "odd"),
        (Answer([b"<html>"], status=502), "HTTP 502"),
        (Answer([b"<html>"]), "not 1 vector of 3 numbers; is base_url right?"),
        (Answer([b"[" * 100_000]), "not 1 vector of 3 numbers"),
        (Answer([b"{}"]), "not 1 vector of 3 numbers"),
        (Answer([b'{"data": [{"embedding": "AACAPw=="}]}']), "not 1 vector of 3 numbers"),
        (Answer([b'{"data": {"0": 1}}']), "not 1 vector of 3 numbers"),
        (vectors([1, 2]), "1 vector of 3 numbers expected, and (1, 2) came; write dimensions"),
        (vectors([1, 2, 3], [1, 2, 3]), "and (2, 3) came"),
        (vectors(), "(0,) came"),
        (vectors([0, 0, 0]), "without a direction"),
        (vectors([1, float("nan"), 0]), "without a direction"),
        (vectors([1, "x", 0]), "not 1 vector of 3 numbers"),
        (hang_up(), "RemoteProtocolError"),
        (hang_up(reset=True), "Error"),
    ],
)
def test_what_is_no_vector_is_a_store_error(answer: Answer, says: str) -> None:
    assert says in refused(answer)


def test_nobody_listens() -> None:
    async def main() -> None:
        async with LoopbackServer(hang()) as server:
            url = server.url
        async with OpenAIEmbeddings("m", base_url=url, dimensions=3, api_key_env=None) as embedder:
            with pytest.raises(StoreError, match="ConnectError"):
                await embedder.probe(question("hello"))

    asyncio.run(main())


@pytest.mark.clock
@pytest.mark.parametrize("answer", [hang(), Answer([b'{"data"', Wait(5.0), b": 1}"])], ids=["no answer", "a slow one"])
def test_time_is_limited_and_the_server_sees_that_nobody_waits(answer: Answer) -> None:
    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        with pytest.raises(StoreError, match=r"no answer within 0.1 s"):
            await embedder.probe(question("hello"))
        assert await server.seen[0].wait_end() == "client_left"
        waiting = asyncio.create_task(embedder.probe(question("hello")))
        while len(server.seen) < 2:
            await asyncio.sleep(0.005)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await server.seen[1].wait_end() == "client_left"

    asked(answer, use, timeout_s=0.1)


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LLMSIM_TEST_KEY", KEY)

    async def good(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        await embedder.probe(question("hello"))
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in repr(embedder) + repr(vars(embedder))

    asked(vectors([1, 0, 0]), good, api_key_env="LLMSIM_TEST_KEY")

    async def bad(embedder: OpenAIEmbeddings, server: LoopbackServer) -> None:
        with pytest.raises(StoreError) as caught:
            await embedder.probe(question("hello"))
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown = [
            str(frame.locals) for frame in told.stack if "llmsim/" in frame.filename and "tests" not in frame.filename
        ]
        assert shown
        assert not [text for text in ["".join(told.format()), *shown] if KEY in text]

    for answer in (failure(401, message=f"no such key {KEY}"), Answer([KEY.encode()]), hang_up(), hang()):
        asked(answer, bad, api_key_env="LLMSIM_TEST_KEY", timeout_s=0.1)
    assert KEY not in caplog.text


@pytest.mark.parametrize("value", [None, "", "two words"])
def test_a_key_that_is_none(monkeypatch: Any, value: str | None) -> None:
    monkeypatch.delenv("LLMSIM_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("LLMSIM_TEST_KEY", value)
    assert "LLMSIM_TEST_KEY" in refused(vectors([1, 0, 0]), api_key_env="LLMSIM_TEST_KEY")


@pytest.mark.parametrize(
    "wrong",
    [{"base_url": "api.openai.com"}, {"base_url": f"https://{KEY}@h/v1"}, {"dimensions": 0}, {"timeout_s": 0.0},
     {"base_url": f"https://h/v1?key={KEY}"}],
)  # fmt: skip
def test_words_that_cannot_work(wrong: Any) -> None:
    with pytest.raises(ValueError) as caught:
        OpenAIEmbeddings("m", **{"base_url": "https://h/v1", "dimensions": 3, **wrong})
    assert KEY not in str(caught.value)


def test_its_price() -> None:
    def price(model: str, base_url: str = "https://api.openai.com/v1", **more: Any) -> TokenPrice:
        return OpenAIEmbeddings(model, base_url=base_url, dimensions=3, **more).price

    assert price("text-embedding-3-small").input == pytest.approx(0.02e-6)
    assert price("text-embedding-3-large").input == pytest.approx(0.13e-6)
    assert price("no-such-model") == FREE
    assert price("text-embedding-3-small", "http://127.0.0.1:8080/v1") == FREE
    assert price("any", price=TokenPrice(input=1e-6)).input == 1e-6


def test_a_store_bills_what_the_server_said() -> None:
    pytest.importorskip("redis")
    from llmsim.stores.redis import RedisStore

    async def use(embedder: OpenAIEmbeddings, server: LoopbackServer) -> int:
        store, counted = RedisStore(StoreSpec("redis", 10), None, "redis://127.0.0.1:1/0", embedder), CacheUse()
        with pytest.raises(StoreError, match="redis at"):
            await store.nearest(question("hello"), 1.0, counted)
        await store.aclose()
        return counted.embedded_tokens

    assert asked(vectors([3, 0, 4], tokens=11), use) == 11


def test_one_value_on_several_loops() -> None:
    with LoopbackServer(vectors([3, 0, 4])) as server:
        embedder = OpenAIEmbeddings("m", base_url=server.url, dimensions=3, api_key_env=None)

        async def once() -> None:
            await embedder.probe(question("hello"))
            await embedder.aclose()

        asyncio.run(once())
        asyncio.run(once())
