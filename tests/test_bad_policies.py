"""Policies that break their contract: each is named with the line that does it, and none hangs the run."""

import asyncio
import inspect
import json
import re
import sys

import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.errors import EventBudgetError, PolicyError
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Traffic


def run(*policies, entry=None, **traffic):
    """One short replication, about twenty requests, through these policies or this whole gateway."""
    scenario = Scenario(
        version=1,
        replications=1,
        clock=Clock(duration=5.0, drain=20.0),
        traffic=Traffic(base_rate=4.0, **traffic),
        providers={"a": SimProvider(), "b": SimProvider()},
    )
    return ls.run(scenario.with_gateway(entry or policies))


def place(source, text):
    """``file:line`` of the line of `source` (a function or class) that contains `text`."""
    lines, first = inspect.getsourcelines(source)
    number = next(number for number, line in enumerate(lines) if text in line)
    return f"{inspect.getsourcefile(source)}:{first + number}"


@ls.policy
async def raises(request, call_next):
    raise ValueError("oops")


@ls.policy
async def exits(request, call_next):
    sys.exit(3)


@ls.policy
async def raises_in_a_library(request, call_next):
    return json.loads("{")  # the line that is wanted, not one of the json module


@ls.policy
async def returns_nothing(request, call_next):
    await call_next(request)


@ls.policy
async def returns_text(request, call_next):
    return await (await call_next(request)).read()


@ls.policy
def is_not_async(request, call_next):
    return "an answer"


@ls.policy
async def is_a_generator(request, call_next):
    yield await call_next(request)


@ls.policy
async def takes_too_little(request):
    return request


@ls.policy
async def forgets_await(request, call_next):
    response = call_next(request)
    try:
        return response.upstream
    finally:
        response.close()


@ls.policy
async def returns_a_coroutine(request, call_next):
    return call_next(request)


@ls.policy
async def reads_a_coroutine(request, call_next):
    response = call_next(request)
    try:
        return [chunk async for chunk in response]
    finally:
        response.close()


@ls.policy
async def looks_into_a_task(request, call_next):
    task = asyncio.create_task(call_next(request))
    await asyncio.sleep(0.01)
    try:
        return task.upstream
    finally:
        task.cancel()


@ls.policy
async def changes_the_request(request, call_next):
    request.max_tokens = 10


@ls.policy
async def reads_and_returns(request, call_next):
    response = await call_next(request)
    await response.read()
    return response


@ls.policy
async def sends_nowhere(request, call_next):
    return await call_next(request.to("claude"))


@ls.policy
async def cancels_itself(request, call_next):
    task = asyncio.ensure_future(call_next(request))
    task.cancel()
    return await task


@ls.policy
async def fails_in_on_end(request, call_next):
    response = await call_next(request)
    response.on_end(lambda outcome, usage: outcome.no_such_thing)
    return response


@ls.policy
async def awaits_in_on_end(request, call_next):
    response = await call_next(request)

    async def done(outcome, usage):
        pass

    response.on_end(done)
    return response


CASES = [
    (raises, "raise ValueError", "raised ValueError: oops"),
    (exits, "sys.exit", "raised SystemExit: 3"),
    (raises_in_a_library, "json.loads", "raised JSONDecodeError"),
    (returns_nothing, "async def", "returned None instead of a Response"),
    (returns_text, "async def", r"returned 'tok .*… instead of a Response"),
    (is_not_async, "def is_not_async", "returned 'an answer' instead of a Response; write it as async def"),
    (is_a_generator, "async def", "has a yield where it should return a Response"),
    (takes_too_little, "async def", "raised TypeError: .*takes 1 positional argument but 2 were given"),
    (forgets_await, "response.upstream", "raised AttributeError: 'coroutine' object has no attribute 'upstream'"),
    (returns_a_coroutine, "async def", "returned a coroutine instead of a Response: an await is missing"),
    (reads_a_coroutine, "async for", "got coroutine; an await is missing"),
    (looks_into_a_task, "task.upstream", "has no attribute 'upstream'; an await is missing"),
    (changes_the_request, "max_tokens = 10", r"can't set attribute; .* send request\.to\(upstream, model=\.\.\.\)"),
    (reads_and_returns, "async def", "its caller would get nothing"),
    (sends_nowhere, "claude", "sent a request to 'claude'; configured upstreams: a, b"),
    (cancels_itself, "await task", "let a CancelledError out that nobody had asked for"),
    (fails_in_on_end, "no_such_thing", "its on_end callback raised AttributeError"),
    (awaits_in_on_end, "async def done", "on_end takes a plain function"),
]


