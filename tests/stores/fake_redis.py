"""Something that listens where a Redis should, and answers what it is told to: bytes, silence, or a cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct


class FakeRedis:
    """Answers every command with the same bytes.

    Parameters
    ----------
    answer
        None: nothing, ever. ``b""``: the connection is closed.
    reset
        Close by RST, after the answer.
    cut
        Close after the answer.
    refuse
        So many connections are closed by their first command, before any that get the answer.
    """

    def __init__(self, answer: bytes | None, *, reset: bool = False, cut: bool = False, refuse: int = 0) -> None:
        self.answer, self.reset, self.cut = answer, reset, cut
        self.refuse = refuse
        self.open = self.most_open = 0

    async def __aenter__(self) -> FakeRedis:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._talk(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while await self._command(reader):
                if self.refuse > 0:
                    self.refuse -= 1
                    return
                if self.answer:
                    writer.write(self.answer)
                    await writer.drain()
                if self.reset:
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    writer.transport.abort()
                    return
                if self.answer == b"" or self.cut:
                    break

    async def _command(self, reader: asyncio.StreamReader) -> bool:
        head = await reader.readline()
        if not head:
            return False
        for _ in range(int(head[1:])):
            length = int((await reader.readline())[1:])
            await reader.readexactly(length + 2)
        return True
