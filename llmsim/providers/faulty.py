"""Boundary faults: the same wrapper in front of any provider, simulated or live."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from llmsim.error_words import error_kind
from llmsim.errors import GatewayError, StreamBroken, StreamStalled
from llmsim.gateway.contract import Provider
from llmsim.luck import Luck
from llmsim.providers.faults import Abort, Fault
from llmsim.providers.wrapped import Wrapped
from llmsim.types import Chunk, Limits, Request, Response, Usage

__all__ = ["FaultyProvider", "error_of_status"]


def error_of_status(status: int, upstream: str, retry_after_s: float | None = None) -> GatewayError:
    """The error of the tree that stands for an HTTP status.

    Examples
    --------
    >>> error_of_status(503, "openai").word, error_of_status(429, "openai", 2.0).retry_after_s
    ('overloaded', 2.0)
    """
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    text = f"injected {status}"
    return error_kind(status)(text, upstream=upstream, status=status, headers=headers, retry_after_s=retry_after_s)


class FaultyProvider(Wrapped):
    """`inner` with the boundary faults of its windows in front.

    Parameters
    ----------
    inner
        The provider that is spoiled.
    faults
        Those that name it; intrinsic effects are not ours.
    now
        Clock on which `zero_s` is the scenario's 0.
    """

    def __init__(
        self, inner: Provider, faults: Sequence[Fault], *, luck: Luck, now: Callable[[], float], zero_s: float = 0.0
    ) -> None:
        super().__init__(inner)
        self._faults = [f for f in faults if f.abort or f.delay or f.stall or f.break_ or f.sequence]
        self._luck = luck
        self._now = now
        self._zero_s = zero_s
        self._scripts: dict[tuple[str, str], int] = {}
        self._calls: dict[str, int] = {}
        self._active: list[Fault] = []
        self._next_change_s = float("-inf")

    def _change(self, time_s: float) -> None:
        edges = [edge for fault in self._faults for edge in (fault.at, fault.end_s) if edge > time_s]
        self._next_change_s = min(edges, default=float("inf"))
        self._active = [fault for fault in self._faults if fault.at <= time_s < fault.end_s]
        if not self._active:
            self._calls.clear()

    def send(self, request: Request) -> Coroutine[Any, Any, Response]:
        """As `inner`, unless a fault is active and hits this call."""
        time_s = self._now() - self._zero_s
        if time_s >= self._next_change_s:
            self._change(time_s)
        # Not a coroutine of its own: most of the time there is nothing to do but to get out of the way.
        return self._hit_by(self._active, time_s, request) if self._active else self._inner.send(request)

    async def _hit_by(self, faults: list[Fault], time_s: float, request: Request) -> Response:
        # Each with its strength of the moment the call was sent, however long one before it holds the call back.
        active = [(fault, fault.strength(time_s)) for fault in faults]
        number = self._calls[request.id] = self._calls.get(request.id, -1) + 1
        for fault, strength in active:
            await self._before(fault, strength, request, number)
        stalls, breaks = self._spoils(active, request, number)
        if not stalls and not breaks:
            return await self._inner.send(request)
        return await self._spoil(request, stalls, min(breaks, default=None))

    def _hit(self, fault: Fault, what: str, share: float, request: Request, number: int) -> bool:
        return share >= 1 or self._luck.uniform(f"fault.{what}", request.id, self.name, fault.name, number) < share

    async def _before(self, fault: Fault, strength: float, request: Request, number: int) -> None:
        """What happens instead of, or before, passing the call on."""
        delay = fault.delay
        if delay is not None and self._hit(fault, "delay", delay.percentage, request, number):
            series = self._luck.series("fault.delay_time", self.name, fault.name, request.id, number, block=4)
            await asyncio.sleep(float(delay.time.quantile(series.array(0, 1))[0]) * strength)
        scripted = self._scripted(fault, request)
        if scripted is not None:
            raise error_of_status(scripted, self.name)
        abort: Abort | None = fault.abort
        if abort is not None and self._hit(fault, "abort", abort.percentage * strength, request, number):
            assert abort.status is not None, "a fault of a provider has one"
            raise error_of_status(abort.status, self.name, abort.retry_after)

    def _scripted(self, fault: Fault, request: Request) -> int | None:
        if not fault.sequence:
            return None
        key = (fault.name, request.id if fault.sequence_per == "request" else "")
        place = self._scripts.get(key, 0)
        self._scripts[key] = place + 1
        answer = fault.sequence[place] if place < len(fault.sequence) else "ok"
        return None if answer == "ok" else int(answer)

    def _spoils(
        self, active: list[tuple[Fault, float]], request: Request, number: int
    ) -> tuple[list[tuple[int, float]], list[int]]:
        """Where this call's stream falls silent and for how long, and where it breaks; in tokens."""
        stalls, breaks = [], []
        for fault, strength in active:
            stall, cut = fault.stall, fault.break_
            if stall is not None and self._hit(fault, "stall", stall.percentage * strength, request, number):
                series = self._luck.series("fault.stall_time", self.name, fault.name, request.id, number, block=4)
                stalls.append((max(stall.after_tokens, 1), float(stall.time.quantile(series.array(0, 1))[0])))
            if cut is not None and self._hit(fault, "break", cut.percentage * strength, request, number):
                breaks.append(max(cut.after_tokens, 1))
        return stalls, breaks

    async def _spoil(self, request: Request, stalls: list[tuple[int, float]], break_at: int | None) -> Response:
        # A call that is not streamed is streamed underneath, so that there is a middle to break.
        inner = await self._inner.send(request._replace(stream=True))
        stream = _SpoiledStream(inner, stalls, break_at, self._now)
        response = Response(
            stream,
            upstream=inner.upstream,
            model=inner.model,
            status=inner.status,
            headers=inner.headers,
            parents=(inner,),
            queue_s=inner.queue_s,
        )
        return response if request.stream else await self.in_one_piece(request, response)


