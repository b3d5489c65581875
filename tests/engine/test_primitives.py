"""asyncio runs on the simulation's loop unmodified, and costs no real time."""

import asyncio
import contextvars
import gc
import time

import pytest
from stolen import Stolen

from llmsim.engine import SimLoop, simulate

variable = contextvars.ContextVar("variable", default="unset")


def run(main):
    """Run ``main()`` and give its result and the virtual time it took."""

    async def timed(loop):
        return await main(), loop.time()

    return simulate(timed)


def test_a_day_takes_no_time():
    async def main():
        await asyncio.sleep(86_400)
        return await asyncio.sleep(0.5, "result")

    with Stolen() as stolen:
        began = time.perf_counter()
        assert run(main) == ("result", 86_400.5)
        assert time.perf_counter() - began < 1 + stolen.s


def test_the_clock_is_a_float_from_the_start():
    loop = SimLoop()
    assert repr(loop.time()) == "0.0"
    loop.at(5, lambda: None)
    loop.run_until_complete(asyncio.sleep(7))
    assert repr(loop.time()) == "7.0"


def test_timeout_and_wait_for():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.sleep(10)
        assert loop.time() == 3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        assert loop.time() == 5
        assert await asyncio.wait_for(asyncio.sleep(1, "in time"), 2) == "in time"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(1)
        async with asyncio.timeout(10) as timeout:
            timeout.reschedule(loop.time() + 1)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(5)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run(main)


def test_gather_and_task_group_run_concurrently():
    async def main():
        assert await asyncio.gather(*[asyncio.sleep(i, i) for i in (3, 1, 2)]) == [3, 1, 2]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(i, i)) for i in (4, 2)]
        return [task.result() for task in tasks]

    assert run(main) == ([4, 2], 7.0)


def test_a_task_group_cancels_the_others():
    ended = []

    async def sleeper(name):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    async def main():
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(sleeper(name))
            await asyncio.sleep(1)
            raise ValueError("stop")

    with pytest.raises(ExceptionGroup):
        run(main)
    assert ended == ["a", "b", "c"]


def test_semaphore_lock_condition_event_queue():
    async def main():
        loop = asyncio.get_running_loop()
        semaphore, lock, condition, queue = asyncio.Semaphore(2), asyncio.Lock(), asyncio.Condition(), asyncio.Queue(1)
        seen = []

        async def work(number):
            async with semaphore:
                await asyncio.sleep(1)
                seen.append((number, loop.time()))

        await asyncio.gather(*[work(i) for i in range(4)])
        assert seen == [(0, 1), (1, 1), (2, 2), (3, 2)]

        async def produce():
            for i in range(3):
                await queue.put(i)
                await asyncio.sleep(1)

        async def consume():
            async with lock:
                return [await queue.get() for _ in range(3)]

        assert (await asyncio.gather(produce(), consume()))[1] == [0, 1, 2]

        async def notify():
            await asyncio.sleep(1)
            async with condition:
                condition.notify_all()

        async with condition:
            task = asyncio.create_task(notify())
            await condition.wait()
        await task

    assert run(main)[1] == 6.0


