"""Slow calls, windows of calls, the growing wait and the ramp, as requests meet them."""

import asyncio
import itertools

import pytest
from gateway.policies.test_circuit_breaker import Bench
from gateway.policies.toys import ask, chain, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.ramp import ramp_delay_s
from llmsim.errors import CircuitOpen, ServerError
from llmsim.gateway.policies import CircuitBreaker, Timeout

FAST = 0.0


def spec(**changes):
    fields = {"minimum_calls": 4, "wait_in_open": 15.0, "permitted_in_half_open": 2}
    return CircuitBreaker(**{**fields, **changes})


def slow(by, **changes):
    return spec(slow_call=5.0, slow_call_by=by, slow_call_rate=0.5, **changes)


@pytest.mark.parametrize(
    ("by", "ttft_s", "gap_s", "states"),
    [
        ("ttft", 6.0, 0.1, ["open"]),
        ("e2e", 6.0, 0.1, ["open"]),
        ("ttft", 1.0, 3.0, []),  # two chunks, 3 s before the second and before the end: 7 s in all
        ("e2e", 1.0, 3.0, ["open"]),
        ("ttft", 1.0, 0.1, []),
        ("e2e", 1.0, 0.1, []),
    ],
)
def test_slow_by_the_first_chunk_or_by_the_end(by, ttft_s, gap_s, states):
    async def main():
        bench = Bench(ttft_s, spec=slow(by), gap_s=gap_s)
        await bench.call(4)
        assert bench.states == states
        if states:
            assert bench.world.of("circuit_breaker") == [{"state": "open", "failure_rate": 0.0, "slow_rate": 1.0}]

    run(main())


@pytest.mark.parametrize("by", ["ttft", "e2e"])
def test_slow_failures_are_slow_too(by):
    async def main():
        bench = Bench(ServerError(), spec=slow(by, failure_rate=1.0, on=["timeout"]), delay_s=6.0)
        await bench.call(4)
        assert bench.world.of("circuit_breaker")[0]["slow_rate"] == 1.0

    run(main())


def test_slow_probes_open_it_again_and_fast_ones_close_it():
    async def main():
        bench = Bench(*[6.0] * 4, 6.0, FAST, spec=slow("ttft"))
        await bench.call(4)
        await asyncio.sleep(15)
        await bench.call()
        assert bench.states == ["open", "half_open", "open"]  # one of two is 50 %
        await asyncio.sleep(15)
        await bench.call(2)
        assert bench.states[3:] == ["half_open", "closed"]

    run(main())


def test_a_window_of_calls_opens_however_slowly_they_come():
    async def main(sliding, states):
        bench = Bench(ServerError(), spec=spec(**sliding))
        for _ in range(4):
            await bench.call()
            await asyncio.sleep(600)
        assert bench.states == states

    run(main({"sliding_window_calls": 4}, ["open"]))
    run(main({"sliding_window": 30.0}, []))


def test_the_wait_grows():
    async def main():
        bench = Bench(ServerError(), spec=spec(wait_multiplier=2.0, max_wait_in_open=40.0))
        await bench.call(4)
        waits = []
        for _ in range(4):
            refused = await bench.call()
            waits.append(refused.retry_after_s)
            await asyncio.sleep(refused.retry_after_s)
            await bench.call()
        assert waits == pytest.approx([15.0, 30.0, 40.0, 40.0])

    run(main())


async def recovered(**changes):
    """A breaker whose probes have just succeeded, with a ramp of 30 s."""
    bench = Bench(*[ServerError()] * 4, FAST, spec=spec(ramp=30.0, **changes), gap_s=0.0)
    await bench.call(4)
    await asyncio.sleep(15)
    await bench.call(2)
    assert bench.states == ["open", "half_open", "ramping"]
    return bench


