"""HTTP/2: calls share a connection, and one that is given up is told to the server."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from vendor_answers import VENDORS, sse

from llmsim import errors as e
from llmsim.providers.live import upstream
from llmsim.providers.live.spec import LiveProvider
from llmsim.providers.live.upstream import LiveUpstream
from llmsim.types import Message, Request, Usage
from llmsim.units import BadValue

h2_connection = pytest.importorskip("h2.connection", reason="needs h2 (pip install llmsim[http2])")
h2_config = pytest.importorskip("h2.config")
h2_events = pytest.importorskip("h2.events")

pytestmark = [
    pytest.mark.clock,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program to make a certificate"),
]

ASK = Request("r1", messages=(Message("user", "hi"),))
VENDOR = VENDORS["anthropic"]
EVENTS = [sse(event) for event in VENDOR.events(["a", "b", "c"])]
Steps = list[bytes | float]  #: what is written, and pauses


class Server:
    """One that speaks HTTP/2 only; answers the n-th call with the n-th steps."""

    def __init__(self, script: list[Steps]) -> None:
        self.script = script
        self.connections = 0
        self.calls = 0
        self.reset: list[int] = []  #: streams that were given up
        self.complete: list[int] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        try:
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    self._take(event, connection, writer)
                writer.write(connection.data_to_send())
        except (ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        writer.close()

    def _take(self, event: Any, connection: Any, writer: asyncio.StreamWriter) -> None:
        if isinstance(event, h2_events.StreamEnded):
            number, self.calls = self.calls, self.calls + 1
            task = asyncio.create_task(self._answer(number, event.stream_id, connection, writer))
            self._tasks[event.stream_id] = task
        elif isinstance(event, h2_events.StreamReset):
            self.reset.append(event.stream_id)
            self._tasks[event.stream_id].cancel()

    async def _answer(self, number: int, stream: int, connection: Any, writer: asyncio.StreamWriter) -> None:
        steps = self.script[min(number, len(self.script) - 1)]
        begun = False
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
                continue
            if not begun:
                connection.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
                begun = True
            connection.send_data(stream, step)
            writer.write(connection.data_to_send())
        connection.end_stream(stream)
        writer.write(connection.data_to_send())
        self.complete.append(stream)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For 127.0.0.1, made on the spot, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


Opened = Callable[..., Any]


@pytest.fixture
def opened(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Opened:
    """``async with opened(script) as (server, provider)``."""
    cert, key = certificate
    monkeypatch.setattr(upstream, "certificates", lambda scheme: ssl.create_default_context(cafile=str(cert)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])

    @asynccontextmanager
    async def open_(script: list[Steps]) -> AsyncIterator[tuple[Server, LiveUpstream]]:
        server = Server(script)
        listening = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        async with VENDOR.open(url, http2=True) as provider:
            yield server, provider
        listening.close()

    return open_


async def until(told: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not told():
            await asyncio.sleep(0.005)


def test_calls_share_a_connection(opened: Opened) -> None:
    async def main() -> None:
        async with opened([[*EVENTS[:4], 0.05, *EVENTS[4:]]]) as (server, provider):
            cold = await provider.send(ASK)
            assert await cold.read() == "abc"
            warm = await asyncio.gather(*(provider.send(ASK) for _ in range(3)))
            assert [await response.read() for response in warm] == ["abc"] * 3
            assert (server.connections, server.calls, server.reset) == (1, 4, [])
            assert cold.usage == Usage(12, 3, 4)
            assert {one.timings.http_version for one in (cold, *warm)} == {"HTTP/2"}
            assert cold.timings.connect_s > 0
            assert [one.timings.connect_s for one in warm] == [0.0] * 3

    asyncio.run(main())


@pytest.mark.parametrize("when", ["before the head", "in the stream"])
def test_a_call_that_is_given_up_is_told_to_the_server(opened: Opened, when: str) -> None:
    """Its connection stays, with the other call on it."""
    early = when == "before the head"
    script: list[Steps] = [[0.3, *EVENTS], [30.0, *EVENTS] if early else [*EVENTS[:4], 30.0, *EVENTS[4:]], EVENTS]

    async def main() -> None:
        async with opened(script) as (server, provider):
            other = asyncio.create_task(provider.send(ASK))
            await until(lambda: server.calls == 1)
            if early:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await provider.send(ASK)
            else:
                (await provider.send(ASK)).close()
            await until(lambda: bool(server.reset))
            assert len(server.reset) == 1
            assert await (await other).read() == "abc"
            assert await (await provider.send(ASK)).read() == "abc"
            assert (server.connections, len(server.complete)) == (1, 2)

    asyncio.run(main())


def test_a_stream_that_ends_early_is_a_broken_one(opened: Opened) -> None:
    async def main() -> None:
        async with opened([EVENTS[:4]]) as (_, provider):
            response = await provider.send(ASK)
            with pytest.raises(e.StreamBroken) as caught:
                await response.read()
            assert caught.value.tokens_delivered == 1

    asyncio.run(main())


def test_where_it_cannot_be_spoken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadValue, match="https"):
        LiveProvider(base_url="http://127.0.0.1:1/v1", http2=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadValue, match=r"pip install llmsim\[http2\]"):
        LiveProvider(base_url="https://api.example.com/v1", http2=True)
