"""A call that is served by an engine: its timeline is not known before it has happened."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from llmsim.errors import GatewayError, StreamStalled
from llmsim.providers.sim.call import _CHUNK_TOKENS, _VISIBLE_GAP_S, ENDED, SERVED, Call
from llmsim.providers.sim.engine_server import EngineServer
from llmsim.providers.sim.serving_job import Job
from llmsim.types import Chunk, Limits, Usage

if TYPE_CHECKING:
    from llmsim.providers.sim.outputs import Plan
    from llmsim.providers.sim.provider import SimulatedProvider

__all__ = ["EngineCall"]

_NO_WINDOW = (0, math.nan, math.nan)


class EngineCall(Call):
    """As `Call` for its reader and its caller; what it does when is asked of the server, or told by it.

    Silence counts while somebody reads: what fell silent and spoke again in between has been buffered on the way.

    Parameters
    ----------
    provider
        For its loop, name and `on_cancel`.
    server
        Where it is served.
    input_tokens, plan
        Prompt and answer.
    waiter
        Resolves with the first token.
    cached_tokens
        Of the prompt; those need no prefill.
    """

    __slots__ = ("_server", "job")

    def __init__(
        self,
        provider: SimulatedProvider,
        server: EngineServer,
        input_tokens: int,
        plan: Plan,
        waiter: asyncio.Future[None],
        cached_tokens: int = 0,
    ) -> None:
        super().__init__(provider, input_tokens, plan, math.nan, _NO_WINDOW)
        self._server = server
        self.cached_tokens = cached_tokens
        tokens = plan.tokens if plan.fails_after is None else max(plan.fails_after, 1)
        self.arrived_s = provider.loop.time()
        self.waiter = waiter
        self.job: Job = server.arrive(self, input_tokens - cached_tokens, tokens, cached_tokens=cached_tokens)

    # -- the server's side -------------------------------------------------------------------------------------

    def got_first(self) -> None:
        """The first token is there."""
        if self.plan.fails_after == 0:
            return  # its one token, after which it fails, is none
        self.state = SERVED
        self.first_s = self.provider.loop.time()
        self.queue_s = self.job.slot_s - self.arrived_s
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def got_end(self) -> None:
        """The last token is there, or the one after which the server fails."""
        if self.plan.fails_after is not None:
            self._fail()
            return
        self.state = ENDED
        self.end_s = self.provider.loop.time()
        self.longest_gap_s = self.job.longest_gap_s
        self.usage = Usage(self.input_tokens, self.tokens, self.cached_tokens)
        self.finish_reason = self.plan.finish_reason
        self._settle()
        self._wake_reader()

    def progressed(self) -> None:
        """There is something for the reader to look at."""
        self._wake_reader()

    def cut(self, error: GatewayError, usage: Usage | None = None) -> None:
        if self.state != ENDED:
            self.longest_gap_s = self._server.longest_gap_s(self.job)
        super().cut(error, usage)
        self._settle()

    def _settle(self) -> None:
        if self.ticket is not None:
            self.provider.settle(self)

    def generated(self, now: float) -> int:
        return max(self._server.generated(self.job), self._delivered)

    def _usage_so_far(self) -> Usage:
        if math.isnan(self.job.slot_s):
            return Usage()
        return Usage(self.input_tokens, self._server.generated(self.job), self.cached_tokens)

    def abandon(self) -> None:
        if self.state == ENDED or not self.wanted:
            return
        self.wanted = False
        self.waiter = None
        self.longest_gap_s = self._server.longest_gap_s(self.job)
        if self.provider.spec.on_cancel == "continue":
            self.usage = Usage(self.input_tokens, self.tokens, self.cached_tokens)
        else:
            self.usage = self._usage_so_far()
        self._server.cancel(self.job)
        self.state = ENDED  # for us; the server has it for as long as `on_cancel` says
        self._settle()
        self._wake_reader()

    # -- the stream's side -------------------------------------------------------------------------------------

    async def next(self, limits: Limits) -> Chunk | None:
        return await self._read(limits, whole=False)

    async def rest(self, limits: Limits) -> Chunk | None:
        return await self._read(limits, whole=True)

    async def _read(self, limits: Limits, *, whole: bool) -> Chunk | None:
        while True:
            if self.error is not None or self._failure is not None:
                return self._last_before(self.error, self.usage.output_tokens)
            if not self.wanted or self._delivered >= self.tokens:
                return None
            upto = self._ready(whole=whole)
            if upto > self._delivered:
                return self._chunk(upto - self._delivered)
            failed = await self._pause(limits, whole=whole)
            if failed is not None:
                return self._last_before(*failed)

    def _ready(self, *, whole: bool) -> int:
        """Tokens that a reader is given by now: all, or whole chunks, and before a silence what there is."""
        if self.state == ENDED:
            return self.tokens
        if whole:
            return 0
        made = self._server.generated(self.job)
        since_s, until_s = self._server.silence()
        return made if until_s - since_s > _VISIBLE_GAP_S else made - (made - 1) % _CHUNK_TOKENS

    async def _pause(self, limits: Limits, *, whole: bool) -> tuple[GatewayError, int] | None:
        """Wait until there may be something to give, or a limit has passed: its error, and the tokens made by then."""
        loop, server = self.provider.loop, self._server
        gap_s, until_s, _ = limits
        when = min(self._stalls_at(gap_s), math.inf if until_s is None else until_s)
        if when > loop.time():
            silence_s = min(math.inf if whole else _VISIBLE_GAP_S, math.inf if gap_s is None else gap_s)
            # Chunks end with tokens 1, 9, 17, … of the answer; the last one is told as its end.
            chunk_end = (self._delivered + _CHUNK_TOKENS - 1) // _CHUNK_TOKENS * _CHUNK_TOKENS + 1
            self._reader = reader = loop.create_future()
            if when < math.inf:
                loop.wake_at(when, reader)
            server.listen(self.job, None if whole or chunk_end >= self.tokens else chunk_end, silence_s)
            try:
                await reader
            finally:
                self._reader = None
                server.ignore(self.job)
            if loop.time() < when:
                return None
        if self.state == ENDED or self._ready(whole=whole) > self._delivered:
            return None  # what comes at the very instant of a limit is in time
        return self._late(limits)

    def _stalls_at(self, gap_s: float | None) -> float:
        """When the silence that reigns now becomes too long; infinity if it will not."""
        if gap_s is None or self.state == ENDED:
            return math.inf
        since_s, until_s = self._server.silence()
        return since_s + gap_s if until_s - since_s > gap_s else math.inf

    def _late(self, limits: Limits) -> tuple[GatewayError, int] | None:
        """The limit that has passed, as an error, if one has."""
        gap_s, until_s, late = limits
        now, made = self.provider.loop.time(), self._server.generated(self.job)
        stalls_s = self._stalls_at(gap_s)
        if stalls_s <= now and (until_s is None or stalls_s <= until_s):
            upstream = self.provider.name
            return StreamStalled(f"no token for {gap_s:g}s", tokens_delivered=made, upstream=upstream, status=200), made
        if until_s is not None and until_s <= now:
            assert late is not None, "a limit in time comes with the error to raise"
            return late(made), made
        return None
