"""Google, Site Reliability Engineering, ch. 21, "Handling Overload": client-side throttling, and budgets for retries.

A client refuses a call with probability max(0, (requests - K·accepts)/(requests + 1)) over two minutes. Under a steady
overload, an upstream that accepts c of the λ calls a second that are wanted, that is 1 - K·c/λ: K·c are sent. And
retries: three attempts at most for each request make up to three times the load when everything fails, a budget of a
tenth of the requests makes 1.1 times.
"""

import math

import numpy as np
import pytest

from llmsim.algorithms.backoff import Backoff
from llmsim.distributions import Constant
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import AdaptiveThrottling, Retry
from llmsim.providers.dialects import ErrorRates, Limits
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

WINDOW_S = 120.0


def tables(policies, provider, *, rate, seconds, warm_up=0.0, seed=0, upstream=()):
    scenario = Scenario(
        version=1,
        seed=seed,
        clock=Clock(warm_up=warm_up, duration=seconds, drain=60.0),
        traffic=Traffic(base_rate=rate, mix=(Route(output_tokens=Constant(1)),)),
        providers={"llm": provider},
        gateway=Gateway(policies=policies, upstream=upstream),
    )
    return replicate(scenario, 0).tables


def accepting(rate_per_s):
    return SimProvider(ttft=Constant(0.05), rate_limit=Limits(requests=rate_per_s, window=1.0))


def is_rejected(outcome):
    return outcome.values == (outcome.categories.index("rejected") if "rejected" in outcome.categories else -1)


def formula(k, wanted, seed, seconds, accepted_per_s):
    """Share refused in the last minute: the formula on counters that are lists, and a bucket for the upstream."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / wanted, int(seconds * wanted)))
    requests, accepts, level, last, refused = [], [], accepted_per_s, 0.0, []
    first_request = first_accept = 0
    for now in times:
        while first_request < len(requests) and requests[first_request] <= now - WINDOW_S:
            first_request += 1
        while first_accept < len(accepts) and accepts[first_accept] <= now - WINDOW_S:
            first_accept += 1
        count = len(requests) - first_request
        p = max(0.0, (count - k * (len(accepts) - first_accept)) / (count + 1))
        requests.append(now)
        rejected = rng.random() < p
        refused.append(rejected)
        if rejected:
            continue
        level, last = min(accepted_per_s, level + (now - last) * accepted_per_s), now
        if level >= 1:
            level -= 1
            accepts.append(now)
    recent = np.array(refused)[times > times[-1] - 60.0]
    return recent.mean()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("k", "wanted"), [pytest.param(2.0, 40.0, marks=SLOW), pytest.param(2.0, 15.0, marks=SLOW), (1.1, 20.0)]
)
def test_the_share_refused_is_the_formulas(k, wanted):
    accepted = 10.0
    throttle = AdaptiveThrottling(k=k, minimum_requests=0)
    seconds = 200.0
    found = tables((), accepting(accepted), rate=wanted, seconds=seconds, upstream=(throttle,))["requests"]
    outcome, arrival = found["outcome"], found["arrival_s"].values
    late = arrival > seconds - 60.0
    share = is_rejected(outcome)[late].mean()
    count = late.sum()
    steady = max(0.0, 1 - k * accepted / wanted)
    other = np.mean([formula(k, wanted, seed, seconds, accepted) for seed in range(4)])
    error = math.sqrt(max(steady * (1 - steady), 0.01) / count)
    # The window is a ring of twelve seconds' buckets: it covers 108 to 120 s.
    assert abs(share - other) <= 4 * error * math.sqrt(1.25) + 0.01, (share, other)
    assert abs(share - steady) <= 4 * error + 0.03, (share, steady)


def test_below_the_overload_nothing_is_refused_and_the_upstream_is_hardly_refusing():
    found = tables(
        (), accepting(10.0), rate=8.0, seconds=120.0, upstream=(AdaptiveThrottling(),), seed=1
    )["requests"]["outcome"]  # fmt: skip
    assert not is_rejected(found).any()


@pytest.mark.slow
def test_k_is_the_calls_sent_for_each_accepted():
    sent = tables((), accepting(10.0), rate=60.0, seconds=150.0, upstream=(AdaptiveThrottling(k=2.0),))["attempts"]
    late = sent["start_s"].values > 60.0
    outcome = sent["outcome"]
    accepted = outcome.values[late] == outcome.categories.index("ok")
    assert late.sum() / accepted.sum() == pytest.approx(2.0, rel=0.1)


DOWN = SimProvider(errors=ErrorRates(server_error=1.0), answer_time=Constant(0.01))
SHORT = Backoff(initial=0.1, max=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "load"), [(None, 3.0), (0.1, 1.1)])
def test_retry_budgets_keep_the_growth_of_load_near_a_tenth(budget, load):
    limit = {} if budget is None else {"budget": budget, "budget_minimum": 0.0}
    retry = Retry(max_attempts=3, backoff=SHORT, **limit)
    found = tables((retry,), DOWN, rate=40.0, seconds=40.0)["requests"]["attempts"].values
    assert found.mean() == pytest.approx(load, rel=0.01)


def test_a_budget_lets_the_few_failures_of_a_healthy_upstream_be_retried():
    well = SimProvider(ttft=Constant(0.05), errors=ErrorRates(server_error=0.03), answer_time=Constant(0.01))
    found = tables((Retry(max_attempts=3, backoff=SHORT, budget=0.1),), well, rate=40.0, seconds=40.0)["requests"]
    outcome = found["outcome"]
    assert (outcome.values == outcome.categories.index("ok")).mean() > 0.999
