"""Streams of every protocol, cut anywhere and spelled in every way: the right answer, or the right error.

Most of it goes through a transport in this process, which hands over the bytes in whatever pieces it is told; what a
stream that arrives like that must come to is worked out here from where its events end. A sample goes through sockets.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import zlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from loopback import Answer, Cut, LoopbackServer
from vendor_answers import VENDORS, Event, Vendor

from llmsim import errors as e
from llmsim.providers.live import upstream
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request, Usage

ASK = Request("r1", messages=(Message("user", "hi"),))
PIECES = ("Grü", "ß", " 世界", "!", "\n\n", "data: x")
NEWLINES = ("\n", "\r\n", "\r")
NOISE = (": keep-alive\n\n", "retry: 3000\nid: 7\n", ":\n\n", "unknown: field\n", "event: ping\n\n")
#: As Google breaks a stream off: an error in plain JSON, over several lines, that is no event.
STRAY = json.dumps({"error": {"code": 503, "message": "stray", "status": "UNAVAILABLE"}}, indent=2)


class Case(NamedTuple):
    """A stream, and how it arrives."""

    vendor: Vendor
    body: bytes  #: before any compression
    ends: list[int]  #: bytes after which each event is complete; the events
    events: list[Event]
    packed: bytes
    zipped: bool
    until: int  #: so many bytes of `packed` arrive
    reset: bool  #: then the connection is lost, in place of a clean end
    cuts: list[int]  #: where pieces end
    newline: str
    stray: int | None  #: where plain JSON ends

    @property
    def pieces(self) -> list[bytes]:
        bounds = [0, *self.cuts, self.until]
        return [piece for a, b in itertools.pairwise(bounds) if (piece := self.packed[a:b])]


def case(rng: np.random.Generator) -> Case:
    """Any vendor, spelling, noise, compression, end and pieces."""
    vendor = list(VENDORS.values())[rng.integers(len(VENDORS))]
    events = vendor.events(PIECES)
    if rng.random() < 0.25:
        events.insert(int(rng.integers(len(events))), vendor.error)
    newline = NEWLINES[rng.integers(3)]
    body, ends = bytearray(), []
    for name, data in events:
        noise = NOISE[rng.integers(len(NOISE))] if rng.random() < 0.3 else ""
        text = data if isinstance(data, str) else _json(data, rng)
        lines = [f"data:{' ' if rng.random() < 0.8 else ''}{line}" for line in text.split("\n")]
        head = [f"event: {name}"] if name else []
        body += (noise + "\n".join([*head, *lines, "", ""])).replace("\n", newline).encode()
        ends.append(len(body))
    stray = None
    if rng.random() < 0.2:
        at = int(rng.integers(len(events)))
        kept = ends[at]
        body, ends, events = body[:kept], ends[: at + 1], events[: at + 1]
        body += STRAY.replace("\n", newline).encode()
        stray = len(body)
    whole, zipped = bytes(body), rng.random() < 0.2
    packed = gzip.compress(whole, mtime=0) if zipped else whole
    until = len(packed) if rng.random() < 0.3 else int(rng.integers(len(packed) + 1))
    count = int(rng.integers(8))
    cuts = sorted(int(cut) for cut in rng.integers(1, max(until, 2), size=count)) if until > 1 else []
    return Case(
        vendor, whole, ends, events, packed, zipped, until, rng.random() < 0.3, cuts, newline, stray
    )  # fmt: skip


def _json(data: object, rng: np.random.Generator) -> str:
    return json.dumps(data, ensure_ascii=bool(rng.random() < 0.5), indent=1 if rng.random() < 0.2 else None)


class Expected(NamedTuple):
    text: str
    error: type[e.GatewayError] | None
    message: str | None
    usage: Usage | None  #: None: estimated


def expected(case: Case) -> Expected:
    """What it must come to."""
    arrived = case.until
    if case.zipped:
        arrived = len(zlib.decompressobj(31).decompress(case.packed[: case.until]))
    # A CR ends a line, but whether an LF follows is known with the next character or at a clean end.
    complete = arrived + (case.newline == "\r\n" and not case.reset) - (case.newline == "\r" and case.reset)
    text, finished, usage = "", False, None
    for end, (name, data) in zip(case.ends, case.events, strict=True):
        if end > complete:
            break
        if (name, data) == case.vendor.error and not finished:
            words = data.get("message") or data["error"]["message"]  # type: ignore[union-attr]
            return Expected(text, e.StreamBroken if text else case.vendor.means, words, None)
        for piece in PIECES[len(text) and _count(text) :][:1]:
            if _says(name, data, piece):
                text += piece
        finished = finished or _finishes(data)
        usage = Usage(12, len(PIECES), 4) if _bills(data) else usage
    if finished:
        return Expected(text, None, None, usage)
    if case.stray is not None and case.stray <= arrived:
        return Expected(text, e.StreamBroken if text else e.Overloaded, "stray", None)
    return Expected(text, e.StreamBroken, None, None)


def _count(text: str) -> int:
    return next(count for count in range(len(PIECES) + 1) if "".join(PIECES[:count]) == text)


def _says(name: str, data: object, piece: str) -> bool:
    found = json.dumps(data)
    deltas = ('"delta": {"content"', "output_text.delta", "text_delta", '"parts"')
    return any(word in found for word in deltas) and json.dumps(piece)[1:-1] in found and not _finishes(data)


def _finishes(data: object) -> bool:
    found = json.dumps(data)
    return any(word in found for word in ('"stop"', '"end_turn"', '"STOP"', '"response.completed"')) or data == "[DONE]"


def _bills(data: object) -> bool:
    found = json.dumps(data)
    if '"candidates"' in found:
        return '"STOP"' in found
    words = ('"prompt_tokens"', '"message_delta"', '"response.completed"')
    return any(word in found for word in words)


class Transport(httpx.AsyncBaseTransport):
    """Answers with the pieces of the next case."""

    case: Case

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": "text/event-stream"}
        if self.case.zipped:
            headers["Content-Encoding"] = "gzip"
        return httpx.Response(200, headers=headers, stream=_Pieces(self.case), request=request)


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, case: Case) -> None:
        self.case = case

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.case.pieces:
            yield piece
        if self.case.reset:
            raise httpx.ReadError("reset")


async def comes_to(provider: LiveUpstream) -> Expected:
    text = ""
    try:
        response = await provider.send(ASK)
        async for chunk in response:
            text += chunk.text
    except e.GatewayError as error:
        if isinstance(error, e.StreamBroken):
            assert error.tokens_delivered == _count(text)
        told = None if "connection lost" in str(error) or "finish reason" in str(error) else str(error)
        return Expected(text, type(error), told, None)
    assert response.finish_reason in ("stop", "unknown")
    reported = response.headers["x-llmsim-usage"] == "reported"
    return Expected(text, None, None, response.usage if reported else None)


def test_the_oracle_is_no_rubber_stamp() -> None:
    """All that can happen does, among the first few hundred cases."""
    rng = np.random.default_rng(7)
    found = [expected(case(rng)) for _ in range(400)]
    kinds = {(one.error, bool(one.text), one.message == "stray") for one in found}
    assert kinds >= {
        (None, True, False),
        (e.StreamBroken, True, False),
        (e.StreamBroken, False, False),
        (e.StreamBroken, True, True),
        (e.RateLimited, False, False),
        (e.Overloaded, False, False),
        (e.Overloaded, False, True),
    }
    assert {one.usage for one in found if one.error is None} == {None, Usage(12, len(PIECES), 4)}


@pytest.mark.parametrize("cases", [120, pytest.param(5_000, marks=pytest.mark.slow)])
def test_streams_cut_anywhere(cases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Transport()
    monkeypatch.setattr(upstream, "new_client", lambda *args, **more: httpx.AsyncClient(transport=transport))

    async def main() -> None:
        providers = {api: vendor.open("http://127.0.0.1:1/v1") for api, vendor in VENDORS.items()}
        rng = np.random.default_rng(cases)
        for number in range(cases):
            transport.case = one = case(rng)
            assert await comes_to(providers[one.vendor.api]) == expected(one), (number, one)
        for provider in providers.values():
            await provider.aclose()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.clock
def test_a_sample_over_sockets() -> None:
    async def main() -> None:
        rng = np.random.default_rng(3)
        async with LoopbackServer(Answer()) as server:
            providers = {api: vendor.open(server.url) for api, vendor in VENDORS.items()}
            for number in range(60):
                one = case(rng)._replace(reset=False)
                headers = {"Content-Type": "text/event-stream"}
                if one.zipped:
                    headers["Content-Encoding"] = "gzip"
                end = [] if one.until == len(one.packed) else [Cut()]
                server.script = Answer([*one.pieces, *end], headers=headers, chunked=True)
                # A cut connection is no clean end: nobody learns that a last CR was all.
                want = expected(one._replace(reset=bool(end)))
                assert await comes_to(providers[one.vendor.api]) == want, (number, one)
            for provider in providers.values():
                await provider.aclose()

    asyncio.run(main())
