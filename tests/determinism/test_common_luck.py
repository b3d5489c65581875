"""Luck belongs to what it decides: policies, hedges and load shapes shift nobody else's."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from determinism.world import draws, hedge

import llmsim as ls
from llmsim.distributions import Constant, Exponential, Lognormal
from llmsim.providers.dialects import ErrorRates
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Stage, Topics, Traffic, UserRetry

CALM = Scenario(
    version=1,
    seed=5,
    replications=1,
    clock=Clock(duration=60.0, drain=60.0),
    traffic=Traffic(
        base_rate=5.0,
        patience=Exponential(60.0),
        topics=Topics(),
        mix=(
            Route(route="chat", input_tokens=Lognormal(p50=900, p99=9000), output_tokens=Exponential(80.0)),
            Route(route="rag", weight=0.3, input_tokens=Exponential(5000.0)),
        ),
    ),
    # No slots and no limits: what happens to one request does not depend on the others, so all luck shows.
    providers={
        "a": SimProvider(ttft=Exponential(0.4), inter_token=Exponential(0.01), errors=ErrorRates(server_error=0.1)),
        "b": SimProvider(ttft=Exponential(0.4), inter_token=Exponential(0.01)),
    },
)
ASKED = ["session", "arrival_s", "route", "user", "input_tokens"]
SERVED = ["session", "attempt", "upstream", "outcome", "output_tokens"]
TIMES = ["start_s", "first_s", "end_s"]


def _run(gateway=(), scenario=CALM):
    return ls.run(scenario.with_gateway(list(gateway)))


@pytest.fixture(scope="module")
def plain():
    return _run()


def test_a_policy_that_draws_shifts_nothing(plain):
    other = _run([draws])
    assert other.events.height > 200
    assert other.requests.equals(plain.requests)
    assert other.attempts.equals(plain.attempts)


def test_a_policy_that_calls_others_leaves_first_calls_alone(plain):
    """Retries and fallbacks are further calls; every first call to a meets what it met without them."""
    other = _run([ls.Fallback(order=("a", "b")), ls.Retry(max_attempts=2)])
    assert other.attempts.height > plain.attempts.height
    assert other.requests.select(ASKED).equals(plain.requests.select(ASKED))
    firsts = other.attempts.filter(pl.col("attempt") == 1)
    assert firsts.select(SERVED).equals(plain.attempts.select(SERVED))
    for name in TIMES:
        np.testing.assert_array_equal(firsts[name].to_numpy(), plain.attempts[name].to_numpy())


@pytest.mark.slow
def test_a_hedge_does_not_inherit_the_luck_of_the_call_it_hedges(plain):
    """Else both are slow together, and hedging would look useless."""
    free = dataclasses.replace(
        CALM,
        clock=Clock(duration=400.0),
        providers={"a": SimProvider(ttft=Exponential(2.0), inter_token=Constant(0.01))},
        traffic=Traffic(base_rate=5.0, mix=(Route(output_tokens=Constant(5)),)),
    )
    alone, hedged = _run([], free), _run([hedge], free)
    table = alone.attempts.join(hedged.attempts.filter(pl.col("cause") == "hedge"), on="session", suffix="_hedge")
    # How long a hedge would have taken is known where it won: exponential with its own mean, whatever the first took.
    won = table.filter(pl.col("first_s_hedge").is_not_null() & ~pl.col("first_s_hedge").is_nan())
    first = (won["first_s"] - won["start_s"]).to_numpy()
    second = (won["first_s_hedge"] - won["start_s_hedge"]).to_numpy()
    assert len(won) > 300
    assert not np.any(np.isclose(first, second, rtol=1e-9))
    # P(the hedge is first | the first one took f > 0.5 s): its own exponential is below f - 0.5.
    all_first = (alone.attempts["first_s"] - alone.attempts["start_s"]).to_numpy()
    late = all_first[all_first > 0.5]
    expected = np.mean(1 - np.exp(-(late - 0.5) / 2.0))
    assert abs(len(won) / len(late) - expected) < 4 * np.sqrt(expected * (1 - expected) / len(late))


def test_another_load_shape_keeps_each_arrivals_luck(plain):
    spike = dataclasses.replace(
        CALM.traffic,
        executor="ramping-arrival-rate",
        stages=(Stage(duration=20, target=1), Stage(duration=5, target=6)),
    )
    other = _run([], dataclasses.replace(CALM, traffic=spike))
    count = plain.requests.height
    assert other.requests.height > 2 * count
    same = [name for name in ASKED if name != "arrival_s"]
    assert other.requests.head(count).select(same).equals(plain.requests.select(same))
    both = plain.attempts.join(other.attempts, on=["session", "attempt"], suffix="_spike")
    for name in ("output_tokens", "outcome"):
        # Patience runs from the arrival and luck belongs to it, so nothing here may differ.
        assert both[name].to_list() == both[f"{name}_spike"].to_list()
    ttft, ttft_spike = (
        both[f"first_s{suffix}"].to_numpy() - both[f"start_s{suffix}"].to_numpy() for suffix in ("", "_spike")
    )
    np.testing.assert_allclose(ttft, ttft_spike, atol=1e-9)
    assert (other.requests["arrival_s"].head(count) - plain.requests["arrival_s"]).abs().max() > 1.0


def test_another_provider_does_not_shift_the_first(plain):
    three = {**CALM.providers, "c": SimProvider(ttft=Exponential(9.0), errors=ErrorRates(server_error=0.5))}
    other = _run([], dataclasses.replace(CALM, providers=three))
    assert other.requests.equals(plain.requests)
    assert other.attempts.equals(plain.attempts)


def test_a_change_of_distribution_keeps_the_ranks(plain):
    """Common random numbers: the slow ones stay the slow ones when the provider gets twice as fast."""
    faster = {**CALM.providers, "a": dataclasses.replace(CALM.providers["a"], ttft=Exponential(0.2))}
    other = _run([], dataclasses.replace(CALM, providers=faster))
    before, after = ((run.attempts["first_s"] - run.attempts["start_s"]).to_numpy() for run in (plain, other))
    answered = ~np.isnan(before) & ~np.isnan(after)  # who waits less loses patience less often
    assert answered.sum() > 200
    np.testing.assert_allclose(before[answered], 2 * after[answered], rtol=1e-9, atol=1e-9)


def test_a_user_who_presses_retry_gets_new_luck():
    traffic = dataclasses.replace(CALM.traffic, user_retry=UserRetry(share=1.0, limit=3), patience=None)
    result = _run([], dataclasses.replace(CALM, traffic=traffic))
    again = result.requests.filter(pl.col("user_retry") > 0)
    assert again.height > 15
    # One in ten calls fails; with the luck of the first call every retry would fail again.
    assert 0 < (again["outcome"] != "ok").mean() < 0.4
