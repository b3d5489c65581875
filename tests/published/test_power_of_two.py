"""The power of two choices (Mitzenmacher, IEEE TPDS 12(10), 2001; Vvedenskaya, Dobrushin, Karpelevich, 1996).

In the supermarket model (n queues, Poisson arrivals of n times rho, exponential service of mean 1, first come first
served) the share of queues with at least i calls goes to rho^i for a random choice, and to s_i = rho^(2^i - 1) for the
shorter of two as n grows. The mean time in the system is the sum of the s_i over rho: at rho = .9, 10 against 2.61.
With n = 100 Mitzenmacher simulated 2.65. Small n is a little worse, so beside the formulas stands a simulation of the
same n that knows nothing of llmsim.
"""

import heapq
import math
import random
import statistics

import pytest

from llmsim.distributions import Constant, Exponential
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Routing
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic


def fixed_point(rho, choices):
    """Mean time in the system of the limit n to infinity."""
    if choices == 1:
        return 1 / (1 - rho)
    return sum(rho ** (2**i - 1) for i in range(1, 40)) / rho


def oracle(seed, *, n, rho, choices, warm_up, duration):
    """Times in the system of those who came in `duration`: an event queue and n counters."""
    stream = random.Random(f"{seed} {choices}")
    free_at, load, leaving, times, now = [0.0] * n, [0] * n, [], [], 0.0
    while now < warm_up + duration:
        now += stream.expovariate(n * rho)
        while leaving and leaving[0][0] <= now:
            load[heapq.heappop(leaving)[1]] -= 1
        queue = min(stream.sample(range(n), choices), key=load.__getitem__)  # of equals the first drawn
        free_at[queue] = max(free_at[queue], now) + stream.expovariate(1.0)
        load[queue] += 1
        heapq.heappush(leaving, (free_at[queue], queue))
        if warm_up <= now < warm_up + duration:
            times.append(free_at[queue] - now)
    return times


def routed(number, *, n, rho, strategy, warm_up, duration, **fields):
    """The same through llmsim: n upstreams of one slot each behind a gateway that routes."""
    scenario = Scenario(
        version=1,
        seed=11,
        clock=Clock(warm_up=warm_up, duration=duration, drain=1e6),
        traffic=Traffic(base_rate=n * rho, mix=(Route(output_tokens=Constant(1)),)),
        providers={f"u{place}": SimProvider(ttft=Exponential(1.0), concurrency=1) for place in range(n)},
        gateway=Gateway(policies=(Routing(strategy=strategy, **fields),)),
    )
    requests = replicate(scenario, number).tables["requests"]
    measured = requests["arrival_s"].values >= 0
    return requests["e2e_s"].values[measured]


def mean_and_error(values):
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def compared(replications, **world):
    """(mean, its standard error) of llmsim's and of the oracle's replication means, and of their 99th percentiles."""
    strategy, choices = world.pop("strategy"), world.pop("choices")
    found = {"ours": [], "theirs": [], "our tail": [], "their tail": []}
    for number in range(replications):
        ours = sorted(routed(number, strategy=strategy, **world))
        theirs = sorted(oracle(number, choices=choices, **world))
        for times, mean, tail in ((ours, "ours", "our tail"), (theirs, "theirs", "their tail")):
            found[mean].append(statistics.fmean(times))
            found[tail].append(times[int(0.99 * len(times))])
    return {name: mean_and_error(values) for name, values in found.items()}


def agree(one, other, z=4.0):
    return abs(one[0] - other[0]) <= z * math.hypot(one[1], other[1])


def test_two_choices_are_as_good_as_published():
    """n = 10 at rho = .7, where the limits are 3.33 and 1.61."""
    world = {"n": 10, "rho": 0.7, "warm_up": 30.0, "duration": 60.0}
    two = compared(6, strategy="p2c", choices=2, **world)
    assert agree(two["ours"], two["theirs"])
    assert two["ours"][0] < 0.65 * fixed_point(0.7, 1)
    assert two["ours"][0] == pytest.approx(fixed_point(0.7, 2), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "choices", "limit", "world"),
    [
        # Queues of a random choice do not depend on each other, but take 1/(1 - sqrt(rho))^2 = 380 to forget.
        # So most of that is warm-up; the queue of one server is in theory/test_queues.py, the draws in test_route.py.
        pytest.param("weighted", 1, 10.0, {"n": 10, "warm_up": 2000.0, "duration": 600.0}, marks=pytest.mark.long),
        ("p2c", 2, 2.614, {"n": 50, "warm_up": 150.0, "duration": 150.0}),
    ],
)
def test_the_supermarket_at_nine_tenths(strategy, choices, limit, world):
    """Random is M/M/1; two choices are within 4 % of the fixed point with n = 50."""
    assert fixed_point(0.9, choices) == pytest.approx(limit, rel=1e-3)
    found = compared(4, rho=0.9, strategy=strategy, choices=choices, **world)
    print(f"{strategy}: {found}")
    assert agree(found["ours"], found["theirs"])
    assert agree(found["our tail"], found["their tail"])
    mean, error = found["ours"]
    assert abs(mean - limit) <= 4 * error + 0.04 * limit
