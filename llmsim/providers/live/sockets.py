"""What happens below httpx: when, on which socket, and how a call that nobody waits for is given up there.

httpcore 1.0.9 forgets a connection whose call is cancelled between the end of connecting and the first byte sent, or
during the TLS handshake, or while it is assigned: the connection stays in the pool for ever, neither idle nor closed
(encode/httpcore#1093, #1099, #830). A gateway that hedges and times out does this all day. And in HTTP/2 it never tells
the server that a stream is not wanted any more (#943, closed as wontfix): that would go on generating, and billing.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from typing import Any

import httpx

from llmsim.providers.live.timings import Timings

__all__ = ["SocketWatch"]

# anyio 4.16 drops the coroutine of a connection whose task is cancelled before its first step, and Python says so on
# standard error, in the middle of somebody's progress bar. Nothing was opened by then.
warnings.filterwarnings("ignore", r"coroutine 'connect_tcp\.", RuntimeWarning)

_CANCEL = 8  #: error code of RST_STREAM (RFC 9113, 7)


class SocketWatch:
    """Watches one call through the ``trace`` extension of httpx.

    Parameters
    ----------
    client
        Who makes the call.
    timings
        Is told what happens when.

    Examples
    --------
    ::

        watch = SocketWatch(client, timings)
        request = client.build_request("POST", url, extensions={"trace": watch.trace})
        try:
            response = await client.send(request, stream=True)
        except asyncio.CancelledError:
            keep(watch.close())
            raise
    """

    def __init__(self, client: httpx.AsyncClient, timings: Timings) -> None:
        self._client = client
        self._timings = timings
        self._now = asyncio.get_running_loop().time
        self._opened: list[Any] = []
        self._connecting_s = 0.0  # since when
        self._multiplexed: tuple[Any, Any, int] | None = None  # connection, request, number of the stream

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore at every step of the call."""
        layer, _, step = event.partition(".")
        if layer == "connection":
            if step in ("connect_tcp.started", "start_tls.started"):
                self._connecting_s = self._now()
            elif step in ("connect_tcp.complete", "start_tls.complete"):
                self._timings.connect_s += self._now() - self._connecting_s
                if step == "connect_tcp.complete":
                    self._opened.append(info["return_value"])
        elif step == "send_request_body.complete":
            self._timings.sent_s = self._now()
        elif step == "receive_response_headers.complete":
            self._timings.head_s = self._now()
            self._timings.http_version = "HTTP/2" if layer == "http2" else "HTTP/1.1"
        elif event == "http2.send_request_headers.started":
            with contextlib.suppress(AttributeError, KeyError):  # see _reclaim
                self._note_stream(info["request"], info["stream_id"])

    def _note_stream(self, request: Any, number: int) -> None:
        for pool in _pools(self._client):
            for taken in getattr(pool, "_requests", ()):
                if taken.request is request:
                    self._multiplexed = taken.connection._connection, request, number  # noqa: SLF001

    async def reset(self) -> None:
        """Tell the server that nobody waits any more, if that takes more than closing the connection (HTTP/2)."""
        multiplexed, self._multiplexed = self._multiplexed, None
        if multiplexed is None:
            return
        connection, request, number = multiplexed
        with contextlib.suppress(Exception):  # the stream or its connection may have ended, in any of several ways
            connection._h2_state.reset_stream(number, error_code=_CANCEL)  # noqa: SLF001 - see above
            await connection._write_outgoing_data(request)  # noqa: SLF001

    async def close(self) -> None:
        """Close what the cancelled call had opened, and take lost connections out of the pools."""
        if self._multiplexed is not None:  # others may be using the connection
            await self.reset()
            return
        for stream in self._opened:
            with contextlib.suppress(Exception):  # it may be closed already, in any of several ways
                await stream.aclose()
        for pool in _pools(self._client):
            await _reclaim(pool)


def _pools(client: httpx.AsyncClient) -> list[Any]:
    transports = (client._transport, *client._mounts.values())  # noqa: SLF001 - see _reclaim
    return [getattr(transport, "_pool", None) for transport in transports]


async def _reclaim(pool: Any) -> None:
    """Drop connections that no call has and that can neither be used nor expire.

    There is no public way. Should a later httpcore have other names for these, it is left alone.
    """
    connections, requests = getattr(pool, "_connections", None), getattr(pool, "_requests", None)
    if not isinstance(connections, list) or not isinstance(requests, list):
        return
    in_use = {id(getattr(request, "connection", None)) for request in requests}
    lost = [
        connection
        for connection in connections
        if id(connection) not in in_use and not connection.is_idle() and not connection.is_closed()
    ]
    for connection in lost:
        connections.remove(connection)
    for connection in lost:
        with contextlib.suppress(Exception):
            await connection.aclose()
