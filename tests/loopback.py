"""A small real HTTP/1.1 server on 127.0.0.1 that speaks OpenAI chat completions and misbehaves on request.

Real sockets, real chunked encoding, real disconnects; only the answers are scripted. In a test::

    async with LoopbackServer([failure(429, headers={"Retry-After": "1"}), stream("Hello", " world")]) as server:
        provider = OpenAIChat("primary", base_url=server.url, model="m", api_key_env=None)
        ...
    assert [seen.ended for seen in server.seen] == ["complete", "complete"]

The *script* says what each request is answered with:

* one `Answer`: every request gets it;
* a list of answers: the n-th request gets the n-th; the last one is repeated when the list has run out;
* a function ``script(seen: Seen) -> Answer``: decides by what was asked (``seen.body["model"]``, ``seen.number``, …).

Answers are made by `stream`, `completion`, `failure`, `hang`, `hang_up`, or by hand: `Answer` with a list of
steps (bytes to write, and `Wait`, `Cut`, `Stall` between them). The server records every request in `seen`, with the
moment it arrived and how its connection ended; ``await seen.wait_end()`` waits for that (``"client_left"`` when the
client closed the connection before the answer was complete).

The plain ``with LoopbackServer(script) as server:`` runs the same thing in a thread with an event loop of its own, for
code that brings its own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = [
    "Answer", "Cut", "LoopbackServer", "Seen", "Stall", "Wait", "chunk_json", "completion", "event", "failure", "hang",
    "hang_up", "stream", "usage_json",
]  # fmt: skip


class Wait(NamedTuple):
    """Write nothing for so long."""

    seconds: float


class Cut(NamedTuple):
    """Drop the connection here. ``reset`` sends RST, else FIN."""

    reset: bool = False


class Stall(NamedTuple):
    """Write nothing more; keep the connection open until the client leaves."""


Step = bytes | Wait | Cut | Stall


@dataclass(frozen=True)
class Answer:
    """What goes back for one request.

    Parameters
    ----------
    steps
        The body, piece by piece. Every ``bytes`` is one write and, if `chunked`, one HTTP chunk.
    status, headers
        The head. ``Content-Type`` defaults to JSON.
    delay_s
        Silence before the status line.
    chunked
        ``Transfer-Encoding: chunked``; else the ``Content-Length`` is the sum of all pieces.
    keep_alive
        Offer the connection for another request; else close it after the answer.
    head
        False: not even a status line is written; the steps are all that happens.
    """

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    chunked: bool = False
    keep_alive: bool = True
    head: bool = True


@dataclass
class Seen:
    """One request as it arrived, and how it ended."""

    number: int  #: 0, 1, … in order of arrival
    connection: int  #: which TCP connection it came on
    method: str
    path: str
    headers: dict[str, str]  #: names in lower case
    raw_body: bytes
    arrived_s: float  #: on the server loop's clock
    first_byte_s: float | None = None  #: when the status line was written
    ended_s: float | None = None
    ended: Literal["", "complete", "client_left", "cut"] = ""
    _end: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def body(self) -> Any:
        """The JSON that was sent."""
        return json.loads(self.raw_body)

    async def wait_end(self, timeout_s: float = 2.0) -> str:
        """Wait until the answer is complete or the connection gone; which of them."""
        async with asyncio.timeout(timeout_s):
            await self._end.wait()
        return self.ended

    def finish(self, how: Literal["complete", "client_left", "cut"]) -> None:
        """Note the end (once)."""
        if not self.ended:
            self.ended, self.ended_s = how, asyncio.get_running_loop().time()
            self._end.set()


Script = Answer | Sequence[Answer] | Callable[[Seen], Answer]


def event(data: Mapping[str, Any] | str) -> bytes:
    """One SSE event."""
    return b"data: " + (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n\n"


def chunk_json(delta: Mapping[str, Any] | None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A ``chat.completion.chunk``; without a delta it has no choices (as the usage chunk has none)."""
    choices = [] if delta is None else [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices, **more}


