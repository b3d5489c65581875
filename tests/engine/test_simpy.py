"""SimPy processes and resources share the environment with asyncio."""

import asyncio

import pytest
import simpy

from llmsim.engine import SimLoop, simulate, wait_event
from llmsim.errors import EngineError


def test_await_a_process_a_timeout_and_an_event():
    def process(env, seconds):
        yield env.timeout(seconds)
        return f"after {seconds}"

    async def main(loop):
        env = loop.env
        assert isinstance(env, simpy.Environment)
        assert await env.process(process(env, 3)) == "after 3"
        assert await wait_event(env.timeout(2, "value")) == "value"
        done = env.timeout(1, "early")
        await asyncio.sleep(2)
        assert await done == "early"  # long ago
        event = env.event()
        loop.at(9, event.succeed, "signal")
        assert await event == "signal"
        both = await (env.timeout(1, "a") & env.timeout(2, "b"))
        assert list(both.values()) == ["a", "b"]
        assert env.now == loop.time()
        return loop.time()

    assert simulate(main) == 11.0


def test_a_failing_process_raises_where_it_is_awaited():
    def process(env):
        yield env.timeout(1)
        raise KeyError("mine")

    async def main(loop):
        with pytest.raises(KeyError):
            await loop.env.process(process(loop.env))
        failed = loop.env.process(process(loop.env))
        failed.defused = True
        await asyncio.sleep(2)
        with pytest.raises(KeyError):
            await failed
        return "went on"

    assert simulate(main) == "went on"


def test_a_failure_that_nobody_waits_for_ends_the_run():
    def process(env):
        yield env.timeout(1)
        raise KeyError("mine")

    async def main(loop):
        loop.env.process(process(loop.env))
        await asyncio.sleep(10)

    with pytest.raises(KeyError):
        simulate(main)


def test_a_resource_serves_tasks_and_processes_in_order():
    served = []

    def process(env, resource, name):
        with resource.request() as request:
            yield request
            served.append((name, env.now))
            yield env.timeout(1)

    async def task(resource, name):
        with resource.request() as request:
            await request
            served.append((name, resource._env.now))
            await asyncio.sleep(1)

    async def main(loop):
        resource = simpy.Resource(loop.env, capacity=1)
        first = asyncio.create_task(task(resource, "task 1"))
        await asyncio.sleep(0)
        second = loop.env.process(process(loop.env, resource, "process 1"))
        await asyncio.sleep(0.5)
        third = asyncio.create_task(task(resource, "task 2"))
        await asyncio.sleep(0)
        await asyncio.wait_for(wait_event(loop.env.process(process(loop.env, resource, "process 2"))), 10)
        await asyncio.gather(first, third)
        await second
        return resource.count

    assert simulate(main) == 0
    assert served == [("task 1", 0), ("process 1", 1), ("task 2", 2), ("process 2", 3)]


def test_a_cancelled_wait_gives_its_place_back():
    async def holder(resource):
        with resource.request() as request:
            await request
            await asyncio.sleep(10)

    async def main(loop):
        resource = simpy.Resource(loop.env, capacity=1)
        task = asyncio.create_task(holder(resource))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                with resource.request() as request:
                    await request
        assert resource.queue == []
        await task
        with resource.request() as request:
            await request
            return loop.time()

    assert simulate(main) == 10.0


def test_starts_and_interrupts_go_before_other_events_of_the_instant():
    def starter(env, name):
        seen.append(name)
        yield env.timeout(5)

    def victim(env):
        try:
            yield env.event()
        except simpy.Interrupt as interrupt:
            seen.append(interrupt.cause)

    async def main(loop):
        env = loop.env
        process = env.process(victim(env))
        await asyncio.sleep(1)
        env.timeout(0).callbacks.append(lambda _: seen.append("event"))
        env.process(starter(env, "a"))
        env.process(starter(env, "b"))
        process.interrupt("interrupted")
        await asyncio.sleep(1)

    seen = []
    simulate(main)
    assert seen == ["a", "b", "interrupted", "event"]


def story(env, log):
    """Processes with many ties, resources, priorities, interrupts; works on any environment."""
    resource = simpy.PreemptiveResource(env, capacity=2)
    store = simpy.Store(env, capacity=3)

    def customer(name, priority, arrives, needs):
        yield env.timeout(arrives)
        while needs > 0:
            with resource.request(priority=priority) as request:
                yield request
                began = env.now
                log.append((env.now, name, "served"))
                try:
                    yield env.timeout(needs)
                    needs = 0
                except simpy.Interrupt:
                    needs -= env.now - began
                    log.append((env.now, name, "preempted"))
        yield store.put(name)

    def collector():
        for _ in range(12):
            name = yield store.get()
            log.append((env.now, name, "collected"))
            yield env.timeout(0) | env.timeout(1)

    for number in range(12):
        env.process(customer(f"c{number}", number % 3, number // 2, 1 + number % 4))
    return env.process(collector())


def test_the_same_story_as_in_simpy_itself():
    plain, ours = [], []
    env = simpy.Environment()
    env.run(until=story(env, plain))

    async def main(loop):
        await story(loop.env, ours)

    simulate(main)
    assert ours == plain


def test_step_and_run_refuse():
    env = SimLoop().env
    with pytest.raises(EngineError, match=r"env\.step\(\)"):
        env.step()
    with pytest.raises(EngineError, match=r"env\.run\(\)"):
        env.run(until=10)


def test_peek_skips_what_was_cancelled():
    loop = SimLoop()
    assert loop.env.peek() == float("inf")
    handle = loop.call_later(1, print)
    loop.call_later(2, print)
    assert loop.env.peek() == 1
    handle.cancel()
    assert loop.env.peek() == 2
    loop.env.timeout(0)
    assert loop.env.peek() == 0
