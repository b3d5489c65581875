"""`OpenAIChat` against a real model behind a real server: llama.cpp with SmolLM2-135M on loopback.

Run with ``pytest -m live``. The server is started here and takes one core.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from live.served import MARKS, llama, served

from llmsim import errors as e
from llmsim.types import Message, Request

pytestmark = MARKS

ASK = Request("r1", messages=(Message("user", "Count from one to twenty."),), max_tokens=24, temperature=0.0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a running server, ended with the module."""
    with served() as line:
        yield line


Ask = Callable[..., Any]


@pytest.fixture
def live(url: str) -> Ask:
    """``live(use, **options)``: run ``await use(provider)`` against the server."""
    from llmsim.providers.live import OpenAIChat

    def run(use: Callable[[OpenAIChat], Awaitable[Any]], **options: Any) -> Any:
        # llama.cpp closes a connection after a streamed answer without saying so; its reuse is tested below.
        options = {"model": llama.MODEL, "api_key_env": None, "keep_alive_s": 0.0, "base_url": url, **options}

        async def main() -> Any:
            async with OpenAIChat("local", **options) as provider:
                return await use(provider)

        return asyncio.run(main())

    return run


async def _read(provider: Any, request: Request = ASK) -> tuple[str, int, Any]:
    response = await provider.send(request)
    chunks = [chunk async for chunk in response]
    return "".join(chunk.text for chunk in chunks), len(chunks), response


def test_streamed_and_whole_say_the_same(live: Ask) -> None:
    text, chunks, streamed = live(_read)
    again, _, whole = live(lambda provider: _read(provider, ASK._replace(stream=False)))
    assert text == again
    assert len(text) > 20
    assert streamed.usage == whole.usage
    assert streamed.usage.output_tokens <= 24
    assert streamed.usage.input_tokens > 10
    assert (streamed.finish_reason, whole.finish_reason) in [("length", "length"), ("stop", "stop")]
    assert streamed.headers["x-llmsim-usage"] == whole.headers["x-llmsim-usage"] == "reported"
    assert 0 < chunks <= streamed.usage.output_tokens
    print(f"{chunks} chunks, {streamed.usage}")


def test_the_first_chunk_comes_long_before_the_end(live: Ask) -> None:
    async def use(provider: Any) -> tuple[float, float]:
        start = time.perf_counter()
        response = await provider.send(ASK._replace(max_tokens=64))
        first = time.perf_counter() - start
        await response.read()
        return first, time.perf_counter() - start

    first, end = live(use)
    assert first < end / 2
    print(f"ttft {first:.3f} s, e2e {end:.3f} s")


def test_max_tokens_and_model(live: Ask) -> None:
    text, _, response = live(lambda provider: _read(provider, ASK._replace(max_tokens=3, model="another")))
    assert text
    assert (response.finish_reason, response.usage.output_tokens, response.model) == ("length", 3, "another")


def test_json_schema(live: Ask) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    ask = ASK._replace(response_schema=json.dumps(schema), max_tokens=40, stream=False)
    text, _, _ = live(lambda provider: _read(provider, ask))
    assert isinstance(json.loads(text)["n"], int)


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_that_does_not_fit(live: Ask, stream: bool) -> None:
    ask = ASK._replace(messages=(Message("user", "word " * 2 * llama.SLOT_TOKENS),), stream=stream)

    async def use(provider: Any) -> e.ContextTooLong:
        with pytest.raises(e.ContextTooLong) as caught:
            await provider.send(ask)
        return caught.value

    error = live(use)
    assert error.status == 400
    assert json.loads(error.body)["error"]["n_ctx"] == llama.SLOT_TOKENS
    print(error)


def test_a_wrong_base_url(live: Ask, url: str) -> None:
    async def use(provider: Any) -> None:
        with pytest.raises(e.BadRequest) as caught:
            await provider.send(ASK)
        assert caught.value.status == 404

    live(use, base_url=url.removesuffix("/v1") + "/v7")


async def _busy_slots(url: str) -> int:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        slots = (await client.get(url.removesuffix("/v1") + "/slots")).json()
    return sum(bool(slot["is_processing"]) for slot in slots)


async def _seconds_until_free(url: str) -> float:
    start = time.perf_counter()
    async with asyncio.timeout(60):
        while await _busy_slots(url):
            await asyncio.sleep(0.01)
    return time.perf_counter() - start


@pytest.mark.parametrize("leave", ["close", "cancel"])
def test_leaving_while_it_generates_frees_the_slot(live: Ask, url: str, leave: str) -> None:
    long = ASK._replace(max_tokens=1500, messages=(Message("user", "Write a very long story about a fox."),))

    async def use(provider: Any) -> float:
        response = await provider.send(long)
        await anext(response)
        assert await _busy_slots(url) == 1
        if leave == "close":
            response.close()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await response.read()
        assert response.outcome.kind == "cancelled"
        return await _seconds_until_free(url)

    free = live(use, extra_body={"ignore_eos": True})
    assert free < 1.0
    print(f"free after {free:.3f} s")


def test_leaving_before_the_first_chunk(live: Ask, url: str) -> None:
    """llama.cpp finishes the batch it is prefilling; the next call works all the same."""
    long = ASK._replace(messages=(Message("user", "word " * 120),))

    async def use(provider: Any) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await provider.send(long)
        free = await _seconds_until_free(url)
        await _read(provider)
        return free

    print(f"free after {live(use):.3f} s")


def test_a_stall(live: Ask) -> None:
    async def use(provider: Any) -> e.StreamStalled:
        response = await provider.send(ASK._replace(max_tokens=64))
        response.limit(gap_s=0.001)
        with pytest.raises(e.StreamStalled) as caught:
            await response.read()
        return caught.value

    assert live(use).tokens_delivered < 64


def test_more_calls_than_slots(live: Ask) -> None:
    async def use(provider: Any) -> list[str]:
        return [text for text, _, _ in await asyncio.gather(*(_read(provider) for _ in range(6)))]

    texts = live(use)
    assert len(texts) == 6
    assert all(texts)


def test_keep_alive_fails_at_worst_before_the_first_byte(live: Ask) -> None:
    """The server drops a connection after a stream; using it again is a race that a retry policy has to survive."""

    async def use(provider: Any) -> int:
        failed = 0
        for _ in range(10):
            try:
                await _read(provider, ASK._replace(max_tokens=2))
            except e.ConnectionFailed:
                failed += 1
        return failed

    reused, fresh = live(use, keep_alive_s=5.0), live(use)
    print(f"of 10 calls each: {reused} failed on a kept connection, {fresh} on a new one")
    assert fresh == 0