def usage_json(input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> dict[str, Any]:
    """The ``usage`` object of a chat completion."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def stream(
    *pieces: str,
    ttft_s: float = 0.0,
    gap_s: float = 0.0,
    role_first: bool = True,
    finish_reason: str | None = "stop",
    usage: tuple[int, int] | Literal["counted"] | None = "counted",
    done: bool = True,
    after: int | None = None,
    then: Sequence[Step] = (Cut(),),
    **answer: Any,
) -> Answer:
    """A streamed completion, one SSE event a write.

    Parameters
    ----------
    pieces
        Content of the chunks.
    ttft_s
        Silence before the head; the role chunk and the first content follow at once.
    gap_s
        Silence between two content chunks.
    role_first
        Send the role in an empty chunk of its own (OpenAI); else with the first content (llama.cpp).
    finish_reason, usage, done
        What the end consists of; None or False leaves the part out. ``usage`` is (input, output) tokens; counted: 10,
        and one for each piece.
    after
        Only so many pieces are sent, then the steps `then` follow instead of the rest.
    then
        See `after`: a `Cut`, a `Stall`, an error event.
    answer
        Further fields of `Answer`.
    """
    steps: list[Step] = [event(chunk_json({"role": "assistant", "content": ""}))] if role_first else []
    shown = pieces if after is None else pieces[:after]
    for index, piece in enumerate(shown):
        if index and gap_s:
            steps.append(Wait(gap_s))
        role = {} if role_first or index else {"role": "assistant"}
        steps.append(event(chunk_json({**role, "content": piece})))
    if after is not None:
        steps.extend(then)
    else:
        if finish_reason is not None:
            steps.append(event(chunk_json({}, finish_reason)))
        if usage is not None:
            told = (10, len(pieces)) if usage == "counted" else usage
            steps.append(event(chunk_json(None, usage=usage_json(*told))))
        if done:
            steps.append(event("[DONE]"))
    answer.setdefault("headers", {"Content-Type": "text/event-stream"})
    return Answer(steps, delay_s=ttft_s, chunked=True, **answer)


def completion(
    text: str, *, finish_reason: str = "stop", usage: tuple[int, int] | None = (10, 20), **answer: Any
) -> Answer:
    """A completion that is not streamed."""
    message = {"role": "assistant", "content": text}
    body: dict[str, Any] = {
        "id": "chatcmpl-1", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }  # fmt: skip
    if usage is not None:
        body["usage"] = usage_json(*usage)
    return Answer([json.dumps(body).encode()], **answer)


def failure(
    status: int, *, code: str | int | None = None, type: str | None = None, message: str = "no", **answer: Any
) -> Answer:
    """An HTTP error with an OpenAI error object."""
    error = {"message": message, "type": type, "param": None, "code": code}
    return Answer([json.dumps({"error": error}).encode()], status=status, **answer)


def hang() -> Answer:
    """Take the request and never answer."""
    return Answer([Stall()], head=False)


def hang_up(*, reset: bool = False) -> Answer:
    """Take the request and close the connection without a byte."""
    return Answer([Cut(reset)], head=False)


class LoopbackServer:
    """Serve a script on 127.0.0.1 (a free port); see the module's docstring.

    Attributes
    ----------
    url
        Base URL for an OpenAI client: ``http://127.0.0.1:PORT/v1``.
    seen
        Every request, in order of arrival.
    connections
        How many TCP connections were accepted.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def __aenter__(self) -> LoopbackServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    def __enter__(self) -> LoopbackServer:
        ready = threading.Event()

        async def serve() -> None:
            self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with self:
                ready.set()
                await self._stop[1].wait()

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), name="loopback", daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the loopback server did not start within 10 s")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._stop is not None
        assert self._thread is not None
        loop, stop = self._stop
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(10)

    def _answer_for(self, seen: Seen) -> Answer:
        if isinstance(self.script, Answer):
            return self.script
        if callable(self.script):
            return self.script(seen)
        return self.script[min(seen.number, len(self.script) - 1)]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("loopback")
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        connection, self.connections = self.connections, self.connections + 1
        # Small writes must leave at once: the gaps are what is being tested.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while (seen := await self._read(reader, connection)) is not None:
                    answer = self._answer_for(seen)
                    await self._respond(seen, answer, reader, writer)
                    if seen.ended != "complete" or not answer.keep_alive:
                        break
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        except asyncio.CancelledError:  # the test is over; asyncio's own callback would log it as an error
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Seen | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        now = asyncio.get_running_loop().time()
        seen = Seen(len(self.seen), connection, method, path, headers, body, now)
        self.seen.append(seen)
        return seen

    async def _respond(
        self, seen: Seen, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Write the answer while watching whether the client is still there."""
        writing = asyncio.create_task(_write(seen, answer, writer), name="loopback")
        # A client does not pipeline, so until it has its answer the only thing to read is its leaving.
        watching = asyncio.create_task(reader.read(1), name="loopback")
        try:
            await asyncio.wait({writing, watching}, return_when=asyncio.FIRST_COMPLETED)
            seen.finish("complete" if writing.done() and writing.exception() is None else "client_left")
        finally:
            for task in (writing, watching):
                task.cancel()
            await asyncio.gather(writing, watching, return_exceptions=True)
            seen.finish("client_left")


async def _write(seen: Seen, answer: Answer, writer: asyncio.StreamWriter) -> None:
    if answer.delay_s:
        await asyncio.sleep(answer.delay_s)
    if answer.head:
        seen.first_byte_s = asyncio.get_running_loop().time()
        writer.write(_head(answer))
    for step in answer.steps:
        match step:
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await asyncio.Event().wait()
            case Cut(reset):
                seen.finish("cut")
                await writer.drain()
                _cut(writer, reset)
                return
            case _:
                writer.write(b"%x\r\n%b\r\n" % (len(step), step) if answer.chunked else step)
                await writer.drain()
    if answer.chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


def _head(answer: Answer) -> bytes:
    headers = {"Content-Type": "application/json", **answer.headers}
    if answer.chunked:
        headers["Transfer-Encoding"] = "chunked"
    else:  # an answer may declare another length than it has
        headers.setdefault("Content-Length", str(sum(len(step) for step in answer.steps if isinstance(step, bytes))))
    if not answer.keep_alive:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _cut(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:  # SO_LINGER with 0 s: close() answers with RST and drops what was not sent yet
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
