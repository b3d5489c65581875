"""Marc Brooker, "Fixing retries with token buckets and circuit breakers" (2022-02-28), and its simulator.

A hundred clients start ten calls a second each, for ten seconds; a call fails with probability p; a hop takes 10 ms on
average. Four kinds of client: without retries, with three, with a bucket that every call fills by 0.1 and every retry
empties by 1 (size 5, so about one retry in ten calls), and with three retries as long as not more than a tenth of the
calls failed. What is published is who succeeds, and how many calls a server gets for each first try.

The oracle is a small event simulation of those rules. Ours are a hundred replicas of a gateway, each with a state of
its own, in front of a simulated provider. Two traps of the source are followed where they decide: the bucket fills at
the start of a call and not at its success (the post has the latter), and N retries fail with p^(N+1) (the post has
p^N).
"""

import heapq
import math
import random

import pytest

from llmsim.algorithms.backoff import Backoff
from llmsim.distributions import Constant, Gamma
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Quota, Retry
from llmsim.providers.dialects import ErrorRates
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

AT_ONCE = Backoff(initial=0.0, jitter="none")
BUCKET = Quota(capacity=5, cost=1, rate_limited_cost=1, earn=0.1, earn_on="request", refund=False)
CLIENTS = {
    "none": Retry(max_attempts=1),
    "three": Retry(max_attempts=4, backoff=AT_ONCE),
    "adaptive": Retry(max_attempts=1000, backoff=AT_ONCE, quota=BUCKET),
    "breaker": Retry(max_attempts=4, backoff=AT_ONCE, max_failure_rate=0.1),
}
#: Success and server load per first try; the author's simulator, run once (research of this project, 2026-11-23).
PUBLISHED = {
    0.01: {"none": (0.990, 1.000), "three": (1.000, 1.010), "adaptive": (1.000, 1.010), "breaker": (0.998, 1.009)},
    0.05: {"none": (0.947, 1.000), "three": (1.000, 1.054), "adaptive": (1.000, 1.051), "breaker": (0.988, 1.040)},
    0.10: {"none": (0.899, 1.000), "three": (1.000, 1.113), "adaptive": (0.993, 1.099), "breaker": (0.930, 1.035)},
    0.20: {"none": (0.803, 1.000), "three": (0.999, 1.253), "adaptive": (0.913, 1.135), "breaker": (0.806, 1.002)},
    0.50: {"none": (0.495, 1.000), "three": (0.941, 1.876), "adaptive": (0.571, 1.142), "breaker": (0.502, 1.000)},
}


def ours(kind, p, seed, *, clients=100, rate=1000.0, seconds=10.0):
    """(success, load, first tries) of one run."""
    scenario = Scenario(
        version=1,
        seed=seed,
        clock=Clock(duration=seconds, drain=600.0),
        traffic=Traffic(base_rate=rate, mix=(Route(output_tokens=Constant(1)),)),
        providers={
            "server": SimProvider(
                network=Gamma(mean=0.02, cv=0.5**0.5), ttft=Constant(1e-9), answer_time=Constant(1e-9),
                errors=ErrorRates(server_error=p),
            )
        },
        # Every request is a session of its own, which a sticky balancer sends anywhere: thinned Poisson streams.
        gateway=Gateway(policies=(CLIENTS[kind],), replicas=clients, balancer="sticky"),
    )  # fmt: skip
    table = replicate(scenario, 0).tables["requests"]
    outcome = table["outcome"]
    ok = outcome.values == outcome.categories.index("ok")
    return float(ok.mean()), float(table["attempts"].values.mean()), len(ok)


class Client:
    """The rules of one client, by its kind."""

    def __init__(self, kind):
        self.kind, self.bucket, self.calls, self.failures = kind, 5.0, 0, 0

    def start(self):
        self.calls += 1
        self.bucket = min(5.0, self.bucket + 0.1)

    def retries(self, tries):
        self.failures += 1
        if self.kind == "adaptive":
            if self.bucket <= 1.0:
                return False
            self.bucket -= 1.0
            return True
        if self.kind == "breaker" and self.failures / self.calls > 0.1:
            return False
        return self.kind != "none" and tries <= 3


def oracle(kind, p, seed, *, clients=100, rate=1000.0, seconds=10.0):
    """(success, load, first tries) of one run."""
    luck = random.Random(seed)
    queue, first, total, good = [], 0, 0, 0
    for client in (Client(kind) for _ in range(clients)):
        at = luck.expovariate(rate / clients)
        while at < seconds:
            heapq.heappush(queue, (at, luck.random(), client, 0))
            at += luck.expovariate(rate / clients)
    while queue:
        now, _, client, tries = heapq.heappop(queue)
        if tries == 0:
            client.start()
            first += 1
        elif luck.random() >= p:
            good += 1
            continue
        elif not client.retries(tries):
            continue
        total += 1
        back = luck.expovariate(100) + luck.expovariate(100)
        heapq.heappush(queue, (now + back, luck.random(), client, tries + 1))
    return good / first, total / first, first


