"""No policy leaks a stream, whatever fails, stalls, is cancelled, closed or forgotten, and when.

Every registered kind of llmsim is in the list by itself, if it can be made without arguments; else it needs an entry
in `EXAMPLES`, and a test says so. `STACKS` are policies on top of each other.
"""

import asyncio
import itertools
import re
from dataclasses import dataclass

import pytest
from gateway.policies.angles import DOWN, Stores
from gateway.policies.toys import Toy, ToyStream, ask
from gateway.site import Site, play
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from llmsim.algorithms import Aimd, Backoff, Vegas
from llmsim.errors import BadRequest, GatewayError, RateLimited, ServerError, StreamBroken
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import (
    AdaptiveAdmission,
    AdaptiveRate,
    AdaptiveThrottling,
    Budget,
    Bulkhead,
    Cache,
    Cascade,
    CircuitBreaker,
    ConcurrencyLimit,
    Cooldown,
    Deadline,
    FairQueue,
    Fallback,
    Hedge,
    LoadShedding,
    MaxTokens,
    OutlierEjection,
    Pace,
    RateLimit,
    Retry,
    RunawayGuard,
    SemanticCache,
    ShedLevel,
    SingleFlight,
    Timeout,
    WaitingLine,
    WaitingRoom,
)
from llmsim.gateway.registry import policy_kinds
from llmsim.types import Message, Response, Usage, WholeAnswer

#: Settings with which something happens within the seconds of a schedule, by kind.
EXAMPLES = {
    "adaptive_rate": AdaptiveRate(),
    "adaptive_throttling": AdaptiveThrottling(minimum_requests=1, window=2.0),
    "bulkhead": Bulkhead(at_once=1, queue=WaitingLine(limit=2, timeout=0.5)),
    "fair_queue": FairQueue(at_once=1, queue=WaitingLine(limit=2, timeout=0.5)),
    "load_shedding": LoadShedding(at_once=2, levels=(ShedLevel(priority=0, above=0.4),)),
    "rate_limit": RateLimit(requests=1.0, burst=2.0, queue=WaitingLine(limit=2, timeout=0.5)),
    "waiting_room": WaitingRoom(at_once=1, rate=5.0, queue=WaitingLine(limit=2, timeout=0.5)),
    "budget": Budget(limit=0.001),
    "cascade": Cascade(order=("a", "b"), min_tokens=2),
    "cooldown": Cooldown(time=0.5, failures=1),
    "max_tokens": MaxTokens(cap=2, max_attempts=2),
    "outlier_ejection": OutlierEjection(consecutive_errors=1, base_ejection_time=0.5),
    "runaway_guard": RunawayGuard(max_calls=2),
    "adaptive_admission": AdaptiveAdmission(target=0.3, interval=0.5),
    "circuit_breaker": CircuitBreaker(minimum_calls=2, wait_in_open=0.5, sliding_window=2.0),
    "concurrency_limit": ConcurrencyLimit(limit=2, queue=WaitingLine(limit=2, timeout=0.5)),
    "deadline": Deadline(timeout=1.5),
    "fallback": Fallback(order=("a", "b")),
    "hedge": Hedge(after=0.3, max_hedges=2, budget=None),
    "retry": Retry(backoff=Backoff(initial=0.2)),
    "semantic_cache": SemanticCache(backend="exact"),
    "timeout": Timeout(ttft=1.0, inter_token=0.5, total=2.0),
}


def examples():
    """A spec of every kind that is ours (tests register some of their own)."""
    for kind, cls in policy_kinds().items():
        if cls.__module__.startswith("llmsim.gateway.policies."):
            yield kind, EXAMPLES[kind] if kind in EXAMPLES else cls()


