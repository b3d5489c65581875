"""Slots with a queue before them: each call gets its whole timeline when it gets a slot, whatever the others do."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from llmsim.distributions import Distribution
from llmsim.errors import ConnectionFailed, GatewayError, StreamBroken
from llmsim.providers.sim.call import WAITING, Call, Manner
from llmsim.providers.sim.conditions import Phase
from llmsim.providers.sim.congestion import SharedCongestion
from llmsim.providers.sim.gaps import GapPool
from llmsim.providers.sim.outputs import Plan
from llmsim.providers.sim.timing import Timing
from llmsim.types import Request

if TYPE_CHECKING:
    from llmsim.providers.sim.provider import SimulatedProvider

__all__ = ["Server", "Slots", "lost", "whole_slots"]

_NO_GAPS = (0, 0.0, float("nan"))


class Server(Protocol):
    """What is behind a provider's front."""

    def is_full(self, limit: int) -> bool:
        """Whether a call would find no slot and `limit` calls in the queue."""

    @property
    def columns(self) -> Mapping[str, Distribution | None]:
        """What it needs of every call's luck (`llmsim.providers.sim.draws`)."""

    def find(self, at: Mapping[str, int]) -> None:
        """Learn where its columns stand in a call's luck."""

    def accept(
        self,
        request: Request,
        plan: Plan,
        row: tuple[float, ...],
        cached_tokens: int,
        waiter: asyncio.Future[None],
        now: float,
    ) -> Call:
        """Serve a call that comes `now` and whose luck is `row`; `waiter` resolves with its first token."""

    def enter(self, phase: Phase, *, outage: bool) -> None:
        """Conditions change; `outage`: everything that runs or waits is lost."""


