"""Take the shock: a bounded queue before everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from llmsim.algorithms.permits import Permits
from llmsim.algorithms.queues import Drop, Order, Ticket, WaitQueue
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._gate import Gate
from llmsim.gateway.policies._line import WaitingLine, place_of
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, PositiveRate

__all__ = ["WaitingRoom"]


@register("waiting_room")
@dataclass(frozen=True, kw_only=True)
class WaitingRoom:
    """The gateway as a shock absorber: a burst waits here, bounded, and goes on as fast as what is behind can take it.

    **Protects from** bursts: the upstream sees a steady stream, nobody is refused for what a few seconds cure, and
    whoever is refused is told when to come back. List it first.

    **Costs** the wait. Against an overload that lasts, a queue only makes everybody late: it fills, and from then on
    each request waits through all of it.

    **Makes things worse** when callers stop reading before their turn comes and nobody tells: then it works through
    requests nobody waits for. Keep ``timeout`` below their patience and the queue no longer than what drains within it
    (`rate` × timeout); ``order: lifo`` answers at least the newest in time.

    It is M/M/c/K where arrivals and calls are random: with `at_once` c and a queue of q, a share of Erlang's formula is
    rejected.

    Parameters
    ----------
    at_once
        Calls under way, until their *responses* have ended. At least one of `at_once` and `rate`.
    rate
        Calls let in per time, evenly: no two sooner after each other than 1/rate.
    queue
        ``{limit: 1000, timeout: 30s}``: most who wait, and how long at most.
    patience
        Timeouts of some classes instead of that, by the name of a route or feature: ``{chat: 5s, batch: 10m}``. A
        request's route is looked up first.
    order
        Who is next: ``fifo``, ``lifo``, or ``priority`` (the most important, first come first served among equals).
    drop
        Who goes when the queue is full and one more comes: the ``newest``, which is the one that comes, or the
        ``oldest``, which has used up most of its patience. By priority: of the least important.
    shared
        One room for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`; ``retry_after_s`` is how long a newcomer would wait, as calls have taken so far. Emits
    ``rejected`` (``reason``: ``queue_full`` or ``queue_timeout``, and ``retry_after_s``) and ``queued`` (``waited_s``).
    Ties of one instant go by request id.

    Examples
    --------
    >>> room = WaitingRoom(rate=20.0, queue=WaitingLine(limit=200, timeout=10.0), patience={"batch": 600.0})
    >>> room.order, room.drop
    ('fifo', 'newest')
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    at_once: PositiveCount | None = None
    rate: PositiveRate | None = None
    queue: WaitingLine
    patience: Mapping[str, PositiveDuration] = field(default_factory=dict, hash=False)
    order: Order = "fifo"
    drop: Drop = "newest"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.at_once is None and self.rate is None:
            raise ValueError("a waiting_room lets everybody through at once; write at_once: 50, rate: 20/s, or both")
        for word in ("at_once", "rate"):
            value = getattr(self, word)
            if value is not None and not value > 0:
                raise ValueError(f"waiting_room {word} must be above 0, not {value!r}; leave it out for no limit")
        for name, patience in self.patience.items():
            if not patience > 0:
                raise ValueError(f"the patience of {name!r} must be above 0, not {patience!r}; write it like 5s")

    def start(self, run: Run) -> Handler:
        """Fresh state: an empty room."""
        return _WaitingRoomHandler(self, run)


class _WaitingRoomHandler:
    __slots__ = ("_gate", "_now", "_patience", "_timeout")

    def __init__(self, spec: WaitingRoom, run: Run) -> None:
        self._now = run.now
        self._timeout = spec.queue.timeout
        self._patience = spec.patience
        permits = Permits(float("inf") if spec.at_once is None else spec.at_once, spec.rate)
        self._gate = Gate(run, permits, WaitQueue(spec.queue.limit, spec.order, spec.drop), "the waiting room")

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now, gate = self._now(), self._gate
        if gate.is_open(now):
            gate.permits.take(None, now)
        else:
            ticket = Ticket(now, place_of(request), priority=request.priority)
            now = await gate.wait(request, ticket, self._timeout_of(request) if self._patience else self._timeout)
        try:
            response = await call_next(request)
        except BaseException:
            gate.leave(now)
            raise
        response.on_end(partial(self._ended, now))
        return response

    def _timeout_of(self, request: Request) -> float:
        patience = self._patience
        return patience.get(request.route) or patience.get(request.feature) or self._timeout

    def _ended(self, began_s: float, outcome: Outcome, usage: Usage) -> None:
        self._gate.leave(began_s)
