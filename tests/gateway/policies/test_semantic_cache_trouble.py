"""Verifiers, and stores in trouble."""

import asyncio

import pytest
from gateway.policies.angles import DOWN, Lab, Stores, about
from gateway.policies.toys import Toy, World, chain, run
from gateway.site import play

from llmsim.errors import (
    BadRequest,
    EngineError,
    PolicyError,
    ServerError,
)
from llmsim.gateway.caching import Incomparable
from llmsim.gateway.policies import SemanticCache

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
        assert lab.told("store_failed") == [], "once is an accident"
        await lab.ask(about(180, 1))
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
        assert late == 5 + 1, "twice before it is known, then once in 4 s"
        assert len(lab.told("store_failed")) == 1
        await asyncio.sleep(5.0)
        crowd = [asyncio.create_task(lab.ask(about(number, 50 + number))) for number in range(9)]
        done, _ = await asyncio.wait(crowd, timeout=0.9)
        assert len(done) == 8, "one of those who come together tries, and the others do not wait for it"
        await asyncio.wait(crowd)

    play(script)


def test_a_store_that_loses_one_in_a_thousand_keeps_its_worth():
    """10 questions, asked in turn 20 times a second; every 1000th time that the store is asked fails."""

    async def script():
        lab = Lab(SemanticCache(backend="exact", ttl=None), Toy(gap_s=0.0))
        for number in range(10):
            await lab.ask(about(number * 36, number))
        store = lab.stores.store
        find, asked, missed = store.exact, 0, 0

        async def loses(question, now_s):
            nonlocal asked
            asked += 1
            if asked % 1000 == 500:
                raise DOWN
            return await find(question, now_s)

        store.exact = loses
        for number in range(4000):
            use, _ = await lab.ask(about(number % 10 * 36, number % 10))
            missed += not use.match
            await asyncio.sleep(0.05)
        assert (asked, missed, lab.told("store_failed")) == (4000, 4, [])

    play(script)


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_who_cannot_note_a_use_still_finds(backend):
    """A Redis that only reads, say."""

    async def script():
        lab = Lab(SemanticCache(backend=backend))
        await lab.ask(about(0))
        lab.stores.store.trouble["touch"] = DOWN
        assert await lab.served(*[about(0), about(1)] * 5, wait_s=0.1) == ["exact", "semantic"] * 5
        assert [one["operation"] for one in lab.told("store_failed")] == ["touch"]

    play(script)


def test_who_cannot_embed_still_finds_what_is_equal():
    async def script():
        lab = Lab(SemanticCache())
        await lab.ask(about(0))
        lab.stores.store.trouble["nearest"] = DOWN
        assert await lab.served(about(90), about(0), about(1)) == ["", "exact", ""]

    play(script)


def test_a_question_without_a_vector_is_no_trouble_of_the_store():
    """It is too long for the model that embeds, say: equal ones are found, and others are compared as before."""

    async def script():
        lab = Lab(SemanticCache())
        embedder = lab.stores.store._embedder
        probe, asked = embedder.probe, []

        async def picky(question):
            asked.append(question.words)
            if question.words == "about 180":
                raise Incomparable("too long")
            return await probe(question)

        embedder.probe = picky
        long = about(180)
        assert await lab.served(about(0), long, long, about(1), long, about(181)) == [
            "", "", "exact", "semantic", "exact", "",
        ]  # fmt: skip
        assert (lab.told("store_failed"), asked.count("about 180")) == ([], 1)
        lab.stores.store.trouble["put"] = DOWN
        use, _ = await lab.ask(about(90))
        assert use.writes == 1
        lab.stores.store.trouble.clear()
        await asyncio.sleep(0.1)
        for number in range(4):
            use, _ = await lab.ask(about(180, tenant=str(number)))
            assert use.writes == 0, "what has no vector is written into no vector store"

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


def test_it_counts():
    async def main():
        world = World()
        world.stores = Stores(judge=_fails)
        spec = SemanticCache(threshold=0.9, verify_below=0.95, ttl=10.0, stale_while_revalidate=5.0, negative_ttl=9.0)
        handler = world.start(spec)
        call = chain(handler, inner=Toy(["a"], BadRequest(), ["a"]).send)
        for degrees in (0, 0, 10, 90, 90, 24, 0.5):
            try:
                await (await call(about(degrees))).read()
            except BadRequest:
                pass
        await (await call(about(0, temperature=1.0))).read()
        world.stores.store.trouble["put"] = DOWN
        await (await call(about(200))).read()
        await asyncio.sleep(11.0)
        await (await call(about(0))).read()
        await asyncio.sleep(0.2)
        counted = {name: getattr(handler, name) for name in (
            "exact", "semantic", "negative", "stale", "misses", "skipped", "outdated", "rejected"
        )}  # fmt: skip
        assert counted == {
            "exact": 2, "semantic": 2, "negative": 1, "stale": 1, "misses": 4, "skipped": 1, "outdated": 0,
            "rejected": 1,
        }  # fmt: skip
        store = handler.store
        assert (store.stored, store.unkept, store.failures, store.background) == (4, 2, 2, set())

    run(main())


def test_a_mistake_of_ours_is_not_hidden():
    async def script():
        lab = Lab(SemanticCache())
        lab.stores.store.trouble["exact"] = AssertionError("a bug")
        with pytest.raises(AssertionError, match="a bug"):
            await lab.ask(about(0))

    play(script)
