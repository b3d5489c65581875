"""Processes: how much faster are two than one, and what does a replication cost beyond its simulation?

::

    python tests/benchmarks/bench_scaling.py              # 9 rounds
    python tests/benchmarks/bench_scaling.py --rounds 3 --replications 4
    python tests/benchmarks/bench_scaling.py --dask       # also a local cluster of two worker processes

A round runs the same replications in this process and in two workers, one after the other, every second round the other
way about; the ratio of the wall times is taken within the round, since machines are shared. Workers are warm: they were
started, and have imported llmsim, before the first round. *Beyond the simulation* is all that a replication costs from
call to result less `replicate` itself: of one of next to nothing (an idle provider, one request), and of the scenario,
with the tables it brings back. On a machine where others work, too, wall times tell how it shares its cores; so CPU
time is shown besides, and the speed that it allows where there are two free cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from llmsim.api import load, run  # noqa: E402 - the line above makes it importable
from llmsim.parallel import Workers, as_they_come  # noqa: E402
from llmsim.scenario.replicate import replicate  # noqa: E402
from llmsim.scenario.spec import Scenario  # noqa: E402
from llmsim.telemetry.recorder import Replication  # noqa: E402

SPIKE = Path(__file__).parents[2] / "scenarios" / "hacker-news-spike.yaml"
TINY = {"version": 1, "clock": {"duration": "1s"}, "traffic": {"base_rate": "1/s"}, "providers": {"a": {}}}


class Timed(NamedTuple):
    """A replication and the CPU time of whoever made it."""

    replication: Replication
    own_s: float  #: for it alone
    until_s: float  #: of that process, since it began
    process: int


def timed(scenario: Scenario, number: int) -> Timed:
    """Make one."""
    began = process_time()
    replication = replicate(scenario, number)
    ended = process_time()
    return Timed(replication, ended - began, ended, os.getpid())


class Overhead(NamedTuple):
    """Seconds a replication, beyond its simulation."""

    wall_s: float  #: of a worker
    cpu_s: float  #: of the workers, between two replications, and of this process, which sends and receives


def overhead(scenario: Scenario, replications: int, workers: Workers, count: int) -> Overhead:
    """What comes on top; `count` is how many the workers are."""
    began, began_cpu = perf_counter(), process_time()
    found = [one for _, one in as_they_come(timed, [(scenario, number) for number in range(replications)], workers)]
    spent_s = process_time() - began_cpu
    wall_s = (perf_counter() - began) * count - sum(one.replication.wall_s for one in found)
    between, pairs = 0.0, 0
    for process in {one.process for one in found}:
        mine = sorted((one for one in found if one.process == process), key=lambda one: one.until_s)
        between += sum(after.until_s - before.until_s - after.own_s for before, after in pairwise(mine))
        pairs += len(mine) - 1
    return Overhead(wall_s / replications, spent_s / replications + between / max(1, pairs))


def cpu(scenario: Scenario, replications: int, workers: Workers) -> tuple[float, float]:
    """CPU seconds of all the replications here, and there, with all that comes on top."""
    tasks = [(scenario, number) for number in range(replications)]
    here_s = sum(timed(*task).own_s for task in tasks)
    there_s = sum(one.own_s for _, one in as_they_come(timed, tasks, workers))
    return here_s, there_s + replications * overhead(scenario, replications, workers, 1).cpu_s


def speedup(scenario: Scenario, replications: int, workers: Workers, rounds: int) -> list[float]:
    """Wall time here / wall time there, a round each."""
    tasks = [(scenario, number) for number in range(replications)]

    def here() -> None:
        for task in tasks:
            replicate(*task)

    def there() -> None:
        assert sum(1 for _ in as_they_come(replicate, tasks, workers)) == replications

    there(), here()
    ratios = []
    for number in range(rounds):
        seconds = {work: _seconds(work) for work in ((here, there) if number % 2 else (there, here))}
        ratios.append(seconds[here] / seconds[there])
    return ratios


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def in_process(replications: int, rounds: int) -> list[float]:
    """Seconds of `llmsim.run` in one process beyond the simulation, per replication."""
    scenario, beyond = load(TINY), []
    for _ in range(rounds):
        began = perf_counter()
        result = run(scenario, replications=replications, jobs=1, progress=lambda _: None)
        beyond.append((perf_counter() - began - sum(one.wall_s for one in result.replications)) / replications)
    return beyond


@contextmanager
def dask() -> Iterator[Workers]:
    """A cluster on loopback: a scheduler, and two workers that are processes."""
    from parallel.dask_cluster import cluster

    from llmsim.parallel import Cluster

    with tempfile.TemporaryDirectory() as folder, cluster(folder) as found:
        yield Cluster(found.address)


def spread(values: list[float], unit: str = "", scale: float = 1.0) -> str:
    """``1.93 [1.71 … 2.02]``."""
    low, middle, high = (scale * one for one in (min(values), statistics.median(values), max(values)))
    return f"{middle:.2f}{unit} [{low:.2f} … {high:.2f}]"


def machine() -> str:
    """What this was measured on, and how busy it was."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    python = ".".join(map(str, sys.version_info[:3]))
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{names[0] if names else 'CPU unknown'}, {usable} usable cores{memory}, Python {python}{busy}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--replications", type=int, default=8)
    parser.add_argument("--dask", action="store_true")
    asked = parser.parse_args()
    spike, tiny = load(SPIKE), load(TINY)
    print(machine())

    def lines(name: str, workers: Workers) -> None:
        print(f"\n{name}, {asked.rounds} paired rounds, median [least … most]")
        ratios = speedup(spike, asked.replications, workers, asked.rounds)
        print(f"  hacker-news-spike x {asked.replications}: {spread(ratios)} times as fast as one process")
        here_s, there_s = cpu(spike, asked.replications, workers)
        print(
            f"  CPU time: {here_s:.1f} s in one process, {there_s:.1f} s here; on free cores {2 * here_s / there_s:.2f}"
        )
        for scenario, many in ((tiny, 100), (spike, asked.replications)):
            beyond = [overhead(scenario, many, workers, 2) for _ in range(asked.rounds)]
            told = "next to nothing" if scenario is tiny else scenario.name
            print(f"  beyond the simulation, {told}, a replication:")
            print(f"    CPU  {spread([one.cpu_s for one in beyond], ' ms', 1000)}")
            print(f"    wall {spread([one.wall_s for one in beyond], ' ms', 1000)}")

    print(f"\none process\n  beyond the simulation: {spread(in_process(20, asked.rounds), ' ms', 1000)} a replication")
    lines("two processes", 2)
    if asked.dask:
        with dask() as workers:
            lines("two workers of a Dask cluster", workers)
    print(f"\nload afterwards: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
