"""What repair and re-asking are worth at measured defect rates, against closed forms.

weaviate/structured-rag's raw answers (September 2024, no JSON mode) give the shares of each defect by model and style
of prompt; llmsim's profiles carry them. With a share d of defects, of which u cannot be repaired without making
something up, and calls of one request that fail independently of each other:

==================  ==============  ========================
policy              good answers    cost per good answer
==================  ==============  ========================
none                1 - d           c / (1 - d)
repair              1 - u           c / (1 - u)
repair + n calls    1 - u^n         c / (1 - u), whatever n is
==================  ==============  ========================

(n calls cost c (1 + u + … + u^(n-1)) = c (1 - u^n) / (1 - u).) Independence flatters re-asking: a real model that has
misread a schema once is likelier to do it again.
"""

import math

import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.gateway.policies import StructuredOutput
from llmsim.pricing import TokenPrice
from llmsim.providers.sim.outputs import JsonDefects, Output
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Traffic

INPUT, OUTPUT, PRICE = 100, 30, 1e-6
CALL_USD = (INPUT + OUTPUT) * PRICE

#: Of the profiles openai-gpt-4o and together-llama-3-8b, prompt style dspy (784 answers each).
MEASURED = {
    "gpt-4o": JsonDefects(fence=0.0651, prose=0.00128, cut=0.101, no_json=0.0587, wrong_schema=0.173),
    "llama-3-8b": JsonDefects(prose=0.297, no_json=0.0217, bracket=0.0153, wrong_schema=0.0472),
}
POLICIES = {
    "none": (),
    "repair": (StructuredOutput(max_attempts=1),),
    "repair, 2 calls": (StructuredOutput(max_attempts=2, explain=False),),
    "repair, 4 calls": (StructuredOutput(max_attempts=4, explain=False),),
}


def expected(model, policy):
    """Share of good answers, and USD for each of them."""
    rates = MEASURED[model]
    lost = rates.cut + rates.no_json + rates.wrong_schema
    bad = lost + rates.fence + rates.prose + rates.bracket
    calls = {"none": 0, "repair": 1, "repair, 2 calls": 2, "repair, 4 calls": 4}[policy]
    return (1 - lost**calls, CALL_USD / (1 - lost)) if calls else (1 - bad, CALL_USD / (1 - bad))


def run(model, policies, duration=150.0):
    scenario = ls.Scenario(
        version=1,
        seed=5,
        replications=1,
        clock=Clock(duration=duration),
        traffic=Traffic(
            base_rate=10.0, mix=(Route(expects="json", input_tokens=Constant(INPUT), output_tokens=Constant(OUTPUT)),)
        ),
        providers={
            "a": SimProvider(
                ttft=Constant(0.1),
                inter_token=Constant(0.0),
                price=TokenPrice(input=PRICE, output=PRICE),
                output=Output(json_defects=MEASURED[model]),
            )
        },
        gateway=ls.Gateway(policies=policies),
    )
    return ls.run(scenario)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "policy"),
    [
        pytest.param(model, policy, marks=[pytest.mark.slow] * (model == "llama-3-8b" or "4" in policy))
        for model in MEASURED
        for policy in POLICIES
    ],
)
def test_good_answers_and_their_cost(model, policy):
    result = run(model, POLICIES[policy])
    good, per_good = expected(model, policy)
    count = result.requests.height
    assert (result.requests["outcome"] == "ok").mean() == pytest.approx(
        good, abs=4 * math.sqrt(good * (1 - good) / count) + 1e-9
    )
    assert result.metrics["cost_per_ok_usd"] == pytest.approx(
        per_good, rel=4 * math.sqrt((1 - good) / good / count) + 0.02
    )
    parts = result.metrics["cost_usd"]
    # What a re-ask replaced is retry work; an answer that reached the user and was useless is broken work.
    assert parts["useful"] == pytest.approx(CALL_USD * (result.requests["outcome"] == "ok").sum())
    assert (parts["retry"] > 0) == (policy != "none")
    assert (parts["broken"] > 0) == (policy == "none")
    assert parts["total"] == pytest.approx(CALL_USD * result.attempts.height)


def test_the_measured_rates_are_those_of_the_profiles():
    for profile, model in (("openai-gpt-4o", "gpt-4o"), ("together-llama-3-8b", "llama-3-8b")):
        document = {"version": 1, "traffic": {"base_rate": "1/s"}, "providers": {"a": {"profile": profile}}}
        found = ls.load(document).providers["a"].output.defects("dspy")
        assert vars(found) == pytest.approx(vars(MEASURED[model]))
