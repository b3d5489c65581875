"""The API key of every protocol goes to the server and nowhere else, whatever the server does with it."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback import Answer, Cut, LoopbackServer, Seen, Stall, hang_up
from vendor_answers import KEY_VARIABLE, VENDORS, Vendor, sse

from llmsim import errors as e
from llmsim.live_run import run_live
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.report.save import load_result
from llmsim.types import Message, Request

pytestmark = pytest.mark.clock

KEY = "k3y-Zq7-TOPSECRET-93xyzABC"
ASK = Request("r1", messages=(Message("user", "hi"),))
EVENT_STREAM = {"Content-Type": "text/event-stream"}
Said = Callable[[str, Vendor], Answer]


def _error(status: int) -> Said:
    """Quotes the key in its message and in two headers."""

    def answer(sent: str, vendor: Vendor) -> Answer:
        body = json.dumps({"type": "error", "error": {"message": f"invalid key {sent}", "type": "x", "status": "X"}})
        return Answer([body.encode()], status=status, headers={"X-Echo": sent, "Set-Cookie": f"a={sent}"})

    return answer


def _redirect(sent: str, vendor: Vendor) -> Answer:
    """To somebody who should not have the key."""
    return Answer([sent.encode()], status=307, headers={"Location": f"http://127.0.0.1:1/stolen?key={sent}"})


def _in_stream(before: int) -> Said:
    """An error event that quotes the key, after so many pieces of text."""

    def answer(sent: str, vendor: Vendor) -> Answer:
        name, data = vendor.error
        quoted = json.loads(json.dumps(data).replace(_message(data), f"bad key {sent}"))
        events = vendor.events(("a", "b"))
        steps = [sse(one) for one in events[: _texts(vendor, before)]]
        return Answer([*steps, sse((name, quoted))], headers=EVENT_STREAM, chunked=True)

    return answer


def _message(data: Any) -> str:
    return str(data.get("message") or data["error"]["message"])


def _texts(vendor: Vendor, pieces: int) -> int:
    """How many events of an answer hold so many pieces of its text."""
    if not pieces:
        return 0
    names = [json.dumps(data) for _, data in vendor.events(("\u0001a", "\u0001b"))]
    return next(number for number, text in enumerate(names, 1) if "\\u0001a" in text)


SAID: dict[str, Said] = {
    "400": _error(400),
    "401": _error(401),
    "403": _error(403),
    "429": _error(429),
    "500": _error(500),
    "529": _error(529),
    "redirect": _redirect,
    "event first": _in_stream(0),
    "event later": _in_stream(1),
    "page": lambda sent, vendor: Answer([f"<html>{sent}</html>".encode()]),
    "no JSON": lambda sent, vendor: Answer([f"data: {sent}\n\n".encode()], headers=EVENT_STREAM, chunked=True),
    "cut": lambda sent, vendor: Answer([b"data: {", Cut()], headers=EVENT_STREAM, chunked=True),
    "silence": lambda sent, vendor: Answer([b": \n\n", Stall()], headers=EVENT_STREAM, chunked=True),
    "reset": lambda sent, vendor: hang_up(reset=True),
}


def _shown(error: BaseException | None) -> Iterator[str]:
    """All that a log, a table, a debugger or a careless print could show of an error, and of what led to it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        yield from traceback.format_exception(error)
        yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
        if isinstance(error, e.GatewayError):
            yield json.dumps([dict(error.headers), error.body])
        error = error.__cause__ or error.__context__


@pytest.mark.matrix
@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_it_shows_nowhere(
    vendor: Vendor, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    failed: list[BaseException] = []

    def script(seen: Seen) -> Answer:
        return SAID[name](seen.headers[vendor.key_header], vendor)

    async def call(provider: LiveUpstream, request: Request) -> None:
        try:
            async with asyncio.timeout(0.05 if name == "silence" else 2):
                response = await provider.send(request)
                shown.extend([repr(response), repr(response.headers), repr(response._stream)])
                await response.read()
        except (e.GatewayError, TimeoutError) as error:
            failed.append(error)
            shown.extend(_shown(error))

    async def main() -> None:
        async with LoopbackServer(script) as server, vendor.open(server.url, key=True) as provider:
            for stream in (True, False):
                await call(provider, ASK._replace(stream=stream))
            assert len(server.seen) == 2
            assert all(KEY in seen.headers[vendor.key_header] for seen in server.seen), "it was not even sent"
            shown.extend([repr(provider), str(provider), repr(vars(provider)), repr(provider._client)])

    asyncio.run(main())
    assert len(failed) == 2
    shown.extend(record.getMessage() + repr(vars(record)) for record in caplog.records)
    shown.extend(capfd.readouterr())
    leaks = [text for text in shown if KEY in text]
    assert not leaks, leaks[0]


@pytest.mark.matrix
@pytest.mark.parametrize("api", VENDORS)
def test_it_is_in_nothing_that_is_saved_of_a_run(api: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A run in which the server quotes the key in every way, saved, read again and shown."""
    vendor = VENDORS[api]
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    kinds = list(SAID.values())[:-2]

    def script(seen: Seen) -> Answer:
        return kinds[seen.number % len(kinds)](seen.headers[vendor.key_header], vendor)

    scenario = {
        "version": 1,
        "seed": 3,
        "clock": {"warm_up": "0s", "duration": "300ms", "drain": "5s"},
        "traffic": {"base_rate": "150/s", "mix": [{"input_tokens": 20, "output_tokens": 2}]},
        "providers": {"one": {"model": "m", "price": {"input": "$1/Mtok", "output": "$1/Mtok"}}},
        "gateway": {"policies": [{"retry": {"max_attempts": 2, "backoff": {"initial": "1ms"}}}]},
    }
    with LoopbackServer(script) as server:
        one = {"base_url": server.url, "api": vendor.api, "key_env": KEY_VARIABLE, **dict(vendor.more)}
        result = run_live(scenario, {"version": 1, "providers": {"one": one}}, budget_usd=1.0)
        assert len(server.seen) > len(kinds)
    result.save(tmp_path / "out")
    again = load_result(tmp_path / "out")
    shown = [repr(result), result.to_json(), result._repr_html_(), repr(again), repr(again.attempts.rows()),
             repr(again.events.rows()), repr(again.requests.rows())]  # fmt: skip
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert not [text for text in shown if KEY in text]
