"""What a store takes and forgets in virtual time, and what faults do to it."""

import asyncio

import pytest
from stores.lab import RUN, entry, model, play, question, world

from llmsim.distributions import Constant
from llmsim.gateway.caching import CacheUse, StoreError
from llmsim.providers.faults import Abort, Delay, Fault, Scale
from llmsim.stores.spec import JudgeModel, StoreModel


def test_who_asks_waits_for_the_embedding_and_the_search():
    async def script(lab):
        store, use = lab.open("redis"), CacheUse()
        asked = question(1)
        assert await lab.timed(store.exact(asked, 0.0)) == (None, 44e-6)  # a round trip
        assert await lab.timed(store.nearest(asked, 0.0, use)) == (None, 9.6e-3 + 2e-3)
        assert (use.embedded_tokens, use.queries) == (100, 1)
        assert await lab.timed(store.put(asked, entry(asked), CacheUse())) == (None, 5.3e-3)  # embedded once
        again = question(2, asked.words)
        found, waited_s = await lab.timed(store.exact(again, 0.0))
        assert (found.request_id, waited_s) == ("1/0/0", 44e-6)

    play(script)


def test_an_exact_hit_in_memory_takes_no_time_and_no_timer():
    async def script(lab):
        store = lab.open("memory")
        asked = question(1)
        await store.put(asked, entry(asked), CacheUse())
        before = lab.loop.events
        found, waited_s = await lab.timed(store.exact(question(2, asked.words), 0.0))
        await store.touch(found, 0.0)
        assert (found.request_id, waited_s, lab.loop.events) == ("1/0/0", 0.0, before)

    play(script, model(embedding={"latency": "0s"}))


def test_a_search_takes_longer_the_more_its_partition_has():
    async def script(lab):
        store = lab.open("memory", capacity=1000)
        times = []
        for number in range(200):
            _, waited_s = await lab.timed(store.nearest(question(1000 + number), 0.0, CacheUse()))
            times.append(waited_s)
            await lab.keep(store, number)
        assert times[0] == 0
        assert times[100] == pytest.approx(100 * 1.77e-7, abs=1e-9)
        _, elsewhere_s = await lab.timed(store.nearest(question(5000, partition=("b",)), 0.0, CacheUse()))
        assert elsewhere_s == 0

    play(script, model(embedding={"latency": "0s"}))


def test_what_expires_during_the_search_is_not_found():
    async def script(lab):
        store = lab.open("redis")
        asked = question(1)
        await store.put(asked, entry(asked, expires_s=1.0), CacheUse())
        assert await store.exact(question(2, asked.words), 0.4) is not None
        assert await store.exact(question(2, asked.words), 0.6) is None  # 0.6 + 0.5 is later than 1

    play(script, model(round_trip="500ms"))


def test_times_and_failures_belong_to_requests_not_to_the_order_they_come_in():
    words = {"embedding": {"latency": {"lognormal": {"p50": "80ms", "p99": "400ms"}}, "failures": "20%"},
             "failures": "20%", "lookup": {"uniform": {"low": "1ms", "high": "9ms"}}}  # fmt: skip

    def told(numbers, seed=7):
        async def script(lab):
            store, found = lab.open("redis"), {}
            for number in numbers:
                answer, waited_s = await lab.timed(store.nearest(question(number), 0.0, CacheUse()))
                found[number] = (str(answer), waited_s)
            return found

        return play(script, model(**words), seed=seed)

    forward, backward = told(range(300)), told(reversed(range(300)))
    assert forward == backward
    assert len({waited_s for _, waited_s in forward.values()}) > 200
    failed = sum(answer != "None" for answer, _ in forward.values())
    assert 75 <= failed <= 140  # 1 - 0.8 * 0.8 of 300 is 108, and 4 standard deviations are 33
    assert told(range(300), seed=8) != forward


