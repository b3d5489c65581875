"""Answers that grow old, errors that are remembered, verifiers, and stores in trouble."""

import asyncio

import pytest
from gateway.policies.angles import DOWN, Stores, about
from gateway.policies.test_semantic_cache import Lab, served
from gateway.policies.toys import Toy
from gateway.site import play

from llmsim.errors import (
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    EngineError,
    GatewayError,
    PolicyError,
    RateLimited,
    ServerError,
)
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import Deadline, SemanticCache
from llmsim.types import Message

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


# -- verifiers ---------------------------------------------------------------------------------------------------------


def _verified(verifier, *degrees, words=None, stores=None):
    """What each request got, and each verdict."""

    async def script():
        spec = SemanticCache(threshold=0.9, verify_below=0.97, verifier=verifier, **(words or {}))
        lab = Lab(spec, stores=stores)
        uses = [(await lab.ask(about(angle, number)))[0] for number, angle in enumerate((0, *degrees))]
        return [(use.match, use.verified, use.verifications) for use in uses[1:]], lab.told("verified")

    return play(script)


def test_a_verifier_is_asked_in_the_band_and_nowhere_else():
    async def verifier(request, entry):
        asked.append((request.messages[-1].content, entry.words))
        return request.messages[-1].content == "about 20"

    asked = []
    uses, told = _verified(verifier, 0, 10, 20, 24, 60)
    assert uses == [
        ("exact", "", 0), ("semantic", "", 0), ("semantic", "accepted", 1), ("", "rejected", 1), ("", "", 0)
    ]  # fmt: skip
    assert asked == [("about 20", "about 0"), ("about 24", "about 0")]
    assert [(one["verdict"], one["similarity"], one["made_for"]) for one in told] == [
        ("accepted", 0.9397, "0/0/0"), ("rejected", 0.9135, "0/0/0")
    ]  # fmt: skip


async def _fails(request, entry):
    raise RuntimeError("no credit")


async def _sleeps(request, entry):
    await asyncio.sleep(2.5)
    return True


async def _hears_nothing(request, entry):
    try:
        await asyncio.sleep(2.5)
    except asyncio.CancelledError:
        raise ServerError from None
    return True


@pytest.mark.parametrize("verifier", [_fails, _sleeps, _hears_nothing])
def test_a_verifier_that_does_not_say_has_said_no(verifier):
    async def script():
        lab = Lab(SemanticCache(threshold=0.9, verify_below=0.97, verifier=verifier, verifier_timeout=2.0))
        await lab.ask(about(0))
        begin = asyncio.get_running_loop().time()
        use, response = await lab.ask(about(20))
        assert (use.match, use.verified, use.verifications, response.served_from) == ("", "failed", 1, "upstream")
        took = asyncio.get_running_loop().time() - begin
        assert took == pytest.approx(0.2 if verifier is _fails else 2.2)
        assert asyncio.current_task().cancelling() == 0

    play(script)


def test_what_expires_while_it_is_verified_is_not_served():
    async def slow_yes(request, entry):
        await asyncio.sleep(1.0)
        return True

    async def script():
        lab = Lab(SemanticCache(threshold=0.9, verify_below=0.97, verifier=slow_yes, ttl=10.0))
        await lab.ask(about(0))
        await asyncio.sleep(9.5)
        use, response = await lab.ask(about(20))
        assert (use.verified, use.match, response.served_from) == ("accepted", "", "upstream")

    play(script)


def test_one_who_leaves_while_it_is_verified_has_left():
    async def script():
        lab = Lab(SemanticCache(threshold=0.9, verify_below=0.97, verifier=_sleeps))
        await lab.ask(about(0))
        task = asyncio.create_task(lab.ask(about(20)))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(lab.providers["a"].calls) == 1

    play(script)


def test_a_verifier_that_is_none_is_a_mistake_and_not_a_no():
    async def no_bool(request, entry):
        return "yes"

    def not_async(request, entry):
        return True

    async def no_simulation(request, entry):
        raise EngineError("time.sleep in a simulation")

    for verifier, error, says in (
        (no_bool, PolicyError, "must return True or False"),
        (not_async, PolicyError, "async def"),
        (no_simulation, EngineError, "time.sleep"),
    ):
        with pytest.raises(error, match=says):
            _verified(verifier, 20)


def test_the_stores_have_a_judge():
    async def judge(request, entry):
        return False

    uses, _ = _verified(None, 20, stores=Stores(judge=judge))
    assert uses == [("", "rejected", 1)]


def test_each_route_has_its_band():
    async def no(request, entry):
        return False

    async def script():
        spec = SemanticCache(threshold=0.9, thresholds={"sure": 0.98}, verify_below=0.97, verifier=no)
        lab = Lab(spec)
        await lab.ask(about(0))
        use, _ = await lab.ask(about(11.3, route="sure"))  # .9806
        assert (use.match, use.verifications) == ("semantic", 0)
        use, _ = await lab.ask(about(13, 2, route="sure"))  # below its own threshold: not asked about
        assert (use.match, use.verifications) == ("", 0)

    play(script)


