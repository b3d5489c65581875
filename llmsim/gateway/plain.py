"""The world outside the lab: the running loop's clock, fresh luck, and callbacks for what happens."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from llmsim.gateway.caching import StoreOpener
from llmsim.gateway.exchange import Attempt
from llmsim.luck import Luck
from llmsim.pricing import FREE, TokenPrice

__all__ = ["PlainRuntime"]


class PlainRuntime:
    """Implements `Runtime` on an ordinary asyncio loop.

    Parameters
    ----------
    prices
        Per upstream, for the cost of attempts.
    on_event
        Called with every event a policy emits: its kind and fields.
    on_attempt
        Called with every finished call to an upstream.
    seed
        Of the jitter; default: fresh from the system.
    stores
        For policies that keep answers.
    """

    def __init__(
        self,
        prices: Mapping[str, TokenPrice] | None = None,
        *,
        on_event: Callable[[str, dict[str, Any]], object] | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        seed: int | None = None,
        stores: StoreOpener | None = None,
    ) -> None:
        self.now = asyncio.get_running_loop().time
        self.epoch_s = time.time() - self.now()
        self.stores = stores
        self.luck = Luck(secrets.randbits(63) if seed is None else seed)
        self._prices = prices or {}
        self._on_event = on_event
        self._on_attempt = on_attempt

    def emit(
        self, kind: str, request_id: str, policy: str, upstream: str, replica: int, fields: dict[str, Any]
    ) -> None:
        if self._on_event is not None:
            place = {"request_id": request_id, "policy": policy, "upstream": upstream, "replica": replica}
            self._on_event(kind, {**place, **fields})

    def attempt_ended(self, attempt: Attempt) -> None:
        attempt.cost_usd = self._prices.get(attempt.upstream, FREE).cost(attempt.usage)
        if self._on_attempt is not None:
            self._on_attempt(attempt)
