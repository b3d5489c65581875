"""One gateway value in two worlds: simulated providers on the virtual loop, real sockets on the ordinary one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loopback import Answer, LoopbackServer, completion

from llmsim.engine.driver import simulate
from llmsim.error_words import outcome_word
from llmsim.errors import GatewayError
from llmsim.gateway.pipeline import Gateway
from llmsim.luck import Luck
from llmsim.pricing import FREE, TokenPrice
from llmsim.providers.faults import Fault
from llmsim.providers.faulty import FaultyProvider
from llmsim.providers.live import OpenAIChat
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.workload import Truth, World
from llmsim.types import Message, Request

SEED = 20261123  #: of the jitter, in both worlds
TOGETHER = 6  #: stories told at once


@dataclass(frozen=True)
class Upstream:
    """The same upstream twice.

    Parameters
    ----------
    live
        What the loopback server answers, call by call; the last one repeats.
    sim
        The simulated provider.
    price
        Of a token.
    faults
        What goes wrong with it (on the story's clock: 0 is the first request), to be what `live` scripts.
    """

    live: Sequence[Answer]
    sim: SimProvider
    faults: Sequence[Fault] = ()
    price: TokenPrice = FREE


@dataclass(frozen=True)
class Story:
    """Requests, one after the other, through one gateway."""

    gateway: Gateway
    upstreams: dict[str, Upstream]
    requests: Sequence[dict[str, Any]] = ({},)
    tokens: int = 4  #: of every answer


@dataclass
class Seen:
    """What happened, in one world."""

    answers: list[tuple[Any, ...]] = field(
        default_factory=list
    )  #: outcome, upstream, served_from, tokens, words of causes
    attempts: list[tuple[Any, ...]] = field(default_factory=list)  #: without times, in the order they began
    events: list[tuple[Any, ...]] = field(default_factory=list)  #: everything policies emitted, delays to the last bit
    times: list[float] = field(default_factory=list)  #: every moment of all that, since the first request
    lag_s: float = 0.0  #: the longest that the loop itself was late, as a heartbeat saw it

    @property
    def facts(self) -> tuple[Any, ...]:
        """All but the times."""
        return self.answers, self.attempts, self.events

    def apart_s(self, other: Seen) -> float:
        """The largest difference between the spans from one moment to the next."""
        order = sorted(range(len(self.times)), key=self.times.__getitem__)
        spans = [
            [seen.times[after] - seen.times[before] for before, after in itertools.pairwise(order)]
            for seen in (self, other)
        ]
        return max(abs(ours - theirs) for ours, theirs in zip(*spans, strict=True))


async def tell(story: Story, providers: Sequence[Any]) -> Seen:
    """Send the story's requests on the running loop, whichever it is."""
    loop, seen, attempts = asyncio.get_running_loop(), Seen(), []
    running = story.gateway.open(
        providers,
        on_attempt=attempts.append,
        on_event=lambda kind, fields: seen.events.append((kind, *sorted(fields.items()))),
        seed=SEED,
    )
    heart = asyncio.create_task(_heartbeat(seen))
    begin = loop.time()
    seen.times.append(0.0)
    for number, given in enumerate(story.requests):
        question = {"messages": (Message("user", f"question {number}"),), "input_tokens": 10, **given}
        response, error = None, None
        try:
            response = await running.send(Request(f"{number}/0/0", **question))
            seen.times.append(loop.time() - begin)
            await response.read()
        except (GatewayError, TimeoutError) as failure:
            error = failure
        seen.times.append(loop.time() - begin)
        answer = (response.upstream, response.served_from, response.tokens_delivered) if response else ()
        causes = [outcome_word(cause) for cause in getattr(error, "causes", ())]
        told = getattr(error, "tokens_delivered", None)
        seen.answers.append((outcome_word(error), *answer, causes, told))
    await asyncio.sleep(0.05)  # losers are cancelled by now
    heart.cancel()
    attempts.sort(key=lambda one: (one.exchange.request.id, one.number))
    for one in attempts:
        name = one.exchange.request.id
        seen.attempts.append((name, one.number, one.cause, one.upstream, one.outcome, one.status, one.won))
        seen.times += [time - begin for time in (one.start_s, one.first_s, one.end_s) if not math.isnan(time)]
    return seen


async def _heartbeat(seen: Seen) -> None:
    loop, beat_s = asyncio.get_running_loop(), 0.005
    while True:
        before = loop.time()
        await asyncio.sleep(beat_s)
        seen.lag_s = max(seen.lag_s, loop.time() - before - beat_s)


def simulated(story: Story) -> Seen:
    """The story in virtual time."""

    async def main(loop: Any) -> Seen:
        world, luck, providers = World(), Luck(SEED), []
        for number in range(len(story.requests)):
            world.truths[f"{number}/0/0"] = Truth(number, story.tokens, math.inf)
        for name, upstream in story.upstreams.items():
            provider: Any = SimulatedProvider(
                name, upstream.sim, loop=loop, luck=luck, world=world, faults=upstream.faults
            )
            providers.append(FaultyProvider(provider, upstream.faults, luck=luck, now=loop.time))
            providers[-1].price = upstream.price
        return await tell(story, providers)

    return simulate(main)


async def _live(story: Story) -> Seen:
    async with contextlib.AsyncExitStack() as stack:
        providers = []
        for name, upstream in story.upstreams.items():
            # The first answer is for a call before the story, so that it does not measure imports and connecting.
            server = await stack.enter_async_context(LoopbackServer([completion("warm"), *upstream.live]))
            provider = OpenAIChat(name, base_url=server.url, model="m", api_key_env=None, price=upstream.price)
            await stack.enter_async_context(provider)
            warm = Request("warm", messages=(Message("user", "hello"),), stream=False)
            await (await provider.send(warm)).read()
            providers.append(provider)
        async with asyncio.timeout(10):  # a story takes a second; one that hangs must not hang the test
            return await tell(story, providers)


def live(story: Story) -> Seen:
    """The story over HTTP on 127.0.0.1, in real time."""
    return asyncio.run(_live(story))


def tries_of(stories: Mapping[str, Story]) -> Callable[[str], Iterator[Seen]]:
    """How a story is told live, up to three times: first beside a few others, as they mostly wait; then alone."""
    names = list(stories)

    @functools.cache
    def told(group: int) -> list[Seen | BaseException]:
        async def main() -> list[Seen | BaseException]:
            some = names[group * TOGETHER : (group + 1) * TOGETHER]
            return await asyncio.gather(*(_live(stories[name]) for name in some), return_exceptions=True)

        return asyncio.run(main())

    def tries(name: str) -> Iterator[Seen]:
        group, place = divmod(names.index(name), TOGETHER)
        first = told(group)[place]
        if isinstance(first, Seen):
            yield first
        yield live(stories[name])
        yield live(stories[name])

    return tries
