"""Cancellation matters: what a provider does with calls nobody waits for decides whether a retry storm ends.

40 slots, exponential service of mean 1 s, 24 calls/s (ρ = 0.6); for 20 s three times that. Clients wait 4 s for the
first token, three attempts, full jitter. During the spike the queue grows towards 4 s and attempts fail.

Afterwards, if abandoned calls go on being served (``continue``), every request costs three of them: 3 × 0.6 = 1.8
times what the slots can bear, and it stays so for ever. If their slots are freed (``free``), what gets done is A·p per
second, with A attempts a second of which a share p = 1 − f ends well: λ(1 + f + f²)(1 − f) = λ(1 − f³) ≤ λ. That is
always below the capacity, so no congested state can last. (With *constant* service times it can: see the last test.)
"""

import pytest

from llmsim.distributions import Constant, Distribution, Exponential
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Backoff, Retry, Timeout
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Stage, Traffic

SEEDS = range(5)
BEFORE, SPIKE, AFTER = 40.0, 20.0, 120.0  # s at 1x, at 3x, at 1x
HEAL = 60.0  #: s after the spike by which it must be over


def _error_rates(on_cancel: str, seed: int, service: Distribution, rate: float) -> tuple[float, float, float]:
    """Share of failed requests before the spike, during it, and from `HEAL` after its end on."""
    scenario = Scenario(
        version=1,
        seed=seed,
        clock=Clock(warm_up=20.0, duration=BEFORE + SPIKE + AFTER, drain=30.0),
        traffic=Traffic(
            executor="ramping-arrival-rate",
            base_rate=rate,
            stages=(
                Stage(duration=BEFORE, target=1.0),
                Stage(duration=0.001, target=3.0),
                Stage(duration=SPIKE, target=3.0),
                Stage(duration=0.001, target=1.0),
            ),
            mix=(Route(output_tokens=Constant(1)),),
        ),
        providers={"llm": SimProvider(ttft=service, concurrency=40, on_cancel=on_cancel)},
        gateway=Gateway(
            policies=(Retry(max_attempts=3, backoff=Backoff(initial=1.0, jitter="full")),),
            upstream=(Timeout(ttft=4.0),),
        ),
    )
    table = replicate(scenario, 0).tables["requests"]
    arrival, outcome = table["arrival_s"].values, table["outcome"]
    failed = outcome.values != outcome.categories.index("ok")
    windows = [(0, BEFORE), (BEFORE, BEFORE + SPIKE), (BEFORE + SPIKE + HEAL, BEFORE + SPIKE + AFTER)]
    return tuple(failed[(arrival >= start) & (arrival < end)].mean() for start, end in windows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_with_freed_slots_the_service_heals_and_with_abandoned_work_it_does_not(seed):
    before, spike, after = _error_rates("free", seed, Exponential(1.0), 24.0)
    assert before < 0.02
    assert spike > 0.1, "the spike must hurt, or there is nothing to heal"
    assert after < 0.02
    before, spike, after = _error_rates("continue", seed, Exponential(1.0), 24.0)
    assert before < 0.02
    assert spike > 0.1
    assert after > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_with_constant_service_times_not_even_freed_slots_heal(seed):
    """First come, first served: whoever gets a slot has waited 4 − 40/(3λ) = 3.4 s and needs 1 s more.

    All attempts fail then, and holding a slot for 0.6 s each, three a request, they fill the slots exactly. A share of
    short services is what ends that state above; here there are none.
    """
    before, spike, after = _error_rates("free", seed, Constant(1.0), 24.0)
    assert before < 0.02
    assert spike > 0.1
    assert after > 0.5
