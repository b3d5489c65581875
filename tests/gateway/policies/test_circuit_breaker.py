import asyncio

import pytest
from examples import examples
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st

import llmsim as ls
from llmsim.errors import (
    AuthError,
    BadRequest,
    CircuitOpen,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    RateLimited,
    Rejected,
    ServerError,
    StreamBroken,
    TtftTimeout,
)
from llmsim.gateway.policies import CircuitBreaker, Deadline, Timeout

QUICK = CircuitBreaker(minimum_calls=4, wait_in_open=15.0, permitted_in_half_open=2)


class Bench:
    """One breaker in front of one provider; `call` is one request, read to its end."""

    def __init__(self, *script, spec=QUICK, around=(), inside=(), **fields):
        self.world = World()
        self.provider = Toy(*script, **fields)
        self.handler = self.world.start(spec, "a")
        handlers = [self.world.start(spec, "a") for spec in around], [self.world.start(spec, "a") for spec in inside]
        self.send = chain(*handlers[0], self.handler, *handlers[1], inner=self.provider.send)

    async def call(self, times=1, **fields):
        result = None
        for number in range(times):
            try:
                result = await (await self.send(ask(number, **fields))).read()
            except Exception as error:
                result = error
        return result

    @property
    def state(self):
        return self.handler._breaker.state

    @property
    def states(self):
        return [event["state"] for event in self.world.of("circuit_breaker")]


def test_opens_refuses_probes_and_closes():
    async def main():
        bench = Bench(0.0, *[ServerError()] * 3, 0.0)
        await bench.call(4)
        assert bench.world.of("circuit_breaker") == [{"state": "open", "failure_rate": 0.75}]
        await asyncio.sleep(5)
        error = await bench.call()
        assert isinstance(error, CircuitOpen)
        assert (error.upstream, round(error.retry_after_s, 6)) == ("a", 10.0)
        assert "circuit breaker of a is open; try again in 10s" in str(error)
        assert len(bench.provider.calls) == 4
        await asyncio.sleep(error.retry_after_s)
        assert await bench.call(2) == "hello"
        assert bench.states == ["open", "half_open", "closed"]

    run(main())


def test_a_failed_probe_opens_it_again():
    async def main():
        bench = Bench(ServerError())
        await bench.call(4)
        await asyncio.sleep(15)
        await bench.call(3)
        assert bench.states == ["open", "half_open", "open"]
        assert len(bench.provider.calls) == 5  # one failure of two permitted is 50 % already

    run(main())


def test_only_the_permitted_calls_probe():
    async def main():
        bench = Bench(*[ServerError()] * 4, 1.0)
        await bench.call(4)
        await asyncio.sleep(15)
        results = await asyncio.gather(*(bench.call() for _ in range(10)))
        assert results.count("hello") == 2
        refused = [result for result in results if isinstance(result, CircuitOpen)]
        assert len(refused) == 8
        assert {error.retry_after_s for error in refused} == {None}
        assert bench.states == ["open", "half_open", "closed"]

    run(main())


def test_the_outcome_is_taken_when_the_response_ends():
    async def main():
        bench = Bench(["x", StreamBroken()])
        await bench.call(4)
        assert bench.states == ["open"]

    run(main())


@pytest.mark.parametrize(
    "error", [ServerError(), Overloaded(), ConnectionFailed(), TtftTimeout(), TimeoutError(), StreamBroken()]
)
def test_failures(error):
    async def main():
        bench = Bench(error)
        await bench.call(4)
        assert bench.state == "open"

    run(main())


@pytest.mark.parametrize("error", [BadRequest(), AuthError(), RateLimited()])
def test_an_upstream_that_answers_is_not_down(error):
    async def main():
        bench = Bench(*[ServerError()] * 4, error)
        await bench.call(4)
        await asyncio.sleep(15)
        await bench.call(2)
        assert bench.states == ["open", "half_open", "closed"]

    run(main())