@pytest.mark.parametrize(("bad", "line", "message"), CASES, ids=lambda case: getattr(case, "name", None))
def test_a_function_is_named_with_its_line(bad, line, message):
    with pytest.raises(PolicyError, match=message) as caught:
        run(bad)
    # A decorator's line is where the source of a function begins, for Python as for `place`.
    wanted = {
        place(bad.function, line),
        place(bad.function, "@ls.policy" if line.startswith(("async", "def")) else line),
    }
    assert (caught.value.policy, caught.value.where in wanted) == (bad.name, True), str(caught.value)
    assert caught.value.where in str(caught.value)
    assert bad.name in str(caught.value)


def test_inner_and_outer_policies_are_not_blamed_for_each_other():
    @ls.policy
    async def innocent(request, call_next):
        return await call_next(request)

    for bad in (sends_nowhere, raises, returns_nothing, cancels_itself, fails_in_on_end, reads_and_returns):
        for policies in ((innocent, bad, innocent), (ls.Retry(), innocent, bad), (bad, innocent)):
            with pytest.raises(PolicyError) as caught:
                run(*policies)
            assert caught.value.policy == bad.name


def test_a_whole_gateway_of_ones_own_is_named_with_its_line():
    async def mine(request, providers):
        return await providers["openai"].send(request)

    with pytest.raises(PolicyError, match="there is no provider 'openai'; known: a, b") as caught:
        run(entry=mine)
    assert (caught.value.policy, caught.value.where) == ("mine", place(mine, "openai"))


class Broken:
    """A policy in a class; ``how`` says what is wrong with it."""

    def __init__(self, how):
        self.how = how

    def start(self, run):
        if self.how == "start raises":
            raise KeyError("missing")
        return Handler() if self.how == "handler raises" else None


class Handler:
    async def __call__(self, request, call_next):
        raise RuntimeError("in a method")


@pytest.mark.parametrize(
    ("how", "source", "line", "message"),
    [
        ("start raises", Broken.start, "raise KeyError", r"start\(run\) raised KeyError"),
        ("start returns nothing", Broken.start, "def start", r"start\(run\) returned None"),
        ("handler raises", Handler.__call__, "raise RuntimeError", "raised RuntimeError: in a method"),
    ],
)
def test_a_class_is_named_with_its_line(how, source, line, message):
    with pytest.raises(PolicyError, match=message) as caught:
        run(Broken(how))
    assert (caught.value.policy, caught.value.where) == ("Broken", place(source, line))


def test_what_is_no_policy_at_all():
    with pytest.raises(PolicyError, match=r"7 is no policy: it needs start\(run\)"):
        run(7)
    with pytest.raises(PolicyError, match=r"Retry is a class; write Retry\(\)"):
        run(ls.Retry)


# -- leaks -------------------------------------------------------------------------------------------------------------


@ls.policy
async def forgets_a_stream(request, call_next):
    await call_next(request)
    return await call_next(request.to("b"))


@ls.policy
async def calls_twice_at_once(request, call_next):
    first, _ = await asyncio.gather(call_next(request), call_next(request))
    return first


@ls.policy
async def races_without_cancelling(request, call_next):
    tasks = [asyncio.ensure_future(call_next(request.to(name))) for name in "ab"]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return next(task for task in tasks if task in done).result()


