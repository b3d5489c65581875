"""A price that changes: what is billed, what policies see, and what reports make of it."""

import math

import polars as pl
import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.gateway.policies import Budget, Routing
from llmsim.pricing import TokenPrice, price_at
from llmsim.providers.faults import Fault, Scale
from llmsim.providers.sim.spec import SimProvider
from llmsim.report.samples import samples
from llmsim.scenario.prices import price_steps
from llmsim.scenario.spec import Clock, Scenario
from llmsim.telemetry.cost_tables import token_costs
from llmsim.telemetry.costs import cost_parts, price_of
from llmsim.traffic.spec import Route, Traffic

CHEAP, DEAR = TokenPrice(input=1e-6, output=4e-6), TokenPrice(input=3e-6, output=9e-6, cached_input=1e-6)
EACH = 100 * 1e-6 + 10 * 4e-6  #: what a call costs at the cheap one
MIX = (Route(input_tokens=Constant(100), output_tokens=Constant(10)),)


def dearer(multiplier=5.0, at=20.0, duration=10.0, provider="a"):
    return Fault(
        name=f"{provider} {at:g}", provider=provider, at=at, duration=duration, price=Scale(multiplier=multiplier)
    )


def scenario(*faults, gateway=()):
    quick = {"ttft": Constant(0.5), "inter_token": Constant(0.1)}
    return Scenario(
        version=1,
        clock=Clock(duration=40.0, warm_up=5.0),
        traffic=Traffic(base_rate=1.0, arrivals="constant", mix=MIX),
        providers={"a": SimProvider(price=CHEAP, **quick), "b": SimProvider(price=DEAR, **quick)},
        faults=faults,
    ).with_gateway(list(gateway))


def run(*faults, gateway=()):
    return ls.run(scenario(*faults, gateway=gateway), replications=1)


def sample_of(result):
    return samples(result.scenario, result.replications)[0]


def test_a_price_climbs_and_comes_down_again_call_by_call():
    fault = Fault(
        name="f", provider="a", at=5.0, ramp_up=10.0, duration=5.0, ramp_down=15.0, price=Scale(multiplier=5.0)
    )
    result = run(fault)
    rows = result.attempts.select("start_s", "cost_usd").sort("start_s")
    wanted = [EACH * fault.factor("price", at) for at in rows["start_s"]]
    # In steps of a thousandth of the ramp, each with the price of its middle: off by a 2000th of 4 times the price.
    assert rows["cost_usd"].to_list() == pytest.approx(wanted, abs=4 * EACH / 2000 * 1.01)
    assert len(set(wanted)) > 20
    sample = sample_of(result)
    found = rows.select(there=price_of(sample, "a", "output"))["there"].to_list()
    assert found == [price_at(sample.price_steps["a"], at).output for at in rows["start_s"]]
    assert cost_parts(sample)["total"] == pytest.approx(sample.requests["cost_usd"].sum())


def test_a_call_is_billed_at_the_price_of_the_moment_it_was_sent():
    rows = run(dearer()).attempts
    # The clock of attempts is the scenario's, whose 0 is the end of warm-up; the call of second 19 ends after 20.
    for low, high, each in ((0, 20, EACH), (20, 30, 5 * EACH), (30, 40, EACH)):
        part = rows.filter(pl.col("start_s").is_between(low, high, closed="left"))
        assert part.height >= 9
        assert part["cost_usd"].to_list() == pytest.approx([each] * part.height)
    assert rows.filter(pl.col("start_s") < 20, pl.col("end_s") > 20).height == 1


def test_overlapping_changes_multiply_and_each_ends():
    steps = price_steps(scenario(dearer(2.0, 10.0, 20.0), dearer(3.0, 20.0, math.inf)))["a"]
    assert [(start_s, round(price.input * 1e6, 9)) for start_s, price in steps] == [
        (-math.inf, 1.0),
        (10.0, 2.0),
        (20.0, 6.0),
        (30.0, 3.0),
    ]
    assert price_steps(scenario(dearer(provider="b")))["b"][1][1].cached_input == pytest.approx(5e-6)
    assert price_steps(scenario(Fault(name="slow", provider="a", latency=Scale(multiplier=2.0)))) == {}


def test_a_route_by_cost_leaves_while_it_is_dearer_and_comes_back():
    rows = run(dearer(), gateway=[Routing(strategy="cost")]).attempts
    assert rows.filter(upstream="b")["start_s"].to_list() == [float(second) for second in range(20, 30)]


def test_a_budget_sets_aside_at_the_new_price():
    # 1,000 output tokens are set aside for each call: 0.0041 USD now, 0.0205 later.
    gateway = [Budget(limit=0.02, assumed_output_tokens=1000)]
    rows = run(dearer(at=5.0, duration=math.inf), gateway=gateway).requests.filter(window="measured")
    assert set(rows.filter(pl.col("arrival_s") < 5)["outcome"]) == {"ok"}
    assert set(rows.filter(pl.col("arrival_s") >= 5)["outcome"]) == {"budget_exceeded"}


def test_the_parts_of_the_bill_know_what_the_first_choice_cost_at_that_time():
    away = Fault(name="away", provider="a", at=15.0, duration=10.0, outage=True)
    sample = sample_of(run(dearer(), away, gateway=[ls.Fallback(order=("a", "b"))]))
    elsewhere, parts = 100 * 3e-6 + 10 * 9e-6, cost_parts(sample)
    # Five answers at b when a was cheap, five when it was five times as dear.
    assert parts["fallback_difference"] == pytest.approx(5 * (elsewhere - EACH) + 5 * (elsewhere - 5 * EACH))
    assert parts["total"] == pytest.approx(sample.requests["cost_usd"].sum())
    kinds = token_costs(sample)
    assert all("other" not in told or told["other"] == (0, 0.0) for told in kinds.values())
    assert math.fsum(cost for told in kinds.values() for _, cost in told.values()) == pytest.approx(parts["total"])


def test_a_free_provider_has_no_price_to_change():
    with pytest.raises(ls.ScenarioError, match="no price"):
        ls.load(
            {
                "version": 1,
                "traffic": {"base_rate": "1/s"},
                "providers": {"a": {}},
                "faults": [{"name": "f", "provider": "a", "price": {"multiplier": "2x"}}],
            }
        )
