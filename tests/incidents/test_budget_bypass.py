"""Budgets that do not hold.

* BerriAI/litellm#41344: the budget is checked once, for the model that was asked for. That one is free, so the check is
  skipped; it is down, so the paid fallback answers, and nobody asks again. An exhausted user spends without a limit.
* The same without a fallback: costs are added up when calls have ended, so that all that are under way at once pass
  (the token limits of litellm#18730 and #5783 overshoot in the same way: 663 tokens where 100 were allowed).
"""

import polars as pl
import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.errors import BudgetExceeded
from llmsim.gateway.policies import Budget, Fallback
from llmsim.pricing import TokenPrice
from llmsim.providers.faults import Fault
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Traffic
from llmsim.types import Usage

LIMIT_USD = 0.031
PAID = TokenPrice(input=10e-6, output=10e-6)  # a request costs $0.0015; a user sends some 80


class Counting:
    """Adds up what requests cost; `checked` says which upstream's price decides whether the budget matters."""

    def __init__(self, run, checked):
        self.run, self.checked, self.spent = run, checked, {}

    async def __call__(self, request, call_next):
        costs = self.run.cost(request.upstream or self.checked, Usage(1, 1)) > 0
        if costs and self.spent.get(request.user, 0.0) >= LIMIT_USD:
            raise BudgetExceeded(f"{request.user} has spent it all")
        response = await call_next(request)

        def ended(outcome, usage):
            cost = self.run.cost(response.upstream, usage)
            self.spent[request.user] = self.spent.get(request.user, 0.0) + cost

        response.on_end(ended)
        return response


@ls.policy
class ChecksTheModelAskedFor:
    def start(self, run):
        return Counting(run, checked="free")


@ls.policy
class AddsUpAfterwards:
    def start(self, run):
        return Counting(run, checked="paid")


def scenario(*policies, providers, faults=(), **traffic):
    return ls.Scenario(
        version=1,
        seed=4,
        replications=6,
        clock=Clock(duration=60.0),
        traffic=Traffic(
            mix=(Route(input_tokens=Constant(100), output_tokens=Constant(50), max_tokens=50),),
            users=5,
            **traffic,
        ),
        providers=providers,
        faults=faults,
        gateway=ls.Gateway(policies=policies),
        slo={"max_spend_per_user": (f"max <= ${LIMIT_USD}",)},
    )


def bypass(budget):
    down = Fault(name="down", provider="free", duration=60.0, outage=True)
    upstreams = {"free": SimProvider(), "paid": SimProvider(price=PAID)}
    return ls.run(
        scenario(budget, Fallback(order=("free", "paid")), providers=upstreams, faults=(down,), base_rate=7.0)
    )


@pytest.mark.slow
def test_a_paid_fallback_is_paid_by_the_same_budget():
    buggy, right = bypass(ChecksTheModelAskedFor()), bypass(Budget(limit=LIMIT_USD, per="user"))
    assert buggy.verdict == "FAIL"
    assert buggy.metrics["safety"]["max_spend_per_user_usd"] > 3 * LIMIT_USD  # and on and on
    assert right.verdict == "PASS"
    spent = right.requests.group_by("replication", "user").agg(pl.col("cost_usd").sum())["cost_usd"]
    assert spent.max() <= LIMIT_USD
    assert spent.min() > 0.9 * LIMIT_USD  # what could be spent was
    assert set(right.requests["outcome"]) == {"ok", "budget_exceeded"}


def overshoot(budget):
    """Three hundred requests come before any of them has ended."""
    upstreams = {"paid": SimProvider(price=PAID, ttft=Constant(30.0))}
    return ls.run(scenario(budget, providers=upstreams, base_rate=10.0))


@pytest.mark.slow
def test_what_is_under_way_counts():
    buggy, right = overshoot(AddsUpAfterwards()), overshoot(Budget(limit=LIMIT_USD, per="user"))
    assert buggy.verdict == "FAIL"
    assert buggy.metrics["safety"]["max_spend_per_user_usd"] > 2 * LIMIT_USD
    assert right.verdict == "PASS"


@pytest.mark.parametrize(("shared", "times"), [(False, 3), (True, 1)])
def test_each_of_three_replicas_spends_the_limit_unless_they_share_it(shared, times):
    upstreams = {"paid": SimProvider(price=PAID)}
    one = scenario(Budget(limit=LIMIT_USD, shared=shared), providers=upstreams, base_rate=5.0)
    result = ls.run(one.with_values({"gateway.replicas": 3}))
    for replication in result.requests.partition_by("replication"):
        assert (times - 0.1) * LIMIT_USD < replication["cost_usd"].sum() <= times * LIMIT_USD + 1e-12
