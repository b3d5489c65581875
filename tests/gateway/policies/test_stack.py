"""All six policies as one gateway: whatever happens when, nothing stays behind."""

import asyncio

import pytest
from examples import examples
from gateway.policies.toys import JumpingLoop, Toy, World, ask, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.backoff import Backoff
from llmsim.engine import SimLoop
from llmsim.errors import GatewayError, RateLimited, ServerError, StreamBroken
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Cache, CircuitBreaker, Deadline, Fallback, Retry, Timeout
from llmsim.types import Message

BREAKER = CircuitBreaker(minimum_calls=3, wait_in_open=1.0, permitted_in_half_open=2)
LIMITS = Timeout(ttft=0.5, inter_token=0.3, total=3.0)
GATEWAY = (
    Cache(ttl=5.0),
    Deadline(timeout=4.0),
    Fallback(order=("a", "b"), on=("rate_limited", "server_error", "timeout", "circuit_open")),
    Retry(max_attempts=3, backoff=Backoff(initial=0.2, max=1.0), budget=0.5),
)


class Lab(World):
    def __init__(self):
        super().__init__()
        self.attempts = []

    def attempt_ended(self, attempt):
        self.attempts.append(attempt)


class Hedge:
    """A policy of a user: asks twice at once and takes who answers first."""

    def start(self, run):
        async def handle(request, call_next):
            tasks = [asyncio.ensure_future(call_next(request)) for _ in range(2)]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                return await done.pop()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        return handle


items = st.one_of(
    st.floats(0, 1.2).map(lambda seconds: round(seconds, 3)),
    st.sampled_from(["limited", "asked to wait", "down", "broken", "long"]),
)


def scripted(word):
    made = {
        "limited": RateLimited,
        "asked to wait": lambda: RateLimited(retry_after_s=0.7),
        "down": ServerError,
        "broken": lambda: ["x", StreamBroken(tokens_delivered=1)],
        "long": lambda: list("abcdefghijklmnopqrstuvwxyz"),
    }
    return made[word]() if isinstance(word, str) else word


# Multiples of steps that have nothing in common with each other or with the milliseconds of the scripts: asyncio does
# not order timers of one instant, so a comparison with it must not depend on ties.
arrivals = st.integers(0, 170).map(lambda step: step * 0.0177211)
patiences = st.integers(1, 110).map(lambda step: 0.05 + step * 0.0531173)
callers = st.lists(
    st.tuples(arrivals, patiences, st.integers(0, 3), st.sampled_from(["read", "iterate", "leave"])),
    min_size=1,
    max_size=12,
)


async def caller(gateway, number, arrives, patience, question, reads):
    arrives += number * 0.010007  # asyncio does not order timers of one instant
    await asyncio.sleep(arrives)
    loop, begin, word = asyncio.get_running_loop(), arrives, "ok"
    request = ask(number, messages=(Message("user", str(question)),), stream=reads != "leave" or number % 2 == 0)
    try:
        async with asyncio.timeout(patience):
            response = await gateway.send(request)
            if reads == "read":
                await response.read()
            elif reads == "iterate":
                async for _ in response:
                    pass
            else:
                await anext(response, None)
                await response.aclose()
            word = f"{response.upstream} {response.outcome.kind}"
    except GatewayError as error:
        word = error.word
    except TimeoutError:
        word = "gone"
        if "response" in locals():
            response.close()
    return word, round(loop.time() - begin, 6)


async def everything(scripts, crowd, policies, upstream):
    lab = Lab()
    providers = {
        name: Toy(*map(scripted, script), name=name, gap_s=0.1) for name, script in zip("ab", scripts, strict=True)
    }
    gateway = Gateway(policies=policies, upstream=upstream).start(lab, providers)
    results = await asyncio.gather(*(caller(gateway, number, *one) for number, one in enumerate(crowd)))
    assert gateway.in_flight == 0
    for provider in providers.values():
        assert (provider.in_flight, provider.open_streams) == (0, 0)
    for handler in handlers_of(gateway):
        if hasattr(handler, "_deadlines"):
            assert len(handler._deadlines) == 0
        if hasattr(handler, "_breaker") and handler._breaker.state == "half_open":
            assert handler._breaker._permits + handler._breaker._passed + handler._breaker._failed == 2
    return results, lab.events, [(attempt.upstream, attempt.outcome) for attempt in lab.attempts]


