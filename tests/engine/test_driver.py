"""One run works the same everywhere."""

import asyncio
import gc
import sys
import threading

import pytest

from llmsim.engine import SimLoop, in_worker_thread, simulate


async def story(loop):
    seen = []

    async def worker(number):
        async with asyncio.timeout(5):
            await asyncio.sleep(number)
        seen.append((number, loop.time()))

    async with asyncio.TaskGroup() as group:
        for number in (3, 1, 2):
            group.create_task(worker(number))
    assert asyncio.get_running_loop() is loop
    return seen, loop.events


expected = simulate(story)


def test_in_a_running_loop():
    async def main():
        outer = asyncio.get_running_loop()
        task = asyncio.current_task()
        hooks = sys.get_asyncgen_hooks()
        result = simulate(story)
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        assert sys.get_asyncgen_hooks() == hooks
        await asyncio.sleep(0.001)
        return result

    assert asyncio.run(main()) == expected


def test_in_a_simulation():
    async def main(loop):
        await asyncio.sleep(100)
        result = simulate(story)
        await asyncio.sleep(1)
        return result, loop.time()

    assert simulate(main) == (expected, 101.0)


def test_in_threads():
    results = []
    threads = [threading.Thread(target=lambda: results.append(simulate(story))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_in_a_worker_thread_under_a_running_loop():
    async def main():
        return in_worker_thread(lambda: simulate(story), loops=lambda: None)

    assert asyncio.run(main()) == expected


def test_the_running_loop_is_restored_after_an_error():
    async def fails(loop):
        await asyncio.sleep(1)
        raise ValueError("mine")

    async def main():
        with pytest.raises(ValueError, match="mine") as caught:
            simulate(fails)
        assert caught.traceback[-1].name == "fails"
        await asyncio.sleep(0)

    asyncio.run(main())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_main_that_is_cancelled_from_inside():
    async def main(loop):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    with pytest.raises(asyncio.CancelledError):
        simulate(main)


def test_on_loop_sees_the_loop_before_the_run():
    loops = []
    simulate(story, on_loop=loops.append)
    assert isinstance(loops[0], SimLoop)
    assert loops[0].time() == 3.0
    assert loops[0].is_closed()


def test_the_cyclic_collector_looks_rarely_during_a_run_and_as_before_after_the_last_one():
    before = gc.get_threshold()
    seen = []

    async def inner(loop):
        seen.append(gc.get_threshold())

    async def outer(loop):
        simulate(inner)
        seen.append(gc.get_threshold())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(outer)
    assert gc.get_threshold() == before
    assert [threshold[0] > before[0] for threshold in seen] == [True, True], "the inner run ended within another"


@pytest.mark.parametrize("wanted", [0, 10_000_000])
def test_the_cyclic_collector_looks_no_more_often_than_it_would_without_a_run(wanted):
    before = gc.get_threshold()

    async def main(loop):
        return gc.get_threshold()

    gc.set_threshold(wanted, 10, 10)
    try:
        assert simulate(main) == gc.get_threshold() == (wanted, 10, 10)
    finally:
        gc.set_threshold(*before)
