"""Stop a session that has run away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.lru import LruCache
from llmsim.algorithms.runaway import Limits, Session
from llmsim.errors import BudgetExceeded, Rejected
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._words import known_upstreams
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, PositiveMoney, Ratio

__all__ = ["RunawayGuard"]


@register("runaway_guard")
@dataclass(frozen=True, kw_only=True)
class RunawayGuard:
    """Count what each session does, and refuse its calls (or send them somewhere cheap) once that is too much.

    **Protects from** an agent in a loop: 220 identical calls in 25 minutes, each with the whole context
    (earendil-works/pi#9637), or $626 for a tool call that was denied again and again (Kilo-Org/kilocode#13772). Every
    such call is healthy by itself, so error rates, latencies and rate limits notice nothing; and since every prompt
    is longer than the one before, the bill grows with the square of their number.

    **Costs** some memory for each session of late.

    **Makes things worse** for honest long work: an agent that polls a tool until a job is done asks the same again and
    again, and a legitimate chain may well have 200 steps. A person in a chat does so too: with `max_repeats` the fourth
    "yes" among twelve messages is refused. It is a net below the agent's own limit, not instead of it.

    It takes requests by ``session``; one without is not guarded. It counts requests, not the retries and fallbacks
    inside: stand it outside of those. A user's second try is a request.

    Parameters
    ----------
    max_calls
        Calls of a session in all; None: any number. 100 is where haystack's agents stop (``max_agent_steps``, as of
        deepset-ai/haystack#11422); LangGraph's graphs stop after 25 steps (langchain-ai/docs#1121).
    calls_per_minute
        … in any minute; None (default): as fast as it likes.
    max_repeats
        Calls with the same last message among the latest 4 × `max_repeats` (so that a loop over two or three different
        calls is found too); None: any number. Prompts of a loop grow by every answer, but what is asked last is the
        same. 3: as proposed in deepset-ai/haystack#11422 and Chia1104/chia1104.dev#3001.
    similarity
        From which share of common words on two messages are the same (words that occur in both / in either, of the
        first 512): a counter or a clock may be all that differs. 100 % (default): letter by letter.
    max_spend
        USD after which a session's calls are refused; None (default): no limit. It looks at what was billed *before*
        a call, so the last one passes it; a hard limit is ``budget: {per: session}``.
    degrade_to
        Upstream to which the calls of a runaway session go instead of being refused; None (default): refuse.
    forget_after
        Sessions without a call for so long are forgotten. 1h: chosen.
    capacity
        Most sessions remembered, the latest ones. 100,000: chosen; one takes 0.5 to 1 kB (measured with tracemalloc;
        much more with `similarity` below 100 %: the words of the messages that are looked through).
    shared
        One memory for all replicas of the gateway instead of one each (which `balancer: sticky` does as well).

    Notes
    -----
    Raises `BudgetExceeded` for money, `Rejected` for all else. Emits ``runaway_guard`` once for each session and
    ``reason`` (``calls``, ``rate``, ``repeats``, ``spend``), with ``session``, ``calls`` and ``spent_usd`` (0 without
    `max_spend`).

    Examples
    --------
    >>> RunawayGuard(max_calls=40, max_spend=0.5).max_repeats
    3
    >>> RunawayGuard(max_calls=None, max_repeats=None)
    Traceback (most recent call last):
    ValueError: runaway_guard limits nothing; write at least one of max_calls: 100, calls_per_minute: 60, ...
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    max_calls: PositiveCount | None = 100
    calls_per_minute: PositiveCount | None = None
    max_repeats: PositiveCount | None = 3
    similarity: Ratio = 1.0
    max_spend: PositiveMoney | None = None
    degrade_to: str | None = None
    forget_after: PositiveDuration = 3600.0
    capacity: PositiveCount = 100_000
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        limits = {key: getattr(self, key) for key in ("max_calls", "calls_per_minute", "max_repeats", "max_spend")}
        if all(limit is None for limit in limits.values()):
            raise ValueError(
                "runaway_guard limits nothing; write at least one of max_calls: 100, calls_per_minute: 60, "
                "max_repeats: 3, max_spend: $0.50"
            )
        for key, limit in {**limits, "forget_after": self.forget_after, "capacity": self.capacity}.items():
            if limit is not None and not limit > 0:
                raise ValueError(f"runaway_guard {key} must be above 0, not {limit!r}; leave it out for the default")
        if not 0 < self.similarity <= 1:
            raise ValueError(f"similarity must be above 0% and at most 100%, not {self.similarity:g}; write 80%")
        if self.similarity < 1 and self.max_repeats is None:
            raise ValueError("similarity has no effect without max_repeats; write max_repeats: 3")

    def start(self, run: Run) -> Handler:
        """Fresh state: no session is known.

        Raises
        ------
        PolicyError
            If `degrade_to` names an upstream that is not configured.
        """
        if self.degrade_to is not None:
            known_upstreams(run, (self.degrade_to,), "degrade_to")
        return _GuardHandler(self, run) if self.max_spend is None else _SpendingGuardHandler(self, run)


class _GuardHandler:
    __slots__ = ("_forget_s", "_limits", "_now", "_run", "_spec", "sessions")

    def __init__(self, spec: RunawayGuard, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._forget_s = spec.forget_after
        self._limits = Limits(
            max_calls=spec.max_calls,
            calls_per_minute=spec.calls_per_minute,
            max_repeats=spec.max_repeats,
            max_spend_usd=spec.max_spend,
            similarity=spec.similarity,
        )
        self.sessions = LruCache[Session](spec.capacity)

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if not request.session:
            return await call_next(request)
        now, key = self._now(), (request.tenant, request.session)
        session = self.sessions.get(key, now)
        if session is None or now >= session.latest_s + self._forget_s:
            session = Session()
            self.sessions.put(key, session, now)
        session.latest_s = now
        messages = request.messages
        reason = self._limits.enter(session, now, messages[-1].content if messages else None)
        if reason is None:
            return await call_next(request)
        if reason not in session.told:
            session.told += (reason,)
            fields = {"session": request.session, "calls": session.calls, "spent_usd": session.spent_usd}
            self._run.emit("runaway_guard", request, reason=reason, **fields)
        if self._spec.degrade_to is not None:
            return await call_next(request.to(self._spec.degrade_to))
        message = f"session {request.session!r} has run away ({reason}): {session.calls} calls"
        if reason == "spend":
            raise BudgetExceeded(f"{message}, ${session.spent_usd:.6g} spent")
        raise Rejected(message)


class _SpendingGuardHandler(_GuardHandler):
    """Knows besides what a session's calls have cost (`llmsim.gateway.contract.Toll`)."""

    __slots__ = ()

    def before_attempt(self, request: Request, upstream: str) -> tuple[Session | None, str]:
        """Whose call it is: settled with that session even if it has been forgotten in the meantime."""
        return self.sessions.get((request.tenant, request.session), self._now()), upstream

    def after_attempt(self, ticket: tuple[Session | None, str], usage: Usage | None) -> None:
        """Add what was billed."""
        session, upstream = ticket
        if session is not None and usage is not None:
            session.spent_usd += self._run.cost(upstream, usage)
