"""Retries against independent failures: load Σ pᵏ and success 1 − p^(N+1), to the digit that chance allows."""

import math

import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.gateway.policies import Backoff
from llmsim.providers.dialects import ErrorRates
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

COUNT = 4000


def _run(error_rate, attempts, **retry):
    scenario = Scenario(
        version=1,
        clock=Clock(duration=COUNT / 20.0, drain=600.0),
        traffic=Traffic(base_rate=20.0, arrivals="constant", mix=(Route(output_tokens=Constant(1)),)),
        providers={"llm": SimProvider(ttft=Constant(0.1), errors=ErrorRates(server_error=error_rate))},
        gateway=ls.Gateway(policies=(ls.Retry(max_attempts=attempts, backoff=Backoff(initial=0.1), **retry),)),
    )
    return replicate(scenario, 0).tables


SLOW = pytest.mark.slow


@pytest.mark.parametrize("p", [pytest.param(0.05, marks=SLOW), 0.2, pytest.param(0.5, marks=SLOW)])
@pytest.mark.parametrize("retries", [pytest.param(0, marks=SLOW), 1, pytest.param(3, marks=SLOW)])
def test_amplification_and_success(p, retries):
    tables = _run(p, retries + 1)
    outcome, attempts = tables["requests"]["outcome"], tables["requests"]["attempts"].values
    count = len(attempts)
    load = sum(p**k for k in range(retries + 1))
    # The number of attempts is min(geometric, N + 1): its second moment gives the standard error.
    second = sum((2 * k + 1) * p**k for k in range(retries + 1))
    assert abs(attempts.mean() - load) <= 4 * math.sqrt((second - load**2) / count) + 1e-12
    failed = (outcome.values != outcome.categories.index("ok")).mean()
    expected = p ** (retries + 1)
    assert abs(failed - expected) <= 4 * math.sqrt(expected * (1 - expected) / count) + 1 / count
    assert len(tables["attempts"]["attempt"].values) == attempts.sum()


@pytest.mark.slow
def test_a_budget_bounds_the_load_where_everything_fails():
    """One retry for five requests, and one a second besides: 20 + 4 + 1 of them a second, not 60."""
    tables = _run(1.0, 3, budget=0.2, budget_minimum=1.0)
    load = tables["requests"]["attempts"].values.mean()
    assert load == pytest.approx(1 + 0.2 + 1 / 20, rel=0.03)
    assert _run(1.0, 3)["requests"]["attempts"].values.mean() == 3.0