@pytest.mark.parametrize("error", [Rejected(), DeadlineExceeded(), CircuitOpen(), KeyError()])
def test_what_the_gateway_says_itself_tells_nothing_about_the_upstream(error):
    async def main():
        bench = Bench(*[ServerError()] * 4, error)
        await bench.call(4)
        await asyncio.sleep(15)
        assert await bench.call(5) is error
        assert bench.states == ["open", "half_open"]  # and the permits came back each time

    run(main())


def test_on_says_what_is_a_failure():
    async def main():
        bench = Bench(RateLimited(), spec=CircuitBreaker(minimum_calls=4, on=[429]))
        await bench.call(4)
        assert bench.state == "open"

    run(main())


@pytest.mark.parametrize("where", ["around", "inside"])
def test_timeouts_count_wherever_the_timeout_stands(where):
    async def main():
        bench = Bench(9.0, **{where: [Timeout(ttft=1.0)]})
        assert isinstance(await bench.call(4), TtftTimeout)
        assert bench.state == "open"

    run(main())


def test_a_caller_without_patience_is_no_failure():
    async def main():
        bench = Bench(9.0, around=[Deadline(timeout=1.0)])
        assert isinstance(await bench.call(20), DeadlineExceeded)
        bench = Bench(9.0)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await bench.send(ask())
        assert bench.state == "closed"
        assert (bench.handler._breaker._window.total, bench.states) == (0, [])

    run(main())


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2.5), st.booleans()), min_size=2, max_size=8))
def test_cancelled_probes_give_their_permits_back(cancels):
    async def main():
        bench = Bench(*[ServerError()] * 4, 1.0, gap_s=0.5)
        await bench.call(4)
        await asyncio.sleep(15)

        async def impatient(after, politely):
            task = asyncio.create_task(outcome(bench.send(ask())))
            await asyncio.sleep(after)
            if task.done() and not isinstance(task.result()[0], Exception):
                response = task.result()[0]
                if politely:
                    await anext(response)
                response.close()
            task.cancel()
            await asyncio.wait([task])

        await asyncio.gather(*(impatient(*cancel) for cancel in cancels))
        assert bench.state == "half_open"
        assert bench.handler._breaker._permits == 2
        assert (bench.provider.in_flight, bench.provider.open_streams) == (0, 0)
        assert await bench.call(2) == "hello"
        assert bench.state == "closed"

    run(main())


def test_calls_from_before_it_opened_do_not_decide():
    async def main():
        bench = Bench(40.0, *[ServerError()] * 4, 9.0)
        old = asyncio.create_task(bench.call())
        await asyncio.sleep(0)
        await bench.call(4)
        assert bench.state == "open"
        await asyncio.sleep(35)
        probe = asyncio.create_task(bench.call())
        await old
        assert bench.state == "half_open"
        await probe
        assert bench.state == "half_open"
        assert bench.handler._breaker._passed == 1

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"failure_rate": 0.0}, "write 50%"),
        ({"failure_rate": 50}, "write failure_rate=0.5 for 50%"),
        ({"sliding_window": 0.0}, "sliding_window must be above 0"),
        ({"wait_in_open": -1.0}, "wait_in_open must be above 0"),
        ({"minimum_calls": 0}, "minimum_calls must be at least 1"),
        ({"permitted_in_half_open": 0}, "permitted_in_half_open must be at least 1"),
        ({"on": ["x"]}, "known words"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        CircuitBreaker(**fields)


def test_an_outage_after_good_times_is_noticed_after_half_a_window():
    scenario = {
        "version": 1,
        "replications": 1,
        "clock": {"warm_up": "0s", "duration": "70s"},
        "traffic": {"base_rate": "10/s"},
        "providers": {"a": {"ttft": "100ms"}},
        "gateway": {"upstream": ["circuit_breaker"]},
        "faults": [{"name": "down", "provider": "a", "at": "40s", "abort": {"status": 503, "percentage": "100%"}}],
    }
    events = ls.run(scenario).events
    opened = events.filter(events["kind"] == "circuit_breaker")["time_s"][0]
    # The window is a ring of buckets of 3 s, one of which is being filled; Poisson counts of 150 vary by 8 %.
    assert opened == pytest.approx(55.0, abs=4.0)