def test_a_failed_operation_is_told_after_the_connect_time_and_bills_no_search():
    async def script(lab):
        store, use, asked = lab.open("redis"), CacheUse(), question(1)
        found, waited_s = await lab.timed(store.nearest(asked, 0.0, use))
        assert isinstance(found, StoreError)
        assert waited_s == pytest.approx(9.6e-3 + 0.25)  # it had been embedded
        assert (use.embedded_tokens, use.queries) == (100, 0)

    play(script, model(failures="100%", connect="250ms"))


def test_a_share_of_what_was_written_is_gone():
    async def script(lab):
        store = lab.open("redis", capacity=2000)
        for number in range(1000):
            await lab.keep(store, number)
        return len(store)

    assert 930 <= play(script, model(loss="5%")) <= 970  # 950 +- 3 standard deviations (6.9)
    assert play(script, model(loss="0%")) == 1000


def test_the_server_holds_no_more_than_it_has_room_for():
    async def script(lab):
        store = lab.open("redis", capacity=100)
        for number in range(50):
            await lab.keep(store, number)
        return len(store)

    assert play(script, model(capacity=20)) == 20
    assert play(script, model(capacity=200)) == 50


def test_a_redis_is_one_server_for_all_replicas_and_memory_is_each_ones_own():
    async def script(lab):
        for backend in ("redis", "memory"):
            one, other = (lab.open(backend, name=f"cache in {backend}") for _ in range(2))
            asked = await lab.keep(one, 1)
            found = await other.exact(question(2, asked.words), 0.0)
            assert (found is not None) == (backend == "redis")

    play(script)


# -- faults


def fault(**effects):
    return Fault(name="trouble", store="semantic_cache", at=10.0, duration=20.0, **effects)


async def at(lab, when):
    await asyncio.sleep(when - lab.loop.time())


def test_an_outage_is_silence_and_all_is_found_again():
    async def script(lab):
        store = lab.open("redis")
        asked = await lab.keep(store, 1)
        await at(lab, 15.0)
        for call in (
            store.exact(asked, 15.0),
            store.nearest(question(3), 15.0, CacheUse()),
            store.put(asked, entry(asked), CacheUse()),
            store.touch(entry(asked), 15.0),
            store.drop(entry(asked)),
        ):
            found, _ = await lab.timed(call)
            assert isinstance(found, StoreError), call
        await at(lab, 30.0)
        assert (await store.exact(question(2, asked.words), 30.0)).request_id == "1/0/0"

    play(script, faults=[fault(outage=True)])


def test_what_is_asked_when_an_outage_begins_fails():
    async def script(lab):
        store = lab.open("redis")
        await at(lab, 9.5)
        found, waited_s = await lab.timed(store.exact(question(1), 9.5))
        assert isinstance(found, StoreError)
        assert waited_s == 1.0

    play(script, model(round_trip="1s"), faults=[fault(outage=True)])


def test_lost_state_is_gone_in_every_replica_and_is_not_stored_any_more():
    async def script(lab):
        stores = [lab.open("memory"), lab.open("memory")]
        for store in stores:
            await lab.keep(store, 1)
        each = 4 * 384 + 4 * (100 + 50)
        await at(lab, 10.0)
        assert lab.stores.stored_byte_s(lab.loop.time()) == pytest.approx(10 * 2 * each, rel=0.01)
        before = lab.stores.stored_byte_s(lab.loop.time())
        lab.stores.lose_state("semantic_cache")
        await at(lab, 20.0)
        assert [len(store) for store in stores] == [0, 0]
        assert lab.stores.stored_byte_s(lab.loop.time()) == before

    play(script)


def test_slowness_multiplies_and_is_not_the_embedders():
    async def script(lab):
        store = lab.open("redis")
        await at(lab, 15.0)
        assert (await lab.timed(store.exact(question(1), 15.0)))[1] == pytest.approx(50 * 44e-6)
        assert (await lab.timed(store.nearest(question(1), 15.0, CacheUse())))[1] == pytest.approx(9.6e-3 + 0.1)

    play(script, faults=[fault(latency=Scale(multiplier=50.0))])


