"""A reader of a call that is shared."""

from __future__ import annotations

import asyncio
import copy
import math
from typing import TYPE_CHECKING

from llmsim.errors import GatewayError, StreamBroken, StreamStalled
from llmsim.gateway.exchange import Exchange
from llmsim.types import NO_USAGE, Chunk, Limits, Response, Usage

if TYPE_CHECKING:
    from llmsim.gateway.policies._flight import Flight

__all__ = ["Reader", "again"]


def again(error: BaseException) -> BaseException:
    """The same error, to be raised in another place."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # somebody's own class that cannot be made from what it holds
        return error


class Reader:
    """One reader's view of a flight: the stream of its response."""

    __slots__ = (
        "_at",
        "_closed",
        "_delivered",
        "_failure",
        "_flight",
        "_waiter",
        "_whole",
        "boarding",
        "exchange",
        "pays",
        "response",
    )

    def __init__(self, flight: Flight, exchange: Exchange) -> None:
        self.boarding: asyncio.Future[BaseException | None] = flight.loop.create_future()
        self.exchange = exchange
        self.pays = False
        self.response: Response | None = None
        self._flight = flight
        self._at = 0  # chunks taken
        self._delivered = 0  # tokens
        self._closed = False
        self._failure: GatewayError | None = None  # what the next read raises
        self._waiter: asyncio.Future[None] | None = None
        self._whole = False  # it waits for the end

    # -- Stream --------------------------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        """Of the payer: what was used. Of the others: nothing."""
        response = self._flight.response
        return response.usage if self.pays and response is not None else NO_USAGE

    @property
    def finish_reason(self) -> str:
        """Empty until this reader has everything."""
        flight = self._flight
        outcome = flight.outcome
        if outcome is None or outcome.kind != "ok" or self._at < len(flight.chunks):
            return ""
        assert flight.response is not None
        return flight.response.finish_reason

    @property
    def longest_gap_s(self) -> float:
        """The upstream's."""
        response = self._flight.response
        return response.longest_gap_s if response is not None else math.nan

    async def next(self, limits: Limits) -> Chunk | None:
        """See `Stream.next`."""
        flight = self._flight
        flight.iterating = True
        while self._at == len(flight.chunks):
            if flight.outcome is not None or self._closed:
                self._end()
                return None
            await self._wait(limits, whole=False)
            if self._failure is not None and self._at == len(flight.chunks):
                raise self._failure
        chunk = flight.chunks[self._at]
        self._at += 1
        return self._take(chunk)

    async def rest(self, limits: Limits) -> Chunk | None:
        """See `Stream.rest`."""
        flight = self._flight
        while flight.outcome is None and self._failure is None and not self._closed:
            await self._wait(limits, whole=limits.gap_s is None)
        left = flight.chunks[self._at :]
        if not left or self._closed:
            self._end()
            return None
        self._at = len(flight.chunks)
        whole = left[0] if len(left) == 1 else Chunk("".join(c.text for c in left), sum(c.tokens for c in left))
        return self._take(whole)

    def close(self) -> None:
        """See `Stream.close`."""
        self._closed = True
        self._flight.leave(self)
        self.wake(ended=True)  # closed by another task than the one that reads

    def _take(self, chunk: Chunk) -> Chunk:
        self._delivered += chunk.tokens
        if self.finish_reason:
            self._flight.leave(self)
        return chunk

    def _end(self) -> None:
        """Nothing is left: the clean end, or what it ended with."""
        flight = self._flight
        flight.leave(self)
        outcome = flight.outcome
        if self._failure is not None:
            raise self._failure
        if self._closed or outcome is None or outcome.kind == "ok":
            return
        if outcome.error is not None:
            raise again(outcome.error)
        upstream = flight.response.upstream if flight.response is not None else ""
        message = "the call that was shared has been closed"
        raise StreamBroken(message, tokens_delivered=self._delivered, upstream=upstream, status=200)

    # -- waiting -------------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether it wants more than there is."""
        return self._waiter is not None and not self._waiter.done()

    def wake(self, *, ended: bool) -> None:
        """There is more, or all."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (ended or not self._whole):
            waiter.set_result(None)

    async def _wait(self, limits: Limits, *, whole: bool) -> None:
        """For the next chunk (or the end, if `whole`); sets `_failure` if the limits do not allow it."""
        flight = self._flight
        if not whole:
            flight.iterating = True
        self._whole = whole
        self._waiter = waiter = flight.loop.create_future()
        flight.want()
        when, stalled = self._until(limits)
        seen = len(flight.chunks)
        timer = None if when == math.inf else flight.loop.call_at(when, wake_late, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if flight.outcome is None and not self._closed and flight.loop.time() >= when:
            if not stalled:
                assert limits.late is not None, "a limit in time comes with the error to raise"
                self._failure = limits.late(self._tokens())
            elif len(flight.chunks) == seen:
                upstream = flight.response.upstream if flight.response is not None else ""
                self._failure = StreamStalled(
                    f"no token for {limits.gap_s:g}s", tokens_delivered=self._tokens(), upstream=upstream, status=200
                )

    def _tokens(self) -> int:
        """What it has been given, or will be before the error."""
        return sum(chunk.tokens for chunk in self._flight.chunks)

    def _until(self, limits: Limits) -> tuple[float, bool]:
        """When the wait must end, and whether for silence."""
        when, stalled = math.inf, False
        # Of an answer that is waited for in one piece nobody can say how long it was silent.
        if limits.gap_s is not None and not self._flight.in_one_piece:
            when, stalled = self._flight.loop.time() + limits.gap_s, True
        if limits.until_s is not None and limits.until_s < when:
            when, stalled = limits.until_s, False
        return when, stalled


def wake_late(waiter: asyncio.Future[None]) -> None:
    """A limit has passed."""
    if not waiter.done():
        waiter.set_result(None)
