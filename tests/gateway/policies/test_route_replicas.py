"""What it costs that every replica of a gateway knows only its own calls."""

import statistics

import pytest

from llmsim.distributions import Constant, Exponential
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Routing
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic


def times(replicas, route, *, duration, replications):
    """Mean time in the system by replication: ten upstreams of one slot, service 1 s, at 80 % of what they can do."""
    scenario = Scenario(
        version=1,
        seed=5,
        clock=Clock(warm_up=duration / 2.5, duration=duration, drain=1e6),
        traffic=Traffic(base_rate=8.0, mix=(Route(output_tokens=Constant(1)),)),
        providers={f"u{place}": SimProvider(ttft=Exponential(1.0), concurrency=1) for place in range(10)},
        gateway=Gateway(policies=(route,), replicas=replicas),
    )
    tables = [replicate(scenario, number).tables["requests"] for number in range(replications)]
    return [table["e2e_s"].values[table["arrival_s"].values >= 0].mean() for table in tables]


def test_shared_books_make_replicas_one_gateway():
    few = {"duration": 40.0, "replications": 2}
    one = times(1, Routing(strategy="least_busy"), **few)
    assert times(4, Routing(strategy="least_busy", shared=True), **few) == one
    local = times(4, Routing(strategy="least_busy"), **few)
    assert statistics.fmean(local) > 1.2 * statistics.fmean(one)


@pytest.mark.slow
def test_the_figures_in_the_policys_page():
    """Local: 1.39 s with one replica (or shared), 2.2 with four, 2.7 with eight; by chance 4.6."""
    many = {"duration": 150.0, "replications": 6}
    found = {
        "one": times(1, Routing(strategy="least_busy"), **many),
        "four": times(4, Routing(strategy="least_busy"), **many),
        "eight": times(8, Routing(strategy="least_busy"), **many),
        "chance": times(8, Routing(strategy="weighted"), **many),
    }
    means = {name: statistics.fmean(values) for name, values in found.items()}
    print(means)
    assert means == {
        "one": pytest.approx(1.39, rel=0.1),
        "four": pytest.approx(2.2, rel=0.1),
        "eight": pytest.approx(2.7, rel=0.1),
        "chance": pytest.approx(4.6, rel=0.25),
    }
    # In every replication, with the same arrivals and service times.
    for better, worse in (("one", "four"), ("four", "eight"), ("eight", "chance")):
        assert all(one < other for one, other in zip(found[better], found[worse], strict=True))
