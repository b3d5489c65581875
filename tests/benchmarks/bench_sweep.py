"""What a sweep costs beside its simulations, and what a second process gains.

``python tests/benchmarks/bench_sweep.py [--rounds 9] [--only overhead|processes]``

Overhead is CPU time in one process: of a sweep that keeps its runs, less that of the same replications alone, per run;
rounds are interleaved, so that both meet the same machine. Processes are wall time, 1 against 2, in pairs; workers are
started before. A shared machine shows in the spread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

import llmsim as ls  # noqa: E402 - the line above makes it importable
from llmsim.scenario.replicate import replicate  # noqa: E402

SCENARIO = ROOT / "scenarios" / "brown-out.yaml"
OVER = {"gateway.retry.max_attempts": [1, 2, 3, 4], "upstream.timeout.ttft": ["2s", "4s"]}


def overhead(rounds: int, replications: int) -> None:
    """Print CPU seconds of simulation and milliseconds beside it, per run."""
    alone, beside = [], []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            begin = process_time()
            found = ls.sweep(SCENARIO, OVER, replications=replications, out=Path(folder, "a.parquet"))
            whole = process_time() - begin
        begin = process_time()
        for scenario in found.scenarios:
            for number in range(replications):
                replicate(scenario, number)
        runs = len(found.rows)
        alone.append((process_time() - begin) / runs)
        beside.append(whole / runs - alone[-1])
    told = sorted(1e3 * one for one in beside[1:])  # the first round loads modules
    print(
        f"overhead: {median(told):.1f} ms CPU a run ({told[0]:.1f} to {told[-1]:.1f}; {rounds} rounds of {runs} runs) "
        f"beside {1e3 * median(alone[1:]):.0f} ms of simulation"
    )


def processes(rounds: int, replications: int) -> None:
    """Print how much faster two processes are than one."""
    ratios = []
    for number in range(rounds + 1):
        took = {}
        for jobs in (1, 2) if number % 2 else (2, 1):
            begin = perf_counter()
            ls.sweep(SCENARIO, OVER, replications=replications, jobs=jobs)
            took[jobs] = perf_counter() - begin
        ratios.append(took[1] / took[2])
    told = sorted(ratios[1:])  # the first round starts the workers
    print(f"2 processes: {median(told):.2f} times as fast as 1 ({told[0]:.2f} to {told[-1]:.2f} in {rounds} pairs)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--replications", type=int, default=6)
    parser.add_argument("--only", choices=("overhead", "processes"))
    asked = parser.parse_args()
    if asked.only != "processes":
        overhead(asked.rounds, asked.replications)
    if asked.only != "overhead":
        processes(asked.rounds, asked.replications)
