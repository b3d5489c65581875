"""A live provider over httpx: connections, keys, errors. What it says is up to its wire."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import math
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from llmsim.constructors import number_given
from llmsim.errors import ConnectionFailed, GatewayError, ServerError, StreamBroken
from llmsim.pricing import FREE, TokenPrice
from llmsim.providers.live.auth import EnvironmentKey
from llmsim.providers.live.endpoint import certificates, check_endpoint, check_http2, new_client
from llmsim.providers.live.errors import error_from_answer, error_from_event, error_object
from llmsim.providers.live.events import USAGE_HEADER, EventStream
from llmsim.providers.live.sockets import SocketWatch
from llmsim.providers.live.timings import CONNECT_HEADER, Timings
from llmsim.providers.live.wire import Wire, estimate_input, estimate_tokens
from llmsim.types import Request, Response, Usage, WholeAnswer
from llmsim.units import COUNT, DURATION

__all__ = ["LiveUpstream"]

# httpx imports these in its first call, which would hold up the loop for 100 ms and stand in somebody's TTFT.
for _module in ("httpcore", "anyio._backends._asyncio"):
    with contextlib.suppress(ImportError):  # names inside other packages: a later version may not have them
        importlib.import_module(_module)


class LiveUpstream:
    """An upstream that is called over HTTP, streamed or not.

    It does one attempt a call and nothing else: retries, time limits and concurrency are the business of policies.
    The only time limit of its own is that for connecting. Cancelling a call, or closing its response, closes the
    connection, which is how such servers learn that they can stop.

    One shared `httpx.AsyncClient` is made by the first call and belongs to the event loop of that call; sequential
    ``asyncio.run`` calls may use one provider.

    Parameters
    ----------
    name
        What the upstream is called in the gateway, in errors and in tables.
    wire
        The protocol it speaks.
    base_url
        Up to and without the path of a call.
    model
        Sent where the request names no model.
    key
        Where the API key is.
    price
        What tokens cost here.
    connect_timeout_s
        Longest time for connecting (name, TCP, TLS); then `ConnectionFailed`.
    keep_alive_s
        How long an idle connection may be used again. 0: every call gets a new one. A server that closes idle
        connections early makes reuse fail now and then with `ConnectionFailed` before the first byte: that is real, and
        for a retry policy to handle.
    extra_headers
        Sent with every call (an organization, a routing hint). Not for keys, and not shown by repr.
    extra_body
        Fields added to (or put in place of) those of every request body: ``{"seed": 1}``.
    deadline_header
        Name of a header that tells the server how many milliseconds are left of a request's deadline, where it has one:
        ``x-envoy-expected-rq-timeout-ms`` is the one Envoy sends upstream. None: it is not told.
    context_window
        Most tokens of a prompt and its answer, for policies that look ahead; None: not known.
    http2
        Offer HTTP/2; what the server allows at once on its connection is then a queue of its own. A call that is
        cancelled is told to the server, and costs no other its connection.
    head_waits_for_slot
        The server sends the head of a streamed answer when the call gets a slot (llama.cpp): the time from the request,
        sent, until then is the response's ``queue_s``. Else that is NaN.

    Notes
    -----
    Response headers carry ``x-llmsim-usage``: ``reported`` once the server has said what it bills, else ``estimated``
    (output: one token a content chunk, or a quarter of the characters if not streamed; input: ``request.input_tokens``,
    or a quarter of the characters). An answer closed early stays estimated. ``x-llmsim-connect-s`` is there if the call
    had to connect, and says how long that took. When what happened at the socket is in ``response.timings``
    (`llmsim.providers.live.timings.Timings`).
    """

    def __init__(
        self,
        name: str,
        wire: Wire,
        *,
        base_url: str,
        model: str,
        key: EnvironmentKey,
        price: TokenPrice = FREE,
        connect_timeout_s: float = 10.0,
        keep_alive_s: float = 5.0,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        deadline_header: str | None = None,
        context_window: int | None = None,
        http2: bool = False,
        head_waits_for_slot: bool = False,
    ) -> None:
        check_endpoint(name, base_url, extra_headers or {})
        said = type(self).__name__
        number_given(connect_timeout_s, replace(DURATION, above=True), said, "connect_timeout_s")
        number_given(keep_alive_s, DURATION, said, "keep_alive_s")
        if not isinstance(price, TokenPrice):
            raise TypeError(f"{said}: price is a TokenPrice, like llmsim.pricing.list_price('openai/o3').price")
        number_given(context_window, replace(COUNT, low=1), said, "context_window", optional=True)
        if http2:
            check_http2(base_url)
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.price = price
        self.context_window = context_window
        self.connect_timeout_s = connect_timeout_s
        self.keep_alive_s = keep_alive_s
        self.http2 = http2
        self._head_waits_for_slot = head_waits_for_slot
        self._wire = wire
        self._key = key
        self._extra_headers = {**wire.headers(), **(extra_headers or {})}
        self._extra_body = dict(extra_body or {})
        self._deadline_header = deadline_header
        self._certificates = certificates(httpx.URL(base_url).scheme)
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, base_url={self.base_url!r}, model={self.model!r}, "
            f"api_key_env={self._key.variable!r})"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- the Provider contract -----------------------------------------------------------------------------------------

    async def send(self, request: Request) -> Response:
        """One call. Returns at the first content chunk, or, if not ``request.stream``, with the complete answer.

        Raises
        ------
        GatewayError
            Whatever went wrong before that, as one of `llmsim.errors`: with ``status``, ``headers`` (lower-case names,
            no credentials), ``body`` (as text) and ``retry_after_s`` where the server gave them.
        """
        body = self._wire.payload(request, self.model, upstream=self.name) | self._extra_body
        self._key.check(self.name)
        headers = {"Accept": "text/event-stream" if request.stream else "application/json", **self._extra_headers}
        if self._deadline_header is not None and request.deadline_s is not None:
            left_s = request.deadline_s - asyncio.get_running_loop().time()
            headers[self._deadline_header] = str(max(1, int(left_s * 1000)))  # rounded down, and 0 would mean no limit
        path = self._wire.path(request.model or self.model, stream=request.stream)
        client = self._client_here()
        timings = Timings(asyncio.get_running_loop().time())
        watch = SocketWatch(client, timings)
        answer = await self._post(client, watch, path, body, headers)
        said = self._key.plain_headers(answer.headers)
        timings.told_in_headers(said)
        if timings.connect_s:
            said[CONNECT_HEADER] = f"{timings.connect_s:.6f}"
        if answer.is_success and said.get("content-type", "").startswith("text/event-stream"):
            return await self._streamed(request, answer, said, timings, watch)
        try:
            return await self._whole(request, answer, said, timings)
        finally:
            if not answer.is_closed:
                self._keep(_shut(answer, watch))

    def cancelled_usage(self, request: Request) -> Usage:
        """Nothing: what a server bills for a call that was cancelled before its first chunk is never told."""
        return Usage()

    async def aclose(self) -> None:
        """Close all connections, and wait until the ones that are being closed are. A later call opens new ones."""
        self._enter_loop()
        client, self._client, self._loop = self._client, None, None
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)
        if client is not None:
            await client.aclose()

    # -- the call ------------------------------------------------------------------------------------------------------

    async def _post(
        self, client: httpx.AsyncClient, watch: SocketWatch, path: str, body: Any, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Send, and wait for the head of the answer."""
        request = client.build_request(
            "POST",
            f"{self.base_url}{path}",
            json=body,
            headers=headers,
            extensions={"trace": watch.trace},
        )
        try:
            return await client.send(request, auth=self._key, stream=True)
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        except asyncio.CancelledError:
            self._keep(watch.close())
            raise
        # Not inside the except clause: httpx's frames hold the key (see events).
        told = {USAGE_HEADER: "unsent"} if unsent else {}
        raise ConnectionFailed(f"no answer from {self.base_url}: {reason}", upstream=self.name, headers=told)

    async def _streamed(
        self, request: Request, answer: httpx.Response, headers: dict[str, str], timings: Timings, watch: SocketWatch
    ) -> Response:
        stream = EventStream(
            answer,
            headers,
            upstream=self.name,
            reader=self._wire.reader(),
            estimate=Usage(estimate_input(request)),
            key=self._key,
            keep=self._keep,
            timings=timings,
            watch=watch,
        )
        try:
            await stream.open()
        except BaseException:  # also a cancellation: the server must see that nobody waits any more
            stream.close()
            raise
        return Response(
            stream,
            upstream=self.name,
            model=request.model or self.model,
            status=answer.status_code,
            headers=headers,
            queue_s=timings.head_wait_s if self._head_waits_for_slot else math.nan,
        )

    async def _whole(
        self, request: Request, answer: httpx.Response, headers: dict[str, str], timings: Timings
    ) -> Response:
        """An answer that comes in one piece: a completion, or an error."""
        try:
            await answer.aread()
            cut = ""
        except httpx.HTTPError as error:
            cut = f"connection lost: {type(error).__name__}: {error}".removesuffix(": ")
        if not answer.is_success:  # the status alone says what to do, even if the body was cut
            raise error_from_answer(answer.status_code, headers, self._text(answer, cut), upstream=self.name)
        headers[USAGE_HEADER] = "estimated"
        if cut:
            raise StreamBroken(cut, upstream=self.name, status=answer.status_code, headers=headers)
        text = self._text(answer, cut)
        try:
            completion = json.loads(text)
        except ValueError:
            completion = None
        found = error_object(completion)
        if found is not None:
            raise error_from_event(found, headers, text, upstream=self.name)
        said = self._wire.reader().whole(completion) if isinstance(completion, dict) else None
        if said is None:
            raise self._no_answer(request, headers, text)
        if said.failed is not None:
            raise error_from_event(said.failed, headers, text, upstream=self.name)
        headers[USAGE_HEADER] = "estimated" if said.usage is None else "reported"
        usage = said.usage or Usage(estimate_input(request), estimate_tokens(said.text))
        timings.end_s = asyncio.get_running_loop().time()
        return Response(
            _TimedAnswer(
                timings,
                said.text,
                max(0, usage.output_tokens - said.hidden_tokens),
                usage,
                said.finish_reason or "unknown",
            ),
            upstream=self.name,
            model=request.model or self.model,
            status=answer.status_code,
            headers=headers,
        )

    def _text(self, answer: httpx.Response, cut: str) -> str:
        return "" if cut else self._key.blot(answer.text)

    def _no_answer(self, request: Request, headers: Mapping[str, str], body: str) -> GatewayError:
        kind = headers.get("content-type", "nothing")
        path = self._wire.path(request.model or self.model, stream=request.stream).partition("?")[0]
        return ServerError(
            f"{self.base_url}{path} answered 200 with {kind} that is no answer of this protocol; are base_url and api "
            "right?",
            upstream=self.name,
            headers=headers,
            body=body,
        )

    # -- connections ---------------------------------------------------------------------------------------------------

    def _client_here(self) -> httpx.AsyncClient:
        """The client of the running loop."""
        self._enter_loop()
        if self._client is None:
            self._client = new_client(
                self.base_url, self.connect_timeout_s, self.keep_alive_s, self._certificates, http2=self.http2
            )
        return self._client

    def _enter_loop(self) -> None:
        """Forget the connections of a loop that is gone: sockets cannot move from one to another."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                f"{self!r} has connections on another event loop that still runs; "
                "make one provider for each loop, or await aclose() there first"
            )
        self._client, self._loop = None, loop
        self._closing.clear()

    def _keep(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run in the background; the loop itself holds tasks only weakly."""
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _TimedAnswer(WholeAnswer):
    """An answer in one piece, and when it came."""

    __slots__ = ("timings",)

    def __init__(self, timings: Timings, text: str, tokens: int, usage: Usage, finish_reason: str) -> None:
        super().__init__(text, tokens, usage, finish_reason)
        self.timings = timings


async def _shut(answer: httpx.Response, watch: SocketWatch) -> None:
    """Close an answer whose rest nobody reads."""
    await watch.reset()
    await answer.aclose()