class _SpoiledStream:
    """A stream that stalls or breaks after a number of tokens, to within a chunk."""

    def __init__(
        self, inner: Response, stalls: list[tuple[int, float]], break_at: int | None, now: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._stalls = sorted(stalls)  # still to come
        self._break_at = math.inf if break_at is None else break_at
        self._now = now
        self._delivered = 0
        self._last_s = now()  # when something was delivered last
        self._stalled = False  # … and it has been silent since
        self._longest_s = math.nan

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    @property
    def finish_reason(self) -> str:
        # A reader takes it for the end, so not before what is still to go wrong has gone wrong.
        more = self._delivered >= self._break_at or (self._stalls and self._delivered >= self._stalls[0][0])
        return "" if more else self._inner.finish_reason

    @property
    def longest_gap_s(self) -> float:
        gaps = [gap for gap in (self._longest_s, self._inner.longest_gap_s) if not math.isnan(gap)]
        return max(gaps, default=math.nan)

    def close(self) -> None:
        self._inner.close()

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self.next(limits)

    async def next(self, limits: Limits) -> Chunk | None:
        stall_s = 0.0
        while self._stalls and self._delivered >= self._stalls[0][0]:
            stall_s += self._stalls.pop(0)[1]
        if stall_s:
            self._stalled = True
            await self._fall_silent(stall_s - (self._now() - self._last_s), limits)
        if self._delivered >= self._break_at:
            self._inner.close()
            raise StreamBroken(
                "injected break", tokens_delivered=self._delivered, upstream=self._inner.upstream, status=200
            )
        self._inner.limit(gap_s=limits.gap_s, until_s=limits.until_s, late=limits.late)
        try:
            chunk = await anext(self._inner)
        except StopAsyncIteration:
            return None
        if self._stalled:
            self._stalled = False
            self._longest_s = max(self._now() - self._last_s, self._longest_s)  # NaN stands second: it loses
        self._last_s = self._now()
        self._delivered += chunk.tokens
        return chunk

    async def _fall_silent(self, stall_s: float, limits: Limits) -> None:
        """Wait as long as the stall lasts, or until a limit passes."""
        if stall_s <= 0:
            return
        gap_s, until_s, late = limits
        now = self._now()
        if until_s is not None and until_s < now + min(stall_s, gap_s if gap_s is not None else stall_s):
            await asyncio.sleep(max(until_s - now, 0.0))
            assert late is not None, "a limit in time comes with the error to raise"
            raise late(self._delivered)
        if gap_s is not None and gap_s < stall_s:
            await asyncio.sleep(gap_s)
            raise StreamStalled(
                f"no token for {gap_s:g}s", tokens_delivered=self._delivered, upstream=self._inner.upstream, status=200
            )
        await asyncio.sleep(stall_s)
