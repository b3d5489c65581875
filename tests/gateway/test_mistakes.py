"""Mistakes that stay silent in production: calling on for who has left, mixing requests up, loops and their objects."""

import asyncio

import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.errors import PolicyError
from llmsim.gateway.pipeline import Gateway
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Traffic
from llmsim.types import Message, Request, Usage


def run(*policies, replications=1, **traffic):
    """Requests that overlap, an answer takes half a second; ``a`` may take longer than users wait."""
    scenario = Scenario(
        version=1,
        replications=replications,
        clock=Clock(duration=5.0, drain=20.0),
        traffic=Traffic(base_rate=8.0, **traffic),
        providers={"a": SimProvider(ttft=Constant(0.5)), "b": SimProvider(ttft=Constant(0.1))},
    )
    return ls.run(scenario.with_gateway(list(policies)))


def line_of(policy, text):
    """``:line`` of the first line of a function policy that contains `text`."""
    import inspect

    lines, first = inspect.getsourcelines(policy.function)
    return f":{first + next(number for number, line in enumerate(lines) if text in line)}"


@ls.policy
async def catches_everything(request, call_next):
    try:
        return await call_next(request)
    except BaseException:
        return await call_next(request.to("b"))


@ls.policy
async def tries_for_ever(request, call_next):
    while True:
        try:
            return await call_next(request)
        except BaseException:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("bad", "line"),
    [(catches_everything, 'call_next(request.to("b"))'), (tries_for_ever, "call_next(request)")],
    ids=["once", "for ever"],
)
def test_who_calls_on_after_the_user_has_left_is_named_with_the_line(bad, line):
    with pytest.raises(PolicyError, match="called on after it had been cancelled: it caught CancelledError") as caught:
        run(bad, patience=Constant(0.3))
    assert caught.value.policy == bad.name
    assert caught.value.where.endswith(line_of(bad, line))


@pytest.mark.parametrize(
    ("file", "where"), [("<ipython-input-3-0123>", "Cell In[3], line 7"), ("<string>", "<string>:2")]
)
def test_code_without_a_file_is_named_as_well_as_can_be(file, where):
    source = """
@ls.policy
async def typed(request, call_next):
    try:
        return await call_next(request)
    except BaseException:
        return await call_next(request.to("b"))
"""
    names = {"ls": ls}
    exec(compile(source, file, "exec"), names)
    with pytest.raises(PolicyError, match="called on after it had been cancelled") as caught:
        run(names["typed"], patience=Constant(0.3))
    assert caught.value.where == where


def test_it_is_noticed_on_whichever_loop_a_started_gateway_is_asked():
    """As by a script that calls `asyncio.run` for every question, though it belongs to the loop it was opened on."""

    class Slow:
        name, model = "b", "m"

        async def send(self, request):
            await asyncio.sleep(60)

        def cancelled_usage(self, request):
            return Usage()

        async def aclose(self):
            pass

    async def ask(running):
        running = running or Gateway.of([gives_up_too_late]).open([Slow()])
        call = asyncio.ensure_future(running.send(Request("mine")))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(PolicyError, match="called on after it had been cancelled"):
            await call
        return running

    @ls.policy
    async def gives_up_too_late(request, call_next):
        try:
            return await call_next(request)
        except BaseException:
            call_next(request).close()
            raise

    asyncio.run(ask(asyncio.run(ask(None))))


def test_an_outer_time_limit_that_is_swallowed_is_the_same_mistake():
    with pytest.raises(PolicyError, match="called on after it had been cancelled") as caught:
        run(ls.Deadline(timeout=0.3), catches_everything)
    assert caught.value.policy == "catches_everything"


def test_the_policy_inside_is_not_blamed_for_it():
    @ls.policy
    async def innocent(request, call_next):
        return await call_next(request)

    with pytest.raises(PolicyError) as caught:
        run(catches_everything, innocent, patience=Constant(0.3))
    assert caught.value.policy == "catches_everything"


def test_a_time_limit_of_ones_own_may_be_caught_and_called_on_after():
    @ls.policy
    async def second_choice(request, call_next):
        try:
            async with asyncio.timeout(0.3):
                return await call_next(request)
        except BaseException as error:
            if not isinstance(error, TimeoutError):
                raise
            return await call_next(request.to("b"))

    result = run(second_choice, patience=Constant(5.0))
    assert set(result.requests["outcome"]) == {"ok"}
    assert set(result.requests["served_by"]) == {"b"}


