"""One call, many readers: a stream in progress that is broadcast."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.gateway.policies._flight_reader import Reader, again
from llmsim.types import CallNext, Chunk, Outcome, Request, Response, Tap, Usage

__all__ = ["Flight"]

_TURNS = 50  #: of the loop; ten policies that each take two would be 20


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

    async def over(self) -> None:
        """Wait until the call has taken note that everybody left: so that its bill is in before the request is over.

        Each policy of the call may take a turn of the loop or two; one that takes many is not waited for.
        """
        for _ in range(_TURNS):
            if self.outcome is not None or self._readers:
                return
            await asyncio.sleep(0)

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