STACKS = {
    **{kind: (spec,) for kind, spec in examples()},
    "hedge to another": (Hedge(after=0.3, to=("b",), budget=None),),
    "hedge at a quantile": (Hedge(quantile=0.5, minimum_requests=1, budget=None),),
    "aimd": (ConcurrencyLimit(aimd=Aimd(initial=1, backoff=0.5), window=0.1, window_samples=1),),
    "vegas": (ConcurrencyLimit(vegas=Vegas(initial=1), sample="e2e", window=0.1, window_samples=1),),
    "single_flight, alone": (SingleFlight(on_failure="alone"),),
    "cache, flight, hedge": (Cache(), SingleFlight(), Hedge(after=0.3, to=("b",), budget=None)),
    "deadline, flight": (Deadline(timeout=1.0), SingleFlight()),
    "timeout of silence, flight": (Timeout(inter_token=0.3, total=2.0), SingleFlight()),
    "hedge, flight": (Hedge(after=0.3, budget=None), SingleFlight()),
    "flight, retry": (SingleFlight(), Retry(backoff=Backoff(initial=0.2))),
    "retry, flight": (Retry(backoff=Backoff(initial=0.2)), SingleFlight()),
    "semantic_cache, near": (SemanticCache(threshold=0.5, capacity=1),),
    "semantic_cache, stale": (SemanticCache(ttl=0.3, stale_while_revalidate=5.0, negative_ttl=0.5),),
    "semantic_cache, flight": (SemanticCache(ttl=0.2, single_flight=True, negative_ttl=0.5),),
    "semantic_cache, paced": (SemanticCache(replay=Pace(tokens=2.0), ttl=0.5, ttl_from="used"),),
    "semantic_cache, verified": (SemanticCache(threshold=0.5, verify_below=0.99, verifier_timeout=0.3),),
    "deadline, semantic_cache, flight": (
        Deadline(timeout=1.0),
        SemanticCache(single_flight=True, ttl=0.3, stale_while_revalidate=1.0, store_timeout=0.3, store_cooldown=0.4),
        Retry(backoff=Backoff(initial=0.2)),
    ),
    "retry, semantic_cache, hedge": (
        Retry(backoff=Backoff(initial=0.2)),
        SemanticCache(backend="redis", ttl=0.3, stale_while_revalidate=1.0, store_timeout=0.3, store_cooldown=0.4),
        Hedge(after=0.3, to=("b",), budget=None),
    ),
    "hedge, retry, limit": (
        Hedge(after=0.3, budget=None),
        Retry(backoff=Backoff(initial=0.2)),
        ConcurrencyLimit(limit=1, queue=WaitingLine(limit=3, timeout=1.0)),
    ),
}


@dataclass
class Answer:
    """What a provider does with one call."""

    delay_s: float
    error: Exception | None
    chunks: int
    gap_s: float
    breaks: bool


class Scripted(Toy):
    """Plays answers in turn."""

    def __init__(self, answers, name):
        super().__init__(name=name)
        self.answers = answers

    async def send(self, request):
        answer = self.answers[len(self.calls) % len(self.answers)]
        self.calls.append((asyncio.get_running_loop().time(), request))
        self.in_flight += 1
        try:
            await asyncio.sleep(answer.delay_s)
            if answer.error is not None:
                raise type(answer.error)(upstream=self.name)
            if not request.stream:
                await asyncio.sleep(answer.chunks * answer.gap_s)
                return Response(WholeAnswer("x" * answer.chunks, answer.chunks, Usage(10, 1)), upstream=self.name)
        finally:
            self.in_flight -= 1
        chunks = ["x"] * answer.chunks + ([StreamBroken(upstream=self.name)] if answer.breaks else [])
        return Response(ToyStream(self, chunks, answer.gap_s, "stop"), upstream=self.name)


@dataclass
class Caller:
    """What one request's user does."""

    at_s: float
    question: int
    stream: bool
    manner: str
    chunks: int  # taken before it closes or forgets
    pause_s: float  # between chunks
    leaves_s: float | None  # after its arrival
    ticks: int  # turns of the loop that it leaves later, at the same instant


moments = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5])
answers = st.builds(
    Answer,
    delay_s=moments,
    error=st.sampled_from([None, None, None, RateLimited(), ServerError(), BadRequest()]),
    chunks=st.integers(1, 4),
    gap_s=moments,
    breaks=st.sampled_from([False, False, True]),
)
callers = st.builds(
    Caller,
    at_s=moments,
    question=st.integers(0, 1),
    stream=st.sampled_from([True, True, False]),
    manner=st.sampled_from(["read", "iterate", "close", "forget"]),
    chunks=st.integers(0, 2),
    pause_s=moments,
    leaves_s=st.none() | moments,
    ticks=st.integers(0, 6),
)


class Told:
    """What came of a schedule."""

    def __init__(self):
        self.ends = 0
        self.leaked = 0
        self.forgotten = 0
        self.unread = 0