def handlers_of(gateway):
    """Every handler in the chains, found through the pipeline's links."""
    found, calls = [], [replica.call for replica in gateway._replicas]
    calls += [upstream.chain for replica in gateway._replicas for upstream in replica._upstreams.values()]
    while calls:
        for cell in getattr(calls.pop(), "__closure__", None) or ():
            if callable(cell.cell_contents):
                calls.append(cell.cell_contents)
                found.append(cell.cell_contents)
    assert len(found) >= 6
    return found


situations = given(
    st.tuples(st.lists(items, min_size=1, max_size=8), st.lists(items, min_size=1, max_size=8)),
    callers,
    st.booleans(),
    st.permutations([LIMITS, BREAKER]),
)


def _leaves_nothing(scripts, crowd, hedged, upstream):
    policies = (*GATEWAY, Hedge()) if hedged else GATEWAY
    run(everything(scripts, crowd, policies, tuple(upstream)))


@settings(max_examples=examples(50), deadline=None)
@situations
def test_nothing_stays_behind(scripts, crowd, hedged, upstream):
    _leaves_nothing(scripts, crowd, hedged, upstream)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@situations
def test_nothing_stays_behind_in_many_cases(scripts, crowd, hedged, upstream):
    _leaves_nothing(scripts, crowd, hedged, upstream)


@settings(max_examples=examples(40), deadline=None)
@given(st.tuples(st.lists(items, min_size=1, max_size=8), st.lists(items, min_size=1, max_size=8)), callers)
def test_the_simulation_does_what_asyncio_does(scripts, crowd):
    histories = []
    for make in (JumpingLoop, SimLoop):
        loop = make()
        try:
            histories.append(loop.run_until_complete(everything(scripts, crowd, GATEWAY, (LIMITS, BREAKER))))
        finally:
            loop.close()
    (asyncio_results, _, asyncio_attempts), (sim_results, _, sim_attempts) = histories
    assert asyncio_results == sim_results
    assert asyncio_attempts == sim_attempts


def test_a_brown_out_trips_the_breaker_of_the_scenario_file_and_the_fallback_takes_over():
    """With the timeout outside of the breaker, as DESIGN §8 writes it."""

    async def main():
        lab = Lab()
        slow, good = Toy(9.0, name="a"), Toy(0.1, name="b")
        gateway = Gateway(policies=GATEWAY, upstream=(LIMITS, BREAKER)).start(lab, {"a": slow, "b": good})
        for number in range(5):
            response = await gateway.send(ask(number, messages=(Message("user", str(number)),)))
            assert response.upstream == "b"
            await response.read()
        assert len(slow.calls) < 7
        assert next(fields["state"] for kind, fields in lab.events if kind == "circuit_breaker") == "open"
        assert "circuit_open" in [fields["error"] for kind, fields in lab.events if kind == "fallback"]

    run(main())


@pytest.mark.matrix
@pytest.mark.parametrize("steps", range(0, 60, 3))
def test_cancelled_after_any_number_of_loop_iterations(steps):
    async def main():
        lab, provider = Lab(), Toy(ServerError(), 0.01, name="a", gap_s=0.0)
        other = Toy(name="b")
        gateway = Gateway(policies=GATEWAY, upstream=(LIMITS, BREAKER)).start(lab, {"a": provider, "b": other})
        task = asyncio.create_task(gateway.send(ask()))
        for _ in range(steps):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().close()
        assert (provider.in_flight, provider.open_streams, gateway.in_flight) == (0, 0, 0)

    run(main())
