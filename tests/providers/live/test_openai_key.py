"""The API key goes to the server and nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Answer, Cut, LoopbackServer, Seen, Stall, completion, event, failure, hang, hang_up, stream

from llmsim import errors as e
from llmsim.providers.live import OpenAIChat
from llmsim.types import Message, Request

pytestmark = pytest.mark.clock

KEY = "sk-proj-Zq7-TOPSECRET-93xyzABC"
ASK = Request("r1", messages=(Message("user", "hi"),))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSIM_TEST_KEY", KEY)


def test_it_is_sent(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(server: LoopbackServer, provider: OpenAIChat) -> list[str]:
        await (await provider.send(ASK)).read()
        monkeypatch.setenv("LLMSIM_TEST_KEY", "  rotated-key\n")  # read again for every call; files end in newlines
        await (await provider.send(ASK)).read()
        return [seen.headers["authorization"] for seen in server.seen]

    assert live(stream("a"), use, api_key_env="LLMSIM_TEST_KEY") == [f"Bearer {KEY}", "Bearer rotated-key"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "LLMSIM_TEST_KEY is not set"),
        ("", "is not set"),
        (" \n", "is not set"),
        (f"{KEY}\nX-Evil: 1", "cannot be an API key"),
        (f"{KEY}\x00", "cannot be an API key"),
        (f"{KEY} {KEY}", "cannot be an API key"),
        (f"{KEY}…", "cannot be an API key"),
    ],
)
def test_a_key_that_cannot_be_sent(live: Any, monkeypatch: Any, value: str | None, says: str) -> None:
    if value is None:
        monkeypatch.delenv("LLMSIM_TEST_KEY")
    elif "\x00" not in value:
        monkeypatch.setenv("LLMSIM_TEST_KEY", value)
    else:  # no environment can hold a zero byte
        monkeypatch.setenv("LLMSIM_TEST_KEY", value.replace("\x00", "\x01"))

    async def use(server: LoopbackServer, provider: OpenAIChat) -> e.AuthError:
        with pytest.raises(e.AuthError, match=says) as caught:
            await provider.send(ASK)
        assert not server.seen
        return caught.value

    assert "".join(_shown(live(stream("a"), use, api_key_env="LLMSIM_TEST_KEY"))).find(KEY) < 0


def _echo(status: int) -> Any:
    """A server that quotes what it was sent, key and all."""

    def script(seen: Seen) -> Answer:
        sent = seen.headers["authorization"]
        return failure(
            status, message=f"Incorrect API key provided: {sent}", headers={"X-Echo": sent, "Set-Cookie": sent}
        )

    return script


def _echo_event(seen: Seen) -> Answer:
    data = {"error": {"message": f"bad {seen.headers['authorization']}", "type": "server_error"}}
    return stream("a", "b", after=1 if seen.number % 2 else 0, then=[event(data)])


def _echo_garbage(seen: Seen) -> Answer:
    return Answer([f"<html>{seen.headers['authorization']}</html>".encode()])


SCRIPTS: dict[str, Any] = {
    "echo 401": _echo(401),
    "echo 429": _echo(429),
    "echo 500": _echo(500),
    "echo in an event": _echo_event,
    "echo in a page": _echo_garbage,
    "hang up": hang_up(),
    "reset": hang_up(reset=True),
    "not HTTP": Answer([b"nonsense\r\n"], head=False, keep_alive=False),
    "silence": hang(),
    "silence after the head": stream("a", after=0, then=[Stall()]),
    "cut": stream("a", "b", after=1, then=[Cut()]),
    "stall": stream("a", "b", after=1, then=[Stall()]),
    "cut body": Answer([b"{", Cut()], headers={"Content-Length": "9"}),
    "fine": stream("a"),
    "fine, whole": completion("a"),
}


def _shown(error: BaseException) -> Iterator[str]:
    """All that a log, a table, a debugger or a careless print could show of an error."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield from traceback.format_exception(error)
    yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    if isinstance(error, e.GatewayError):
        yield json.dumps([dict(error.headers), error.body])


@pytest.mark.matrix
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_shows_nowhere(live: Any, name: str, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    caplog.set_level(logging.DEBUG)  # where httpcore writes the answer's headers down
    shown: list[str] = []

    async def call(provider: OpenAIChat, request: Request) -> None:
        try:
            async with asyncio.timeout(0.06):
                response = await provider.send(request)
                shown.extend([repr(response), repr(response.headers), repr(response._stream)])
                shown.append(repr(getattr(response._stream, "_response", None)))
                await response.read()
        except (e.GatewayError, TimeoutError) as error:
            shown.extend(_shown(error))

    async def use(server: LoopbackServer, provider: OpenAIChat) -> None:
        for request in (ASK, ASK._replace(stream=False), ASK):
            await call(provider, request)
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
        shown.extend([repr(provider), str(provider), repr(vars(provider)), repr(provider._client)])
        shown.extend(repr(vars(part)) for part in vars(provider).values() if hasattr(part, "__dict__"))

    live(SCRIPTS[name], use, api_key_env="LLMSIM_TEST_KEY")
    shown.extend(record.getMessage() + repr(vars(record)) for record in caplog.records)
    assert any(record.name.startswith("httpcore.") for record in caplog.records)
    shown.extend(capfd.readouterr())
    leaks = [text for text in shown if KEY in text]
    assert not leaks, leaks[0]


def test_it_cannot_be_pickled_out() -> None:
    provider = OpenAIChat("p", base_url="http://127.0.0.1:1", model="m", api_key_env="LLMSIM_TEST_KEY")
    assert KEY.encode() not in pickle.dumps(provider._key)


def test_short_placeholders_are_not_blotted_out(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSIM_TEST_KEY", "none")

    async def use(_: Any, provider: OpenAIChat) -> str:
        with pytest.raises(e.ServerError) as caught:
            await provider.send(ASK)
        return str(caught.value)

    assert live(failure(500, message="none of the workers is ready"), use, api_key_env="LLMSIM_TEST_KEY") == (
        "none of the workers is ready"
    )