def test_delays_and_aborts_hit_their_share():
    async def script(lab):
        store, waits, failed = lab.open("redis"), 0, 0
        await at(lab, 10.0)
        for number in range(400):
            found, waited_s = await lab.timed(store.exact(question(number), 10.0))
            waits += waited_s > 0.001
            failed += isinstance(found, StoreError)
        return waits, failed

    delay = Delay(time=Constant(0.002), percentage=0.25)
    waits, _ = play(script, faults=[fault(delay=delay)])
    assert 65 <= waits <= 135  # 100 +- 4 standard deviations (8.7)
    _, failed = play(script, faults=[fault(abort=Abort(percentage=0.25))])
    assert 65 <= failed <= 135


def test_what_grows_and_fades_does_so_operation_by_operation():
    ramps = {"name": "f", "store": "semantic_cache", "at": 10.0, "ramp_up": 10.0, "duration": 5.0, "ramp_down": 20.0}

    async def script(lab):
        store, waits, failed = lab.open("redis"), [], []
        for when in (9.0, 12.5, 20.0, 35.0, 45.0):
            await at(lab, when)
            waits.append((await lab.timed(store.exact(question(1), when)))[1])
            asked = [lab.timed(store.exact(question(number), when)) for number in range(200)]
            found = await asyncio.gather(*asked)  # at one moment: a failure takes its time
            failed.append(sum(isinstance(one, StoreError) for one, _ in found))
        return waits, failed

    strengths = [0.0, 0.25, 1.0, 0.5, 0.0]
    slower = Fault(**ramps, latency=Scale(multiplier=51.0), delay=Delay(time=Constant(0.01)))
    waits, _ = play(script, faults=[slower])
    # Times of an operation are microseconds, in which a strength does not move.
    assert waits == pytest.approx([44e-6 * (1 + 50 * one) + 0.01 * one for one in strengths], rel=1e-3)
    _, failed = play(script, faults=[Fault(**ramps, abort=Abort(percentage=0.8))])
    assert failed[0] == failed[-1] == 0
    for hit, strength in zip(failed[1:-1], strengths[1:-1], strict=True):
        share = 0.8 * strength
        assert abs(hit - 200 * share) < 4 * (200 * share * (1 - share)) ** 0.5


# -- the verifier of the lab


def test_the_judge_errs_as_often_as_it_is_told_to_and_takes_its_time():
    meanings = world(zipf={"s": 0.0, "unique": 2}, paraphrases="0%")
    kept = entry(question(0))

    async def script(lab):
        judge = lab.stores.judge(RunNow(lab.loop))
        said = {True: [], False: []}
        for number in range(1, 1001):
            asked = question(number).request
            verdict, waited_s = await lab.timed(judge(asked, kept))
            assert waited_s == pytest.approx(0.6)
            assert verdict == await judge(asked, kept)  # asked again, it says the same
            said[meanings.differs(asked.id, "0/0/0", 0.0, 1.0)].append(verdict)
        return said

    judge = JudgeModel(accept_right=0.9, accept_wrong=0.2, latency=Constant(0.6))
    said = play(script, StoreModel(judge=judge), meanings=meanings)
    assert min(len(verdicts) for verdicts in said.values()) > 400
    assert sum(said[False]) / len(said[False]) == pytest.approx(0.9, abs=0.06)  # 4 standard deviations
    assert sum(said[True]) / len(said[True]) == pytest.approx(0.2, abs=0.08)


class RunNow:
    name = RUN.name
    epoch_s = 0.0

    def __init__(self, loop):
        self.now = loop.time


def test_without_a_judge_there_is_none():
    async def script(lab):
        return lab.stores.judge(RUN)

    assert play(script) is None
