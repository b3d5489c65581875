"""What N replicas of a gateway that do not talk to each other have to learn N times.

A breaker that needs M ended calls sees every N-th call only: N·M calls fail before all know, which takes N·M/λ
instead of M/λ seconds; and when the upstream is back, N times the permitted calls probe it. With ``shared: true`` it is
M, and the permitted ones. Measured with M = 20, λ = 10/s (failed calls; seconds until the last of them):

======== ============ ============
replicas local        shared
======== ============ ============
1        20;   1.9 s  20;   1.9 s
2        40;   3.9 s  20;   1.9 s
4        80;   7.9 s  20;   1.9 s
8        160; 15.9 s  20;   1.9 s
======== ============ ============
"""

import dataclasses

import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.gateway.policies import Cooldown, OutlierEjection
from llmsim.providers.faults import Abort, Fault
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic

RATE, MINIMUM, PERMITTED = 10.0, 20, 5
BREAKER = ls.CircuitBreaker(
    minimum_calls=MINIMUM, sliding_window=1000.0, wait_in_open=100.0, permitted_in_half_open=PERMITTED
)


def calls(policy, replicas, *, shared, status=500, down_s=1000.0, duration=60.0, ttft_s=0.05):
    """Start and outcome of every call to the upstream that fails for its first `down_s` seconds."""
    answers = SimProvider(ttft=Constant(ttft_s), inter_token=Constant(0.0))
    scenario = Scenario(
        version=1,
        clock=Clock(duration=duration, drain=10.0),
        traffic=Traffic(base_rate=RATE, arrivals="constant", mix=(Route(output_tokens=Constant(1)),)),
        providers={"a": answers, "b": answers},
        gateway=ls.Gateway(
            policies=(ls.Fallback(order=("a", "b")),),
            upstream=(dataclasses.replace(policy, shared=shared),),
            replicas=replicas,
        ),
        faults=(Fault(name="down", provider="a", duration=down_s, abort=Abort(status=status)),),
    )
    table = replicate(scenario, 0).tables["attempts"]
    upstream, outcome = table["upstream"], table["outcome"]
    at_a = upstream.values == upstream.categories.index("a")
    words = [outcome.categories[code] for code in outcome.values[at_a]]
    return sorted(zip(table["start_s"].values[at_a], words, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2, 4, 8])
def test_every_replica_learns_by_itself_that_the_upstream_is_down(replicas):
    for shared, times in ((False, replicas), (True, 1)):
        failed = calls(BREAKER, replicas, shared=shared)
        assert {word for _, word in failed} == {"server_error"}
        assert len(failed) == MINIMUM * times
        learned_s = failed[-1][0] - failed[0][0]
        assert learned_s == pytest.approx((MINIMUM * times - 1) / RATE, abs=1e-6)


@pytest.mark.parametrize("replicas", [1, 4, 8])
def test_every_replica_probes_by_itself_whether_it_is_back(replicas):
    """Answers take 5 s: nobody knows the verdict before all the probes are out."""
    breaker = dataclasses.replace(BREAKER, wait_in_open=20.0)
    for shared, times in ((False, replicas), (True, 1)):
        seen = calls(breaker, replicas, shared=shared, down_s=19.0, ttft_s=5.0)
        back = [start for start, word in seen if word == "ok"]
        assert sum(start < back[0] + 4.95 for start in back) == PERMITTED * times


@pytest.mark.parametrize(
    ("policy", "each", "status"),
    [(Cooldown(time=1000.0, max=1000.0), 1, 429), (Cooldown(time=1000.0), 3, 500), (OutlierEjection(), 5, 500)],
)
def test_cooldowns_and_ejections_too(policy, each, status):
    assert len(calls(policy, 8, shared=False, status=status, duration=20.0)) == 8 * each
    assert len(calls(policy, 8, shared=True, status=status, duration=20.0)) == each
