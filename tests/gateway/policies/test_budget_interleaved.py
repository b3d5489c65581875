"""A budget under any interleaving of calls: never passed, never negative."""

import asyncio

import pytest
from gateway.policies.test_budget import CENT, Watched, question, toy
from gateway.site import Site, play
from hypothesis import given, settings
from hypothesis import strategies as st

import llmsim as ls
from llmsim.algorithms.ledger import PICO
from llmsim.errors import ServerError
from llmsim.gateway.policies import Backoff, Budget, Fallback, Retry, Timeout


@ls.policy
async def hedge(request, call_next):
    tasks = [asyncio.ensure_future(call_next(request.to(name))) for name in ("a", "b")]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


ITEMS = st.sampled_from([0.0, 0.3, 5.0, ServerError(), ["x"], ["x", "y", ServerError()], ["x"] * 10])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(ITEMS, min_size=1, max_size=6),
    st.lists(ITEMS, min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.1, 0.35, 1.0, 9.0]), st.booleans()), max_size=12),
    st.floats(0.15, 2.0),
)
def test_never_passed_never_negative_under_any_interleaving(first, second, requests, limit):
    """Hedges, retries, fallbacks, broken streams, callers who leave at any time, answers closed unread."""

    async def script():
        budget = Watched(Budget(limit=limit))
        site = Site(
            ls.Gateway(
                policies=(
                    budget,
                    Fallback(order=("a", "b")),
                    Retry(max_attempts=2, backoff=Backoff(initial=0.2)),
                    hedge,
                ),
                upstream=(Timeout(ttft=1.0),),
            ),
            toy(*first, name="a"),
            toy(*second, name="b", price=2 * CENT),
        )
        account = budget.account()

        def holds():
            assert account.reserved >= 0
            assert account.spent >= 0
            assert account.spent + account.reserved <= account.limit

        async def one(number, wait, stays, reads):
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(stays):
                    response = await site.running.send(question(number))
                    holds()
                    if reads:
                        await response.read()
                    else:
                        response.close()
            except (ls.GatewayError, TimeoutError):
                pass
            holds()

        await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        await asyncio.sleep(30)
        holds()
        assert account.reserved == 0
        assert account.spent == pytest.approx(sum(one.cost_usd for one in site.attempts) * PICO, abs=1e3)

    play(script)