class Slots:
    """Implements `Server`. Slots are a counter and the queue a deque: nothing that a call would have to wait for.

    Parameters
    ----------
    provider
        Whose they are.
    congestion
        What slows down all models of the provider together, if anything does.
    loses
        Whether there will be outages, so that it has to know what is running.
    """

    def __init__(self, provider: SimulatedProvider, congestion: SharedCongestion | None, *, loses: bool) -> None:
        spec = provider.spec
        self._provider = provider
        self._loop = provider.loop
        self._timing = timing = Timing(spec)
        self.gaps = GapPool.of(timing.gaps)
        self.busy = 0  #: slots in use
        self.queue: deque[Call] = deque()
        self.waiting = 0  #: calls in the queue that are still wanted (or will be served all the same)
        self.columns: dict[str, Distribution | None] = {"ttft": timing.base, "window": None}
        if timing.pace is not None:
            self.columns["pace"] = timing.pace
        if timing.reading is not None:
            self.columns["reading"] = timing.reading
        if timing.silence is not None:
            self.columns |= {"stall": timing.silence, "stall_place": None}
        self._ttft, self._window = 0, 1  # where they stand in a call's luck
        self._pace = self._reading = self._stall = self._stall_place = -1
        self._reads_prompt = bool(timing.linear or timing.squared)
        self._by_load = spec.load is not None
        self._arrived = timing.arrived if timing.counts_arrivals else None
        self._congestion = congestion
        self._varies = self._by_load or congestion is not None  # whether there is more to it than `_latency`
        self._has_manners = timing.pace is not None or timing.silence is not None
        self._settle = provider.settle if provider.settles else None
        self._slots = math.inf if spec.concurrency is None else spec.concurrency
        self._usable = self._slots  # of them now: a capacity cut takes some away
        self._latency = self._first = 1.0
        self._latency_at: Callable[[float], float] | None = None  # while a fault of it grows or fades
        self._active: dict[Call, None] | None = {} if loses else None

    def find(self, at: Mapping[str, int]) -> None:
        self._ttft, self._window = at["ttft"], at["window"]
        self._pace, self._stall = at.get("pace", -1), at.get("stall", -1)
        self._reading = at.get("reading", -1)
        self._stall_place = at.get("stall_place", -1)

    def is_full(self, limit: int) -> bool:
        return self.busy >= self._usable and self.waiting >= limit

    def accept(
        self,
        request: Request,
        plan: Plan,
        row: tuple[float, ...],
        cached_tokens: int,
        waiter: asyncio.Future[None],
        now: float,
    ) -> Call:
        tokens = plan.tokens
        window = self.gaps.stretch(row[self._window], tokens - 1) if tokens > 1 else _NO_GAPS
        ttft_s = row[self._ttft]
        if self._reads_prompt:
            prefill_s = self._timing.prefill(request.input_tokens, cached_tokens)
            ttft_s += prefill_s if self._reading < 0 else prefill_s * row[self._reading]
        call = Call(self._provider, request.input_tokens, plan, ttft_s * self._first, window)
        if cached_tokens:
            call.cached_tokens = cached_tokens
        if self._has_manners:
            call.manner = self._manner(row, tokens)
        call.waiter = waiter
        call.arrived_s = now
        if self._active is not None:
            self._active[call] = None
        if not self.waiting and self.busy < self._usable:
            self.busy += 1
            if self._varies:
                self._start(call, now)
            else:
                call.start(now, self._latency, self._latency)
        else:
            self.queue.append(call)
            self.waiting += 1
        if self._arrived is not None:
            self._arrived(now)
        return call

    def _manner(self, row: tuple[float, ...], tokens: int) -> Manner:
        pace = row[self._pace] if self._pace >= 0 else 1.0
        gaps = tokens - 1
        if self._stall < 0 or not row[self._stall] or not pace or not gaps:
            return pace, None
        return pace, (int(row[self._stall_place] * gaps), row[self._stall])

    def _start(self, call: Call, now: float) -> None:
        first = gap = self._latency if self._latency_at is None else self._latency_at(now)
        if self._by_load:
            by_load, gaps_by_load = self._timing.load_factors(self.busy, now)
            first, gap = first * by_load, gap * gaps_by_load
        if self._congestion is not None:
            congested, gaps_congested = self._congestion.factors(now)
            first, gap = first * congested, gap * gaps_congested
        call.start(now, first, gap)

    def release(self, call: Call) -> None:
        """`call` gives its slot back."""
        self.busy -= 1
        if self._settle is not None and call.ticket is not None:
            self._settle(call)
        if self._active is not None:
            self._active.pop(call, None)
        if self.waiting:
            self._serve_queue()

    def forget(self, call: Call) -> None:
        """`call` leaves the queue unserved; its place in the deque is skipped when its turn comes."""
        self.waiting -= 1
        if self._settle is not None and call.ticket is not None:
            self._settle(call)
        if self._active is not None:
            self._active.pop(call, None)

    def _serve_queue(self) -> None:
        while self.waiting and self.busy < self._usable:
            call = self.queue.popleft()
            if call.state == WAITING:
                self.waiting -= 1
                self.busy += 1
                self._start(call, self._loop.time())

    def enter(self, phase: Phase, *, outage: bool) -> None:
        self._latency, self._first, self._latency_at = phase.latency, phase.ttft, phase.latency_at
        self._varies = self._by_load or self._congestion is not None or self._latency_at is not None
        self._usable = whole_slots(self._slots, phase.capacity)
        if outage and self._active is not None:
            self._cut_all(self._active)
        self._serve_queue()

    def _cut_all(self, active: dict[Call, None]) -> None:
        now = self._loop.time()
        self.queue.clear()
        self.waiting = self.busy = 0
        for call in tuple(active):
            call.cut(lost(call.generated(now), self._provider.name))
            if call.ticket is not None:
                self._provider.settle(call)
        active.clear()


def lost(made: int, upstream: str) -> GatewayError:
    """The error of a call whose server is gone, after so many tokens."""
    if made:
        return StreamBroken("connection lost", tokens_delivered=made, upstream=upstream, status=200)
    return ConnectionFailed("connection lost", upstream=upstream)


def whole_slots(slots: float, capacity: float) -> float:
    """What is left of the slots, rounded up; a cut to 0 also stops a provider that has no limit."""
    if not capacity:
        return 0
    return slots if slots == math.inf else math.ceil(round(slots * capacity, 6))