def mean_and_error(rows):
    """Of success and of load: [(mean, standard error), …]."""
    found = []
    for values in list(zip(*rows, strict=True))[:2]:
        mean = sum(values) / len(values)
        error = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
        found.append((mean, error))
    return found


def agree(kind, p, runs, **size):
    mine = mean_and_error([ours(kind, p, seed, **size) for seed in range(runs)])
    other = mean_and_error([oracle(kind, p, seed, **size) for seed in range(3 * runs)])
    for what, (m, m_error), (o, o_error) in zip(("success", "load"), mine, other, strict=True):
        # The spread of a few runs is known badly; that of the oracle's is of the same thing.
        error = math.hypot(max(m_error, o_error * math.sqrt(3)), o_error)
        assert abs(m - o) <= 3.5 * error + 2e-4, (kind, p, what, m, o, error)
    return mine[0][0], mine[1][0]


#: Without retries and with three there is nothing to learn from more than one p: the closed form has them all.
CASES = [
    # Those between are between, and 10 % of a breaker's are among those of fewer clients.
    pytest.param(kind, p, marks=[pytest.mark.long] if p in (0.01, 0.1) else [])
    for p in PUBLISHED
    for kind in CLIENTS
    if p == 0.2 or kind in ("adaptive", "breaker")
]
#: A fifth of the clients, each as busy as published: all that differs is the noise.
FEWER = {"clients": 20, "rate": 200.0}


def as_published(kind, p, runs, **size):
    success, load = agree(kind, p, runs, **size)
    published_success, published_load = PUBLISHED[p][kind]
    # The published figures are of a single run of 10,000 calls, rounded to three digits; ours are of `runs`.
    calls = 1 / (1 / 10_000 + 1 / (runs * size.get("clients", 100) * 100))
    spread = math.sqrt(max(published_success * (1 - published_success), 1e-4) / calls)
    assert success == pytest.approx(published_success, abs=4 * spread + 0.006)
    assert load == pytest.approx(published_load, abs=4 * math.sqrt(0.5 * p / calls) + 0.006)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "p"), CASES)
def test_success_and_load(kind, p):
    as_published(kind, p, runs=2)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "p"), [("adaptive", 0.2), pytest.param("breaker", 0.1, marks=pytest.mark.slow)])
def test_success_and_load_of_fewer_clients(kind, p):
    as_published(kind, p, runs=2, **FEWER)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_the_closed_form_of_three_retries(p):
    success, load, first = ours("three", p, 3, **FEWER)
    expected = sum(p**k for k in range(4))
    variance = sum((2 * k + 1) * p**k for k in range(4)) - expected**2
    assert abs(success - (1 - p**4)) <= 4 * math.sqrt(p**4 * (1 - p**4) / first)
    assert abs(load - expected) <= 4 * math.sqrt(variance / first)


@pytest.mark.slow
def test_the_effect_of_the_number_of_clients():
    """A hundred calls a second of 10, 100 and 1,000 clients: full buckets of 5 are a big part of what few calls need.

    A bucket errs towards load, a failure rate towards failures: opposite ways, as the post says.
    """
    counts = (10, 100, 1000)
    adaptive = []
    for clients in counts:
        mine = mean_and_error([ours("adaptive", 0.5, seed, clients=clients, rate=100.0) for seed in range(4)])
        other = mean_and_error([oracle("adaptive", 0.5, seed, clients=clients, rate=100.0) for seed in range(12)])
        assert abs(mine[1][0] - other[1][0]) <= 3.5 * math.hypot(other[1][1] * math.sqrt(3), other[1][1])
        adaptive.append(mine[1][0])
    assert adaptive == pytest.approx([1.141, 1.461, 1.870], abs=0.06)
    breaker = [
        sum(ours("breaker", 0.05, seed, clients=clients, rate=100.0)[0] for seed in range(4)) / 4 for clients in counts
    ]
    assert breaker == pytest.approx([0.997, 0.954, 0.952], abs=0.012)


@pytest.mark.slow
def test_in_an_open_system_backoff_changes_nothing():
    """Nobody waits with new calls until old ones are done: later is not less ("What is Backoff For?", 2022-08-11)."""
    loads = {}
    for initial in (0.0, 0.1):
        CLIENTS["later"] = Retry(max_attempts=4, backoff=Backoff(initial=initial, max=10.0, jitter="none"))
        loads[initial] = ours("later", 0.5, 5)[1]
    assert loads[0.0] == pytest.approx(loads[0.1], abs=0.05)
    assert loads[0.1] == pytest.approx(1.875, abs=0.05)
