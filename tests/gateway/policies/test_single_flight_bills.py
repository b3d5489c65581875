import asyncio

import pytest
from gateway.policies.test_single_flight import flying
from gateway.policies.toys import Toy, ask
from gateway.site import play

from llmsim.errors import ServerError
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import Backoff, Hedge, Retry, SingleFlight
from llmsim.pricing import TokenPrice


def test_the_bill_is_the_payers():
    async def script():
        toy = Toy(0.5)
        toy.price = TokenPrice(input=1e-6, output=1e-3)
        site = flying(toy)
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(2)]
        await asyncio.gather(*(site.send(ask(number), exchanges[number]) for number in range(2)))
        assert [exchange.cost_usd for exchange in exchanges] == [pytest.approx(10e-6 + 2e-3), 0.0]
        assert exchanges[0].first_choice == "a"

    play(script)


def test_each_attempt_is_counted_where_it_stands_in_the_table():
    policies = (
        SingleFlight(),
        Retry(backoff=Backoff(initial=4.0, jitter="none")),
        Hedge(after=1.0, to=("b",), on=("timeout",), budget=None),
    )

    async def script():
        site = flying(Toy(ServerError(), 5.0), Toy(5.0, name="b"), policies=policies)
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(2)]
        calls = [asyncio.create_task(site.send(one.request, one)) for one in exchanges]
        await asyncio.sleep(2.0)  # the first attempt has failed, the next is waited for
        rows = [one.exchange.request.id for one in site.attempts]
        calls[0].cancel()
        await asyncio.wait({calls[0]})
        counted = exchanges[0].attempts
        await asyncio.sleep(4.0)  # the hedge runs, too
        calls[1].cancel()
        await asyncio.wait({calls[1]})
        counts = [counted, exchanges[1].attempts]  # as the rows of the requests say
        await asyncio.sleep(1.0)
        assert counts == [one.attempts for one in exchanges]
        rows += [one.exchange.request.id for one in site.attempts[len(rows) :]]
        return counts, [rows.count(one.request.id) for one in exchanges], exchanges[0].first_choice

    assert play(script) == ([1, 2], [1, 2], "a")
