"""Calls under way, by what they ask: who asks the same joins."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from llmsim.gateway.contract import Run
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.policies._flight import Flight
from llmsim.types import CallNext, Request, Response

__all__ = ["Flights"]


class Flights:
    """What `single_flight` keeps, and every policy that calls for several requests at once.

    Parameters
    ----------
    run
        Of the policy.
    alone
        Whether those who joined a call that failed before its first chunk then make their own.

    Attributes
    ----------
    open
        Calls that can be joined, by key.
    """

    __slots__ = ("_alone", "_run", "open")

    def __init__(self, run: Run, *, alone: bool = False) -> None:
        self._run = run
        self._alone = alone
        self.open: dict[Hashable, Flight] = {}

    async def call(self, key: Hashable, request: Request, call_next: CallNext) -> Response:
        """Join the call of this key, or begin it; emits ``coalesced`` for who joins.

        Raises
        ------
        GatewayError
            What the call failed with.
        """
        exchange = current_exchange.get()
        flight = self.open.get(key)
        joins = flight is not None
        if flight is None:
            flight = self.open[key] = Flight(self.open, key, request, call_next, exchange)
        else:
            self._run.emit("coalesced", request, into=flight.request_id)
        reader = flight.join(exchange)
        try:
            failure = await reader.boarding
        except asyncio.CancelledError as error:
            # The message may say which time limit passed: the call learns it, should this have been the last one.
            flight.leave(reader, error.args[0] if error.args else None)
            await flight.over()
            raise
        if failure is None:
            return flight.response_for(reader)
        if joins and self._alone and isinstance(failure, Exception):
            return await call_next(request)
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame: a circle only the cyclic collector could free
