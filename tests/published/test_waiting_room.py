"""A waiting room with c places inside and q outside is M/M/c/K with K = c + q: Erlang's blocking and wait.

And what the order changes when a queue's patience is what decides: against a small simulation of its own.
"""

import math
import random
from heapq import heappop, heappush

import numpy as np
import pytest
from theory.queueing import Estimate, mmck

from llmsim.distributions import Constant, Exponential
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import WaitingLine, WaitingRoom
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic


def _scenario(room, rate, customers):
    """Poisson arrivals at a room before an upstream that serves any number at once, each for Exp(1)."""
    return Scenario(
        version=1,
        clock=Clock(warm_up=50.0, duration=customers / rate, drain=1e6),
        traffic=Traffic(base_rate=rate, mix=(Route(output_tokens=Constant(1)),)),
        providers={"llm": SimProvider(ttft=Exponential(1.0))},
        gateway=Gateway(policies=(room,)),
    )


def _measured(scenario, number):
    """(share rejected, mean wait of those let in, 95th percentile of it)."""
    tables = replicate(scenario, number).tables
    requests, attempts = tables["requests"], tables["attempts"]
    measured = requests["arrival_s"].values >= 0
    outcome = requests["outcome"]
    rejected = (outcome.values == outcome.categories.index("rejected"))[measured]
    # Who was let in has one attempt, and the time before it was spent in the room.
    arrivals = dict(zip(requests["session"].values.tolist(), requests["arrival_s"].values.tolist(), strict=True))
    sessions, starts = attempts["session"].values.tolist(), attempts["start_s"].values.tolist()
    waits = np.array([s - arrivals[n] for n, s in zip(sessions, starts, strict=True) if arrivals[n] >= 0])
    return rejected.mean(), waits.mean(), float(np.quantile(waits, 0.95))


def _theory(c, queue, load):
    """Blocking, and mean wait of those let in (Little's law on the queue)."""
    p = mmck(c, c + queue, load)
    in_queue = sum((n - c) * p[n] for n in range(c, c + queue + 1))
    return p[-1], in_queue / (load * (1 - p[-1]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("c", "queue", "rho", "customers"),
    [
        (3, 5, 1.2, 700),
        pytest.param(10, 20, 0.95, 4_500, marks=pytest.mark.slow),
        pytest.param(1, 10, 0.8, 4_500, marks=pytest.mark.slow),
    ],
)
def test_blocking_and_wait_are_those_of_erlang(c, queue, rho, customers):
    room = WaitingRoom(at_once=c, queue=WaitingLine(limit=queue, timeout=1e5))
    rows = np.array([_measured(_scenario(room, rho * c, customers), number)[:2] for number in range(12)])
    blocked, wait = _theory(c, queue, rho * c)
    for values, expected in zip(rows.T, (blocked, wait), strict=True):
        estimate = Estimate.of(values)
        print(f"c {c}, queue {queue}, rho {rho}: {estimate}, theory {expected:.6g}, z {estimate.z(expected):+.2f}")
        assert abs(estimate.z(expected)) <= 4.5  # twelve replications: beyond that once in 1,000, by Student
        assert estimate.error < 0.12 * expected  # so that it could be wrong


def _oracle(rate, c, timeout, order, customers, seed):
    """The same with patience, by hand: (share turned away, mean wait of those let in)."""
    draw = random.Random(seed)
    arrivals, now = [], 0.0
    for _ in range(customers):
        now += draw.expovariate(rate)
        arrivals.append(now)
    queue, ends, waits, turned_away = [], [], {}, set()  # queue: in the order of arrival

    def serve(until):
        """Let in whoever is next, as places come free up to a time."""
        while ends and ends[0] <= until:
            free = heappop(ends)
            while queue:
                came = queue.pop(0) if order == "fifo" else queue.pop()
                if free - came <= timeout:
                    waits[came] = free - came
                    heappush(ends, free + draw.expovariate(1.0))
                    break
                turned_away.add(came)

    for came in arrivals:
        serve(came)
        if len(ends) < c:
            waits[came] = 0.0
            heappush(ends, came + draw.expovariate(1.0))
        else:
            queue.append(came)
    serve(math.inf)
    counted = [wait for came, wait in waits.items() if came >= 50.0]  # as ours, after 50 s of warm-up
    away = sum(came >= 50.0 for came in (*turned_away, *queue))
    return away / (away + len(counted)), float(np.mean(counted)), float(np.quantile(counted, 0.95))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["fifo", "lifo"])
def test_in_an_overload_lifo_answers_soon_and_fifo_answers_everybody_late(order):
    """Twice the load that fits, and 5 s of patience: both turn away half; what differs is how long the others wait."""
    room = WaitingRoom(at_once=4, queue=WaitingLine(limit=100_000, timeout=5.0), order=order)
    ours = np.array([_measured(_scenario(room, 8.0, 4000), number) for number in range(8)])
    theirs = np.array([_oracle(8.0, 4, 5.0, order, 4000, seed) for seed in range(60)])
    for mine, other, what in zip(ours.T, theirs.T, ("turned away", "mean wait", "p95"), strict=True):
        a, b = Estimate.of(mine), Estimate.of(other)
        z = (a.mean - b.mean) / math.hypot(a.error, b.error)
        print(f"{order} {what}: {a}, oracle {b}, z {z:+.2f}")
        assert abs(z) <= 4.5
    wait = ours[:, 1].mean()
    assert wait > 4.0 if order == "fifo" else wait < 1.0
