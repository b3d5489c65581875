import asyncio
import contextlib

import pytest
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play

from llmsim.errors import ServerError, StreamBroken, StreamStalled, TotalTimeout
from llmsim.gateway.contract import policy
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Backoff, Cache, Deadline, Hedge, Retry, SingleFlight, Timeout
from llmsim.types import Message

FOUR = list("abcd")


def flying(*toys, policies=(SingleFlight(),), upstream=()):
    return Site(Gateway(policies=policies, upstream=upstream), *toys)


async def after(seconds, awaitable):
    await asyncio.sleep(seconds)
    return await awaitable


def play_together(site_of, *requests, gaps=0.05):
    """Responses (or errors) of requests that come one gap after the other; and the site."""

    async def script():
        site = site_of()
        calls = [after(gaps * number, site.send(request)) for number, request in enumerate(requests)]
        return await asyncio.gather(*calls, return_exceptions=True), site

    return play(script)


def test_the_same_at_the_same_time_is_asked_once():
    responses, site = play_together(lambda: flying(Toy(0.5)), ask(0), ask(1), ask(2))
    assert len(site.providers["a"].calls) == 1
    assert [one.tokens_delivered for one in responses] == [2, 2, 2]
    assert [one.served_from for one in responses] == ["upstream", "flight", "flight"]
    assert [one.usage.output_tokens for one in responses] == [2, 0, 0]
    assert [(kind, fields["request_id"], fields["into"]) for kind, fields in site.events] == [
        ("coalesced", "1/0/0", "0/0/0"),
        ("coalesced", "2/0/0", "0/0/0"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        ask(1, messages=(Message("user", "other"),)),
        ask(1, model="m"),
        ask(1, temperature=0.0),
        ask(1, tenant="t"),
        ask(1, max_tokens=5),
        ask(1, tools=("search",)),
        ask(1, response_schema="{}"),
        ask(1, stream=False),
        ask(1, upstream="a"),
    ],
)
def test_what_is_not_the_same_flies_alone(other):
    _, site = play_together(lambda: flying(Toy(0.5)), ask(0), other)
    assert len(site.providers["a"].calls) == 2


@pytest.mark.parametrize(
    ("spec", "people", "calls"),
    [
        (SingleFlight(), [{"user": "u"}, {"user": "v"}], 1),
        (SingleFlight(scope="user"), [{"user": "u"}, {"user": "v"}], 2),
        (SingleFlight(scope="global"), [{"tenant": "t"}, {"tenant": "w"}], 1),
        (SingleFlight(), [{"temperature": 0.7}] * 2, 2),
        (SingleFlight(cacheable="all"), [{"temperature": 0.7}] * 2, 1),
        (SingleFlight(), [{"messages": None}] * 2, 2),
    ],
)
def test_scope_and_rule(spec, people, calls):
    requests = [ask(number, **fields) for number, fields in enumerate(people)]
    _, site = play_together(lambda: flying(Toy(0.5), policies=(spec,)), *requests)
    assert len(site.providers["a"].calls) == calls


def test_each_reader_gets_all_of_it_at_its_own_pace():
    """One as it comes, one slowly, one who joins in the middle, one who takes it in one go: chunks with their times."""

    async def script():
        site = flying(Toy(FOUR, delay_s=1.0, gap_s=1.0))
        loop, heard = asyncio.get_running_loop(), {}

        async def listen(name, at_s, pause_s):
            await asyncio.sleep(at_s)
            response = await site.running.send(ask(name))
            heard[name] = [("begins", loop.time())]
            async for chunk in response:
                heard[name].append((chunk.text, loop.time()))
                await asyncio.sleep(pause_s)
            assert response.finish_reason == "stop"

        async def swallow(at_s):
            await asyncio.sleep(at_s)
            response = await site.running.send(ask(9))
            heard[9] = [(await response.read(), loop.time())]

        await asyncio.gather(listen(0, 0.0, 0.0), listen(1, 0.0, 2.5), listen(2, 3.5, 0.0), swallow(2.2))
        assert len(site.providers["a"].calls) == 1
        assert heard[0] == [("begins", 1.0), ("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]
        assert heard[1] == [("begins", 1.0), ("a", 1.0), ("b", 3.5), ("c", 6.0), ("d", 8.5)]
        assert heard[2] == [("begins", 3.5), ("a", 3.5), ("b", 3.5), ("c", 3.5), ("d", 4.0)]
        assert heard[9] == [("abcd", 5.0)]

    play(script)


def test_the_end_can_not_be_joined():
    _, site = play_together(lambda: flying(Toy(0.1)), ask(0), ask(1), gaps=0.4)
    assert len(site.providers["a"].calls) == 2


def test_who_leaves_ends_nothing_for_the_others_and_passes_the_bill():
    async def script():
        site = flying(Toy(FOUR, delay_s=1.0, gap_s=1.0))
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(3)]
        tasks = [
            asyncio.create_task(after(0.1 * number, site.send(ask(number), exchanges[number]))) for number in range(3)
        ]
        await asyncio.sleep(2.5)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        exchanges[0].finish()
        responses = [task.result() for task in tasks[1:]]
        assert [one.tokens_delivered for one in responses] == [4, 4]
        assert [one.served_from for one in responses] == ["upstream", "flight"]
        assert [one.usage.output_tokens for one in responses] == [4, 0]
        assert [exchange.attempts for exchange in exchanges] == [0, 1, 0]
        [attempt] = site.attempts
        assert (attempt.exchange.request.id, attempt.won, attempt.outcome) == ("1/0/0", True, "ok")
        assert not any(exchange.leaked for exchange in exchanges)

    play(script)


def test_attempts_are_counted_where_they_are_reported():
    """The first attempt of the shared call fails, the one who began it leaves, and the second is the other one's."""

    async def script():
        retry = Retry(backoff=Backoff(initial=1.0, jitter="none"))
        site = flying(Toy(ServerError(), 1.0, delay_s=0.2), policies=(SingleFlight(), retry))
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(2)]
        first, second = (asyncio.ensure_future(site.send(one.request, one)) for one in exchanges)
        await asyncio.sleep(0.5)
        first.cancel()
        await second
        reported = [attempt.exchange.request.id for attempt in site.attempts]
        return exchanges, [(one.outcome, one.number) for one in site.attempts], reported, first

    exchanges, outcomes, _, _ = play(script)
    assert outcomes == [("server_error", 1), ("ok", 2)]
    assert [one.attempts for one in exchanges] == [1, 1]