def shared_variable():
    """A policy that keeps a request where the next one finds it, as a global would."""
    kept = {}

    @ls.policy
    async def remembers(request, call_next):
        kept["request"] = request
        await asyncio.sleep(0.3)
        return await call_next(kept["request"])

    return remembers


@pytest.mark.parametrize("around", [(), (ls.Retry(),), (ls.Fallback(order=("a", "b")),)], ids=["bare", "retry", "both"])
def test_an_answer_to_somebody_elses_question_is_refused(around):
    with pytest.raises(PolicyError, match=r"answered request \d+/0/0 with what request \d+/0/0 had asked") as caught:
        run(shared_variable(), *around)
    assert caught.value.policy == "remembers"


async def same_words(request, call_next):
    return await call_next(request._replace(messages=(Message("user", "Are you open today?"),)))


async def retries_at_once(request, call_next):
    """The same user again, with the same question, while the first is not over yet."""
    first = asyncio.ensure_future(call_next(request))
    again = await call_next(request._replace(id=request.id[:-1] + "1"))
    (await first).close()
    return again


@pytest.mark.parametrize("around", [same_words, retries_at_once])
def test_who_asks_the_same_may_send_what_another_sent(around):
    """A request kept by its question is a policy's right: the answer is to what both asked."""
    kept = {}

    @ls.policy
    async def by_question(request, call_next):
        key = request.messages if around is same_words else request.id.rpartition("/")[0]
        first = kept.setdefault(key, request)
        await asyncio.sleep(0.2)
        return await call_next(first)

    result = run(around, by_question)
    assert set(result.requests["outcome"]) == {"ok"}
    assert len(kept) < result.attempts.height


def test_one_response_for_two_requests_is_refused():
    """Whoever shares calls by hand does this first; the second reader waited until the end of the run."""
    last = {}

    @ls.policy
    async def shares(request, call_next):
        if "call" not in last or last["call"].done():
            last["call"] = asyncio.ensure_future(call_next(request))
        return await asyncio.shield(last["call"])

    @ls.policy
    async def innocent(request, call_next):
        return await call_next(request)

    for around in ((), (innocent,)):
        with pytest.raises(PolicyError, match=r"that another request has been answered with.*single_flight") as caught:
            run(*around, shares)
        assert caught.value.policy == "shares"


def test_calls_under_ids_of_ones_own_making_are_nobody_elses():
    @ls.policy
    async def renames(request, call_next):
        verdict = await call_next(request.to("b")._replace(id=f"{request.id}/judge"))
        await verdict.read()
        return await call_next(request._replace(id=f"trace-{request.id}"))

    result = run(renames)
    assert set(result.requests["outcome"]) == {"ok"}
    assert result.attempts.height == 2 * result.requests.height


@ls.policy
class Workers:
    """Requests wait in a queue that a few tasks work off, each begun in the context of whoever came first."""

    def start(self, run):
        queue, tasks = asyncio.Queue(), []

        async def work():
            while True:
                request, call_next, answer = await queue.get()
                try:
                    answer.set_result(await call_next(request))
                except ls.GatewayError as error:
                    answer.set_exception(error)

        async def handle(request, call_next):
            while len(tasks) < 20:
                tasks.append(asyncio.create_task(work()))
            answer = asyncio.get_running_loop().create_future()
            queue.put_nowait((request, call_next, answer))
            return await answer

        return handle


def test_workers_call_for_the_request_whose_turn_it_is():
    result = run(Workers())
    assert set(result.requests["outcome"]) == {"ok"}
    assert result.requests["attempts"].to_list() == [1] * result.requests.height
    assert result.requests["leaked_streams"].sum() == 0
    assert result.attempts["request_id"].to_list() == result.requests["request_id"].to_list()


def test_a_lock_that_outlives_its_loop_is_told_where_it_belongs():
    lock = asyncio.Lock()

    @ls.policy
    async def one_by_one(request, call_next):
        async with lock:
            await asyncio.sleep(0.2)
        return await call_next(request)

    with pytest.raises(PolicyError, match=r"different event loop; every replication .* in start\(self, run\)"):
        run(one_by_one, replications=2)


def test_what_a_task_group_wraps_is_named():
    @ls.policy
    async def both(request, call_next):
        async with asyncio.TaskGroup() as group:
            first = group.create_task(call_next(request))
            group.create_task(refuses())
        return first.result()

    async def refuses():
        raise ls.GatewayError("too much")

    with pytest.raises(PolicyError, match=r"GatewayError \(too much\); a TaskGroup wraps .*except\* ls\.GatewayError"):
        run(both)
