"""Chained sleeps: what an event costs on the simulation's loop, against plain SimPy and other virtual-time loops.

``python tests/benchmarks/bench_sleeps.py [--rounds 15] [--sleeps 20000] [--tasks 100 1000 10000]``

Every contender makes N tasks (or generator processes) that sleep M times each, N x M the same for all, with the same
exponential delays. A round runs all contenders one after the other, each time in another order; the ratio is taken
within the round (CPU time of SimPy / CPU time of the contender), and the median over rounds is shown. So 1.00 is
SimPy's speed and more is faster; absolute times on a shared machine mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from pathlib import Path
from random import Random

import simpy

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from engine.jumping_loop import JumpingLoop  # noqa: E402 - the line above makes it importable

from llmsim.engine import inside_asyncio, simulate  # noqa: E402

try:
    import async_solipsism
except ImportError:  # GPL, so it is an extra of its own
    async_solipsism = None

try:
    import looptime
except ImportError:  # its pytest plugin breaks tests without pytest-asyncio, so it is of the extra as well
    looptime = None

Delays = list[list[float]]


def simpy_processes(delays: Delays) -> None:
    env = simpy.Environment()
    for chain in delays:
        env.process(_process(env, chain))
    env.run()


def _process(env: simpy.Environment, chain: list[float]):
    for delay in chain:
        yield env.timeout(delay)


async def _chain(chain: list[float]) -> None:
    for delay in chain:
        await asyncio.sleep(delay)


async def _chain_with_timeouts(chain: list[float]) -> None:
    for delay in chain:
        async with asyncio.timeout(1000):
            await asyncio.sleep(delay)


async def _all(loop, delays: Delays, chain=_chain) -> None:
    for task in [asyncio.Task(chain(one), loop=loop) for one in delays]:
        await task


def llmsim_sleep(delays: Delays) -> None:
    simulate(lambda loop: _all(loop, delays))


def llmsim_task_group(delays: Delays) -> None:
    async def main(loop):
        async with asyncio.TaskGroup() as group:
            for chain in delays:
                group.create_task(_chain(chain))

    simulate(main)


def llmsim_sleep_without_short_way(delays: Delays) -> None:
    async def main(loop):
        code, asyncio.sleep.__code__ = asyncio.sleep.__code__, inside_asyncio._asyncio_code
        try:
            await _all(loop, delays)
        finally:
            asyncio.sleep.__code__ = code

    simulate(main)


def llmsim_wake_at(delays: Delays) -> None:
    async def main(loop):
        new, wake_at, now = loop.create_future, loop.wake_at, loop.time

        async def chain(one):
            for delay in one:
                future = new()
                wake_at(now() + delay, future)
                await future

        await _all(loop, delays, chain)

    simulate(main)


def llmsim_timeouts(delays: Delays) -> None:
    simulate(lambda loop: _all(loop, delays, _chain_with_timeouts))


def llmsim_simpy_processes(delays: Delays) -> None:
    async def main(loop):
        for process in [loop.env.process(_process(loop.env, chain)) for chain in delays]:
            await process

    simulate(main)


def _on(loop: asyncio.AbstractEventLoop, delays: Delays) -> None:
    try:
        loop.run_until_complete(_all(loop, delays))
    finally:
        loop.close()


CONTENDERS = {
    "SimPy, generator processes": simpy_processes,
    "llmsim, asyncio.sleep": llmsim_sleep,
    "llmsim, asyncio.sleep in a TaskGroup": llmsim_task_group,
    "llmsim, asyncio.sleep with asyncio's code": llmsim_sleep_without_short_way,
    "llmsim, loop.wake_at": llmsim_wake_at,
    "llmsim, asyncio.timeout around each sleep": llmsim_timeouts,
    "llmsim, SimPy's generator processes": llmsim_simpy_processes,
    "asyncio with a jumping selector": lambda delays: _on(JumpingLoop(), delays),
}
if async_solipsism is not None:
    CONTENDERS["async-solipsism"] = lambda delays: _on(async_solipsism.EventLoop(), delays)
if looptime is not None:
    CONTENDERS["looptime"] = lambda delays: _on(looptime.new_event_loop(start=0.0), delays)


def measure(tasks: int, sleeps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median ratio to SimPy, and median CPU nanoseconds a sleep, by contender."""
    luck = Random(tasks)
    delays = [[luck.expovariate(1.0) for _ in range(max(1, sleeps // tasks))] for _ in range(tasks)]
    names = list(CONTENDERS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            began = time.process_time()
            CONTENDERS[name](delays)
            seconds[name].append(time.process_time() - began)
    count = sum(map(len, delays))
    return {
        name: (
            statistics.median(base / own for base, own in zip(seconds[names[0]], seconds[name], strict=True)),
            statistics.median(seconds[name]) / count * 1e9,
        )
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Chained sleeps: CPU time of SimPy / CPU time of each contender.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sleeps", type=int, default=50_000, help="in all, over the tasks")
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 1_000, 10_000])
    arguments = parser.parse_args()
    columns = [measure(tasks, arguments.sleeps, arguments.rounds) for tasks in arguments.tasks]
    python = sys.version.split()[0]
    print(f"Python {python}, {arguments.rounds} rounds, {arguments.sleeps} sleeps; SimPy = 1.00, more is faster")
    print(f"{'':44}" + "".join(f"{f'{tasks:,} tasks':>22}" for tasks in arguments.tasks))
    for name in CONTENDERS:
        cells = "".join(f"{column[name][0]:>12.2f} {column[name][1]:>6,.0f} ns" for column in columns)
        print(f"{name:44}{cells}")


if __name__ == "__main__":
    main()
