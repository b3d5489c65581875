"""N replicas with limits of their own let N times as much through; with a shared one they do not."""

import numpy as np
import pytest
from gateway.policies.toys import levels

from llmsim.distributions import Constant
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Bulkhead, FairQueue, LoadShedding, RateLimit, WaitingLine, WaitingRoom
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

LINE = WaitingLine(limit=1000, timeout=600.0)


def _attempts(policy, replicas, rate=20.0, duration=60.0, scope="upstream"):
    scenario = Scenario(
        version=1,
        clock=Clock(duration=duration, drain=0.0),
        traffic=Traffic(base_rate=rate, arrivals="constant", mix=(Route(output_tokens=Constant(1)),)),
        providers={"llm": SimProvider(ttft=Constant(2.0))},
        gateway=Gateway(**{"upstream" if scope == "upstream" else "policies": (policy,)}, replicas=replicas),
    )
    return replicate(scenario, 0).tables["attempts"]


def _most_at_once(table):
    starts, ends = table["start_s"].values, table["end_s"].values
    ends = np.where(np.isnan(ends), np.inf, ends)
    return max(int(((starts <= at) & (ends > at)).sum()) for at in starts)


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_a_rate_limit_of_each_replica_is_n_times_the_limit(replicas, shared):
    """One a second and ten at once: 70 in a minute, or so many each."""
    sent = len(_attempts(RateLimit(requests=1.0, burst=10.0, shared=shared), replicas)["attempt"].values)
    expected = 70 if shared else 70 * replicas
    print(f"{replicas} replicas, {'shared' if shared else 'local'}: {sent} sent, {expected} expected")
    assert abs(sent - expected) <= replicas


@pytest.mark.parametrize(
    ("policy", "most"),
    [
        (Bulkhead(at_once=3), 3),
        (FairQueue(at_once=3, queue=LINE), 3),
        (WaitingRoom(at_once=3, queue=LINE), 3),
        (LoadShedding(at_once=8, levels=levels({0: 0.5})), 8),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_so_it_is_with_calls_at_once(policy, most):
    from dataclasses import replace

    local = _most_at_once(_attempts(policy, 4, duration=20.0, scope="gateway"))
    shared = _most_at_once(_attempts(replace(policy, shared=True), 4, duration=20.0, scope="gateway"))
    if policy.kind == "load_shedding":  # by chance, between half and all
        assert most / 2 < shared <= most < local <= 4 * most
    else:
        assert (shared, local) == (most, 4 * most)


def test_who_waits_for_a_shared_room_is_called_whichever_replica_he_came_to():
    table = _attempts(WaitingRoom(at_once=2, queue=LINE, shared=True), 3, rate=1.5, scope="gateway")
    assert set(table["replica"].values.tolist()) == {0, 1, 2}
    assert _most_at_once(table) == 2
    order = np.argsort(table["start_s"].values, kind="stable")
    assert (np.diff(table["session"].values[order]) > 0).all()
