"""One call, many readers: a stream in progress that is broadcast."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Hashable
from typing import Any

from llmsim.errors import GatewayError, StreamBroken, StreamStalled
from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.types import NO_USAGE, CallNext, Chunk, Limits, Outcome, Request, Response, Tap, Usage

__all__ = ["Flight"]


class Flight:
    """A call in a task of its own, from which any number of readers take.

    Parameters
    ----------
    flights, key
        Where it stands while it can be joined.
    request, call_next
        The call.
    leader
        The exchange of the request that makes it, and pays for it unless it leaves early.
    """

    __slots__ = (
        "_begun",
        "_demand",
        "_exchange",
        "_flights",
        "_key",
        "_payer",
        "_readers",
        "_task",
        "chunks",
        "in_one_piece",
        "iterating",
        "loop",
        "outcome",
        "request_id",
        "response",
    )

    def __init__(
        self,
        flights: dict[Hashable, Flight],
        key: Hashable,
        request: Request,
        call_next: CallNext,
        leader: Exchange,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.request_id = request.id
        self.response: Response | None = None
        self.outcome: Outcome | None = None  #: of the call, once it has ended
        self.chunks: list[Chunk] = []
        self.iterating = False  #: whether some reader wants every chunk as it comes
        self.in_one_piece = False  #: whether the upstream is being read to its end in one go
        self._payer: Reader | None = None  # until the call is over
        self._flights = flights
        self._key = key
        self._readers: dict[Reader, None] = {}
        self._demand: asyncio.Future[None] | None = None
        self._begun = leader.attempts
        self._exchange = leader.apart()
        self._task = self.loop.create_task(self._fly(call_next, request._replace(deadline_s=None)))

    # -- readers -------------------------------------------------------------------------------------------------------

    def join(self, exchange: Exchange) -> Reader:
        """One more reader; await its ``boarding``, then call `response_for`, or `leave`."""
        reader = Reader(self, exchange)
        self._readers[reader] = None
        if self._payer is None:
            self._payer = reader
            reader.pays = True
        if self.response is not None:
            reader.boarding.set_result(None)
        return reader

    def response_for(self, reader: Reader) -> Response:
        """What the reader's request is answered with."""
        origin = self.response
        assert origin is not None, "not before boarding"
        response = Response(
            reader,
            upstream=origin.upstream,
            model=origin.model,
            served_from=origin.served_from if reader.pays else "flight",
            status=origin.status,
            headers=origin.headers,
            parents=(origin,),
            queue_s=origin.queue_s,
            origin=origin.origin,
        )
        reader.response = response
        reader.exchange.hand_out(response)
        return response

    def leave(self, reader: Reader, message: Any = None) -> None:
        """The reader wants no more. The last one to leave ends the call."""
        if reader not in self._readers:
            return
        del self._readers[reader]
        reader.response = None
        if self.outcome is not None:
            return
        if reader.pays:  # its row is written once it is over, which may be before the call has taken note
            self._begun = reader.exchange.pay_for(self._exchange, self._begun, still_open=not self._readers)
        if self._readers:
            if reader.pays:
                reader.pays = False
                self._pass_the_bill(next(iter(self._readers)))
            return
        self._gone()
        if self.response is not None:
            self.response.close()
        self._task.cancel(message)

    def _pass_the_bill(self, reader: Reader) -> None:
        self._payer = reader
        reader.pays = True
        self._exchange.paid_by(reader.exchange)
        if reader.response is not None and self.response is not None:
            reader.response.served_from = self.response.served_from

    def want(self) -> None:
        """A reader waits for more."""
        if self._demand is not None and not self._demand.done():
            self._demand.set_result(None)

    # -- the call ------------------------------------------------------------------------------------------------------

    async def _fly(self, call_next: CallNext, request: Request) -> None:
        current_exchange.set(self._exchange)  # this task's own context
        try:
            response = await call_next(request)
        except BaseException as error:
            self._land(Outcome("error" if isinstance(error, Exception) else "cancelled", error))
            self._board(error)
            if not isinstance(error, Exception):
                raise
            return
        self._exchange.settle(response)
        response.on_end(self._ended)
        if not self._readers:  # the last one left in this very moment
            response.close()
            return
        tap = Tap()
        tap.chunks = self.chunks
        response.tap(tap)
        self.response = response
        self._board(None)
        try:
            await self._pump(response)
        except BaseException:
            response.close()
            raise

    async def _pump(self, response: Response) -> None:
        """Read the upstream as fast as the fastest reader does."""
        while response.outcome is None:
            if not any(reader.waits for reader in self._readers):
                self._demand = self.loop.create_future()
                await self._demand
            try:
                if self.iterating:
                    await anext(response, None)
                else:
                    self.in_one_piece = True
                    await response.read()
            except Exception:
                return  # `_ended` has told everybody
            self._wake()

    def _board(self, failure: BaseException | None) -> None:
        first = True
        for reader in self._readers:
            if not reader.boarding.done():
                # Each its own: an error that is raised in many places collects their tracebacks.
                reader.boarding.set_result(failure if first or failure is None else again(failure))
                first = False
        if failure is not None:
            self._readers.clear()

    def _ended(self, outcome: Outcome, usage: Usage) -> None:
        origin = self.response
        if origin is not None:
            for reader in self._readers:
                share = reader.response
                if share is not None:  # another upstream may have gone on with it
                    share.upstream, share.model, share.origin = origin.upstream, origin.model, origin.origin
        self._land(outcome)
        self._wake()

    def _land(self, outcome: Outcome) -> None:
        """The call is over, and can be joined no more."""
        self.outcome = outcome
        self._gone()
        self._exchange.finish()
        payer, self._payer = self._payer, None
        if payer is not None:
            payer.exchange.pay_for(self._exchange, self._begun)

    def _gone(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake(ended=self.outcome is not None)


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