async def _call(site, number, caller, told):
    question = (Message("user", f"question {20 * caller.question}"),)
    request = ask(number, messages=question, stream=caller.stream)
    exchange, response = Exchange(request, site.running._runtime), None
    try:
        response = await site.running.send(request, exchange)
        response.on_end(lambda outcome, usage: setattr(told, "ends", told.ends + 1))
        told.unread += 1
        if caller.manner == "read":
            await response.read()
        else:
            taken = 0
            async for _ in response:
                taken += 1
                if taken >= caller.chunks and caller.manner != "iterate":
                    break
                await asyncio.sleep(caller.pause_s)
            if caller.manner == "close":
                await response.aclose()
    except (GatewayError, TimeoutError):
        pass
    finally:
        # It did not read on: by its manner, or because it left between two chunks.
        told.forgotten += response is not None and response.outcome is None
        exchange.finish()
        told.leaked += exchange.leaked


def _play(policies, schedule, answers_a, answers_b, upstream=()):
    async def script():
        providers = [Scripted(answers_a, "a"), Scripted(answers_b, "b")]
        site = Site(Gateway(policies=policies, upstream=upstream), *providers, stores=SlowStores())
        loop, tasks, told = asyncio.get_running_loop(), [], Told()
        for number, caller in enumerate(schedule):
            task = asyncio.ensure_future(_later(caller.at_s, _call(site, number, caller, told)))
            if caller.leaves_s is not None:
                loop.call_at(caller.at_s + caller.leaves_s, _after_ticks, loop, caller.ticks, task.cancel)
            tasks.append(task)
        done, _ = await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled():
                task.result()
        await _until_all_is_kept()
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task goes on for nobody"
        for toy in providers:
            assert (toy.in_flight, toy.open_streams) == (0, 0), f"{toy.name} still works for nobody"
        assert site.running.in_flight == 0
        assert told.ends == told.unread, "every response ends exactly once"
        # Who forgets a response leaks it himself; nobody else may.
        leaks = sum(kind == "leaked_stream" for kind, _ in site.events)
        assert leaks == told.leaked <= told.forgotten
        # Every call is accounted for once.
        assert len(site.attempts) == sum(len(toy.calls) for toy in providers)
        renewed = sum(kind == "refreshed" for kind, _ in site.events)  # in the background, for the next who ask
        assert sum(one.won for one in site.attempts) <= len(schedule) + renewed
        return site

    return play(script)


async def _until_all_is_kept():
    """What a cache does in the background goes by a name, and ends by itself."""
    names = re.compile(r"semantic_cache (keep|touch|forget|refresh) [0-9/]+")
    while background := [task for task in asyncio.all_tasks() if names.fullmatch(task.get_name())]:
        async with asyncio.timeout(60.0):
            await asyncio.wait(background)


class SlowStores(Stores):
    """Whose operations take their time, or fail, each in its turn; and a judge who is as moody."""

    def __init__(self):
        super().__init__(judge=self._moody)
        self._asked = 0

    def open(self, spec, run):
        store = super().open(spec, run)
        store.trouble = Turns({"exact": [0, 0, 0.1], "nearest": [0.1, 0, DOWN, 0, 0.5], "put": [0, 0.2, DOWN, 0.5]})
        return store

    async def _moody(self, request, entry):
        self._asked += 1
        await asyncio.sleep((0.0, 0.1, 0.5)[self._asked % 3])
        return self._asked % 2 == 0


class Turns:
    """Troubles in turn."""

    def __init__(self, turns):
        self._turns = {operation: itertools.cycle(troubles) for operation, troubles in turns.items()}

    def get(self, operation):
        return next(self._turns[operation]) if operation in self._turns else 0.1 if operation == "touch" else None


def _after_ticks(loop, ticks, callback):
    if ticks:
        loop.call_soon(_after_ticks, loop, ticks - 1, callback)
    else:
        callback()


async def _later(seconds, coroutine):
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        coroutine.close()
        raise
    await coroutine


def test_every_kind_of_policy_is_in_the_list():
    ours = {kind for kind, cls in policy_kinds().items() if cls.__module__.startswith("llmsim.gateway.policies.")}
    assert ours <= set(STACKS)


SCHEDULE = {
    "schedule": st.lists(callers, min_size=1, max_size=5),
    "answers_a": st.lists(answers, min_size=1, max_size=3),
    "answers_b": st.lists(answers, min_size=1, max_size=2),
}


@pytest.mark.matrix
@pytest.mark.parametrize("name", STACKS)
@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(**SCHEDULE)
def test_nothing_is_leaked(name, schedule, answers_a, answers_b):
    _play(STACKS[name], schedule, answers_a, answers_b)


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
@settings(max_examples=40, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(**SCHEDULE)
def test_nothing_is_leaked_at_length(name, schedule, answers_a, answers_b):
    _play(STACKS[name], schedule, answers_a, answers_b)
