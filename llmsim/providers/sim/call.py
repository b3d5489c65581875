"""One call being served by a simulated provider, which is also the stream of its answer.

The whole timeline is fixed when the call gets a slot; the loop wakes only where something can observe: at the first
token, at coalesced chunks if somebody iterates, where a limit is passed, and at the end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from llmsim.errors import GatewayError, StreamStalled
from llmsim.types import NO_USAGE, Chunk, Limits, Usage

if TYPE_CHECKING:
    from llmsim.providers.dialects import Ticket
    from llmsim.providers.sim.gaps import Floats
    from llmsim.providers.sim.outputs import Plan
    from llmsim.providers.sim.provider import SimulatedProvider
    from llmsim.providers.sim.slots import Slots

__all__ = ["USUAL", "Call", "Manner"]

_CHUNK_TOKENS = 8  # an iterating reader is woken once per this many tokens …
_VISIBLE_GAP_S = 0.25  # … and before any silence longer than this, so that its own timers see it

WAITING, SERVED, ENDED = range(3)

#: How an answer comes: the pace of all its gaps (0: all of it with the first token), and a silence, if there is one:
#: after how many gaps, and its seconds.
Manner = tuple[float, tuple[int, float] | None]
USUAL: Manner = (1.0, None)


@lru_cache(maxsize=4096)
def _filler(tokens: int) -> str:
    """The words of a simulated answer; shared, since a cache may keep fifty thousand of them."""
    return "tok " * tokens


# A NamedTuple's own constructor is Python code; these are made for every call.
_usage: Callable[[type[Usage], tuple[int, int, int, int]], Usage] = tuple.__new__
_chunk: Callable[[type[Chunk], tuple[str, int]], Chunk] = tuple.__new__


class Call:
    """Timeline, slot and stream of one call."""

    __slots__ = (
        "_delivered",
        "_failure",
        "_plan",
        "_reader",
        "arrived_s",
        "cached_tokens",
        "end_s",
        "error",
        "finish_reason",
        "first_s",
        "generation_s",
        "headers",
        "input_tokens",
        "longest_gap_s",
        "manner",
        "place",
        "plan",
        "provider",
        "queue_s",
        "scale",
        "state",
        "ticket",
        "tokens",
        "ttft_s",
        "usage",
        "waiter",
        "wanted",
    )

    def __init__(
        self,
        provider: SimulatedProvider,
        input_tokens: int,
        plan: Plan,
        ttft_s: float,
        window: tuple[int, float, float],
    ) -> None:
        self.provider = provider
        self.input_tokens = input_tokens
        self.plan = plan
        self.tokens = plan[0]  # by its place: half the time, and this is the hottest of constructors
        self.ttft_s = ttft_s
        self.place, self.generation_s, self.longest_gap_s = window  # unscaled until it starts
        self.state = WAITING
        self.ticket: Ticket | None = None  # what its account was charged, where that is to be settled
        self.headers: Mapping[str, str] | None = None
        self.cached_tokens = 0  # of the prompt: read from the provider's cache
        self.manner = USUAL
        self.wanted = True  # False once the caller went away
        self.waiter: asyncio.Future[None] | None = None
        self.arrived_s = math.nan  # … and `queue_s`, `scale`, `first_s` and `end_s` from its start on
        self.error: GatewayError | None = None
        self.usage = NO_USAGE
        self.finish_reason = ""
        self._delivered = 0
        self._failure: GatewayError | None = None  # what the next read raises
        self._plan: list[tuple[float, int]] | None = None
        self._reader: asyncio.Future[None] | None = None

    # -- the server's side -------------------------------------------------------------------------------------

    def start(self, now: float, first_scale: float, gap_scale: float) -> None:
        """Get a slot: fix the timeline. The scales multiply the time to first token, and all that comes after it."""
        self.state = SERVED
        self.queue_s = now - self.arrived_s
        pace, stall = self.manner
        self.scale = scale = gap_scale * pace
        self.first_s = first_s = now + self.ttft_s * first_scale
        self.end_s = end_s = first_s + self.generation_s * scale
        self.longest_gap_s *= scale
        if stall is not None:
            self.end_s = end_s = end_s + stall[1]
            gap_s = self._slots().gaps.gap(self.place, stall[0]) * scale + stall[1]
            self.longest_gap_s = max(self.longest_gap_s, gap_s)
        loop = self.provider.loop
        fails_after = self.plan.fails_after
        if self.tokens > 1 and self.waiter is not None and fails_after != 0:  # an error that comes first is no answer
            loop.wake_at(first_s, self.waiter)
        if fails_after is None:
            loop.at(end_s, self._served)
        else:
            before = self._all_gaps()[: max(fails_after - 1, 0)]
            loop.at(first_s + float(before.sum()), self._break)

    def _all_gaps(self) -> Floats:
        """Seconds between its tokens, shape ``(tokens - 1,)``."""
        gaps = self._slots().gaps.window(self.place, self.tokens - 1) * self.scale
        stall = self.manner[1]
        if stall is not None:
            gaps[stall[0]] += stall[1]
        return gaps

    def _served(self) -> None:
        if self.state == ENDED:
            return  # cut off, or its slot was freed when the caller went away
        self.state = ENDED
        self.usage = _usage(Usage, (self.input_tokens, self.tokens, self.cached_tokens, 0))
        self.finish_reason = self.plan.finish_reason
        waiter, reader = self.waiter, self._reader
        if waiter is not None and not waiter.done():  # a single token: first and last at once
            waiter.set_result(None)
        if reader is not None and not reader.done():
            reader.set_result(None)
        self.provider.server.release(self)  # type: ignore[attr-defined]  # `_slots`, without the call

    def _break(self) -> None:
        """The server fails in the middle of the answer."""
        if self.state != ENDED:
            self._fail()
            self._leave_slot()

    def _fail(self) -> None:
        made = self.plan.fails_after
        assert made is not None
        self.cut(self.provider.in_stream_error(made), Usage(self.input_tokens, made, self.cached_tokens))

    def cut(self, error: GatewayError, usage: Usage | None = None) -> None:
        """End at once with this error."""
        if self.state == ENDED:
            return
        self.usage = self._usage_so_far() if usage is None else usage
        self.state = ENDED
        self.error = error
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def generated(self, now: float) -> int:
        """Tokens produced up to `now`."""
        if self.state == WAITING or now < self.first_s:
            return 0
        if now >= self.end_s:
            return self.tokens
        times = np.cumsum(self._all_gaps())
        made = 1 + int(np.searchsorted(times, now - self.first_s, side="right"))
        return max(made, self._delivered)  # at the very moment of a token, rounding may say that it is still to come

    def _usage_so_far(self) -> Usage:
        if self.state == WAITING:
            return Usage()
        return Usage(self.input_tokens, self.generated(self.provider.loop.time()), self.cached_tokens)

    def abandon(self) -> None:
        """The caller went away; the provider's `on_cancel` says what that frees and who pays."""
        if self.state == ENDED or not self.wanted:
            return
        self.wanted = False
        self.waiter = None
        provider, mode = self.provider, self.provider.spec.on_cancel
        if mode == "continue":
            self.usage = _usage(Usage, (self.input_tokens, self.tokens, self.cached_tokens, 0))
        elif self.state == WAITING:
            self.state = ENDED
            self.usage = Usage()
            self._slots().forget(self)
        else:
            self.usage = self._usage_so_far()
            now = provider.loop.time()
            if mode == "finish_prefill" and now < self.first_s:
                provider.loop.at(self.first_s, self._free)
            else:
                self._free()
        self._wake_reader()  # closed by another task than the one that reads

    def _free(self) -> None:
        if self.state != ENDED:
            self.state = ENDED
            self._leave_slot()

    def _slots(self) -> Slots:
        return self.provider.server  # type: ignore[return-value]  # what makes plain calls

    def _leave_slot(self) -> None:
        self._slots().release(self)

    # -- the stream's side -------------------------------------------------------------------------------------

    def close(self) -> None:
        self.abandon()

    async def next(self, limits: Limits) -> Chunk | None:
        if self.error is not None or self._failure is not None:
            return self._last_before(self.error, self.usage.output_tokens)
        if self._plan is None:
            self._plan = self._chunk_plan()
        if not self._plan:
            return None
        if self._plan[0][0] > self.provider.loop.time():
            failed = await self._sleep_until(self._plan[0][0], limits)
            if failed is not None:
                return self._last_before(*failed)
            if not self.wanted:
                return None
        now, upto = self.provider.loop.time(), 1
        while upto < len(self._plan) and self._plan[upto][0] <= now:
            upto += 1  # a reader that was slow finds everything that came in the meantime, and at this very instant
        tokens = self._plan[upto - 1][1] - self._delivered
        del self._plan[:upto]
        return self._chunk(tokens)

    async def rest(self, limits: Limits) -> Chunk | None:
        if self.error is not None or self._failure is not None:
            return self._last_before(self.error, self.usage.output_tokens)
        if self._delivered >= self.tokens:
            return None
        if self.state != ENDED:
            gap_s, until_s, _ = limits
            if (gap_s is None or not self.longest_gap_s > gap_s) and (until_s is None or self.end_s <= until_s):
                # The usual case, without the coroutine of the careful one: nothing can come before the end.
                self._reader = reader = self.provider.loop.create_future()
                await reader
                if self.error is not None:
                    return self._last_before(self.error, self.usage.output_tokens)
            else:
                failed = await self._sleep_until(self.end_s, limits)
                if failed is not None:
                    return self._last_before(*failed)
            if not self.wanted:
                return None
        return self._chunk(self.tokens - self._delivered)

    def _last_before(self, error: GatewayError | None, made: int) -> Chunk:
        """Hand out what was made before the failure, as a socket does; the failure comes with the next read."""
        failure = self._failure or error
        assert failure is not None
        if self._failure is not None or made <= self._delivered:
            raise failure
        self._failure = failure
        tokens, self._delivered = made - self._delivered, made
        return _chunk(Chunk, (self.words(made - tokens, made), tokens))

    def _chunk(self, tokens: int) -> Chunk:
        self._delivered += tokens
        if self._delivered >= self.tokens and not self.finish_reason:  # before the server comes to say so
            self.usage = _usage(Usage, (self.input_tokens, self.tokens, self.cached_tokens, 0))
            self.finish_reason = self.plan.finish_reason
        return _chunk(Chunk, (self.words(self._delivered - tokens, self._delivered), tokens))

    def words(self, first: int, last: int) -> str:
        """What the tokens from `first` to before `last` say."""
        text, tokens = self.plan.text, self.tokens
        if text is None:
            return _filler(last - first)
        return text[len(text) * first // tokens : len(text) * last // tokens]

    def _chunk_plan(self) -> list[tuple[float, int]]:
        """(time, tokens delivered by then) of each wake-up of an iterating reader."""
        gaps = self._all_gaps()
        times = self.first_s + np.concatenate([[0.0], np.cumsum(gaps)])
        last = np.arange(1, self.tokens + 1) % _CHUNK_TOKENS == 1
        last[:-1] |= gaps > _VISIBLE_GAP_S
        last[-1] = True
        ends = np.flatnonzero(last)
        plan = list(zip(times[ends].tolist(), (ends + 1).tolist(), strict=True))
        plan[-1] = (self.end_s, self.tokens)  # not a sum in another order
        return [(when, upto) for when, upto in plan if upto > self._delivered]

    async def _sleep_until(self, when: float, limits: Limits) -> tuple[GatewayError, int] | None:
        """Wait for the server, but no longer than the limits allow; what came instead, and the tokens made by then."""
        loop = self.provider.loop
        failed: tuple[GatewayError, int] | None = None
        gap_s, until_s, late = limits
        if gap_s is not None and self.longest_gap_s > gap_s:
            stall = self._first_stall(gap_s)
            if stall is not None and stall[0] <= when:
                when, tokens = stall
                upstream = self.provider.name
                error = StreamStalled(
                    f"no token for {gap_s:g}s", tokens_delivered=tokens, upstream=upstream, status=200
                )
                failed = error, tokens
        if until_s is not None and until_s < when:
            when = until_s
            assert late is not None, "a limit in time comes with the error to raise"
            tokens = self.generated(until_s)
            failed = late(tokens), tokens
        self._reader = reader = loop.create_future()
        if failed is not None or when < self.end_s:
            loop.wake_at(when, reader)
        await reader
        self._reader = None
        if self.error is not None:
            return self.error, self.usage.output_tokens
        return failed if loop.time() >= when else None

    def _first_stall(self, gap_s: float) -> tuple[float, int] | None:
        """When a gap longer than `gap_s` is noticed, and the tokens delivered before it."""
        gaps = self._all_gaps()
        start = max(self._delivered - 1, 0)
        long = np.flatnonzero(gaps[start:] > gap_s)
        if not len(long):
            return None
        gap = start + int(long[0])
        return self.first_s + float(gaps[:gap].sum()) + gap_s, gap + 1
