"""Let nobody take more than a share of the room."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from llmsim.algorithms.permits import Permits
from llmsim.algorithms.queues import Ticket, WaitQueue
from llmsim.algorithms.smoothed import Smoothed
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._gate import Gate
from llmsim.gateway.policies._line import Per, WaitingLine, key_of, key_text, place_of
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount

__all__ = ["Bulkhead"]


@register("bulkhead")
@dataclass(frozen=True, kw_only=True)
class Bulkhead:
    """So many calls at once for each tenant (user, route, …), so that one that goes wild drowns alone.

    **Protects from** one tenant, or one slow route, holding all connections, slots and quota while the others wait.

    **Costs** capacity that nobody may use: a tenant's permits are not lent to others. Where that hurts, a `fair_queue`
    shares by weight and lets whoever is there use what is free.

    **Makes things worse** when it is too small for a tenant's honest peak: his calls are rejected while the upstream is
    idle. With many keys it limits nothing in all; put a limit on the whole beside it.

    A permit is held until the *response* has ended. Keys come into being with their first call and are forgotten with
    their last.

    Parameters
    ----------
    at_once
        Calls under way for each key. No default fits: it is a share of what the upstream can bear.
    per
        What has permits of its own: each ``tenant`` (default), ``user`` (of a tenant), ``route``, ``feature`` or
        ``session``.
    queue
        ``{limit: 20, timeout: 5s}`` for each key: who finds no permit waits, first come first served. None: it is
        rejected at once, as resilience4j's bulkhead does by default (``maxWaitDuration`` 0).
    shared
        One set of permits for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`, with ``retry_after_s`` as permits have come free so far. Emits ``rejected`` (``reason``:
    ``limit``, ``queue_full`` or ``queue_timeout``, and ``retry_after_s``) and ``queued`` (``waited_s``).

    Examples
    --------
    >>> Bulkhead(at_once=10, per="user", queue=WaitingLine(limit=20, timeout=5.0)).per
    'user'
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    at_once: PositiveCount
    per: Per = "tenant"
    queue: WaitingLine | None = None
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"bulkhead at_once must be at least 1, not {self.at_once!r}")

    def start(self, run: Run) -> Handler:
        """Fresh state: nobody is under way."""
        return _BulkheadHandler(self, run)


class _BulkheadHandler:
    __slots__ = ("_gates", "_held_s", "_key", "_now", "_run", "_spec")

    def __init__(self, spec: Bulkhead, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._key = key_of(spec.per)
        self._gates: dict[Hashable, Gate] = {}
        self._held_s = Smoothed()  # of all keys, since most are forgotten soon

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now, key = self._now(), self._key(request)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = self._make(key)
        if gate.is_open(now):
            gate.permits.take(None, now)
        elif self._spec.queue is None:
            raise gate.full(request)
        else:
            try:
                now = await gate.wait(request, Ticket(now, place_of(request)), self._spec.queue.timeout)
            except BaseException:
                self._forget(key, gate)
                raise
        try:
            response = await call_next(request)
        except BaseException:
            self._leave(key, gate, now)
            raise
        response.on_end(partial(self._ended, key, gate, now))
        return response

    def _make(self, key: Hashable) -> Gate:
        queue = WaitQueue(self._spec.queue.limit if self._spec.queue else 0)
        permits = Permits(self._spec.at_once, held_s=self._held_s)
        return Gate(self._run, permits, queue, f"the bulkhead of {self._spec.per} {key_text(key)!r}")

    def _ended(self, key: Hashable, gate: Gate, began_s: float, outcome: Outcome, usage: Usage) -> None:
        self._leave(key, gate, began_s)

    def _leave(self, key: Hashable, gate: Gate, began_s: float) -> None:
        gate.leave(began_s)
        self._forget(key, gate)

    def _forget(self, key: Hashable, gate: Gate) -> None:
        if not gate.permits.taken and not gate.line and self._gates.get(key) is gate:
            del self._gates[key]