@pytest.mark.parametrize(
    "leaky", [forgets_a_stream, calls_twice_at_once, races_without_cancelling], ids=lambda p: p.name
)
def test_leaked_streams_are_closed_counted_and_blamed(leaky):
    result = run(leaky)
    count = result.requests.height
    assert set(result.requests["outcome"]) == {"ok"}
    assert result.requests["leaked_streams"].sum() == count
    assert result.attempts.height == 2 * count, "the one that leaked is recorded and billed too"
    leaks = result.events.filter(result.events["kind"] == "leaked_stream")
    assert leaks.height == count
    assert set(leaks["policy"]) == {f"{leaky.name} ({place(leaky.function, '@ls.policy')})"}


def test_losers_that_answer_after_the_end_are_recorded_and_blamed():
    slow = Scenario(
        version=1,
        replications=1,
        clock=Clock(duration=5.0, drain=60.0),
        traffic=Traffic(base_rate=4.0),
        # An answer of a takes 2.1 s, the first token of b comes 3.5 s after the arrival.
        providers={"a": SimProvider(ttft=Constant(0.1)), "b": SimProvider(ttft=Constant(3.5))},
    )
    result = ls.run(slow.with_gateway([races_without_cancelling]))
    late = result.attempts.filter(result.attempts["upstream"] == "b")
    assert late.height == result.requests.height, "those that were still out when the run ended, too"
    assert set(late["outcome"]) == {"cancelled"}
    arrivals = dict(zip(result.requests["session"], result.requests["arrival_s"], strict=True))
    assert all(arrivals[session] == at for session, at in zip(late["session"], late["arrival_s"], strict=True))
    leaks = result.events.filter(result.events["kind"] == "leaked_stream")
    assert leaks.height > 5
    assert set(leaks["policy"]) == {
        f"{races_without_cancelling.name} ({place(races_without_cancelling.function, '@ls')})"
    }


# -- what never ends ---------------------------------------------------------------------------------------------------


@ls.policy
async def hangs(request, call_next):
    await asyncio.Event().wait()


@ls.policy
async def waits_for_a_lock_it_holds(request, call_next):
    lock = asyncio.Lock()
    await lock.acquire()
    async with asyncio.timeout(None), lock:
        return await call_next(request)


@pytest.mark.parametrize(("bad", "line"), [(hangs, "Event().wait"), (waits_for_a_lock_it_holds, "lock:")])
def test_a_request_that_hangs_is_unfinished_and_its_line_is_in_the_notes(bad, line):
    result = run(bad)
    assert set(result.requests["outcome"]) == {"unfinished"}
    assert result.metrics["error_rate"] == 1.0
    (note,) = result.replications[0].notes
    assert re.search(r"\d+ requests had not ended 20s after the last arrival", note)
    assert f"{place(bad.function, line)} in {bad.name}" in note


@ls.policy
async def swallows_cancellation(request, call_next):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass


def test_requests_that_cannot_be_stopped_are_recorded_and_their_line_is_in_the_notes():
    for traffic, outcome in (({}, "unfinished"), ({"patience": Constant(0.5)}, "abandoned")):
        result = run(swallows_cancellation, **traffic)
        assert result.requests.height > 10
        assert set(result.requests["outcome"]) == {outcome}
        stubborn = result.replications[0].notes[-1]
        assert "did not stop when they were cancelled" in stubborn
        assert f"{place(swallows_cancellation.function, 'sleep(1000)')} in swallows_cancellation" in stubborn


def test_swallowing_one_cancellation_and_ending_is_the_policys_own_business():
    @ls.policy
    async def says_sorry(request, call_next):
        try:
            return await call_next(request)
        except asyncio.CancelledError:
            raise ls.GatewayError("sorry") from None

    result = run(says_sorry, patience=Constant(0.1))
    assert set(result.requests["outcome"]) == {"abandoned"}
    assert not result.replications[0].notes


@ls.policy
async def spins(request, call_next):
    while True:
        await asyncio.sleep(0)


def test_a_loop_that_lets_no_time_pass_ends_with_its_line():
    with pytest.raises(EventBudgetError) as caught:
        run(spins)
    assert place(spins.function, "sleep(0)") in str(caught.value)
