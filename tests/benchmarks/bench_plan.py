"""A plan for 10⁹ requests on 200 cores, from what is measured here: work, sending, memory, network, cost.

::

    python tests/benchmarks/bench_plan.py                     # the spike, and 20 of its courses in a row
    python tests/benchmarks/bench_plan.py --requests 1e8 --cores 64 --usd-per-core-hour 0.05

Everything is CPU time and bytes of this machine, so it says little about another one's speed and much about what is
sent to whom. ``--send-ms`` is what a cluster takes of the client for a task; ``bench_scaling.py --dask`` measures it.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import sys
from pathlib import Path
from time import process_time
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from llmsim.api import load  # noqa: E402 - the line above makes it importable
from llmsim.parallel.shipping import Shipping, here  # noqa: E402
from llmsim.scenario.objectives import objectives_of  # noqa: E402
from llmsim.scenario.replicate import replicate  # noqa: E402
from llmsim.scenario.spec import Scenario  # noqa: E402
from llmsim.telemetry.recorder import rows_of  # noqa: E402
from llmsim.tuning.running import Measured  # noqa: E402

SPIKE = Path(__file__).parents[2] / "scenarios" / "hacker-news-spike.yaml"
COURSES = 20


class Sized(NamedTuple):
    """What a replication is."""

    name: str
    requests: int
    cpu_s: float
    scenario_bytes: int  #: sent to each worker once
    task_bytes: int  #: sent for each replication, versions included
    numbers_bytes: int  #: that come back with `sweep` and `tune`
    whole_bytes: int  #: that come back with `run`
    peak_mb: float  #: of this process after it


def courses(scenario: Scenario, count: int) -> Scenario:
    """So many of its courses in a row; faults are in the first."""
    stages = scenario.traffic.stages
    told_s = sum(stage.duration for stage in stages)
    rest = type(stages[-1])(duration=scenario.clock.duration - told_s, target=stages[-1].target)
    pages = [{"duration": one.duration, "target": one.target} for one in (*stages, rest)] * count
    return scenario.with_values({"clock.duration": scenario.clock.duration * count, "traffic.stages": pages})


def sized(name: str, scenario: Scenario) -> Sized:
    """Make one, and weigh it."""
    shipping, measured = Shipping(), Measured(tuple(objectives_of(scenario)), hashed=True)
    parcel = shipping.packed((measured, (scenario, 0)))
    began = process_time()
    replication = replicate(scenario, 0)
    cpu_s = process_time() - began
    return Sized(
        name,
        rows_of(replication.tables["requests"]),
        cpu_s,
        sum(len(one.content) for one in shipping.contents.values()),
        len(parcel.content) + len(pickle.dumps(here())),
        len(pickle.dumps(measured(scenario, 0))),
        len(pickle.dumps(replication, protocol=5)),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def tell(one: Sized, asked: argparse.Namespace) -> None:
    """Print it and what follows from it."""
    many = asked.requests / one.requests
    cpu_s = many * one.cpu_s
    print(
        f"\n{one.name}: {one.requests:,} requests in {one.cpu_s:.2f} s of CPU, {one.requests / one.cpu_s:,.0f} a second"
    )
    print(f"  sent: scenario {one.scenario_bytes / 1e3:.1f} kB once a worker, task {one.task_bytes / 1e3:.1f} kB")
    print(f"  back: {one.numbers_bytes / 1e3:.2f} kB of numbers (sweep, tune), {one.whole_bytes / 1e6:.1f} MB (run)")
    print(
        f"  memory of a process: {one.peak_mb:.0f} MB; recorded: {one.whole_bytes / one.requests:.0f} bytes a request"
    )
    print(f"  {asked.requests:.0e} requests are {many:,.0f} replications, {cpu_s / 3600:.1f} core-hours", end="")
    print(f" (${cpu_s / 3600 * asked.usd_per_core_hour:.2f} at ${asked.usd_per_core_hour:g})", end="")
    sending_s = many * asked.send_ms / 1e3
    print(f", {cpu_s / asked.cores / 60:.1f} min on {asked.cores} cores; sending takes {sending_s / 60:.1f} min of one")
    sent = asked.cores * one.scenario_bytes + many * one.task_bytes
    print(
        f"  network: {sent / 1e9:.2f} GB out, {many * one.numbers_bytes / 1e9:.2f} GB of numbers back"
        f" or {many * one.whole_bytes / 1e9:,.0f} GB of everything; memory: {asked.cores * one.peak_mb / 1e3:.0f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=float, default=1e9)
    parser.add_argument("--cores", type=int, default=200)
    parser.add_argument("--send-ms", type=float, default=15.0)
    parser.add_argument("--usd-per-core-hour", type=float, default=0.05)
    asked = parser.parse_args()
    spike = load(SPIKE)
    replicate(spike, 1)  # imports
    tell(sized(spike.name, spike), asked)
    tell(sized(f"{COURSES} of its courses", courses(spike, COURSES)), asked)


if __name__ == "__main__":
    main()