def test_shield_keeps_the_inner_task_alive():
    async def main():
        inner = asyncio.ensure_future(asyncio.sleep(5, "inner"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 1)
        return await inner

    assert run(main) == ("inner", 5.0)


def test_wait_first_completed_and_as_completed():
    async def main():
        fast, slow = asyncio.ensure_future(asyncio.sleep(1, "fast")), asyncio.ensure_future(asyncio.sleep(9, "slow"))
        done, pending = await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({fast}, {slow})
        slow.cancel()
        return [await one for one in asyncio.as_completed([asyncio.sleep(i, i) for i in (3, 1, 2)])]

    assert run(main) == ([1, 2, 3], 4.0)


def test_a_cancelled_timer_does_not_move_the_clock():
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(1000, pytest.fail).cancel()
        task = asyncio.ensure_future(asyncio.sleep(500))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.Event().wait()

    assert run(main)[1] == 3.0


def test_a_closed_coroutine_does_not_move_the_clock():
    async def main():
        loop = asyncio.get_running_loop()
        coro = asyncio.sleep(1000)
        coro.send(None)
        coro.close()
        await asyncio.sleep(1)
        return loop.env.peek()

    assert run(main) == (float("inf"), 1.0)


def test_cancelled_timers_are_forgotten():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(30_000):
            loop.call_later(1000, print).cancel()
            await asyncio.sleep(0.001)
        return len(loop.env.times)

    assert run(main)[0] < 10_000


def test_asynchronous_generators_are_closed():
    closed = []

    async def numbers(name):
        try:
            for i in range(10):
                yield i
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0.5)
            closed.append(name)

    kept = []

    async def main():
        async for i in numbers("dropped"):
            if i == 2:
                break
        gc.collect(0)  # the youngest objects: all others take as long as the rest of this file
        await asyncio.sleep(1)
        assert closed == ["dropped"]
        kept.append(numbers("left open"))
        await anext(kept[0])

    run(main)
    assert closed == ["dropped", "left open"]


def test_context_variables():
    seen = []

    async def child():
        seen.append(variable.get())
        variable.set("child")
        await asyncio.sleep(1)
        seen.append(variable.get())

    async def main():
        variable.set("main")
        await asyncio.create_task(child())
        seen.append(variable.get())
        empty = contextvars.Context()
        await asyncio.create_task(child(), context=empty)
        assert empty[variable] == "child"
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(variable.get()))
        loop.call_soon(lambda: seen.append(variable.get()), context=contextvars.Context())
        loop.call_later(1, lambda: seen.append(variable.get()), context=contextvars.Context())
        await asyncio.sleep(2)

    run(main)
    assert seen == ["main", "child", "main", "unset", "child", "main", "unset", "unset"]
    assert variable.get() == "unset"


def test_current_task_and_all_tasks():
    async def main():
        task = asyncio.current_task()
        other = asyncio.create_task(asyncio.sleep(1))
        assert asyncio.all_tasks() == {task, other}
        return task.get_name()

    assert run(main)[0] == "main"


def test_exceptions_in_callbacks_go_to_the_handler():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(repr(context["exception"])))
        loop.call_soon(lambda: 1 / 0)
        loop.call_later(1, [].pop)
        await asyncio.sleep(2)

    run(main)
    assert seen == ["ZeroDivisionError('division by zero')", "IndexError('pop from empty list')"]


def test_a_failing_exception_handler_hides_nothing(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: 1 / 0)
        loop.call_soon([].pop)
        await asyncio.sleep(1)

    run(main)
    assert "division by zero" in caplog.text
    assert "pop from empty list" in caplog.text


def test_an_exception_in_a_bare_callback_ends_the_run():
    async def main(loop):
        loop.at(3, lambda: 1 / 0)
        await asyncio.sleep(10)

    with pytest.raises(ZeroDivisionError):
        simulate(main)


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), 1e-300, 0, -1])
def test_strange_delays(delay):
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1)
        if delay != delay:
            with pytest.raises(ValueError, match="NaN"):
                await asyncio.sleep(delay)
            with pytest.raises(ValueError, match="NaN"):
                loop.call_later(delay, print)
        elif delay == float("inf"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(delay), 4)
            assert loop.time() == 5
            assert loop.env.peek() == float("inf")
        else:
            await asyncio.sleep(delay)
            assert loop.time() == 1

    run(main)


def test_wake_at():
    async def main(loop):
        futures = [loop.create_future() for _ in range(4)]
        loop.wake_at(2, futures[0])
        loop.wake_at(2, futures[0])  # twice is once
        loop.wake_at(-1, futures[1])
        loop.wake_at(3, futures[2])
        futures[2].cancel()
        loop.wake_at(1, futures[3])
        futures[3].set_result("earlier")
        assert await futures[1] is None
        assert loop.time() == 0
        assert await futures[0] is None
        assert loop.time() == 2

        class Special(asyncio.Future):
            pass

        special = Special(loop=loop)
        loop.wake_at(3, special)
        await special
        return loop.time()

    assert simulate(main) == 3.0