def test_the_bill_of_a_call_that_everybody_left_is_in_before_the_request_is_over():
    async def script():
        policies = (SingleFlight(), Hedge(after=0.1, budget=None), Retry(), Hedge(after=0.1, budget=None))
        site = flying(Toy(9.0), policies=policies)
        exchange = Exchange(ask(), site.running._runtime)
        task = asyncio.ensure_future(site.send(exchange.request, exchange))
        await asyncio.sleep(1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert exchange.attempts == len(site.attempts) == 4

    play(script)


@pytest.mark.parametrize("when", [0.5, 2.5])
def test_the_last_one_to_leave_ends_the_call(when):
    """While it is waited for, and in the middle."""

    async def script():
        toy = Toy(FOUR, delay_s=1.0, gap_s=1.0)
        site = flying(toy)
        tasks = [asyncio.create_task(site.send(ask(number))) for number in range(2)]
        await asyncio.sleep(when)
        tasks[0].cancel()
        await asyncio.sleep(0.1)
        assert toy.in_flight + toy.open_streams == 1
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert (toy.in_flight, toy.open_streams) == (0, 0)
        assert [(one.outcome, one.exchange.request.id) for one in site.attempts] == [("cancelled", "1/0/0")]

    play(script)


def test_the_call_learns_which_limit_ended_it():
    whys = []

    @policy
    async def notes(request, call_next):
        try:
            return await call_next(request)
        except asyncio.CancelledError as error:
            whys.append(cancelled_by(error))
            raise

    _, _ = play_together(
        lambda: flying(Toy(9.0), policies=(), upstream=(Timeout(ttft=1.0), SingleFlight(), notes)), ask()
    )
    assert whys == ["ttft_timeout"]


def test_a_failure_is_everybodys():
    errors, site = play_together(lambda: flying(Toy(ServerError("no"), delay_s=0.5)), ask(0), ask(1))
    assert [(type(error), str(error)) for error in errors] == [(ServerError, "no")] * 2
    assert errors[0] is not errors[1]
    assert len(site.attempts) == 1


def test_a_failure_may_leave_the_others_to_themselves():
    spec = SingleFlight(on_failure="alone")
    toy = lambda: Toy(ServerError(), 0.1, delay_s=0.5)  # noqa: E731
    results, site = play_together(lambda: flying(toy(), policies=(spec,)), ask(0), ask(1), ask(2))
    assert [getattr(one, "word", "ok") for one in results] == ["server_error", "ok", "ok"]
    assert len(site.attempts) == 3


def test_a_break_in_the_middle_is_everybodys_after_what_came():
    broken = [*"ab", StreamBroken("cut", tokens_delivered=2)]

    async def script():
        site = flying(Toy(broken, delay_s=0.5, gap_s=0.5), policies=(SingleFlight(on_failure="alone"),))
        heard = {}

        async def listen(number, at_s, whole):
            await asyncio.sleep(at_s)
            heard[number] = []
            response = await site.running.send(ask(number))
            try:
                if whole:
                    tap = response.tap()
                    try:
                        await response.read()
                    finally:
                        heard[number].append(tap.text)
                else:
                    async for chunk in response:
                        heard[number].append(chunk.text)
            except StreamBroken as error:
                heard[number].append(error.tokens_delivered)

        await asyncio.gather(listen(0, 0, False), listen(1, 1.1, False), listen(2, 0.2, True))
        assert heard == {0: ["a", "b", 2], 1: ["a", "b", 2], 2: ["ab", 2]}
        assert len(site.attempts) == 1

    play(script)


def test_limits_outside_are_each_readers_own():
    """One has two seconds, the other none; and a limit on silence sees the chunks."""

    async def script():
        site = flying(Toy(FOUR, delay_s=1.0, gap_s=1.0))
        late = lambda tokens: TotalTimeout(tokens_delivered=tokens)  # noqa: E731

        async def limited(number, **limits):
            response = await site.running.send(ask(number))
            response.limit(**limits)
            tap = response.tap()
            try:
                await response.read()
            except (TotalTimeout, StreamStalled) as error:
                return tap.text, type(error), error.tokens_delivered, asyncio.get_running_loop().time()
            return tap.text

        results = await asyncio.gather(
            limited(0, until_s=2.5, late=late),
            limited(1, gap_s=1.5),
            limited(2, gap_s=0.5),
            limited(3),
        )
        assert results == [("ab", TotalTimeout, 2, 2.5), "abcd", ("a", StreamStalled, 1, 1.5), "abcd"]

    play(script)


def test_a_deadline_outside_is_not_the_calls():
    """The first one's time is over at 2.0, the second one's only at 3.5, and the answer is there at 3.2."""
    policies = (Deadline(timeout=2.0), SingleFlight())
    results, site = play_together(lambda: flying(Toy(3.0), policies=policies), ask(0), ask(1), gaps=1.5)
    assert [getattr(one, "word", "ok") for one in results] == ["deadline_exceeded", "ok"]
    assert site.providers["a"].calls[0][1].deadline_s is None
    assert len(site.attempts) == 1


def test_a_reader_that_is_closed_while_it_reads():
    async def script():
        site = flying(Toy(FOUR, delay_s=1.0, gap_s=1.0))
        responses = await asyncio.gather(*(site.running.send(ask(number)) for number in range(2)))
        reading = asyncio.create_task(responses[0].read())
        other = asyncio.create_task(responses[1].read())
        await asyncio.sleep(1.5)
        responses[0].close()
        assert await asyncio.wait_for(reading, 0.1) == ""
        assert await other == "abcd"

    play(script)


def test_a_share_that_a_policy_forgets_is_closed_and_counted():
    @policy
    async def forgets(request, call_next):
        await call_next(request)
        return await call_next(request.to("b"))

    async def script():
        toys = Toy(FOUR), Toy(name="b")
        site = flying(*toys, policies=(forgets, SingleFlight()))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(ask(), exchange)
        exchange.finish()
        await asyncio.sleep(0)
        assert exchange.leaked == 1
        assert [kind for kind, _ in site.events] == ["leaked_stream"]
        assert [toy.open_streams for toy in toys] == [0, 0]

    play(script)


def test_with_an_exact_cache_in_front_of_it():
    async def script():
        site = flying(Toy(0.5), policies=(Cache(), SingleFlight()))
        first = await asyncio.gather(*(site.send(ask(number)) for number in range(3)))
        assert [one.served_from for one in first] == ["upstream", "flight", "flight"]
        again = await site.send(ask(3))
        assert (again.served_from, again.usage.output_tokens) == ("cache", 2)
        assert len(site.attempts) == 1

    play(script)


def test_with_a_hedge_inside_and_a_retry_outside():
    async def script():
        policies = (Retry(backoff=Backoff(initial=0.1, jitter="none")), SingleFlight(), Hedge(after=0.5, budget=None))
        toy = Toy(ServerError(), ServerError(), 9.0, 0.1)
        site = flying(toy, policies=policies)
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(2)]
        await asyncio.gather(*(site.send(ask(number), exchanges[number]) for number in range(2)))
        assert [(number, cause) for number, cause, _, _ in site.causes()] == [
            (1, "first"),
            (2, "retry"),
            (3, "retry"),
            (4, "hedge"),
        ]
        assert [exchange.attempts for exchange in exchanges] == [4, 0]
        assert not any(exchange.leaked for exchange in exchanges)

    play(script)


def test_it_runs_on_an_ordinary_loop():
    async def main():
        site = flying(Toy(FOUR, delay_s=0.02, gap_s=0.005))
        tasks = [asyncio.create_task(site.send(ask(number))) for number in range(3)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        responses = [(await outcome(task))[0] for task in tasks[1:]]
        assert [one.tokens_delivered for one in responses] == [4, 4]
        assert len(site.attempts) == 1

    asyncio.run(main())
