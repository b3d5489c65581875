"""The performance table of the README: Markdown on standard output, with the machine that it was measured on.

::

    python tests/benchmarks/performance_table.py                 # minutes on a quiet machine
    python tests/benchmarks/performance_table.py --rounds 3 --requests 5000
    python tests/benchmarks/performance_table.py --processes     # also two processes against one (bench_scaling.py)

Every row is CPU time, divided by that of plain SimPy with `simpy.Resource` (sleeps: with generator processes) run
before and after it, per request; the median of interleaved rounds, with the least and the most. What the rows do is
said in bench_pipeline.py, peers.py and bench_sleeps.py. Peers that are not installed are named below the table.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import statistics
import sys
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from bench_pipeline import SPIKE, asyncio_policy, mm10_scenario, paired, plain_simpy, rate, recorded  # noqa: E402
from bench_scaling import machine, speedup  # noqa: E402
from bench_sleeps import CONTENDERS, simpy_processes  # noqa: E402
from peers import PEERS, rows  # noqa: E402

from llmsim.api import load  # noqa: E402

SLEEPERS = {
    "llmsim, asyncio.sleep": "asyncio.sleep on llmsim",
    "asyncio with a jumping selector": "on a jumping selector",
    "async-solipsism": "on async-solipsism",
    "looptime": "on looptime",
}
VERSIONS = ("simpy", "ciw", "asyncflow-sim", "async-solipsism", "looptime", "numpy")


def mm10(requests: int, rounds: int) -> dict[str, list[float]]:
    """Ratios to plain SimPy of M/M/10, and of the spike."""
    everything = {
        "llmsim, an `async def policy`, nothing recorded": lambda: asyncio_policy(requests),
        **rows(requests),
        "llmsim, the same as a scenario: whole gateway, all recorded": recorded(mm10_scenario(requests)),
        "llmsim, hacker-news-spike: six policies, all recorded": recorded(load(SPIKE)),
    }
    return paired(everything, lambda: plain_simpy(requests), rounds)


def sleeps(count: int, rounds: int) -> dict[str, list[float]]:
    """Ratios to SimPy of 1,000 tasks that sleep again and again."""
    luck, tasks = Random(1), 1000
    delays = [[luck.expovariate(1.0) for _ in range(max(1, count // tasks))] for _ in range(tasks)]
    total = sum(map(len, delays))

    few = [chain[:1] for chain in delays]  # as many as take the slow one as long

    def row(name: str):
        chains, number = (few, tasks) if name == "looptime" else (delays, total)
        return lambda: (CONTENDERS[name](chains), number)[1]

    here = {told: row(name) for name, told in SLEEPERS.items() if name in CONTENDERS}
    return paired(here, lambda: (simpy_processes(delays), total)[1], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=20_000, help="of M/M/10; slow peers get a share of them")
    parser.add_argument("--processes", action="store_true", help="also two processes against one")
    asked = parser.parse_args()
    began = machine()
    base = rate(lambda: plain_simpy(asked.requests))
    print("| M/M/10 | times plain SimPy | |\n|---|---:|---|")
    print(f"| plain SimPy, `simpy.Resource` | 1.00 | {base:,.0f} requests per second of CPU |")
    _show(mm10(asked.requests, asked.rounds))
    print("| **1,000 tasks that sleep in turn** | | |\n| plain SimPy, generator processes | 1.00 | |")
    _show(sleeps(20_000, asked.rounds))
    if asked.processes:
        print("| **Replications of hacker-news-spike** | | |\n| one process | 1.00 | |")
        _show({"two processes, wall time": speedup(load(SPIKE), 8, 2, asked.rounds)})
    here = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONS if _installed(name)]
    print(f"\nMedian of {asked.rounds} interleaved rounds (least … most), CPU time. {began} before and")
    print(f"{os.getloadavg()[0]:.1f} after; {', '.join(here)}.")
    missing = [name for name, (package, *_) in PEERS.items() if package and importlib.util.find_spec(package) is None]
    if missing:
        print(f"Not installed here: {', '.join(missing)}.")


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _show(ratios: dict[str, list[float]]) -> None:
    for name, values in ratios.items():
        digits = 3 if statistics.median(values) < 0.1 else 2
        low, middle, high = (f"{one:.{digits}f}" for one in (min(values), statistics.median(values), max(values)))
        print(f"| {name} | {middle} | {low} … {high} |", flush=True)


if __name__ == "__main__":
    main()
