"""Servers that drip, stay silent, send rubbish or leave: each ends in its error, and the connection is closed."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loopback import Answer, Cut, LoopbackServer, Script, Stall, Wait
from stolen import Stolen
from vendor_answers import VENDORS, Vendor, sse

from llmsim import errors as e
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("user", "hi"),))
EACH = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
STREAM = {"Content-Type": "text/event-stream"}
STRAY = json.dumps([{"error": {"code": 429, "message": "exhausted", "status": "RESOURCE_EXHAUSTED"}}], indent=2)


def call(vendor: Vendor, script: Script, use: Callable[[LoopbackServer, LiveUpstream], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with LoopbackServer(script) as server, vendor.open(server.url) as provider:
            return await use(server, provider)

    return asyncio.run(main())


def answer(*steps: Any, **more: Any) -> Answer:
    return Answer(steps, headers={**STREAM, **more.pop("headers", {})}, chunked=True, **more)


async def fails(provider: LiveUpstream, limit_s: float = 0.15) -> tuple[e.GatewayError, str]:
    """The error of a call whose chunks may be `limit_s` apart, and what came before it."""
    text = ""
    with pytest.raises(e.GatewayError) as caught:
        response = await provider.send(ASK)
        response.limit(gap_s=limit_s)
        async for chunk in response:
            text += chunk.text
    return caught.value, text


@EACH
def test_comments_for_ever_are_silence(vendor: Vendor) -> None:
    """Keep-alive comments and pings keep proxies awake, and are no tokens."""
    begun = [sse(event) for event in vendor.events(["a", "b"])[:-2]]
    drip = [step for _ in range(100) for step in (Wait(0.02), b": keep-alive\n\n", b"event: ping\ndata: {}\n\n")]

    async def use(server: LoopbackServer, provider: LiveUpstream) -> None:
        with Stolen() as stolen:
            start = time.perf_counter()
            error, text = await fails(provider)
            assert time.perf_counter() - start < 1.5 + stolen.s
        assert isinstance(error, e.StreamStalled)
        assert text[:1] == "a"
        assert await server.seen[0].wait_end() == "client_left"

    call(vendor, answer(*begun[: _texts(vendor)], *drip), use)


def _texts(vendor: Vendor) -> int:
    """How many events there are up to the first text."""
    found = [number for number, event in enumerate(vendor.events(["a1", "b"])) if "a1" in json.dumps(event)]
    return found[0] + 1


@EACH
def test_an_event_a_byte_at_a_time_is_silence_too(vendor: Vendor) -> None:
    events = [sse(event) for event in vendor.events(["a", "b"])]
    first = _texts(vendor)
    slow = [step for byte in events[first] for step in (Wait(0.02), bytes([byte]))]

    async def use(server: LoopbackServer, provider: LiveUpstream) -> None:
        error, text = await fails(provider)
        assert isinstance(error, e.StreamStalled)
        assert (text, error.tokens_delivered) == ("a", 1)

    call(vendor, answer(*events[:first], *slow), use)


def test_a_head_that_drips_is_the_business_of_the_limit_on_the_first_chunk() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    drip = [step for byte in head for step in (Wait(0.02), bytes([byte]))]

    async def use(server: LoopbackServer, provider: LiveUpstream) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await provider.send(ASK)
        assert await server.seen[0].wait_end() == "client_left"

    call(VENDORS["openai-chat"], Answer([*drip, Stall()], head=False), use)


@EACH
def test_an_error_that_is_no_event(vendor: Vendor) -> None:
    begun = [sse(event) for event in vendor.events(["a", "b"])]
    scripts = [
        answer(STRAY.encode(), Cut()),
        answer(STRAY.encode()),
        answer(b"\n" + STRAY.encode()),
        answer(*begun[: _texts(vendor)], STRAY.encode()),
        answer(*begun[: _texts(vendor)], b'{"error": "cut in the mid'),
    ]

    async def use(_: Any, provider: LiveUpstream) -> None:
        for _ in range(3):
            error, text = await fails(provider)
            assert (type(error), error.status, str(error), text) == (e.RateLimited, 429, "exhausted", "")
            assert json.loads(error.body) == json.loads(STRAY)
        error, text = await fails(provider)
        assert (type(error), str(error), text) == (e.StreamBroken, "exhausted", "a")
        error, text = await fails(provider)
        assert (type(error), text) == (e.StreamBroken, "a")
        assert "without a finish reason" in str(error)

    call(vendor, scripts, use)


def test_an_error_that_is_no_event_behind_a_long_answer() -> None:
    """Only the end of a stream is remembered, and the JSON of an event is no stray one."""
    vendor = VENDORS["gemini"]
    long = [sse(event) for event in vendor.events(["x" * 5000] * 20)[:-1]]
    quoting = [sse(("", vendor.events([STRAY])[0][1]))]

    async def use(_: Any, provider: LiveUpstream) -> None:
        error, text = await fails(provider)
        assert (str(error), len(text)) == ("exhausted", 100_000)
        error, text = await fails(provider)
        assert (text, "without a finish reason" in str(error)) == (STRAY, True)

    call(vendor, [answer(*long, STRAY.encode()), answer(*quoting)], use)


def test_gzip_that_is_none() -> None:
    vendor = VENDORS["openai-chat"]
    packed = gzip.compress(b"".join(sse(event) for event in vendor.events(["a", "b"])))

    async def use(_: Any, provider: LiveUpstream) -> None:
        for _ in range(2):
            error, text = await fails(provider)
            assert (type(error), text) == (e.StreamBroken, "")

    zipped = {"Content-Encoding": "gzip"}
    call(vendor, [answer(b"data: {}\n\n", headers=zipped), answer(packed[:12], headers=zipped)], use)


def test_bytes_that_are_no_utf_8_do_no_harm() -> None:
    vendor = VENDORS["openai-chat"]
    events = [sse(event) for event in vendor.events(["a", "b"])]

    async def use(_: Any, provider: LiveUpstream) -> str:
        return await (await provider.send(ASK)).read()

    assert call(vendor, answer(events[0], b": \xff\xfe\n\n", *events[1:]), use) == "ab"


@EACH
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_whole_answer_that_is_cut(vendor: Vendor, reset: bool) -> None:
    body = json.dumps(vendor.whole("hello", 1)).encode()

    async def use(_: Any, provider: LiveUpstream) -> None:
        with pytest.raises(e.StreamBroken) as caught:
            await provider.send(ASK._replace(stream=False))
        assert (caught.value.tokens_delivered, caught.value.status) == (0, 200)

    short = {"Content-Length": str(len(body) + 9)}
    call(vendor, Answer([body, Wait(0.02), Cut(reset)], headers=short), use)
