"""A gateway that runs for real, its cache in a Redis that is killed, hangs or forgets: nobody is refused or misled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
import pytest
from loopback import LoopbackServer, Seen, stream
from stores.redis_server import RedisServer, needs_redis
from stores.redis_toys import ToyEmbedder

from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.providers.live import OpenAIChat
from llmsim.stores import LiveStores
from llmsim.types import Message, Request

pytestmark = needs_redis

TOPICS = [f"topic-{number}" for number in range(40)]
FORMS = ["tell me all about {}", "please tell me all about {}", "tell me all about {} now"]
WORKERS = 6

#: How long the policy leaves a store in trouble alone, where it does: short, since these runs are.
PATIENCE = {"store_cooldown": 0.2} if "store_cooldown" in {field.name for field in fields(SemanticCache)} else {}


class TopicEmbedder(ToyEmbedder):
    """Forms of one question have cosines of .93 and more, questions about different topics .6 and less."""

    def vector(self, words: str) -> np.ndarray:
        topic = next(word for word in words.split() if word.startswith("topic-"))
        return super().vector(words) + 4 * super().vector(topic)


class Opened(LiveStores):
    """Remembers what it opened, to close it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.opened = []

    def open(self, spec, run):
        self.opened.append(super().open(spec, run))
        return self.opened[-1]


@dataclass
class Traffic:
    """What came of every request, in order of their ends: when, whether from the cache, which topic, how long."""

    served: list[tuple[float, bool, str, float]] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    happened: list[float] = field(default_factory=list)  #: when each event was over

    def between(self, start, end):
        return [one for one in self.served if start <= one[0] < end]

    def hit_rate(self, start, end):
        """Of the requests that ended in this span."""
        return sum(hit for _, hit, _, _ in self.between(start, end)) / len(self.between(start, end))

    def slowest_s(self, start, end):
        return max(took for _, _, _, took in self.between(start, end))


def answer(seen: Seen):
    words = seen.body["messages"][-1]["content"].split()
    topic = next(word for word in words if word.startswith("topic-"))
    return stream("all ", "about ", topic)


def live(redis_url: str, events: list[tuple[float, Callable[[], object]]], end_s: float) -> Traffic:
    """Steady traffic of six who ask one question after the other, while `events` happen at their times."""

    async def main() -> Traffic:
        traffic, loop, luck = Traffic(), asyncio.get_running_loop(), np.random.default_rng(5)
        stores = Opened(TopicEmbedder(), redis=redis_url)
        async with LoopbackServer(answer) as upstream:
            provider = OpenAIChat("local", base_url=upstream.url, model="m", api_key_env=None)
            gateway = Gateway(policies=(SemanticCache(threshold=0.9, backend="redis", **PATIENCE),))
            running = gateway.open([provider], stores=stores)
            start = loop.time()

            async def ask(number: int) -> None:
                topic = TOPICS[int(luck.zipf(1.3)) % len(TOPICS)]
                words = FORMS[int(luck.integers(len(FORMS)))].format(topic)
                begun = loop.time()
                response = await running.send(Request(f"r{number}", messages=(Message("user", words),)))
                text = await response.read()
                now = loop.time()
                traffic.served.append((now - start, response.served_from == "cache", topic, now - begun))
                if text != f"all about {topic}":
                    traffic.wrong.append((words, text))

            async def worker(number: int) -> None:
                turn = 0
                while loop.time() - start < end_s:
                    try:
                        await ask(turn * WORKERS + number)
                    except Exception as error:
                        traffic.failed.append(error)
                    turn += 1
                    await asyncio.sleep(0.004)

            async def happen() -> None:
                for at_s, event in events:
                    await asyncio.sleep(start + at_s - loop.time())
                    await asyncio.to_thread(event)  # starting a server takes its time
                    traffic.happened.append(loop.time() - start)

            async with asyncio.timeout(60):
                await asyncio.gather(happen(), *(worker(number) for number in range(WORKERS)))
            for store in stores.opened:
                await store.aclose()
            await provider.aclose()
        traffic.served.sort()
        return traffic

    traffic = asyncio.run(main())
    assert traffic.failed == []
    assert traffic.wrong == []
    return traffic


def test_killed_in_the_middle(tmp_path):
    with RedisServer(tmp_path, append=True) as server:
        traffic = live(server.url, [(1.5, server.kill), (2.5, server.start)], 5.0)
    back_s = traffic.happened[1] + 0.5
    before, during, after = (traffic.hit_rate(*span) for span in ((1.0, 1.5), (1.6, 2.5), (back_s, 9.9)))
    print(f"{len(traffic.served)} requests; hit rate {before:.2f} before, {during:.2f} without it, {after:.2f} after")
    assert before > 0.6  # on a busy machine it is still filling
    assert during == 0.0
    assert len(traffic.between(1.6, 2.5)) > 20  # requests went on
    assert traffic.slowest_s(1.6, 2.5) < 1.0
    assert after > before - 0.1
    # What was there before is there after: a topic that was in the cache is not asked for upstream again.
    known = {topic for _, hit, topic, _ in traffic.between(0.0, 1.4) if hit}
    assert len(known) > 5
    missed = {topic for _, hit, topic, _ in traffic.between(back_s, 9.9) if not hit}
    assert not known & missed


@pytest.mark.parametrize("how", ["restart", "flush"])
def test_all_that_was_known_is_lost(tmp_path, how):
    """The cache starts anew; nothing else happens."""

    def flush():
        look = server.client()
        look.flushall()
        look.close()

    def restart():
        server.kill()
        server.start()

    with RedisServer(tmp_path) as server:
        traffic = live(server.url, [(1.2, restart if how == "restart" else flush)], 3.5)
    known = {topic for _, hit, topic, _ in traffic.between(0.0, 1.2) if hit}
    missed_again = {topic for _, hit, topic, _ in traffic.between(1.2, 9.9) if not hit}
    assert len(known & missed_again) > 3
    assert traffic.hit_rate(2.7, 9.9) > 0.6


def test_a_redis_that_hangs_costs_its_time_limit_and_no_more(tmp_path):
    with RedisServer(tmp_path) as server:
        events = [(1.0, server.freeze), (2.0, server.thaw)]
        traffic = live(f"{server.url}?socket_timeout=0.2", events, 3.5)
    slow = traffic.slowest_s(1.0, 2.2)
    print(f"slowest while it hangs: {slow:.3f} s; hit rate after {traffic.hit_rate(2.5, 9.9):.2f}")
    assert len(traffic.between(1.0, 2.0)) >= 8
    assert 0.2 <= slow < 1.5
    assert traffic.hit_rate(2.5, 9.9) > 0.5


def test_pauses_shorter_than_the_limit_are_waited_for(tmp_path):
    def pause():
        look = server.client()
        look.client_pause(150, all=True)
        look.close()

    with RedisServer(tmp_path) as server:
        traffic = live(server.url, [(1.0, pause), (1.4, pause)], 2.2)
    assert traffic.hit_rate(1.0, 2.2) > 0.6
    assert traffic.slowest_s(1.0, 2.2) > 0.1


def test_two_gateways_share_one_cache(tmp_path):
    with RedisServer(tmp_path) as server:
        first, second = live(server.url, [], 1.5), live(server.url, [], 1.0)
    assert first.hit_rate(0.0, 0.2) < 0.9 < second.hit_rate(0.0, 0.2)
    assert second.hit_rate(0.0, 1.0) > first.hit_rate(0.0, 1.0)
