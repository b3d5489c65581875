"""Fair queueing: what three tenants get of a saturated upstream is in proportion to their weights, in tokens, whatever
they ask for; and one that asks for less than its share gets all it asks for (max-min fairness).

The property behind it is that of start-time fair queueing (Goyal et al. 1996) and of the Virtual Token Counter (Sheng
et al., arXiv 2401.00588).
"""

import numpy as np
import pytest
from theory.queueing import Estimate

from llmsim.distributions import Constant
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import FairQueue, WaitingLine, WaitingRoom
from llmsim.providers.sim.latency import Prefill
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

LINE = WaitingLine(limit=600, timeout=120.0)
#: A call takes 1 ms a token: 1 s, 0.2 s and 0.5 s; four at once are 4,000 tokens a second.
ROUTES = (
    Route(route="long", tenant="a", weight=0.2, input_tokens=Constant(900), output_tokens=Constant(100)),
    Route(route="short", tenant="b", weight=0.6, input_tokens=Constant(150), output_tokens=Constant(50)),
    Route(route="medium", tenant="c", weight=0.2, input_tokens=Constant(300), output_tokens=Constant(200)),
)


def _shares(policy, number, rate=25.0, mix=ROUTES, duration=60.0):
    """Tokens a second that each tenant was served in the second half of a minute, when all of them wait."""
    scenario = Scenario(
        version=1,
        clock=Clock(duration=duration, drain=200.0),
        traffic=Traffic(base_rate=rate, mix=mix),
        providers={"llm": SimProvider(ttft=Constant(0.001), inter_token=Constant(0.001), prefill=Prefill(per_1k=1.0))},
        gateway=Gateway(policies=(policy,)),
    )
    tables = replicate(scenario, number).tables
    requests, attempts = tables["requests"], tables["attempts"]
    tenant_of = dict(zip(requests["session"].values.tolist(), requests["tenant"].values.tolist(), strict=True))
    names = requests["tenant"].categories
    start, end = attempts["start_s"].values, attempts["end_s"].values
    served = dict.fromkeys((route.tenant for route in mix), 0.0)
    for at in np.flatnonzero((start >= duration / 2) & (start < duration)):
        tenant = names[tenant_of[int(attempts["session"].values[at])]]
        served[tenant] += 1000 * (end[at] - start[at])
    return {tenant: tokens / (duration / 2) for tenant, tokens in served.items()}


def _mean(policy, replications=4, **more):
    rows = [_shares(policy, number, **more) for number in range(replications)]
    return {tenant: float(np.mean([row[tenant] for row in rows])) for tenant in rows[0]}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param({}, {"a": 4000 / 3, "b": 4000 / 3, "c": 4000 / 3}, id="equal"),
        pytest.param({"b": 2.0}, {"a": 1000, "b": 2000, "c": 1000}, id="weighted", marks=pytest.mark.slow),
    ],
)
def test_shares_are_those_of_the_weights_in_tokens(weights, expected):
    replications = 1 if not weights else 4
    got = _mean(FairQueue(at_once=4, queue=LINE, weights=weights), replications)
    print(weights, got)
    # What is under way at either end, of 120,000 tokens in half a minute: four calls of up to 1,000.
    assert got == pytest.approx(expected, rel=0.04)


@pytest.mark.slow
def test_first_come_first_served_goes_by_what_is_asked_for():
    """The same traffic through a waiting room: 5,000, 3,000 and 2,500 tokens a second are asked for."""
    got = _mean(WaitingRoom(at_once=4, queue=LINE))
    print(got)
    asked = {"a": 5000.0, "b": 3000.0, "c": 2500.0}
    total = sum(got.values())
    assert {tenant: tokens / total for tenant, tokens in got.items()} == pytest.approx(
        {tenant: tokens / 10_500 for tenant, tokens in asked.items()}, rel=0.15
    )


@pytest.mark.slow
def test_who_asks_for_less_than_his_share_gets_it_all_and_soon():
    """`b` asks for a sixth of the upstream, the others for twice as much as there is."""
    mix = (
        Route(route="long", tenant="a", weight=0.5, input_tokens=Constant(900), output_tokens=Constant(100)),
        Route(route="short", tenant="b", weight=0.25, input_tokens=Constant(150), output_tokens=Constant(50)),
        Route(route="medium", tenant="c", weight=0.25, input_tokens=Constant(300), output_tokens=Constant(200)),
    )
    rows = [_shares(FairQueue(at_once=4, queue=LINE), number, rate=13.0, mix=mix) for number in range(8)]
    b = Estimate.of([row["b"] for row in rows])
    print(b, [row["a"] for row in rows])
    assert abs(b.z(0.25 * 13.0 * 200)) <= 4.5
    assert np.mean([row["a"] for row in rows]) > np.mean([row["c"] for row in rows]) * 0.95
