"""Stay below a limit of requests and tokens per time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from llmsim.algorithms.buckets import Reservation
from llmsim.algorithms.queues import Ticket, WaitQueue
from llmsim.algorithms.rate_limits import RateLimits
from llmsim.algorithms.smoothed import Smoothed
from llmsim.errors import GatewayError, RateLimited, Rejected
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._line import USUAL_ANSWER, WHY, Line, Per, WaitingLine, key_of, place_of, turned_away
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, PositiveRate

__all__ = ["RateLimit"]

_LIMITS = ("requests", "tokens", "input_tokens", "output_tokens")


@register("rate_limit")
@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """Send no more requests and tokens per time than agreed: reserve at the start, settle at the end.

    **Protects from** 429s, in upstream scope: below the provider's limit no request is refused there, counted there as
    a failure, retried and refused again. In gateway scope with `per`, one user, tenant, route or feature from using up
    everybody's quota.

    **Costs** the wait in its `queue`, or the requests it turns away. Reserved tokens that will not be used are idle
    until the answer ends: where callers ask for far more ``max_tokens`` than they use, set `expected_output`.

    **Makes things worse** when it stands in for a limit that is not its own: each of N replicas lets its full limit
    through, N times the quota in all, unless it is `shared`. Set above the provider's it does nothing, below it wastes
    quota. With a long queue callers time out in it instead of falling back.

    Tokens are taken when a call begins, the prompt's estimate and what the answer may have, and corrected when its
    *response* ends: counted only then, as is common, any number of concurrent calls pass (663 tokens on a limit of 100
    a minute: BerriAI/litellm issues 18730 and 5783). A call that used more leaves a debt that is paid before the next
    one goes. One that is cancelled or times out before its first chunk keeps its prompt charged; one that is refused
    used no tokens.

    List it outside of a `circuit_breaker`: what it turns away has not been sent and says nothing about the upstream.

    Parameters
    ----------
    requests, tokens, input_tokens, output_tokens
        Per time (``500/min``), at least one. `tokens` are input and output together.
    burst
        A full bucket holds this much time's worth (but at least 1), and refills continuously. 60 s, as limits are per
        minute and a bucket holds a minute's (Anthropic's documentation describes its limits so; TensorZero's refill the
        same at once). A provider that enforces shorter spans, "60 a minute may be 1 a second", wants less.
    per
        A limit for each ``user`` (of a tenant), ``tenant``, ``route``, ``feature`` or ``session``; None: one for all.
    expected_output
        Tokens reserved for an answer, unless the caller's ``max_tokens`` is less. None: ``max_tokens``; where that is
        not given, the mean of the answers so far (211 at first, the mean of Azure's conversation trace of 2023).
    queue
        ``{limit: 100, timeout: 10s}``: who does not fit waits, first come first served; whoever would wait longer than
        that even if all that is reserved came back at once is turned away right away. None: nobody waits.
    failed_requests
        Whether a request that failed counts (``count``: OpenAI, help article 5955604, says that they do) or is given
        back (``free``).
    shared
        One limit for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `RateLimited` with ``retry_after_s`` and a ``retry-after`` header (in upstream scope without a status, since
    nothing was sent), and `Rejected` for a request that is larger than a full bucket, which no retry cures. Emits
    ``rejected`` (``reason``: ``limit``, ``too_large``, ``queue_full`` or ``queue_timeout``, and ``retry_after_s``) and
    ``queued`` (``waited_s``) for those that went after a wait.

    Examples
    --------
    >>> RateLimit(requests=500 / 60, tokens=30_000 / 60, queue=WaitingLine(limit=100, timeout=10.0)).burst
    60.0
    >>> RateLimit()
    Traceback (most recent call last):
    ValueError: rate_limit limits nothing; write at least one of requests, tokens, input_tokens, output_tokens: 500/min
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    requests: PositiveRate | None = None
    tokens: PositiveRate | None = None
    input_tokens: PositiveRate | None = None
    output_tokens: PositiveRate | None = None
    burst: PositiveDuration = 60.0
    per: Per | None = None
    expected_output: PositiveCount | None = None
    queue: WaitingLine | None = None
    failed_requests: Literal["count", "free"] = "count"
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        limits = {word: getattr(self, word) for word in _LIMITS if getattr(self, word) is not None}
        if not limits:
            raise ValueError(f"rate_limit limits nothing; write at least one of {', '.join(_LIMITS)}: 500/min")
        for word, rate in limits.items():
            if not rate > 0:
                raise ValueError(f"rate_limit {word} must be above 0, not {rate!r}; write it like 500/min")
        if not self.burst > 0:
            raise ValueError(f"rate_limit burst must be above 0, not {self.burst!r}; write it like 60s")
        if self.expected_output is not None:
            if self.expected_output < 1:
                raise ValueError(f"expected_output must be at least 1, not {self.expected_output!r}")
            if not limits.keys() & {"tokens", "output_tokens"}:
                raise ValueError("expected_output has no effect without a limit of tokens or output_tokens; remove it")

    def start(self, run: Run) -> Handler:
        """Fresh state: full buckets."""
        return _RateLimitHandler(self, run)


_Call = Sequence[Reservation | float]


class _Lane:
    """The limits of one key, and who waits for them."""

    __slots__ = ("limits", "line")

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits
        self.line: Line | None = None  # once somebody has to wait

    def wait_s(self, ticket: Ticket, now: float) -> float:
        return self.limits.wait_s(ticket.amounts, now)

    def take(self, ticket: Ticket, now: float) -> None:
        ticket.held = self.limits.reserve(ticket.amounts, now)

    def give_back(self, ticket: Ticket, now: float) -> None:
        self.limits.undo(ticket.held, now)

    def is_idle(self, now: float) -> bool:
        return not self.line and self.limits.is_full(now)


class _RateLimitHandler:
    __slots__ = (
        "_answers",
        "_counts",
        "_key",
        "_lanes",
        "_most",
        "_now",
        "_rates",
        "_returns",
        "_run",
        "_settles",
        "_spec",
        "_words",
    )

    def __init__(self, spec: RateLimit, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._key = key_of(spec.per)
        self._words = tuple(word for word in _LIMITS if getattr(spec, word) is not None)
        self._counts = tuple(_LIMITS.index(word) for word in self._words)
        # A request that counts whatever becomes of it never comes back.
        self._returns = [word != "requests" or spec.failed_requests == "free" for word in self._words]
        self._settles = any(self._returns)
        self._rates = tuple(getattr(spec, word) for word in self._words)
        # What a full bucket holds, of requests, tokens, input and output.
        self._most = tuple(max((getattr(spec, word) or float("inf")) * spec.burst, 1.0) for word in _LIMITS)
        self._lanes: OrderedDict[Hashable, _Lane] = OrderedDict()  # by when they were last used
        self._answers = Smoothed(USUAL_ANSWER)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        now = self._now()
        lane = self._lane(request, now)
        output = self._output(request)
        amounts = self._amounts(1.0, request.input_tokens, output)
        if not lane.line and lane.limits.wait_s(amounts, now) <= 0:
            call: _Call = lane.limits.reserve(amounts, now)
        else:
            call = await self._wait(lane, request, amounts, now)
        if not self._settles:
            return await call_next(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            # Refusals are not charged for tokens. Of a call that was cancelled or timed out nobody knows what it used,
            # but its prompt was sent.
            failed = isinstance(error, Exception)
            refused = failed and not isinstance(error, TimeoutError)
            self._settle(lane, call, failed=failed, used=(0 if refused else request.input_tokens, 0))
            raise
        response.on_end(partial(self._ended, lane, call))
        return response

    def _lane(self, request: Request, now: float) -> _Lane:
        lanes, key = self._lanes, self._key(request)
        lane = lanes.get(key)
        if lane is None:
            lane = lanes[key] = _Lane(RateLimits(self._rates, self._spec.burst, self._returns))
            # For one that comes, two that were not used for longest may go: as many as are in use stay.
            for _ in range(min(2, len(lanes) - 1)):
                oldest = next(iter(lanes))
                if lanes[oldest].is_idle(now):
                    del lanes[oldest]
                else:
                    lanes.move_to_end(oldest)
        elif len(lanes) > 1:
            lanes.move_to_end(key)
        return lane

    def _output(self, request: Request) -> float:
        most, expected = request.max_tokens, self._spec.expected_output
        output = self._answers.value if expected is None else expected
        if most is not None and (expected is None or most < output):
            return most
        # A guess must not be what makes a request too large for ever.
        room = min(self._most[1] - request.input_tokens, self._most[3])
        return room if 0 < room < output else output

    def _amounts(self, requests: float, input_tokens: float, output: float) -> tuple[float, ...]:
        every = (requests, input_tokens + output, input_tokens, output)
        return tuple([every[at] for at in self._counts])

    async def _wait(self, lane: _Lane, request: Request, amounts: tuple[float, ...], now: float) -> _Call:
        limits, queue = lane.limits, self._spec.queue
        for bucket, amount, word in zip(limits.buckets, amounts, self._words, strict=True):
            if amount > bucket.capacity:
                raise self._refusal(request, "too_large", f"{amount:g} {word} can never fit into {bucket.capacity:g}")
        if queue is None:
            raise self._refusal(request, "limit", "too fast", limits.expected_s(amounts, now))
        longest = queue.timeout if request.deadline_s is None else min(queue.timeout, request.deadline_s - now)
        if limits.least_s(amounts, now) > longest:
            raise self._refusal(request, "limit", "the wait would be too long", limits.expected_s(amounts, now))
        line = lane.line
        if line is None:
            line = lane.line = Line(self._run, WaitQueue(queue.limit), lane)
        ticket = Ticket(now, place_of(request), amounts=amounts)
        limits.queue(amounts)
        try:
            reason = await line.wait(ticket, queue.timeout)
        finally:
            limits.queue(amounts, -1)
        now, came = self._now(), now
        if reason:
            raise self._refusal(request, reason, WHY[reason], limits.expected_s(amounts, now))
        if now > came:
            self._run.emit("queued", request, waited_s=round(now - came, 6))
        held: _Call = ticket.held
        return held

    def _refusal(self, request: Request, reason: str, why: str, retry_after_s: float | None = None) -> GatewayError:
        """The error; without any `retry_after_s` one that retrying does not cure."""
        of = f" of {self._run.upstream}" if self._run.upstream else ""
        kind = Rejected if retry_after_s is None else RateLimited
        error = turned_away(self._run, request, f"rate limit{of}: {why}", reason, retry_after_s or 0.0, kind)
        if self._run.upstream:
            error.status = None  # nothing was sent: a breaker outside must not take it for an answer
        return error

    def _ended(self, lane: _Lane, call: _Call, outcome: Outcome, usage: Usage) -> None:
        if outcome.kind == "ok":
            self._answers.add(usage.output_tokens)
        self._settle(lane, call, failed=outcome.error is not None, used=usage[:2])

    def _settle(self, lane: _Lane, call: _Call, *, failed: bool, used: tuple[int, int]) -> None:
        requests = 0.0 if failed and self._spec.failed_requests == "free" else 1.0
        lane.limits.settle(call, self._amounts(requests, *used), self._now())
        if lane.line:
            lane.line.advance()
