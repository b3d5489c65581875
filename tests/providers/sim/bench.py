"""One simulated provider on a virtual loop, and clients that call it and note what they saw."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmsim.engine.driver import simulate
from llmsim.error_words import outcome_word
from llmsim.errors import DeadlineExceeded, GatewayError
from llmsim.luck import Luck
from llmsim.providers.faults import Fault
from llmsim.providers.faulty import FaultyProvider
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.workload import Truth, World
from llmsim.types import Chunk, Request, Response, Usage


@dataclass
class Visit:
    """What one client saw. Times are the loop's."""

    start_s: float
    first_s: float = math.nan
    end_s: float = math.nan
    word: str = ""
    error: GatewayError | None = None
    usage: Usage | None = None
    response: Response | None = None
    chunks: list[tuple[float, Chunk]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for _, chunk in self.chunks)


class Bench:
    """A provider as `replicate` builds it: boundary faults in front, intrinsic ones inside."""

    def __init__(self, loop: Any, spec: SimProvider, faults: Sequence[Fault] = (), seed: int = 1, zero_s: float = 0.0):
        self.loop = loop
        self.luck = Luck(seed)
        self.world = World()
        self.sim = SimulatedProvider(
            "p", spec, loop=loop, luck=self.luck, world=self.world, faults=faults, zero_s=zero_s
        )
        self.provider: Any = FaultyProvider(self.sim, faults, luck=self.luck, now=loop.time, zero_s=zero_s)
        self.tasks: list[asyncio.Task[Visit]] = []

    def request(self, number: int, *, tokens: int = 1, input_tokens: int = 10, stream: bool = True) -> Request:
        """A request whose answer will have so many tokens."""
        request = Request(f"{number}/0/0", input_tokens=input_tokens, stream=stream)
        if request.id not in self.world.truths:
            self.world.truths[request.id] = Truth(number, tokens, math.inf)
        return request

    async def visit(
        self,
        number: int = 0,
        *,
        at: float = 0.0,
        tokens: int = 1,
        input_tokens: int = 10,
        stream: bool = True,
        how: str = "read",
        pause_s: float = 0.0,
        leave_at: float = math.inf,
        gap_s: float | None = None,
        until_s: float | None = None,
    ) -> Visit:
        """Call, and read by `read`ing or by ``iterate`` (with a pause before each chunk); leave at `leave_at`."""
        request = self.request(number, tokens=tokens, input_tokens=input_tokens, stream=stream)
        if at > self.loop.time():
            await asyncio.sleep(at - self.loop.time())
        seen = Visit(self.loop.time())
        task = asyncio.create_task(self._converse(request, seen, how, pause_s, gap_s, until_s))
        if leave_at < math.inf:
            self.loop.call_at(leave_at, task.cancel)
        try:
            await task
            seen.word = "ok"
        except GatewayError as error:
            seen.word, seen.error = outcome_word(error), error
        except asyncio.CancelledError:
            seen.word = "left"
        seen.end_s = self.loop.time()
        if seen.response is not None:
            seen.usage = seen.response.usage
        elif seen.word == "left":
            seen.usage = self.provider.cancelled_usage(request)
        return seen

    async def _converse(
        self, request: Request, seen: Visit, how: str, pause_s: float, gap_s: float | None, until_s: float | None
    ) -> None:
        response = seen.response = await self.provider.send(request)
        seen.first_s = self.loop.time()
        if gap_s is not None or until_s is not None:
            response.limit(gap_s=gap_s, until_s=until_s, late=lambda n: DeadlineExceeded(tokens_delivered=n))
        tap = response.tap()
        try:
            if how == "read":
                await response.read()
            else:
                while True:
                    if pause_s:
                        await asyncio.sleep(pause_s)
                    try:
                        await anext(response)
                    except StopAsyncIteration:
                        break
                    while len(seen.chunks) < len(tap.chunks):
                        seen.chunks.append((self.loop.time(), tap.chunks[len(seen.chunks)]))
        finally:
            seen.chunks += [(self.loop.time(), chunk) for chunk in tap.chunks[len(seen.chunks) :]]

    def go(self, *args: Any, **kwargs: Any) -> None:
        """Start a visit in the background."""
        self.tasks.append(asyncio.create_task(self.visit(*args, **kwargs)))

    async def all(self) -> list[Visit]:
        """What all background visits saw, in the order they were started."""
        return [await task for task in self.tasks]


def play(
    spec: SimProvider,
    script: Callable[[Bench], Any],
    faults: Sequence[Fault] = (),
    *,
    seed: int = 1,
    zero_s: float = 0.0,
) -> list[Visit]:
    """Run ``script(bench)`` (it starts visits, or is a coroutine function that makes its own) to the end."""

    async def main(loop: Any) -> Any:
        bench = Bench(loop, spec, faults, seed, zero_s)
        result = script(bench)
        if asyncio.iscoroutine(result):
            return await result
        return await bench.all()

    return simulate(main, event_budget=5_000_000)