def test_after_the_probes_the_share_grows_and_luck_decides_who():
    async def main():
        bench = await recovered()
        begin = asyncio.get_running_loop().time()
        through = []
        for at_s in (0.0, 7.5, 15.0, 22.5, 29.9):
            await asyncio.sleep(begin + at_s - asyncio.get_running_loop().time())
            results = [await outcome(bench.send(ask(number))) for number in range(400)]
            passed = {number for number, (result, _) in enumerate(results) if not isinstance(result, CircuitOpen)}
            for result, _ in results:
                if not isinstance(result, CircuitOpen):
                    await result.read()
            through.append(passed)
        # 400 coins: a standard error of 2.5 % at most.
        shares = [len(passed) / 400 for passed in through]
        for share, expected in zip(shares, (0.1, 0.25, 0.5, 0.75, 0.997), strict=True):
            assert abs(share - expected) < 4 * 0.025
        # Whoever got through gets through later as well.
        assert all(early <= late for early, late in itertools.pairwise(through))
        await asyncio.sleep(0.1)
        assert all([not isinstance(await bench.call(), Exception) for _ in range(20)])
        assert bench.states[3:] == ["closed"]

    run(main())


def test_who_is_refused_in_the_ramp_is_told_when():
    async def main():
        bench = await recovered()
        lucks = [bench.handler._run.luck("ramp", ask(number)) for number in range(40)]
        number, luck = next((number, luck) for number, luck in enumerate(lucks) if luck > 0.5)
        error, _ = await outcome(bench.send(ask(number)))
        assert isinstance(error, CircuitOpen)
        assert error.retry_after_s == pytest.approx(ramp_delay_s(luck, 30.0))
        await asyncio.sleep(error.retry_after_s - 1e-6)
        assert isinstance((await outcome(bench.send(ask(number))))[0], CircuitOpen)
        await asyncio.sleep(2e-6)
        await (await bench.send(ask(number))).read()

    run(main())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 4.0), st.sampled_from(["end", "cancel", "close", "fail"])), min_size=2, max_size=8),
    st.sampled_from(["ttft", "e2e", None]),
    st.booleans(),
)
def test_permits_come_back_however_calls_end(ends, slow_call_by, ramp):
    """Ends, cancellations and failures in any order; afterwards the breaker probes as if none of them had been."""

    async def main():
        words = {} if slow_call_by is None else {"slow_call": 60.0, "slow_call_by": slow_call_by}
        words |= {"ramp": 30.0} if ramp else {}
        bench = Bench(*[ServerError()] * 4, 1.0, gap_s=0.5, spec=spec(**words))
        await bench.call(4)
        await asyncio.sleep(15)

        async def one(after, how):
            send = bench.send
            if how == "fail":  # a timeout of somebody further out, which says so
                send = chain(bench.world.start(Timeout(ttft=0.5), "a"), inner=send)
            task = asyncio.create_task(outcome(send(ask())))
            if how in ("end", "fail"):
                result, _ = await task
                if not isinstance(result, Exception):
                    await result.read()
                return
            await asyncio.sleep(after)
            if task.done() and not isinstance(task.result()[0], Exception):
                task.result()[0].close()
            task.cancel()
            await asyncio.wait([task])

        await asyncio.gather(*(one(*end) for end in ends))
        breaker = bench.handler._breaker
        assert (bench.provider.in_flight, bench.provider.open_streams) == (0, 0)
        if breaker.state == "half_open":
            assert breaker._permits == 2 - breaker._passed - breaker._failed
        await asyncio.sleep(60)
        for _ in range(4):
            await bench.call(2)
        assert breaker.state in ("closed", "ramping")

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sliding_window_calls": 0}, "sliding_window_calls must be at least 1"),
        ({"sliding_window_calls": 10}, "write minimum_calls: 10 or fewer"),
        ({"slow_call": 0.0}, "slow_call must be above 0"),
        ({"slow_call_rate": 0.0}, "slow_call_rate must be above 0%"),
        ({"slow_call_by": "total"}, "ttft or e2e"),
        ({"ramp": 0.0}, "ramp must be above 0"),
        ({"wait_multiplier": 0.5}, "write 2x"),
        ({"wait_multiplier": 2.0, "max_wait_in_open": 5.0}, "max_wait_in_open: 15s or more"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        CircuitBreaker(**fields)
