"""An ASGI application in front of a gateway, for OpenAI's SDKs and whatever speaks as they do.

ASGI 3 (asgi.readthedocs.io, specs/www and specs/lifespan) and nothing else: it runs under uvicorn, hypercorn or
granian, alone or mounted in an application of Starlette, FastAPI or Litestar, and llmsim needs none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from llmsim.errors import BadRequest, GatewayError
from llmsim.gateway.pipeline import RunningGateway
from llmsim.production import openai_words as words
from llmsim.production.watched import WatchedGateway
from llmsim.types import Request, Response

__all__ = ["ChatApp"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Opener = Callable[[], AbstractAsyncContextManager[RunningGateway]]
#: Adds to a request what the headers of its call (lower-case names) say: whose it is, how important, until when.
Describe = Callable[[Request, Mapping[str, str]], Request]

_log = logging.getLogger("llmsim.production")
_END: MutableMapping[str, Any] = {"type": "http.response.body", "body": b"", "more_body": False}


class ChatApp:
    """``POST /v1/chat/completions``, streamed or not, and ``GET /health``.

    A caller who goes away cancels the request, and the gateway its calls to upstreams. An error before the first chunk
    has its status; one in the middle of a stream is an error event, as OpenAI sends it. Shutting down, the server lets
    requests end and the gateway is closed after the last.

    It checks no credentials: bind it to 127.0.0.1, behind what does, or refuse in `describe`.

    Parameters
    ----------
    gateway
        A function that opens it: called as the server starts, closed as it stops. Or one that is open already.
    routes
        Names that callers may put as ``model``: it is then the request's route, which policies and telemetry know. Any
        other is no route. Which model answers is the gateway's business.
    describe
        ``describe(request, headers) -> request`` adds what only the headers say: tenant, session, feature, priority,
        deadline. A `GatewayError` that it raises is the answer: `AuthError` a 401.
    max_body_bytes
        Longer ones are refused with 413.

    Examples
    --------
    ::

        @asynccontextmanager
        async def gateway():
            async with live_providers("live.yaml", scenario) as providers, scenario.gateway.open(providers) as running:
                yield running


        app = ChatApp(gateway)  # uvicorn app:app --host 127.0.0.1
    """

    def __init__(
        self,
        gateway: Opener | RunningGateway,
        *,
        routes: Collection[str] = (),
        describe: Describe | None = None,
        max_body_bytes: int = 8 * 2**20,
    ) -> None:
        self._running = gateway if isinstance(gateway, RunningGateway) else None
        self._opener = None if isinstance(gateway, RunningGateway) else gateway
        self._routes = frozenset(routes)
        self._describe = describe
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            raise RuntimeError(f"ChatApp speaks HTTP, not {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open the gateway as the server starts, and close it as it stops."""
        await receive()
        stage = "startup"
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._opener is not None:
                    self._running = await stack.enter_async_context(self._opener())
                    stack.callback(self._shut)
                await send({"type": "lifespan.startup.complete"})
                stage = "shutdown"
                await receive()
        except Exception as error:
            await send({"type": f"lifespan.{stage}.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    def _shut(self) -> None:
        self._running = None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the caller goes away before."""
        running = self._running
        if (scope["method"], _path(scope)) == ("GET", "/health"):
            state = {"status": "closed" if running is None else "ok", "in_flight": running.in_flight if running else 0}
            await _json(send, 503 if running is None else 200, state)
            return
        if (scope["method"], _path(scope)) != ("POST", "/v1/chat/completions"):
            await _json(send, 404, _refusal("there is POST /v1/chat/completions and GET /health", "not_found"))
            return
        if running is None:
            await _json(send, 503, _refusal("the gateway is not open", "not_open"))
            return
        body = await _body(receive, self._max_body_bytes)
        if body is None:
            return
        if len(body) > self._max_body_bytes:
            await _json(send, 413, _refusal(f"the body is longer than {self._max_body_bytes} bytes", "too_long"))
            return
        answering = asyncio.create_task(self._answer(running, scope, body, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.wait((answering, leaving))
        if not answering.cancelled():
            answering.result()  # raises what it failed with, for the server's log

    async def _answer(self, running: RunningGateway, scope: Scope, body: bytes, send: Send) -> None:
        request_id = secrets.token_hex(12)
        created = int(time.time())
        headers = {"x-request-id": request_id}
        try:
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            request, asked = self._request(body, request_id, found)
            with running.under(found) if isinstance(running, WatchedGateway) else contextlib.nullcontext():
                response = await running.send(request)
        except Exception as error:
            await _fail(send, error, headers)
            return
        try:
            if request.stream:
                await _stream(send, response, request_id, created, usage=asked)
                return
            try:
                text = await response.read()
            except Exception as error:
                await _fail(send, error, headers)
                return
            await _json(send, 200, words.completion(request_id, created, response, text), headers)
        finally:
            response.close()

    def _request(self, body: bytes, request_id: str, headers: Mapping[str, str]) -> tuple[Request, bool]:
        """The request, and whether its stream is to end with its usage."""
        try:
            said = json.loads(body)
        except ValueError as error:
            raise BadRequest(f"the body is no JSON: {error}") from None
        request = words.read_request(said, request_id, routes=self._routes)
        if self._describe is not None:
            request = self._describe(request, headers)
        options = said.get("stream_options")
        return request, isinstance(options, dict) and bool(options.get("include_usage"))


async def _stream(send: Send, response: Response, request_id: str, created: int, *, usage: bool) -> None:
    """Write an answer as it comes. From here on it is a 200, whatever happens."""
    await _start(
        send,
        200,
        {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",  # nginx would hold chunks back
            "x-request-id": request_id,
        },
    )
    delta: dict[str, Any] = {"role": "assistant"}
    try:
        async for piece in response:
            await _event(send, words.chunk(request_id, created, response, {**delta, "content": piece.text}))
            delta = {}
    except Exception as error:
        await _event(send, words.error_answer(error)[2])
        await send(_END)
        _bug(error)
    else:
        await _event(send, words.chunk(request_id, created, response, {}, response.finish_reason))
        if usage:
            await _event(send, words.usage_chunk(request_id, created, response))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
        await send(_END)


async def _fail(send: Send, error: Exception, headers: Mapping[str, str]) -> None:
    status, more, told = words.error_answer(error)
    await _json(send, status, told, {**headers, **more})
    _bug(error)


def _bug(error: Exception) -> None:
    """Log what is no answer of the gateway's but a bug, of a policy say.

    Raised to the server, it would be logged as well, but cost the caller's connection.
    """
    if not isinstance(error, GatewayError | TimeoutError):
        _log.error("a request ended in an error that is not the gateway's", exc_info=error)


async def _event(send: Send, page: Mapping[str, Any]) -> None:
    data = b"data: " + json.dumps(page, separators=(",", ":")).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _json(send: Send, status: int, page: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
    data = json.dumps(page).encode()
    about = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
    await _start(send, status, about)
    await send({"type": "http.response.body", "body": data})


def _refusal(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _path(scope: Scope) -> str:
    """Below where it is mounted: servers differ in whether ``path`` has the ``root_path`` in front."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


async def _body(receive: Receive, most: int) -> bytes | None:
    """What was sent, up to a little more than `most`; None if its sender is gone."""
    parts = bytearray()
    while len(parts) <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(parts)


async def _left(receive: Receive) -> None:
    """Return when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
