"""Sockets of calls that were cancelled: closed here where httpcore loses sight of them.

httpcore 1.0.9 forgets a connection whose call is cancelled between the end of connecting and the first byte sent, or
during the TLS handshake, or while it is assigned: the connection stays in the pool for ever, neither idle nor closed
(encode/httpcore#1093, #1099, #830). A gateway that hedges and times out does this all day.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import httpx

__all__ = ["SocketWatch"]

# anyio 4.16 drops the coroutine of a connection whose task is cancelled before its first step, and Python says so on
# standard error, in the middle of somebody's progress bar. Nothing was opened by then.
warnings.filterwarnings("ignore", r"coroutine 'connect_tcp\.", RuntimeWarning)


class SocketWatch:
    """Remembers the socket one call opens, through the ``trace`` extension of httpx.

    Examples
    --------
    ::

        watch = SocketWatch()
        request = client.build_request("POST", url, extensions={"trace": watch.trace})
        try:
            response = await client.send(request, stream=True)
        except asyncio.CancelledError:
            keep(watch.close(client))
            raise
    """

    def __init__(self) -> None:
        self._opened: list[Any] = []

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore at every step of the call."""
        if event == "connection.connect_tcp.complete":
            self._opened.append(info["return_value"])

    async def close(self, client: httpx.AsyncClient) -> None:
        """Close what the cancelled call had opened, and take lost connections out of the pools."""
        for stream in self._opened:
            with contextlib.suppress(Exception):  # it may be closed already, in any of several ways
                await stream.aclose()
        for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001 - see below
            await _reclaim(getattr(transport, "_pool", None))


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
