"""Kept answers as streams."""

import asyncio
import math

import pytest
from gateway.policies.angles import Stores, about
from gateway.policies.test_semantic_cache import Lab
from gateway.policies.toys import Toy, run
from gateway.site import play
from hypothesis import given
from hypothesis import strategies as st

from llmsim.errors import StreamStalled, TotalTimeout
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import SemanticCache, Timeout
from llmsim.gateway.policies._replay import Pace, replay
from llmsim.types import Chunk, Response, Usage

PACED = SemanticCache(replay=Pace(tokens=10.0))


class Speaker(Toy):
    """Answers at once, with these chunks."""

    def __init__(self, *chunks):
        super().__init__()
        self.chunks = [Chunk(*chunk) for chunk in chunks]

    async def send(self, request):
        self.calls.append((0.0, request))
        return Response(_Spoken(self.chunks), upstream=self.name, model="m")


class _Spoken:
    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.usage, self.finish_reason = Usage(10, 5), ""

    async def next(self, limits):
        if not self.chunks:
            self.finish_reason = "stop"
            return None
        return self.chunks.pop(0)

    async def rest(self, limits):
        return await self.next(limits)

    def close(self):
        pass


def _asked_again(spec, *chunks, inside=(), **fields):
    """The second response to one question, and the lab."""

    async def script():
        lab = Lab(spec, Speaker(*chunks), stores=Stores(), inside=inside)
        await lab.ask(about(0))
        return lab, await lab.running.send(about(0, 1, **fields))

    return script()


async def _heard(response):
    time = asyncio.get_running_loop().time
    begin = time()
    return [(round(time() - begin, 9), *chunk) async for chunk in response]


def test_chunks_come_as_they_came_and_at_once():
    async def script():
        _, response = await _asked_again(SemanticCache(), ("a ", 1), ("b c ", 2), ("d", 1))
        assert await _heard(response) == [(0.0, "a ", 1), (0.0, "b c ", 2), (0.0, "d", 1)]
        assert (response.finish_reason, response.longest_gap_s, response.usage) == ("stop", 0.0, Usage(10, 5))
        _, response = await _asked_again(SemanticCache(), ("a ", 1), ("b", 1))
        assert await anext(response) == ("a ", 1)
        assert (response.finish_reason, await response.read()) == ("", "b")

    play(script)


@pytest.mark.parametrize("spec", [SemanticCache(), PACED])
def test_who_wants_it_whole_gets_it_whole(spec):
    async def script():
        _, response = await _asked_again(spec, ("a ", 1), ("b", 1), stream=False)
        assert await _heard(response) == [(0.0, "a b", 2)]
        assert math.isnan(response.longest_gap_s)
        _, response = await _asked_again(spec, ("a", 1))
        assert await _heard(response) == [(0.0, "a", 1)]
        assert math.isnan(response.longest_gap_s), "one token has no gaps"

    play(script)


def test_a_pace_is_kept_whichever_way_it_is_read():
    async def script():
        chunks = ("a ", 1), ("b c ", 2), ("d", 1)
        _, response = await _asked_again(PACED, *chunks)
        heard = await _heard(response)
        assert heard == [(0.0, "a ", 1), (0.1, "b ", 1), (0.2, "c ", 1), (0.3, "d", 1)]
        assert response.longest_gap_s == pytest.approx(0.1)
        _, response = await _asked_again(PACED, *chunks)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        assert await response.read() == "a b c d"
        assert loop.time() - begin == pytest.approx(0.3)
        # Who reads slowly finds what has come in the meantime.
        _, response = await _asked_again(PACED, *chunks)
        await asyncio.sleep(0.25)
        assert await anext(response) == ("a b c ", 3)

    play(script)


def test_a_long_answer_is_not_an_event_a_token():
    async def script():
        _, response = await _asked_again(SemanticCache(replay=Pace(tokens=200.0)), ("tok " * 400, 400))
        heard = await _heard(response)
        assert len(heard) == 40
        assert heard[-1][0] == pytest.approx(390 / 200)
        assert "".join(text for _, text, _ in heard) == "tok " * 400

    play(script)


def test_it_keeps_to_the_limits_of_its_reader():
    async def script():
        chunks = ("a ", 1), ("b c d e ", 4), ("f", 1)
        _, response = await _asked_again(SemanticCache(replay=Pace(tokens=2.0)), *chunks)
        response.limit(gap_s=0.4)
        with pytest.raises(StreamStalled) as raised:
            await response.read()
        assert (raised.value.tokens_delivered, response.tokens_delivered) == (1, 1)
        _, response = await _asked_again(SemanticCache(replay=Pace(tokens=2.0)), *chunks)
        begin = asyncio.get_running_loop().time()
        response.limit(until_s=begin + 1.2, late=lambda told: TotalTimeout(tokens_delivered=told))
        with pytest.raises(TotalTimeout) as raised:
            await response.read()
        assert asyncio.get_running_loop().time() - begin == pytest.approx(1.2)
        assert (raised.value.tokens_delivered, response.tokens_delivered) == (3, 3)

    play(script)


def test_who_stops_listening_is_not_kept():
    async def script():
        lab, _ = await _asked_again(PACED, ("a b c d", 4))
        exchange = Exchange(about(0, 2), lab.running._runtime)
        response = await lab.running.send(about(0, 2), exchange)
        reader = asyncio.create_task(_heard(response))
        await asyncio.sleep(0.15)
        response.close()
        assert [tokens for _, _, tokens in await reader] == [1, 1]
        assert exchange.leaked == 0
        forgotten = Exchange(about(0, 3), lab.running._runtime)
        await lab.running.send(about(0, 3), forgotten)
        forgotten.finish()
        assert forgotten.leaked == 1

    play(script)


def test_an_upstreams_timeout_has_nothing_to_say_to_a_cache():
    async def script():
        _, response = await _asked_again(
            SemanticCache(replay=Pace(tokens=1.0)), ("a ", 1), ("b", 1), inside=(Timeout(inter_token=0.5),)
        )
        assert await response.read() == "a b"

    play(script)


@given(
    st.lists(st.tuples(st.text(max_size=30), st.integers(1, 30)), min_size=1, max_size=6),
    st.sampled_from([0.5, 3.0, 20.0, 77.0, 1000.0]),
    st.integers(0, 5),
)
def test_nothing_is_lost_or_made_up(chunks, per_s, taken):
    async def script():
        now = asyncio.get_running_loop().time
        entry = _Entry(tuple(Chunk(*chunk) for chunk in chunks))
        response = replay(entry, about(0), Pace(tokens=per_s), now)
        begin, text = now(), ""
        async for chunk in response:
            text += chunk.text
            taken_now = response.tokens_delivered
            if taken_now > taken:
                break
        text += await response.read()
        assert text == "".join(text for text, _ in chunks)
        assert response.tokens_delivered == entry.tokens
        first = min(chunks[0][1], max(1, int(per_s * 0.05)))
        assert now() - begin == pytest.approx((entry.tokens - first) / per_s)

    run(script())


class _Entry:
    def __init__(self, chunks):
        self.chunks, self.usage, self.model, self.origin = chunks, Usage(), "m", "a"

    @property
    def tokens(self):
        return sum(chunk.tokens for chunk in self.chunks)
