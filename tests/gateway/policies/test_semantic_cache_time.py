"""Answers that grow old, and errors that are remembered."""

import asyncio

import pytest
from gateway.policies.angles import Lab, about, served
from gateway.policies.toys import Toy
from gateway.site import play

from llmsim.errors import (
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    GatewayError,
    RateLimited,
    ServerError,
)
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import Deadline, SemanticCache
from llmsim.types import Message, Response, Usage, WholeAnswer

# -- answers that grow old ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 10])
def test_an_answer_is_good_for_its_time_from_when_it_was_complete(degrees):
    hit = "semantic" if degrees else "exact"
    slow = Toy(["hel", "lo"], gap_s=1.0)  # complete at 2 s, and every 3 s from then on somebody asks
    asked = [about(0), *[about(degrees)] * 4]
    assert served(SemanticCache(ttl=10.0), *asked, wait_s=3.0, provider=slow) == ["", hit, hit, hit, ""]


def test_use_keeps_it_alive_if_it_is_said_to():
    asked = [about(0)] * 6
    slides = served(SemanticCache(ttl=10.0, ttl_from="used"), *asked, wait_s=6.0)
    assert slides == ["", *["exact"] * 5]
    assert served(SemanticCache(ttl=10.0), *asked, wait_s=6.0) == ["", "exact", "", "exact", "", "exact"]
    assert served(SemanticCache(ttl=10.0, ttl_from="used"), *asked[:3], wait_s=10.5) == [""] * 3


def _stale(spec=None, provider=None, **more):
    spec = spec or SemanticCache(ttl=10.0, stale_while_revalidate=20.0)
    return Lab(spec, provider or Toy(["old"], ["new"], gap_s=0.5), **more)


def test_a_stale_answer_is_served_at_once_and_renewed_once():
    async def script():
        lab = _stale()
        loop = asyncio.get_running_loop()
        await lab.ask(about(0))
        await asyncio.sleep(15.0)
        begin = loop.time()
        exchange = Exchange(about(0, 1), lab.running._runtime)
        texts = [await (await lab.running.send(about(0, 1), exchange)).read()]
        texts += [await (await lab.running.send(about(0, number))).read() for number in (2, 3)]
        assert (texts, loop.time()) == (["old"] * 3, begin)
        await asyncio.sleep(0.2)
        assert len(lab.providers["a"].calls) == 2, "one call for all who find it stale"
        await asyncio.sleep(1.0)
        assert await (await lab.running.send(about(0, 4))).read() == "new"
        await asyncio.sleep(8.0)  # 9 s after it was renewed
        assert (await lab.served(about(0)), len(lab.providers["a"].calls)) == (["exact"], 2)
        # The call is an attempt of the first request that found it stale, and of nobody else.
        assert [attempt.exchange.request.id for attempt in lab.attempts] == ["0/0/0", "1/0/0"]
        assert [attempt.won for attempt in lab.attempts] == [True, True]
        assert lab.attempts[1].usage.output_tokens == 1
        assert exchange.attempts == 0
        assert lab.told("refreshed") == [
            {"request_id": "1/0/0", "policy": "semantic_cache", "upstream": "", "replica": 0, "made_for": "0/0/0",
             "outcome": "stop"},
        ]  # fmt: skip

    play(script)


def test_what_was_asked_first_is_asked_anew():
    async def script():
        lab = _stale()
        await lab.ask(about(0))
        await asyncio.sleep(15.0)
        history = about(10, 1, deadline_s=16.0)
        assert await lab.served(history) == ["semantic"]
        await asyncio.sleep(2.0)
        _, request = lab.providers["a"].calls[1]
        assert (request.id, request.messages[-1].content, request.deadline_s) == ("1/0/0", "about 0", None)
        use, response = await lab.ask(about(0, 2))
        assert (use.match, use.made_for, response.upstream) == ("exact", "0/0/0", "cache")
        assert len(lab.stores.store) == 1

    play(script)


def test_of_another_conversation_the_old_answer_goes():
    async def script():
        spec = SemanticCache(ttl=10.0, stale_while_revalidate=20.0, compare="last_message")
        lab = _stale(spec)
        talk = [about(0, messages=(Message("user", text), Message("user", "about 0"))) for text in ("one", "two")]
        await lab.ask(talk[0])
        await asyncio.sleep(15.0)
        assert await lab.served(talk[1]) == ["semantic"]
        await asyncio.sleep(2.0)
        assert await lab.served(talk[0], talk[1]) == ["semantic", "exact"]
        assert len(lab.stores.store) == 1

    play(script)


