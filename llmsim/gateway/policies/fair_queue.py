"""Share what there is, by weight, whoever asks most."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from llmsim.algorithms.fair import FairQueue as Queue
from llmsim.algorithms.permits import Permits
from llmsim.algorithms.queues import Ticket
from llmsim.algorithms.smoothed import Smoothed
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._gate import Gate
from llmsim.gateway.policies._line import USUAL_ANSWER, Per, WaitingLine, key_of, place_of
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import Multiplier, PositiveCount

__all__ = ["FairQueue"]


@register("fair_queue")
@dataclass(frozen=True, kw_only=True)
class FairQueue:
    """A queue before N slots from which each tenant (user, route, …) is served in turn, in proportion to its weight.

    **Protects from** one tenant's flood delaying all others, as a queue that is first come first served does: whoever
    asks little waits little.

    **Costs** the flooding tenant's latency, and order: requests overtake each other.

    **Makes things worse** where keys cost nothing: it is fair to keys, so somebody with a thousand user names has a
    thousand shares. Below saturation it does nothing.

    Work is shared by tokens (the Virtual Token Counter of arXiv 2401.00588, which is start-time fair queueing with
    costs that are corrected when they are known): a call counts as its prompt and an expected answer when it begins,
    and as what it used when its *response* has ended. Between two tenants that both wait all the time, what they were
    given differs by no more than the largest call of each and what of theirs is under way.

    Parameters
    ----------
    at_once
        Calls under way, of all tenants together. No default fits: the slots of the upstream.
    queue
        ``{limit: 1000, timeout: 30s}``: most who wait, of all tenants together, and how long at most. When it is full,
        the tenant with most requests in it loses his newest.
    per
        Between whom: each ``tenant`` (default), ``user`` (of a tenant), ``route``, ``feature`` or ``session``.
    weights
        Shares of those who are not worth 1: ``{gold: 4, trial: 0.5}``.
    cost
        What is shared: ``tokens`` or ``requests``.
    shared
        One queue for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`, with ``retry_after_s`` as calls have taken so far (for somebody with a share like any other).
    Emits ``rejected`` (``reason``: ``queue_full`` or ``queue_timeout``, and ``retry_after_s``) and ``queued``
    (``waited_s``). A tenant's own requests go by priority, then by arrival.

    Examples
    --------
    >>> FairQueue(at_once=32, queue=WaitingLine(limit=500, timeout=20.0), weights={"gold": 4.0}).cost
    'tokens'
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    at_once: PositiveCount
    queue: WaitingLine
    per: Per = "tenant"
    weights: Mapping[str, Multiplier] = field(default_factory=dict, hash=False)
    cost: Literal["tokens", "requests"] = "tokens"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"fair_queue at_once must be at least 1, not {self.at_once!r}")
        for name, weight in self.weights.items():
            if not weight > 0:
                raise ValueError(f"the weight of {name!r} must be above 0, not {weight!r}; nobody gets nothing")

    def start(self, run: Run) -> Handler:
        """Fresh state: nobody has had anything."""
        return _FairQueueHandler(self, run)


class _Books:
    """The room of a fair queue: permits, and what is to be said to the queue when a call that was given one is gone."""

    __slots__ = ("_permits", "_queue")

    def __init__(self, permits: Permits, queue: Queue) -> None:
        self._permits = permits
        self._queue = queue

    def wait_s(self, ticket: Ticket, now: float) -> float:
        return self._permits.wait_s(ticket, now)

    def take(self, ticket: Ticket, now: float) -> None:
        self._permits.take(ticket, now)

    def give_back(self, ticket: Ticket, now: float) -> None:
        self._permits.give_back(ticket, now)
        self._queue.settle(ticket.key, ticket.cost, 0.0)


class _FairQueueHandler:
    __slots__ = ("_answers", "_by_tokens", "_gate", "_key", "_now", "_queue", "_timeout")

    def __init__(self, spec: FairQueue, run: Run) -> None:
        self._now = run.now
        self._key = key_of(spec.per)
        self._timeout = spec.queue.timeout
        self._by_tokens = spec.cost == "tokens"
        self._answers = Smoothed(USUAL_ANSWER)
        weights = spec.weights

        def weight(key: Hashable) -> float:
            return weights.get(str(key[-1] if isinstance(key, tuple) else key), 1.0)

        self._queue = queue = Queue(spec.queue.limit, weight)
        permits = Permits(spec.at_once)
        self._gate = Gate(run, permits, queue, "the fair queue", _Books(permits, queue))

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now, gate, key = self._now(), self._gate, self._key(request)
        cost = self._cost(request)
        if gate.is_open(now):
            gate.permits.take(None, now)
            self._queue.charge(key, cost)
        else:
            ticket = Ticket(now, place_of(request), priority=request.priority, key=key, cost=cost)
            now = await gate.wait(request, ticket, self._timeout)
        try:
            response = await call_next(request)
        except BaseException as error:
            # As in rate_limit: a refusal used nothing, and of a call that was cancelled at least the prompt was sent.
            refused = isinstance(error, Exception) and not isinstance(error, TimeoutError)
            used = 0.0 if refused else float(request.input_tokens)
            self._leave(key, cost, now, used if self._by_tokens else cost)
            raise
        response.on_end(partial(self._ended, key, cost, now))
        return response

    def _cost(self, request: Request) -> float:
        if not self._by_tokens:
            return 1.0
        most, mean = request.max_tokens, self._answers.value
        return request.input_tokens + (mean if most is None or mean < most else most)

    def _ended(self, key: Hashable, cost: float, began_s: float, outcome: Outcome, usage: Usage) -> None:
        if outcome.kind == "ok":
            self._answers.add(usage.output_tokens)
        used = float(usage.input_tokens + usage.output_tokens)
        self._leave(key, cost, began_s, used if self._by_tokens else cost)

    def _leave(self, key: Hashable, cost: float, began_s: float, used: float) -> None:
        self._queue.settle(key, cost, used)
        self._gate.leave(began_s)
