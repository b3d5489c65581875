"""M/M/10 in other simulators and on other virtual-time loops: Poisson arrivals 8/s, ten slots, mean service 1 s.

Each function simulates about as many requests as it is told and returns how many it did. Peers that are not installed
(the extra ``bench``) are left out. AsyncFlow has neither exponential service times nor a clock without samples: its row
is M/D/10, arrivals that its users make (their number drawn again every second), at 800/s and 12.5 ms so that its
sampling (every 0.1 s at most) costs next to nothing, on one CPU step; and two hops over a network that it will have.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from bench_pipeline import LAMBDA, MU, SLOTS  # noqa: E402 - the line above makes it importable
from engine.jumping_loop import JumpingLoop  # noqa: E402

from llmsim.engine import simulate  # noqa: E402

Peer = Callable[[int], int]


async def asyncio_program(requests: int) -> int:
    """M/M/10 as anyone would write it for asyncio: a task a customer, a semaphore, sleeps."""
    draw, station, waits = random.Random(1), asyncio.Semaphore(SLOTS), []
    now = asyncio.get_running_loop().time

    async def customer() -> None:
        arrived = now()
        async with station:
            waits.append(now() - arrived)
            await asyncio.sleep(draw.expovariate(MU))

    async with asyncio.TaskGroup() as group:
        for _ in range(requests):
            await asyncio.sleep(draw.expovariate(LAMBDA))
            group.create_task(customer())
    return len(waits)


def on_llmsim(requests: int) -> int:
    return simulate(lambda _: asyncio_program(requests))


def _on(loop: Any, requests: int) -> int:
    try:
        return loop.run_until_complete(asyncio_program(requests))
    finally:
        loop.close()


def on_jumping(requests: int) -> int:
    return _on(JumpingLoop(), requests)


def on_solipsism(requests: int) -> int:
    return _on(importlib.import_module("async_solipsism").EventLoop(), requests)


def on_looptime(requests: int) -> int:
    return _on(importlib.import_module("looptime").new_event_loop(start=0.0), requests)  # as its users have it


def on_ciw(requests: int) -> int:
    ciw = importlib.import_module("ciw")
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(LAMBDA)],
        service_distributions=[ciw.dists.Exponential(MU)],
        number_of_servers=[SLOTS],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(requests, method="Finish")
    return len(simulation.get_all_records())


def on_asyncflow(requests: int) -> int:
    flow, parts, load, settings = (
        importlib.import_module(f"asyncflow{name}") for name in ("", ".components", ".workload", ".settings")
    )
    per_s, network = 800, {"mean": 1e-6, "distribution": "exponential"}
    step = {"kind": "initial_parsing", "step_operation": {"cpu_time": LAMBDA / MU / per_s}}
    endpoint = parts.Endpoint(endpoint_name="/one", steps=[step])
    resources = parts.ServerResources(cpu_cores=SLOTS, ram_mb=1024)
    users = load.RqsGenerator(
        id="users",
        avg_active_users=load.RVConfig(mean=per_s),
        avg_request_per_minute_per_user=load.RVConfig(mean=60),
        user_sampling_window=1,
    )
    edges = [
        parts.Edge(id=f"{source}-{target}", source=source, target=target, latency=network, dropout_rate=0.0)
        for source, target in (("users", "client"), ("client", "server"), ("server", "client"))
    ]
    payload = (
        flow.AsyncFlow()
        .add_generator(users)
        .add_client(parts.Client(id="client"))
        .add_servers(parts.Server(id="server", server_resources=resources, endpoints=[endpoint]))
        .add_edges(*edges)
        .add_simulation_settings(
            settings.SimulationSettings(total_simulation_time=max(5, requests // per_s), sample_period_s=0.1)
        )
        .build_payload()
    )
    simpy = importlib.import_module("simpy")
    found = flow.SimulationRunner(env=simpy.Environment(), simulation_input=payload).run()
    return int(found.get_latency_stats()["total_requests"])


PEERS: dict[str, tuple[str, Peer, float]] = {
    "llmsim, plain asyncio: Semaphore and sleep": ("", on_llmsim, 1.0),
    "the same on async-solipsism": ("async_solipsism", on_solipsism, 0.25),
    "the same on looptime": ("looptime", on_looptime, 0.02),
    "the same on a jumping selector": ("", on_jumping, 0.5),
    "Ciw": ("ciw", on_ciw, 0.25),
    "AsyncFlow (M/D/10, see peers.py)": ("asyncflow", on_asyncflow, 0.25),
}  #: what has to be installed, what runs, and the share of the requests that takes long enough


def rows(requests: int) -> dict[str, Callable[[], int]]:
    """The peers that are here."""
    return {
        name: lambda peer=peer, share=share: peer(int(requests * share))
        for name, (package, peer, share) in PEERS.items()
        if not package or importlib.util.find_spec(package) is not None
    }
