"""Runs that can not go on say so: deadlocks, budgets, tasks that will not end."""

import asyncio
import inspect

import pytest

from llmsim.engine import loop as engine_loop
from llmsim.engine import simulate
from llmsim.errors import DeadlockError, EventBudgetError


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


async def waits_for_ever(event):
    await event.wait()


async def through_a_generator(event):
    async def items():
        await asyncio.sleep(1)
        await waits_for_ever(event)
        yield 1

    async for _ in items():
        pass


def test_a_deadlock_names_every_task_and_its_line():
    async def main(loop):
        event = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(waits_for_ever(event), name=f"waiter-{number}")
            group.create_task(through_a_generator(event), name="generator")
            group.create_task(asyncio.sleep(float("inf")), name="sleeper")

    with pytest.raises(DeadlockError) as caught:
        simulate(main)
    text = str(caught.value)
    assert text.startswith("nothing is left to happen at 1 s, and 8 task(s) still wait, for ever:\n")
    place = line_of(waits_for_ever, "await event.wait()")
    assert f"{place} in waits_for_ever: await event.wait() (5 tasks: waiter-0, waiter-1, waiter-2, ...)" in text
    assert f"{line_of(main, 'async with')} in main" in text
    assert "(generator)" in text
    assert "(sleeper)" in text
    assert "Error" not in text


def test_a_deadlock_of_a_bare_future():
    async def main(loop):
        await loop.create_future()

    with pytest.raises(DeadlockError, match=r"1 task\(s\) still wait"):
        simulate(main)


def test_cleanup_runs_after_a_deadlock():
    ended = []

    async def main(loop):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            ended.append(loop.time())

    with pytest.raises(DeadlockError):
        simulate(main)
    assert ended == [1.0]


@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_event_budget(budget):
    async def main(loop):
        loops.append(loop)
        while True:
            await asyncio.sleep(1)

    loops = []
    with pytest.raises(EventBudgetError, match=f"more than {budget} events"):
        simulate(main, event_budget=budget, on_loop=loops.append)
    assert loops[0].events >= budget


def test_events_are_counted_exactly():
    async def main(loop):
        before = loop.events
        for _ in range(10):
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(1)
        return loop.events - before

    assert simulate(main) == 20


@pytest.mark.parametrize("kind", ["sleep(0)", "call_soon", "simpy"])
def test_time_that_never_passes_ends_by_budget(kind, monkeypatch):
    # A twentieth, to see it end; what a run has is in tests/test_bad_policies.py.
    monkeypatch.setattr(engine_loop, "_INSTANT_BUDGET", 15_000)

    async def main(loop):
        if kind == "sleep(0)":
            while True:
                await asyncio.sleep(0)

        def again():
            loop.call_soon(lambda: again())  # noqa: PLW0108 - a new function each time, so not a poll

        def process(env):
            while True:
                yield env.timeout(0)

        again() if kind == "call_soon" else loop.env.process(process(loop.env))
        await asyncio.sleep(1)

    with pytest.raises(EventBudgetError, match="time still stands at 0 s"):
        simulate(main)


@pytest.mark.slow
def test_many_tasks_may_start_at_one_instant():
    async def main(loop):
        await asyncio.gather(*[asyncio.sleep(1) for _ in range(30_000)])

    simulate(main)


def test_left_tasks_are_cancelled_in_order_and_may_clean_up():
    ended = []

    async def worker(name):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            ended.append(name)

    async def main(loop):
        tasks.extend([asyncio.create_task(worker(i)) for i in range(12)])
        loop.at(50, pytest.fail, "traffic goes on after the end of the run")
        await asyncio.sleep(1)
        return "result"

    tasks = []
    assert simulate(main) == "result"
    assert ended == list(range(12))
    assert all(task.cancelled() for task in tasks)


@pytest.mark.parametrize("sleep", [0, 1])
def test_tasks_that_swallow_cancellation_do_not_hold_up_the_end(sleep):
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(sleep)
            except asyncio.CancelledError:
                swallowed.append(1)

    async def main(loop):
        loops.append(loop)
        tasks.append(asyncio.create_task(stubborn(), name="stubborn"))
        await asyncio.sleep(0)
        return "result"

    swallowed, loops, tasks = [], [], []
    assert simulate(main) == "result"
    assert len(swallowed) == 4
    assert [task.get_name() for task in loops[0].survivors] == ["stubborn"]


def test_a_task_that_fails_while_it_is_closed_is_reported(caplog):
    async def worker():
        try:
            await asyncio.sleep(100)
        finally:
            raise ValueError("in cleanup")

    async def main(loop):
        tasks.append(asyncio.create_task(worker()))
        await asyncio.sleep(1)

    tasks = []
    simulate(main)
    assert "in cleanup" in caplog.text
