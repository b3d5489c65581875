"""An outage as it is seen from outside: calls are refused, and what is under way breaks off. For live providers.

A simulated provider has its own (`llmsim.providers.sim`), since there an outage also empties its queue and slots. What
a caller sees is the same.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from llmsim.errors import ConnectionFailed, GatewayError, StreamBroken
from llmsim.gateway.contract import Provider
from llmsim.providers.faults import Fault
from llmsim.providers.wrapped import Wrapped
from llmsim.types import Chunk, Limits, Request, Response, Usage

__all__ = ["Unreachable"]


class At(Protocol):
    """Calls something at a time of the loop's clock."""

    def __call__(self, when: float, callback: Callable[..., object], /, *args: object) -> object: ...


class Unreachable(Wrapped):
    """`inner`, which cannot be reached during outages.

    A call that comes during an outage is refused after the time that an answer without tokens takes. One under way when
    an outage begins is cut off: its connection is closed, and its caller gets `ConnectionFailed` before the first
    token, `StreamBroken` after it. A call that is not streamed is streamed underneath, so that this can be told.

    Parameters
    ----------
    inner
        The provider.
    faults
        Those of it that are outages.
    wait
        Waits as long as a refusal takes.
    now, at
        The loop's clock, and how to be called at a time of it.
    zero_s
        Loop time at which the scenario's clock reads 0.
    """

    def __init__(
        self,
        inner: Provider,
        faults: Sequence[Fault],
        *,
        wait: Callable[[Request], Awaitable[None]],
        now: Callable[[], float],
        at: At,
        zero_s: float = 0.0,
    ) -> None:
        super().__init__(inner)
        self._windows = [(zero_s + fault.at, zero_s + fault.end_s) for fault in faults if fault.outage]
        self._wait = wait
        self._now = now
        self._under_way: dict[object, Callable[[], None]] = {}  # in the order they came
        for begin_s, _ in self._windows:
            at(begin_s, self._cut_all)

    @property
    def down(self) -> bool:
        """Whether there is an outage now."""
        now = self._now()
        return any(begin_s <= now < end_s for begin_s, end_s in self._windows)

    async def send(self, request: Request) -> Response:
        """As `inner`, unless there is an outage.

        Raises
        ------
        ConnectionFailed
            There is one, or one began before the first token.
        """
        if self.down:
            await self._wait(request)
            raise ConnectionFailed("connection refused", upstream=self.name)
        inner = await self._first(request)
        stream = _Cuttable(inner, self.name)
        response = Response(
            stream,
            upstream=inner.upstream,
            model=inner.model,
            status=inner.status,
            headers=inner.headers,
            parents=(inner,),
            queue_s=inner.queue_s,
        )
        self._under_way[stream] = stream.cut
        response.on_end(lambda outcome, usage: self._under_way.pop(stream, None))
        return response if request.stream else await self.in_one_piece(request, response)

    async def _first(self, request: Request) -> Response:
        """Wait for the first token, or for the outage."""
        key = object()
        try:
            async with asyncio.timeout(None) as clock:
                self._under_way[key] = lambda: clock.reschedule(-math.inf)
                return await self._inner.send(request._replace(stream=True))
        except TimeoutError:
            if not clock.expired():
                raise
        finally:
            self._under_way.pop(key, None)
        raise ConnectionFailed("connection lost", upstream=self.name)

    def _cut_all(self) -> None:
        cuts, self._under_way = list(self._under_way.values()), {}
        for cut in cuts:
            cut()


class _Cuttable:
    """A stream that can break off at any moment."""

    def __init__(self, inner: Response, upstream: str) -> None:
        self._inner = inner
        self._upstream = upstream
        self._cut = False
        self._clock: asyncio.Timeout | None = None  # of a reader that waits

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    @property
    def finish_reason(self) -> str:
        return "" if self._cut else self._inner.finish_reason

    @property
    def longest_gap_s(self) -> float:
        return self._inner.longest_gap_s

    def close(self) -> None:
        self._inner.close()

    def cut(self) -> None:
        """The server is gone, unless everything has come."""
        if self._inner.finish_reason:
            return
        self._cut = True
        if self._clock is not None:
            self._clock.reschedule(-math.inf)  # who reads it closes it
        else:
            self._inner.close()

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self.next(limits)

    async def next(self, limits: Limits) -> Chunk | None:
        if self._cut:
            raise self._lost()
        self._inner.limit(gap_s=limits.gap_s, until_s=limits.until_s, late=limits.late)
        try:
            async with asyncio.timeout(None) as self._clock:
                return await anext(self._inner, None)
        except TimeoutError:
            if not self._cut:
                raise
        finally:
            self._clock = None
        raise self._lost()

    def _lost(self) -> GatewayError:
        self._inner.close()
        delivered = self._inner.tokens_delivered
        return StreamBroken("connection lost", tokens_delivered=delivered, upstream=self._upstream, status=200)
