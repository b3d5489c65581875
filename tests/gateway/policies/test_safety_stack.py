"""All policies of cost, safety and structured output in one gateway, under any failures and goodbyes."""

import asyncio

from examples import examples
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play
from hypothesis import given, settings
from hypothesis import strategies as st

import llmsim as ls
from llmsim.errors import ServerError, StreamBroken
from llmsim.gateway.policies import Budget, Cascade, MaxTokens, RunawayGuard, StructuredOutput, Timeout
from llmsim.pricing import TokenPrice

GOOD, FENCED = ['{"answer":', ' "yes"}'], ['```{"answer"', ': "yes"}```']
ITEMS = st.sampled_from([0.0, 5.0, ServerError(), ["nonsense"], ['{"answer": "y'], FENCED, GOOD, ["{", StreamBroken()]])
SCHEMA = '{"type": "object", "required": ["answer"]}'


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(ITEMS, min_size=1, max_size=6),
    st.lists(ITEMS, min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.05, 0.25, 1.0, 9.0]), st.booleans()), max_size=12),
    st.sampled_from(["stop", "length", "refusal"]),
)
def test_no_stream_and_no_money_is_lost(first, second, requests, finish_reason):
    async def script():
        toys = [
            Toy(*first, name="a", finish_reason=finish_reason),
            Toy(*second, name="b", finish_reason=finish_reason),
        ]
        toys[1].price = TokenPrice(input=0.01, output=0.01)
        site = Site(
            ls.Gateway(
                policies=(
                    RunawayGuard(max_calls=8, max_spend=0.5),
                    Budget(limit=1.0),
                    Cascade(order=("a", "b")),
                    StructuredOutput(),
                    MaxTokens(cap=10, quantile=0.9, max_attempts=2),
                ),
                upstream=(Timeout(ttft=1.0),),
            ),
            *toys,
        )

        async def one(number, wait, stays, reads):
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(stays):
                    request = ask(number, input_tokens=10, session="s", response_schema=SCHEMA)
                    response = await site.running.send(request)
                    if reads:
                        await response.read()
                    else:
                        response.close()
            except (ls.GatewayError, TimeoutError):
                pass

        await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        await asyncio.sleep(30)
        assert not any(toy.open_streams or toy.in_flight for toy in toys)
        assert site.running.in_flight == 0
        assert not [kind for kind, _ in site.events if kind == "leaked_stream"]
        assert sum(attempt.cost_usd for attempt in site.attempts) <= 1.0
        assert len(site.attempts) == sum(len(toy.calls) for toy in toys)

    play(script)