# -- a store in trouble ------------------------------------------------------------------------------------------------

QUIET = {"request_id": "1/0/0", "policy": "semantic_cache", "upstream": "", "replica": 0}


@pytest.mark.parametrize("operation", ["exact", "nearest", "put"])
@pytest.mark.parametrize("trouble", [DOWN, 9.0, ConnectionError("redis://:secret@host")])
def test_trouble_is_a_miss_and_the_store_is_left_alone(operation, trouble):
    async def script():
        lab = Lab(SemanticCache(store_timeout=2.0, store_cooldown=5.0))
        store, loop = lab.stores.store, asyncio.get_running_loop()
        await lab.ask(about(0))
        await asyncio.sleep(0.0)
        store.trouble[operation] = trouble
        store.asked.clear()
        begin = loop.time()
        use, response = await lab.ask(about(90, 1))
        waited = loop.time() - begin - 0.2  # of which the answer takes .2 s
        late = trouble == 9.0 and operation != "put"
        assert (use.match, response.served_from) == ("", "upstream")
        assert waited == pytest.approx(2.0 if late else 0.0, abs=1e-9)
        await asyncio.sleep(2.1)
        [failed] = lab.told("store_failed")
        why = {True: "down", False: "ConnectionError"}[trouble is DOWN] if trouble != 9.0 else "no answer within 2s"
        assert failed == {**QUIET, "operation": operation, "why": why}
        # From now on nobody waits for it, until one tries again.
        store.asked.clear()
        begin = loop.time()
        await asyncio.gather(*[lab.ask(about(degrees)) for degrees in (1, 91, 92)])
        assert loop.time() - begin < 0.5
        assert operation not in store.asked
        store.trouble.clear()
        await asyncio.sleep(5.0)
        await lab.ask(about(200 + len(operation), 7))
        await asyncio.sleep(0.1)
        assert operation in store.asked
        assert [one["operation"] for one in lab.told("store_back")] == [operation]
        assert await lab.served(about(0), about(1)) == ["exact", "semantic"]

    play(script)


def test_a_dead_store_delays_one_request_in_each_cooldown():
    async def script():
        lab = Lab(SemanticCache(store_timeout=1.0, store_cooldown=4.0), Toy(gap_s=0.0))
        lab.stores.store.trouble["exact"] = 1e6
        late = 0
        loop = asyncio.get_running_loop()
        for number in range(40):  # one every .5 s: 20 s
            begin = loop.time()
            await lab.ask(about(number * 9, number))
            late += loop.time() - begin >= 1.0
            await asyncio.sleep(max(0.0, 0.5 - (loop.time() - begin)))
        assert late in (4, 5)
        assert len(lab.told("store_failed")) == 1

    play(script)


def test_who_cannot_embed_still_finds_what_is_equal():
    async def script():
        lab = Lab(SemanticCache())
        await lab.ask(about(0))
        lab.stores.store.trouble["nearest"] = DOWN
        assert await lab.served(about(90), about(0), about(1)) == ["", "exact", ""]

    play(script)


def test_writing_delays_nobody_and_ends():
    async def script():
        lab = Lab(SemanticCache(store_timeout=2.0))
        lab.stores.store.trouble["put"] = 1.0
        loop = asyncio.get_running_loop()
        begin = loop.time()
        assert await lab.served(about(0), about(0)) == ["", ""]
        assert loop.time() - begin == pytest.approx(0.4)
        names = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        assert names == ["semantic_cache keep 0/0/0"] * 2
        await asyncio.sleep(1.1)
        assert await lab.served(about(0)) == ["exact"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


def test_far_away_use_is_noted_in_the_background():
    async def script():
        lab = Lab(SemanticCache(backend="redis"))
        await lab.ask(about(0))
        lab.stores.store.trouble["touch"] = 1.5
        begin = asyncio.get_running_loop().time()
        assert await lab.served(about(0), about(1)) == ["exact", "semantic"]
        assert asyncio.get_running_loop().time() == begin
        lab.stores.store.trouble["touch"] = DOWN
        assert await lab.served(about(0)) == ["exact"]
        await asyncio.sleep(2.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


def test_one_who_leaves_while_the_store_is_asked_has_left():
    async def script():
        lab = Lab(SemanticCache(store_timeout=2.0))
        lab.stores.store.trouble["nearest"] = 1.0
        task = asyncio.create_task(lab.ask(about(0)))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (lab.told("store_failed"), lab.providers["a"].calls) == ([], [])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


def test_a_mistake_of_ours_is_not_hidden():
    async def script():
        lab = Lab(SemanticCache())
        lab.stores.store.trouble["exact"] = AssertionError("a bug")
        with pytest.raises(AssertionError, match="a bug"):
            await lab.ask(about(0))

    play(script)
