"""Every protocol over real sockets: the same answer, the same counts, the right error, the key in one place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loopback import Answer, Cut, LoopbackServer, Script
from vendor_answers import KEY, KEY_VARIABLE, VENDORS, Event, Vendor, sse

from llmsim import errors as e
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request, Response, Usage

pytestmark = pytest.mark.clock

ASK = Request("r1", messages=(Message("system", "be short"), Message("user", "hi")))
PIECES = ("Hel", "lo", " world")
EACH = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
EVENT_STREAM = {"Content-Type": "text/event-stream"}


def events(*steps: Event | Cut, **headers: str) -> Answer:
    """A stream, one event a write."""
    body = [step if isinstance(step, Cut) else sse(step) for step in steps]
    return Answer(body, headers={**EVENT_STREAM, **headers}, chunked=True)


def call(
    vendor: Vendor, script: Script, use: Callable[[LoopbackServer, LiveUpstream], Awaitable[Any]], **more: Any
) -> Any:
    async def main() -> Any:
        async with LoopbackServer(script) as server, vendor.open(server.url, **more) as provider:
            return await use(server, provider)

    return asyncio.run(main())


async def said(provider: LiveUpstream, request: Request = ASK) -> tuple[str, Response]:
    response = await provider.send(request)
    return "".join([chunk.text async for chunk in response]), response


@EACH
def test_streamed_and_whole_say_the_same(vendor: Vendor) -> None:
    async def use(_: Any, provider: LiveUpstream) -> Any:
        return [await said(provider, ASK._replace(stream=stream)) for stream in (True, False)]

    whole = Answer([json.dumps(vendor.whole("".join(PIECES), 3)).encode()])
    for text, response in call(vendor, [events(*vendor.events(PIECES)), whole], use):
        assert (text, response.finish_reason) == ("Hello world", "stop")
        assert response.usage == Usage(12, 3, 4)
        assert response.tokens_delivered == 3
        assert response.headers["x-llmsim-usage"] == "reported"


@EACH
@BOTH
def test_the_key_is_in_its_header_and_nowhere_else(
    vendor: Vendor, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    async def use(server: LoopbackServer, provider: LiveUpstream) -> Any:
        response = await provider.send(ASK._replace(stream=streamed))
        await response.read()
        return server.seen[0], f"{provider!r} {response!r} {response.headers} {response.timings!r}"

    answer = events(*vendor.events(PIECES)) if streamed else Answer([json.dumps(vendor.whole("x", 1)).encode()])
    seen, shown = call(vendor, answer, use, key=True)
    bearer = "Bearer " if vendor.key_header == "authorization" else ""
    assert seen.headers[vendor.key_header] == bearer + KEY
    assert [name for name, value in seen.headers.items() if KEY in value] == [vendor.key_header]
    assert KEY not in f"{seen.path} {seen.raw_body!r} {shown}"
    assert (seen.method, seen.path) == ("POST", vendor.path[0 if streamed else 1])


@EACH
def test_an_error_before_content_is_what_it_says(vendor: Vendor) -> None:
    """And after content the stream is broken, with the server's words."""
    _, data = vendor.error
    before, after = events(vendor.error), events(*vendor.events(PIECES)[: _first_text(vendor) + 2], vendor.error)

    async def use(_: Any, provider: LiveUpstream) -> tuple[e.GatewayError, e.StreamBroken]:
        with pytest.raises(e.GatewayError) as caught:
            await provider.send(ASK)
        response = await provider.send(ASK)
        with pytest.raises(e.StreamBroken) as broken:
            [chunk async for chunk in response]
        return caught.value, broken.value

    error, broken = call(vendor, [before, after], use)
    message = data.get("message") or data["error"]["message"]
    assert (type(error), error.status, str(error)) == (vendor.means, vendor.status, message)
    assert (broken.tokens_delivered, str(broken)) == (2, message)
    assert json.loads(broken.body) == json.loads(error.body) == data


@EACH
def test_truncated_after_any_event(vendor: Vendor) -> None:
    all_events = vendor.events(PIECES)
    first, finish = _first_text(vendor), _finish(vendor)

    async def use(server: LoopbackServer, provider: LiveUpstream) -> None:
        for count in range(len(all_events)):
            server.script = events(*all_events[:count], Cut())
            text = ""
            try:
                response = await provider.send(ASK)
                async for chunk in response:
                    text += chunk.text
                assert count > finish, count
                assert response.finish_reason == "stop"
            except e.StreamBroken as error:
                assert count <= finish, count
                assert error.tokens_delivered == max(0, min(count - first, 3))
            assert text == "".join(PIECES[: max(0, count - first)])

    call(vendor, events(), use)


@EACH
@BOTH
def test_request_ids(vendor: Vendor, streamed: bool) -> None:
    body = json.dumps({"error": {"message": "no", "code": 500}}).encode()
    script = Answer([body], status=500, headers={vendor.request_id: "req-77"})

    async def use(_: Any, provider: LiveUpstream) -> e.GatewayError:
        with pytest.raises(e.ServerError) as caught:
            await provider.send(ASK._replace(stream=streamed))
        return caught.value

    assert call(vendor, script, use).request_id == "req-77"


def test_anthropic_says_the_request_in_the_error_itself() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_011"}

    async def use(_: Any, provider: LiveUpstream) -> e.GatewayError:
        with pytest.raises(e.Overloaded) as caught:
            await provider.send(ASK)
        return caught.value

    assert call(VENDORS["anthropic"], events(("error", body)), use).request_id == "req_011"
    assert e.GatewayError(body='{"request_id": 7}').request_id == e.GatewayError(body="{").request_id == ""


def test_an_anthropic_error_after_the_start_of_the_message_is_no_broken_stream() -> None:
    """The usual place of an overload: after message_start, and before any text."""
    vendor = VENDORS["anthropic"]

    async def use(_: Any, provider: LiveUpstream) -> None:
        with pytest.raises(e.Overloaded):
            await provider.send(ASK)

    call(vendor, events(*vendor.events(PIECES)[:3], vendor.error), use)


def _first_text(vendor: Vendor) -> int:
    """Number of the event with the first text."""
    return next(number for number, (_, data) in enumerate(vendor.events(PIECES)) if PIECES[0] in json.dumps(data))


def _finish(vendor: Vendor) -> int:
    """Number of the event with the finish reason."""
    words = ('"stop"', '"end_turn"', '"STOP"', "response.completed")
    found = [any(word in json.dumps(data) for word in words) for _, data in vendor.events(PIECES)]
    return found.index(True)
