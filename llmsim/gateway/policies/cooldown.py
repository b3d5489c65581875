"""Leave an upstream alone for as long as it asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from llmsim.algorithms import cooldown as core
from llmsim.error_words import outcome_word
from llmsim.errors import PolicyError
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._upstreams import as_upstream_sees, failure_matcher, failure_words, refusal
from llmsim.gateway.policies._words import Names, OnWords
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, Ratio

__all__ = ["Cooldown"]


@register("cooldown")
@dataclass(frozen=True, kw_only=True)
class Cooldown:
    """After a 429, or some failures in a row, leave an upstream alone until a deadline.

    **Protects from** asking an upstream that has said when it wants to be asked again (a fallback or a router goes on
    to another at once), and from the crowd that comes back when the time is over: `jitter` on the end spreads the
    replicas of a gateway, `ramp` the requests of each.

    **Costs** the answers that the upstream could have given meanwhile: one 429 for one long prompt stops the short
    ones too.

    **Makes things worse** when a 429 is about one caller and not about the upstream (a quota per user), or when there
    is nowhere else to go: then waiting or a client-side limit is what helps. With ``when_all: ask`` the upstreams get
    the full load just when all of them have asked for less.

    It belongs into upstream scope, before (outside of) a `timeout`, which would otherwise end a wait, and a
    `circuit_breaker`, which would take a wait for a slow call; and beneath a fallback or router that goes on to the
    next upstream when one refuses.

    When an upstream sends a Retry-After with any error of `at_once` or `on`, it is left alone for so long, at once; 0
    means no cooldown. Without one, an error of `at_once` means `time`, and one of `on` counts: `failures` of them in a
    row mean `time`. The longest deadline wins, and no success ends a cooldown. An error the gateway raised itself (a
    breaker inside, the request's deadline) never counts, nor does a cancelled call, unless the upstream's `timeout`
    cancelled it.

    Parameters
    ----------
    time
        Seconds, where the upstream does not say. LiteLLM's ``cooldown_time``: 5 s.
    failures
        Failures in a row that start a cooldown; LiteLLM's ``allowed_fails`` is 3. In a row, since a number per minute
        takes a busy upstream with a few per cent of errors out of rotation (BerriAI/litellm PR 5698).
    max
        The longest that a Retry-After counts for. LiteLLM's has no bound here; 300 s is what Envoy leaves a host alone
        at most (``max_ejection_time``).
    jitter
        Up to this share is added to the length of each cooldown, so that replicas told the same do not come back
        together. 25% is what the OpenAI SDK varies its waits by.
    ramp
        Seconds after the end during which only a share of the calls goes through, from 10 % in a straight line to all
        (Envoy's slow start); None: all at once.
    at_once
        Errors of which one is enough. As in LiteLLM: 429s and rejected keys.
    on
        Errors of which it takes `failures`.
    when_all
        What to do with a request when every upstream (of `among`) refuses it: ``fail`` at once, ``ask`` the one that
        would let it in first anyway, or ``wait`` for that one, unless its deadline comes first. With a `ramp` each
        waits for its own place in it; without, all who wait go at the same instant.
    among
        Which upstreams count for `when_all`; None: all of the gateway. Name those that can stand in for each other,
        if they are not all: the others then always fail at once.
    shared
        One for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `CircuitOpen` with ``retry_after_s``: when this very request would go through. Emits ``cooldown`` with
    ``state`` (``cooling``: the deadline is later now; ``asked_anyway``; ``waits``), ``for_s`` (seconds until it would
    go through), and for ``cooling`` the ``error``. Posts its deadline on ``run.health``; breakers and ejections that
    post there too count as refusals for `when_all`.

    Examples
    --------
    >>> Cooldown(time=30.0, ramp=10.0).at_once
    ('rate_limited', 'quota_exhausted', 'auth_error')
    >>> Cooldown(on=("circuit_open",))
    Traceback (most recent call last):
    ValueError: circuit_open is what the gateway says, not the upstream; take it out of on:
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    time: PositiveDuration = 5.0
    failures: PositiveCount = 3
    max: PositiveDuration = 300.0
    jitter: Ratio = 0.25
    ramp: PositiveDuration | None = None
    at_once: OnWords = ("rate_limited", "quota_exhausted", "auth_error")
    on: OnWords = ("server_error", "timeout", "connection_failed", "stream_broken")
    when_all: Literal["fail", "ask", "wait"] = "fail"
    among: Names | None = None
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        for key in ("time", "max", "ramp"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"cooldown {key} must be above 0, not {value!r}; write it like 30s")
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, not {self.failures!r}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a share of the cooldown, 0% to 100%, not {self.jitter:g}; write 25%")
        if self.when_all not in ("fail", "ask", "wait"):
            raise ValueError(f"when_all is fail, ask or wait, not {self.when_all!r}")
        if self.among is not None:
            if isinstance(self.among, str) or len(self.among) == 0:
                raise ValueError("among takes a list of upstreams; write among: [openai, anthropic]")
            if self.when_all == "fail":
                raise ValueError("among has no effect with when_all: fail; write when_all: wait, or remove it")
            object.__setattr__(self, "among", tuple(self.among))
        failure_words(self, "at_once")
        failure_words(self)

    def start(self, run: Run) -> Handler:
        """Fresh state: nothing cools.

        Raises
        ------
        PolicyError
            If `among` names an upstream that is not configured.
        """
        for upstream in self.among or ():
            if run.upstreams and upstream not in run.upstreams:
                near = get_close_matches(upstream, run.upstreams, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"configured: {', '.join(run.upstreams)}"
                raise PolicyError(f"unknown upstream {upstream!r} in among; {hint}", policy=run.name)
        return _CooldownHandler(self, run)


class _CooldownHandler:
    __slots__ = ("_at_once", "_core", "_count", "_ended", "_fails", "_group", "_now", "_run", "_spec")

    def __init__(self, spec: Cooldown, run: Run) -> None:
        self._spec = spec
        self._run = run
        self._now = run.now
        self._at_once = failure_matcher(spec.at_once)
        self._fails = failure_matcher(spec.on)
        self._core = core.Cooldown(
            time_s=spec.time, failures=spec.failures, max_s=spec.max, jitter=spec.jitter, ramp_s=spec.ramp or 0.0
        )
        self._count = 0  # cooldowns so far
        #: The handlers of all upstreams that can stand in for this one; empty: when they all refuse, so does this one.
        self._group: dict[str, _CooldownHandler] = {}
        if spec.when_all != "fail" and (spec.among is None or run.upstream in spec.among):
            group: dict[str, _CooldownHandler] = run.health.common(run.name, dict)
            group[run.upstream] = self
            self._group = group
        self._ended = self._end

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        if self._core.active:
            await self._enter(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            self._failed(error)
            raise
        response.on_end(self._ended)
        return response

    async def _enter(self, request: Request) -> None:
        """Return if the request goes through; raise if it is refused; wait where that is wanted."""
        run, waiting = self._run, False
        while True:
            now = self._now()
            self._core.settle(now)
            opens_s = self._core.opens_s(self._luck(request))
            if now >= opens_s:
                return
            when_all = self._spec.when_all if waiting or self._first(request) else "fail"
            if when_all == "wait":
                opens_s = max(opens_s, run.health.refused_until_s(run.upstream))
                if request.deadline_s is not None and opens_s >= request.deadline_s:
                    when_all = "fail"
            if when_all == "fail":
                raise refusal(run, f"{run.upstream or 'the gateway'} cools down", opens_s - now)
            if not waiting:
                state = "waits" if when_all == "wait" else "asked_anyway"
                run.emit("cooldown", request, state=state, for_s=opens_s - now)
            if when_all == "ask":
                return
            waiting = True
            await asyncio.sleep(opens_s - now)

    def _luck(self, request: Request) -> float:
        return 0.0 if self._spec.ramp is None else self._run.luck("ramp", request)

    def _first(self, request: Request) -> bool:
        """Whether everybody refuses this request, and this upstream would be the first to let it in."""
        opens = {upstream: handler.opens_s(request) for upstream, handler in self._group.items()}
        return bool(opens) and min(opens, key=opens.__getitem__) == self._run.upstream

    def opens_s(self, request: Request) -> float:
        """The time from which this upstream lets the request in (in the past: it does now)."""
        run = self._run
        return max(self._core.opens_s(self._luck(request)), run.health.refused_until_s(run.upstream))

    def _end(self, outcome: Outcome, usage: Usage) -> None:
        if outcome.error is not None:
            self._failed(outcome.error)
        elif outcome.kind == "ok":
            self._core.succeeded()

    def _failed(self, error: BaseException) -> None:
        error = as_upstream_sees(error)
        at_once = self._at_once(error)
        if not at_once and not self._fails(error):
            if getattr(error, "status", None) is not None:
                self._core.succeeded()  # it is there and answers
            return
        run, cooling = self._run, self._core
        now, retry_after_s = self._now(), getattr(error, "retry_after_s", None)
        luck = run.luck("jitter", None, run.replica, self._count)
        for_s = cooling.failed(now, retry_after_s=retry_after_s, at_once=at_once, luck=luck)
        if for_s:
            self._count += 1
            run.emit("cooldown", state="cooling", for_s=for_s, error=outcome_word(error))
            run.health.refuse(run.upstream, run.name, cooling.until_s)
