"""A streamed answer, from the open HTTP answer to the end of its text.

The reader's limits are kept with asyncio's own timeouts, so that a policy sees the same errors as in the lab. Failures
are raised *outside* the ``except`` that caught httpx's: the frames of httpx and h11 hold the Authorization header,
and a traceback printed with its locals (pytest ``-l``, rich) would show the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, cast

import httpx
from httpx_sse import EventSource, ServerSentEvent

from llmsim.errors import GatewayError, StreamBroken, StreamStalled, TotalTimeout
from llmsim.providers.live.auth import EnvironmentKey
from llmsim.providers.live.errors import ErrorObject, error_from_event, error_in_event
from llmsim.providers.live.overheard import Overheard
from llmsim.providers.live.sockets import SocketWatch
from llmsim.providers.live.timings import Timings
from llmsim.providers.live.wire import Piece, Reader
from llmsim.types import Chunk, Limits, Usage

__all__ = ["USAGE_HEADER", "EventStream"]

#: On every live response: "reported" by the server, or "estimated" here because it has said nothing (yet). On errors:
#: "estimated" where the server had begun to answer (200), "unsent" where it has never had the call.
USAGE_HEADER = "x-llmsim-usage"

#: How long to wait for usage and [DONE] after the finish reason: the answer is complete, only its bill is missing.
_TRAILER_S = 2.0
#: How long the rest of a finished stream is read in the background, so that its connection can be used again.
_DRAIN_S = 1.0


class EventStream:
    """A `Stream` of chunks out of server-sent events.

    A chunk with text counts as one token. Where the server says at the end that there were more, a last chunk without
    text has the others.

    Parameters
    ----------
    response
        The HTTP answer, its head read and its body not.
    headers
        What the `Response` will show as its headers; `USAGE_HEADER` is kept up to date in it.
    upstream
        Name of the provider, for errors.
    reader
        Understands the events.
    estimate
        Usage before the server has said anything.
    key
        Takes the API key out of whatever the server quotes.
    keep
        Runs a coroutine in the background and keeps hold of it until it is done.
    timings, watch
        Of the call.
    """

    def __init__(
        self,
        response: httpx.Response,
        headers: dict[str, str],
        *,
        upstream: str,
        reader: Reader,
        estimate: Usage,
        key: EnvironmentKey,
        keep: Callable[[Coroutine[Any, Any, None]], None],
        timings: Timings,
        watch: SocketWatch,
    ) -> None:
        self.usage = estimate
        self.finish_reason = ""
        self.timings = timings
        self._watch = watch
        self._reader = reader
        self._response = response
        self._headers = headers
        self._upstream = upstream
        self._key = key
        self._keep = keep
        self._loop = asyncio.get_running_loop()
        self._overheard = Overheard(response)
        self._events: AsyncGenerator[ServerSentEvent, None] = EventSource(
            cast("httpx.Response", self._overheard)  # of which it uses the headers and the text
        ).aiter_sse()
        self._first: Chunk | None = None
        self._finish = ""  # the finish reason as soon as it is known; public once the stream has ended
        self._done = False  # no event will follow
        self._exhausted = False  # the body was read to its last byte
        self._began = False  # content has come
        self._closed = False
        self._delivered = 0
        self._hidden = 0  # output tokens that are no part of the text
        self._failure: GatewayError | None = None  # what the next read raises
        headers[USAGE_HEADER] = "estimated"

    @property
    def longest_gap_s(self) -> float:
        """Between two chunks with text."""
        return self.timings.longest_gap_s

    # -- reading -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Wait for the first content, or for the end of an answer that has none.

        Raises
        ------
        GatewayError
            An error event, or a broken stream, before any content.
        """
        self._first = await self._advance()

    async def next(self, limits: Limits) -> Chunk | None:
        """See `llmsim.types.Stream`."""
        if self._closed:
            return None
        if self._failure is not None:
            raise self._failure
        chunk, self._first = self._first, None
        if chunk is None:
            chunk = await self._limited(limits)
        if chunk is None:
            await self._end(limits)
            return self._untold()
        self._delivered += chunk.tokens
        return chunk

    def _untold(self) -> Chunk | None:
        """Tokens that came in company: chunks are not tokens, and at the end the server says how many there were."""
        told = self.usage.output_tokens - self._hidden - self._delivered
        if not self.finish_reason or self._headers[USAGE_HEADER] != "reported" or told <= 0:
            return None
        self._delivered += told
        return Chunk("", told)

    async def rest(self, limits: Limits) -> Chunk | None:
        """See `llmsim.types.Stream`. What came before a failure is handed out first, the failure on the next call."""
        texts: list[str] = []
        tokens = 0
        while True:
            try:
                chunk = await self.next(limits)
            except GatewayError as error:
                if not texts:
                    raise
                self._failure = error
                break
            if chunk is None:
                break
            texts.append(chunk.text)
            tokens += chunk.tokens
        return Chunk("".join(texts), tokens) if texts else None

    async def _limited(self, limits: Limits) -> Chunk | None:
        """The next content under the reader's limits."""
        if limits.gap_s is None and limits.until_s is None:
            return await self._advance()
        gap_at = None if limits.gap_s is None else self._loop.time() + limits.gap_s
        until_first = limits.until_s is not None and (gap_at is None or limits.until_s <= gap_at)
        if until_first and self._loop.time() >= (limits.until_s or 0.0):
            raise self._too_late(limits)
        try:
            async with asyncio.timeout_at(limits.until_s if until_first else gap_at) as clock:
                return await self._advance()
        except TimeoutError:
            if not clock.expired():
                raise
        raise self._too_late(limits) if until_first else self._stalled(limits)

    async def _advance(self) -> Chunk | None:
        """The next content; None when the answer is complete."""
        while not self._finish:
            try:
                event = await self._event()
                problem = "the stream ended without a finish reason"
            except httpx.HTTPError as error:
                event, problem = None, _reason(error)
            if self._closed:  # by another task, while this one waited
                return None
            if event is None:
                raise self._ended_early(problem)
            found = self._take(event)
            event = None  # a server may quote the key in it, and the traceback is to come from here
            if isinstance(found, GatewayError):
                raise found
            if found is not None:
                self.timings.chunks_s.append(self._loop.time())
                return found
        return None

    async def _event(self) -> ServerSentEvent | None:
        """The next event; None at the end of the body."""
        async for event in self._events:
            return event
        self._done = self._exhausted = True
        return None

    def _take(self, event: ServerSentEvent) -> Chunk | GatewayError | None:
        """What one event says: content, an error, or something else that is noted here."""
        if not event.data.strip():
            return None
        if event.data.strip() == "[DONE]":
            self._done = True
            self._finish = self._finish or "unknown"
            return None
        try:
            answer = json.loads(event.data)
        except ValueError:
            answer = None
        found = error_in_event(event.event, event.data, answer)
        if found is not None or not isinstance(answer, dict):
            return self._error_event(found, event.data)
        self.timings.told(answer)
        said = self._reader.event(event.event, answer)
        if said.failed is not None:
            return self._error_event(
                said.failed._replace(message=f"the server gave up: {said.failed.message}"), event.data
            )
        self._note(said)
        return Chunk(said.text) if said.text else None

    def _note(self, said: Piece) -> None:
        if said.usage is not None:
            self.usage = said.usage
            self._hidden = said.hidden_tokens
            self._headers[USAGE_HEADER] = "reported"
        elif said.text and self._headers[USAGE_HEADER] == "estimated":
            self.usage = self.usage._replace(output_tokens=self.usage.output_tokens + 1)
        self._began = self._began or bool(said.text)
        self._done = self._done or said.done
        self._finish = self._finish or said.finish_reason or ("unknown" if said.done else "")

    # -- ending --------------------------------------------------------------------------------------------------------

    async def _end(self, limits: Limits) -> None:
        """The text is complete: wait a little for the usage, then let go."""
        if self._closed:
            return
        self.timings.end_s = self._loop.time()
        patience = _TRAILER_S if limits.gap_s is None else min(_TRAILER_S, limits.gap_s)
        until = self._loop.time() + patience
        try:
            async with asyncio.timeout_at(until if limits.until_s is None else min(until, limits.until_s)):
                await self._trailer()
        except (TimeoutError, httpx.HTTPError):
            pass  # whatever goes wrong from here on cannot spoil the answer
        self.finish_reason = self._finish
        self._release(drain=self._done)

    async def _trailer(self) -> None:
        finish = self._finish
        while not self._done and (event := await self._event()) is not None:
            self._take(event)
            self._finish = finish

    def close(self) -> None:
        """See `llmsim.types.Stream`: the connection is closed in the background, and the server notices."""
        if not self._closed:
            self._release(drain=False)

    def _release(self, *, drain: bool) -> None:
        self._closed = True
        if not (self._exhausted or self._loop.is_closed()):
            self._keep(self._shut(drain=drain))

    async def _shut(self, *, drain: bool) -> None:
        """Read to the end, if that is near (only then the pool can use the connection again), and close."""
        try:
            if drain:
                async with asyncio.timeout(_DRAIN_S):
                    async for _ in self._events:
                        pass
                    self._exhausted = True
        except (TimeoutError, httpx.HTTPError):
            pass  # nothing was to come any more
        finally:
            if not self._exhausted:
                await self._watch.reset()
            await self._response.aclose()
            # Now that the socket is closed, reading on fails, which takes httpx's nested generators to their end.
            # Closing the outermost one instead would leave the inner ones to tasks that the loop makes whenever it
            # likes. If another task is reading at this moment, "already running" is raised here, the failure there.
            # In HTTP/2 the socket is others' too and stays open: there a cancellation takes them to their end.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0 if self.timings.http_version == "HTTP/2" else _DRAIN_S):
                    async for _ in self._events:
                        pass

    # -- failing -------------------------------------------------------------------------------------------------------

    def _error_event(self, found: ErrorObject | None, data: str) -> GatewayError:
        data = self._key.blot(data)
        if found is None:
            return self._broken("the stream has an event that is not a JSON object", data)
        found = found._replace(message=self._key.blot(found.message))
        if self._began:
            return self._broken(found.message or "error event", data)
        return error_from_event(found, self._headers, data, upstream=self._upstream)

    def _ended_early(self, problem: str) -> GatewayError:
        """No event says why; perhaps something else does."""
        overheard = self._overheard.error()
        return self._broken(problem) if overheard is None else self._error_event(*overheard)

    def _broken(self, message: str, body: str | None = None) -> StreamBroken:
        return StreamBroken(
            message,
            tokens_delivered=self._delivered,
            upstream=self._upstream,
            status=self._response.status_code,
            headers=self._headers,
            body=body,
        )

    def _stalled(self, limits: Limits) -> StreamStalled:
        return StreamStalled(
            f"no chunk for {limits.gap_s:g}s",
            tokens_delivered=self._delivered,
            upstream=self._upstream,
            status=self._response.status_code,
        )

    def _too_late(self, limits: Limits) -> GatewayError:
        if limits.late is not None:
            return limits.late(self._delivered)
        return TotalTimeout("not complete in time", tokens_delivered=self._delivered, upstream=self._upstream)


def _reason(error: httpx.HTTPError) -> str:
    return f"connection lost: {type(error).__name__}: {error}".removesuffix(": ")