def test_what_cannot_be_renewed_is_served_until_it_is_gone():
    async def script():
        lab = _stale(provider=Toy(["old"], ServerError(), ServerError(), ["new"]))
        matches = []
        for _ in range(4):
            matches += await lab.served(about(0))
            await asyncio.sleep(11.0)
        assert matches == ["", "exact", "exact", ""]
        assert [one["outcome"] for one in lab.told("refreshed")] == ["server_error", "server_error"]

    play(script)


def test_nothing_is_served_that_is_gone_or_somebody_elses_though_the_store_has_it():
    async def script():
        lab = Lab(SemanticCache(ttl=10.0, threshold=0.5))
        lab.stores.store.blind = True
        assert await lab.served(about(0), about(0), about(10), about(10, tenant="t")) == ["", "exact", "semantic", ""]
        await asyncio.sleep(11.0)
        return await lab.served(about(5), about(0))

    assert play(script) == ["", "semantic"]  # the answer to 5 is a new one


def test_what_is_forgotten_while_it_is_renewed_is_closed():
    """A policy inside forgets the answer and makes one up: as for any request, that is a leak, and is closed."""

    @policy
    async def forgetful(request, call_next):
        response = await call_next(request)
        if request.id == "0/0/0":
            return response
        return Response(WholeAnswer("made up", 1, Usage()), upstream="a", model="a-model")

    async def script():
        lab = _stale(inside=(forgetful,))
        await lab.ask(about(0))
        await asyncio.sleep(15.0)
        assert await lab.served(about(0, 1)) == ["exact"]
        await asyncio.sleep(2.0)
        assert [one["request_id"] for one in lab.told("leaked_stream")] == ["1/0/0"]
        assert lab.providers["a"].open_streams == 0
        assert [attempt.outcome for attempt in lab.attempts] == ["ok", "cancelled"]

    play(script)


def test_what_a_confused_store_calls_equal_is_looked_at():
    async def script():
        lab = Lab(SemanticCache(threshold=0.99))
        await lab.ask(about(0))

        async def confused(question, now_s):
            return next(iter(store._entries.values()))

        store = lab.stores.store
        store.exact = confused
        return await lab.served(about(20), about(0))

    assert play(script) == ["", "exact"]


def test_a_deadline_of_the_first_does_not_end_the_renewal():
    async def script():
        lab = _stale(provider=Toy(0.0, 5.0), inside=(Deadline(timeout=20.0),))
        await lab.ask(about(0))
        await asyncio.sleep(15.0)
        assert await lab.served(about(0, deadline_s=16.0)) == ["exact"]
        await asyncio.sleep(8.0)
        assert [one["outcome"] for one in lab.told("refreshed")] == ["stop"]

    play(script)


# -- errors that come again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [BadRequest("no such tool", status=422, body={"code": 7}), ContextTooLong("long")])
def test_a_refusal_is_given_again_as_it_was(error):
    async def script():
        lab = Lab(SemanticCache(negative_ttl=5.0), Toy(error))
        found = []
        for number in range(3):
            exchange = Exchange(about(0, number), lab.running._runtime)
            with pytest.raises(type(error)) as raised:
                await lab.running.send(about(0, number), exchange)
            found.append(raised.value)
            assert exchange.cache.match == ("negative" if number else "")
            assert exchange.cache.made_for == ("0/0/0" if number else "")
        assert len(lab.providers["a"].calls) == 1
        assert len({id(one) for one in found}) == 3, "each caller has its own"
        for one in found:
            assert (str(one), one.status, one.body, one.upstream) == (str(error), error.status, error.body, "")
        for request in (about(1), about(0, max_tokens=5), about(0, tenant="t")):  # near is not the same
            with pytest.raises(type(error)):
                await lab.running.send(request)
        assert len(lab.providers["a"].calls) == 4
        await asyncio.sleep(5.0)
        with pytest.raises(type(error)):
            await lab.running.send(about(0))
        assert len(lab.providers["a"].calls) == 5

    play(script)


@pytest.mark.parametrize(
    ("words", "error", "calls"),
    [
        ({"negative_ttl": 5.0}, RateLimited(), 2),
        ({"negative_ttl": 5.0}, ServerError(), 2),
        ({"negative_ttl": 5.0, "negative_on": ("content_filtered",)}, BadRequest(), 2),
        ({"negative_ttl": 5.0, "negative_on": ("content_filtered",)}, ContentFiltered(), 1),
        ({}, BadRequest(), 2),
    ],
)
def test_only_what_belongs_to_the_request_is_remembered(words, error, calls):
    async def script():
        lab = Lab(SemanticCache(**words), Toy(error))
        for _ in range(2):
            with pytest.raises(GatewayError):
                await lab.running.send(about(0))
        assert len(lab.providers["a"].calls) == calls

    play(script)
