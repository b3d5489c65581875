"""What a gateway needs from the lab: clock, luck, and a recorder for what it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from llmsim.gateway.caching import StoreOpener
from llmsim.gateway.exchange import Attempt
from llmsim.gateway.server_time import server_s_of
from llmsim.luck import Luck, request_address
from llmsim.pricing import FREE, PriceSteps, TokenPrice, price_at
from llmsim.telemetry.recorder import Recorder

__all__ = ["LabRuntime"]

_CONNECT = "x-llmsim-connect-s"  # llmsim.providers.live.timings.CONNECT_HEADER, whose package would load httpx


class LabRuntime:
    """Implements `llmsim.gateway.contract.Runtime` over a recorder.

    Parameters
    ----------
    now
        The loop's clock.
    luck, recorder
        Of this replication.
    prices
        Per upstream; what holds now.
    epoch_s
        What wall clocks say at loop time 0.
    stores
        Where caches keep answers.
    steps
        Of the upstreams whose price changes, on the loop's clock: a call costs what held when it was sent.
    """

    def __init__(
        self,
        now: Callable[[], float],
        luck: Luck,
        recorder: Recorder,
        prices: Mapping[str, TokenPrice],
        epoch_s: float = 0.0,
        stores: StoreOpener | None = None,
        steps: Mapping[str, PriceSteps] | None = None,
    ) -> None:
        self.now = now
        self.epoch_s = epoch_s
        self.luck = luck
        self.stores = stores
        self._recorder = recorder
        self._prices = prices
        self._steps = steps or {}

    def emit(
        self, kind: str, request_id: str, policy: str, upstream: str, replica: int, fields: dict[str, Any]
    ) -> None:
        self._recorder.emit(kind, request_id, policy, upstream, replica, fields)

    def let_go(self) -> None:
        """The run is over: whoever still refers to this holds on to nothing by it."""
        self._recorder = Recorder()
        self.luck.let_go()
        self.stores = None

    def attempt_ended(self, attempt: Attempt) -> None:
        """Price the attempt and append its row."""
        usage = attempt.usage
        steps = self._steps.get(attempt.upstream) if self._steps else None
        price = self._prices.get(attempt.upstream, FREE) if steps is None else price_at(steps, attempt.start_s)
        attempt.cost_usd = cost = price.cost(usage)
        exchange = attempt.exchange
        origin = exchange.origin
        if origin is None:  # a request that was not sent by the lab's users
            origin = (attempt.start_s, *(request_address(exchange.request.id) or (-1, 0, 0)))
        arrival_s, session, step, retry = origin
        response = attempt.response
        if response is not None and _CONNECT in response.headers:  # a live call that had to connect
            connect_s = float(response.headers[_CONNECT])
            self.emit(
                "connected", exchange.request.id, "", attempt.upstream, exchange.replica, {"connect_s": connect_s}
            )
        self._recorder.attempt((
            session,
            step,
            retry,
            arrival_s,
            attempt.number,
            attempt.cause,
            attempt.upstream,
            attempt.model,
            exchange.replica,
            attempt.start_s,
            attempt.first_s,
            attempt.end_s,
            response.queue_s if response is not None else math.nan,
            server_s_of(response),
            attempt.outcome,
            attempt.status,
            attempt.won,
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            cost,
        ))  # fmt: skip
