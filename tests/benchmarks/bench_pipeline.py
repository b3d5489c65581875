"""How fast is it? Ratios to plain SimPy measured in the same run, since machines are shared and noisy.

::

    python tests/benchmarks/bench_pipeline.py            # the table
    python tests/benchmarks/bench_pipeline.py --short    # fewer rounds, for CI
    python tests/benchmarks/bench_pipeline.py --scale    # also 10k, 100k and 1M requests, and memory (minutes)

Each row is requests per second of CPU time divided by that of *plain SimPy with `simpy.Resource`* on M/M/10 with
equally many requests, median of interleaved rounds. The rows differ in what they do, and say so:

* ``M/M/10, asyncio policy``: a coroutine per request passes through an ``async def policy(request, call_next)`` into a
  station of ten slots; no recording. The like-for-like comparison of engines.
* ``M/M/10, whole gateway``: the same system as a scenario: pipeline, simulated provider, 25 + 20 recorded columns.
* ``hacker-news-spike``: the shipped scenario as it is: cache, deadline, fallback, retry, breaker, timeouts, recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import random
import resource
import statistics
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import process_time

import simpy

from llmsim.api import load
from llmsim.engine.driver import simulate
from llmsim.engine.loop import SimLoop
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Scenario

SPIKE = Path(__file__).parents[2] / "scenarios" / "hacker-news-spike.yaml"
LAMBDA, MU, SLOTS = 8.0, 1.0, 10


def plain_simpy(requests: int) -> int:
    """M/M/10 the way SimPy's documentation does it; waits are kept in a list."""
    env, draw = simpy.Environment(), random.Random(1)
    station, waits = simpy.Resource(env, SLOTS), []

    def customer():
        arrived = env.now
        with station.request() as slot:
            yield slot
            waits.append(env.now - arrived)
            yield env.timeout(draw.expovariate(MU))

    def source():
        for _ in range(requests):
            yield env.timeout(draw.expovariate(LAMBDA))
            env.process(customer())

    env.process(source())
    env.run()
    return len(waits)


class Station:
    """Ten slots by counter and deque, in the engine's queue."""

    def __init__(self, loop: SimLoop, draw: random.Random) -> None:
        self.loop, self.draw = loop, draw
        self.busy = 0
        self.queue: deque[asyncio.Future[None]] = deque()
        self.waits: list[float] = []

    async def serve(self, arrived: float) -> None:
        loop = self.loop
        done = loop.create_future()
        if self.busy < SLOTS:
            self.busy += 1
            loop.wake_at(arrived + self.draw.expovariate(MU), done)
            self.waits.append(0.0)
        else:
            self.queue.append((arrived, done))
        await done
        if self.queue:
            came, waiting = self.queue.popleft()
            now = loop.time()
            self.waits.append(now - came)
            loop.wake_at(now + self.draw.expovariate(MU), waiting)
        else:
            self.busy -= 1


async def policy(request, call_next):
    return await call_next(request)


def asyncio_policy(requests: int) -> int:
    """M/M/10 as coroutines through an asyncio policy on our loop."""

    async def main(loop: SimLoop) -> int:
        draw = random.Random(1)
        station, left, done = Station(loop, draw), requests, loop.create_future()

        async def customer(arrived: float) -> None:
            nonlocal left
            await policy(arrived, station.serve)
            left -= 1
            if not left:
                done.set_result(None)

        def arrive(count: int) -> None:
            asyncio.Task(customer(loop.time()), loop=loop, name="customer")
            if count:
                loop.at(loop.time() + draw.expovariate(LAMBDA), arrive, count - 1)

        loop.at(draw.expovariate(LAMBDA), arrive, requests - 1)
        await done
        return len(station.waits)

    return simulate(main)


def mm10_scenario(requests: int) -> Scenario:
    return load(
        {
            "version": 1,
            "replications": 1,
            "clock": {"duration": f"{requests / LAMBDA}s", "drain": "60s"},
            "traffic": {"base_rate": f"{LAMBDA}/s", "mix": [{"route": "one", "output_tokens": 1}]},
            "providers": {"p": {"ttft": {"exponential": {"mean": f"{1 / MU}s"}}, "concurrency": SLOTS}},
        }
    )


def stretched_spike(requests: int) -> Scenario:
    """The spike in slow motion: every duration times k, so that a replication has about this many requests."""
    spike = load(SPIKE)
    k = requests / 4650
    clock = dataclasses.replace(spike.clock, warm_up=spike.clock.warm_up * k, duration=spike.clock.duration * k)
    stages = tuple(dataclasses.replace(stage, duration=stage.duration * k) for stage in spike.traffic.stages)
    faults = tuple(dataclasses.replace(fault, at=fault.at * k, duration=fault.duration * k) for fault in spike.faults)
    return dataclasses.replace(
        spike, clock=clock, traffic=dataclasses.replace(spike.traffic, stages=stages), faults=faults
    )


def recorded(scenario: Scenario) -> Callable[[], int]:
    return lambda: len(replicate(scenario, 0).tables["requests"]["session"].values)


def rate(work: Callable[[], int]) -> float:
    """Requests per second of CPU time."""
    gc.collect()
    started = process_time()
    count = work()
    return count / (process_time() - started)


def paired(rows: dict[str, Callable[[], int]], peer: Callable[[], int], rounds: int) -> dict[str, list[float]]:
    """Ratios to the peer, which runs before and after each row."""
    for work in rows.values():
        work()  # warm: imports, tables
    ratios: dict[str, list[float]] = {name: [] for name in rows}
    before = rate(peer)
    for _ in range(rounds):
        for name, work in rows.items():
            ours, after = rate(work), rate(peer)
            ratios[name].append(ours / ((before + after) / 2))
            before = after
    return ratios


def show(title: str, ratios: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    for name, values in ratios.items():
        print(f"  {name:44s} {statistics.median(values):5.2f}   [{min(values):.2f} … {max(values):.2f}]")


def scale(rounds: int) -> None:
    for requests in (10_000, 100_000, 1_000_000):
        times = 1 if requests == 1_000_000 else rounds
        row = {f"hacker-news-spike, {requests:,} requests": recorded(stretched_spike(requests))}
        show("ratio to plain SimPy at equal size", paired(row, lambda n=requests: plain_simpy(n), times))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\n  peak memory of this process: {before / 1024:.0f} MB")


def memory(requests: int) -> None:
    """Bytes that a finished replication keeps per recorded request (attempts and events included)."""
    tables = replicate(stretched_spike(requests), 0).tables
    size = sum(
        (column.values.nbytes if column.values.strides[0] else column.values.itemsize)
        + (sum(map(len, column.values)) if column.values.dtype == object else 0)
        for table in tables.values()
        for column in table.values()
    )
    count = len(tables["requests"]["session"].values)
    print(f"\n  recorded: {size / count:.0f} bytes a request ({count:,} requests)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("--scale", action="store_true", help="also 10k to 1M requests")
    options = parser.parse_args()
    rounds = 3 if options.short else 9
    n = 20_000
    rows = {
        "M/M/10, asyncio policy": lambda: asyncio_policy(n),
        "M/M/10, whole gateway": recorded(mm10_scenario(n)),
        "hacker-news-spike": recorded(load(SPIKE)),
    }
    ratios = paired(rows, lambda: plain_simpy(n), rounds)
    show(f"plain SimPy, M/M/10 with simpy.Resource = 1.00 ({rounds} rounds)", ratios)
    memory(n)
    if options.scale:
        scale(3)
