"""What a call can cost at most, and a budget that is never passed, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.errors import BudgetExceeded, ConnectionFailed, Overloaded, RateLimited, ServerError, StreamBroken
from llmsim.pricing import TokenPrice
from llmsim.providers.live.events import USAGE_HEADER
from llmsim.providers.live.most import UNSAID_TOKENS, most_tokens
from llmsim.providers.live.spending import Budget, Budgeted
from llmsim.types import Message, Request, Response, Usage, WholeAnswer

ASK = Request("1/0/0", messages=(Message("user", "ä" * 10),), max_tokens=7)
PRICE = TokenPrice(input=1e-6, output=1e-3)


@pytest.mark.parametrize("usd", [0, -1, math.nan, math.inf, None, "1", True])
def test_a_budget_is_an_amount_above_zero(usd):
    with pytest.raises(ValueError, match=r"needs a budget above zero, as in budget_usd=0\.50"):
        Budget(usd)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.floats(0, 0.4),  # the most it can cost
            st.sampled_from(["reported", "unreported", "left open"]),
            st.floats(0, 1),  # the share of it that is billed
            st.booleans(),  # whether the oldest call ends now
        ),
        max_size=60,
    )
)
def test_spent_and_reserved_never_pass_the_budget(steps):
    budget, billed, calls, under_way = Budget(1.0), 0.0, 0, []
    for number, (upstream, most, how, share, ends) in enumerate(steps):
        try:
            budget.reserve(Request(str(number)), most, upstream)
        except BudgetExceeded:
            assert most > 1.0 - budget.spent_usd - budget.reserved_usd - 1e-6
        else:
            calls += 1
            billed += most * share  # whether or not anybody is told of it
            under_way.append((upstream, most, most * share if how == "reported" else None, how))
        if ends and under_way and under_way[0][3] != "left open":
            budget.settle(*under_way.pop(0)[:3])
        assert billed <= budget.spent_usd + budget.reserved_usd + 1e-12
        assert budget.spent_usd + budget.reserved_usd <= 1.0
    assert (budget.calls, budget.under_way) == (calls, len(under_way))
    budget.close()
    assert billed - 1e-12 <= budget.spent_usd <= 1.0
    assert budget.reserved_usd == 0
    assert budget.notes() == []


def test_a_server_that_bills_more_than_it_may_is_taken_at_its_word_from_then_on():
    budget = Budget(1.0)
    for name in "abc":
        budget.reserve(Request(name), 0.1, "liar")
    budget.reserve(Request("d"), 0.1, "honest")
    budget.settle("liar", 0.1, 0.25)
    # Those under way can cost as much: 0.25 spent, 2 x 0.25 and 0.1 held back, so 0.15 are left.
    assert budget.spent_usd + budget.reserved_usd == pytest.approx(0.85)
    with pytest.raises(BudgetExceeded, match=r"could cost \$0.25"):
        budget.reserve(Request("e"), 0.1, "liar")
    budget.reserve(Request("f"), 0.1, "honest")
    assert budget.notes()[0].startswith("liar billed a call 2.5 times the most it should have cost")
    budget.settle("liar", 0.1, 0.9)
    assert "more than the budget was billed" in budget.notes()[1]


def test_a_count_below_zero_earns_nothing():
    budget = Budget(1.0)
    budget.reserve(Request("a"), 0.1, "x")
    budget.settle("x", 0.1, -5.0)
    assert budget.spent_usd == 0


def test_the_prompt_counts_by_its_bytes():
    assert most_tokens(ASK).input_tokens >= 20
    assert most_tokens(ASK._replace(response_schema="x" * 100)).input_tokens >= 120
    assert most_tokens(ASK, None, 300).input_tokens == most_tokens(ASK).input_tokens + 300


@pytest.mark.parametrize(
    ("extra", "output"),
    [
        ({}, 7),
        ({"max_tokens": 500}, 500),
        ({"max_tokens": 3}, 7),  # two caps: the larger
        ({"max_completion_tokens": None}, UNSAID_TOKENS),
        ({"n": 4}, 28),
        ({"n": 2, "best_of": 5}, 35),
        ({"generationConfig": {"temperature": 0}}, UNSAID_TOKENS),  # takes the place of what held the cap
        ({"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}, 18),
        ({"tools": [{"properties": {"n": {"type": "integer"}, "max_tokens": {}}}]}, 7),
    ],
)
def test_what_the_body_adds_counts(extra, output):
    most = most_tokens(ASK, extra)
    assert most.output_tokens == output
    assert most.input_tokens >= 20 + (len(json.dumps(extra)) if extra else 0)


def test_without_a_cap_an_answer_may_be_as_long_as_models_can_write():
    assert most_tokens(ASK._replace(max_tokens=None)).output_tokens == UNSAID_TOKENS


class Inner:
    """A provider that does what it is told."""

    name = "p"

    def __init__(self, does):
        self.does = does
        self.calls = 0

    async def send(self, request):
        self.calls += 1
        await asyncio.sleep(0)
        if isinstance(self.does, BaseException):
            raise self.does
        return self.does

    def cancelled_usage(self, request):
        return Usage()

    async def aclose(self):
        pass


MOST = 52 * 1e-6 + 7 * 1e-3


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (RateLimited(), 0.0),
        (Overloaded(status=529), 0.0),
        (ConnectionFailed("refused", headers={USAGE_HEADER: "unsent"}), 0.0),
        (ConnectionFailed("reset before the first byte"), MOST),
        (ServerError(status=500), MOST),
        (ServerError(status=504), MOST),
        (ServerError(status=408), MOST),
        (StreamBroken("before the first token", status=200), MOST),
        (RateLimited("in a stream, after the 200", headers={USAGE_HEADER: "estimated"}), MOST),
        (asyncio.CancelledError(), MOST),
    ],
)
def test_what_a_failed_call_is_taken_to_have_cost(error, cost):
    budget = Budget(1.0)

    async def main():
        with pytest.raises(type(error)):
            await Budgeted(Inner(error), budget, PRICE).send(ASK)

    asyncio.run(main())
    assert budget.spent_usd == pytest.approx(cost)
    assert budget.reserved_usd == 0
    assert budget.unreported == (cost > 0)


@pytest.mark.parametrize(
    ("said", "end", "cost"),
    [
        ("reported", "read", 10e-6 + 2e-3),
        ("estimated", "read", MOST),
        ("reported", "closed", MOST),
    ],
)
def test_what_an_answer_costs(said, end, cost):
    budget = Budget(1.0)
    answer = Response(WholeAnswer("hi", 2, Usage(10, 2)), headers={USAGE_HEADER: said})

    async def main():
        response = await Budgeted(Inner(answer), budget, PRICE).send(ASK)
        assert budget.reserved_usd == pytest.approx(MOST)
        if end == "read":
            await response.read()
        else:
            response.close()

    asyncio.run(main())
    assert budget.spent_usd == pytest.approx(cost)
    assert budget.reserved_usd == 0


def test_a_dearer_cache_is_reckoned_with():
    budget = Budget(1.0)

    async def main():
        with pytest.raises(RateLimited):
            await Budgeted(Inner(RateLimited()), budget, TokenPrice(1e-6, 0.0, 1.0)).send(ASK)

    with pytest.raises(BudgetExceeded):
        asyncio.run(main())


def test_a_request_that_was_refused_once_is_not_sent_by_anybody():
    budget = Budget(0.001)
    dear, cheap = Inner(RateLimited()), Inner(RateLimited())

    async def main():
        for provider in (Budgeted(dear, budget, PRICE), Budgeted(cheap, budget, TokenPrice())):
            with pytest.raises(BudgetExceeded):
                await provider.send(ASK)
        with pytest.raises(RateLimited):
            await Budgeted(cheap, budget, TokenPrice()).send(ASK._replace(id="2/0/0"))

    asyncio.run(main())
    assert (dear.calls, cheap.calls, budget.refused) == (0, 1, 2)


def test_who_is_told_to_leave_leaves_before_a_policy_can_go_on():
    """A policy that tries for ever, without ever giving way, must not keep the loop from everybody else."""
    budget, tries = Budget(0.001), 0
    provider = Budgeted(Inner(RateLimited()), budget, PRICE)

    async def spins():
        nonlocal tries
        while True:
            tries += 1
            try:
                await provider.send(ASK)
            except Exception:
                continue

    async def main():
        task = asyncio.create_task(spins())
        budget.on_refusal = lambda request: task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert tries == 1
