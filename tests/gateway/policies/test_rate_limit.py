import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, chain, outcome, run

from llmsim.errors import RateLimited, Rejected, ServerError, TtftTimeout
from llmsim.gateway.policies import CircuitBreaker, Deadline, Fallback, RateLimit, Retry, Timeout, WaitingLine


class Bench:
    """A limit before a toy whose prompts have 10 tokens and whose answers have two."""

    def __init__(self, *script, upstream="up", around=(), inside=(), **spec):
        self.world = World()
        self.handler = self.world.start(RateLimit(**spec), upstream)
        self.toy = Toy(*script, name="up", gap_s=0.25)
        handlers = [[self.world.start(one, upstream) for one in some] for some in (around, inside)]
        self.send = chain(*handlers[0], self.handler, *handlers[1], inner=self.toy.send)

    async def call(self, number=0, **fields):
        try:
            return await (await self.send(ask(number, **{"input_tokens": 10, **fields}))).read()
        except Exception as error:
            return error

    def level(self, key="", limit=0):
        now = asyncio.get_running_loop().time()
        return self.handler._lanes[key].limits.buckets[limit].refill(now)

    @property
    def reasons(self):
        return [event["reason"] for event in self.world.of("rejected")]


def test_requests_beyond_the_burst_are_turned_away_with_a_true_retry_after():
    async def main():
        bench = Bench(requests=0.5, burst=4.0)
        results = [await bench.call(), await bench.call(), await bench.call()]  # 0.5 s each
        assert [isinstance(result, RateLimited) for result in results] == [False, False, True]
        error = results[2]
        assert (error.retry_after_s, error.headers["retry-after"]) == (1.0, "1")
        assert "rate limit of up: too fast; try again in 1s" in str(error)
        await asyncio.sleep(error.retry_after_s)
        assert await bench.call() == "hello"
        assert isinstance(await bench.call(), RateLimited)

    run(main())


@pytest.mark.parametrize(("upstream", "status"), [("", 429), ("up", None)])
def test_a_429_of_the_gateway_is_one_and_what_was_never_sent_has_no_status(upstream, status):
    async def main():
        bench = Bench(requests=1.0, burst=1.0, upstream=upstream)
        error = (await asyncio.gather(*(bench.call(n) for n in range(2))))[1]
        assert (error.status, error.upstream) == (status, upstream)

    run(main())


def test_tokens_are_reserved_when_a_call_begins_and_settled_when_its_response_ends():
    async def main():
        bench = Bench(tokens=1.0, burst=100.0)
        response = await bench.send(ask(input_tokens=10, max_tokens=50))
        assert bench.level() == 40.0
        await anext(response)
        assert bench.level() == 40.0
        await response.read()  # 10 + 2 were used, and half a second has passed
        assert bench.level() == pytest.approx(88.0 + 0.5)

    run(main())


def test_input_and_output_apart():
    async def main():
        bench = Bench(input_tokens=1.0, output_tokens=1.0, burst=100.0)
        response = await bench.send(ask(input_tokens=30, max_tokens=50))
        assert (bench.level(limit=0), bench.level(limit=1)) == (70.0, 50.0)
        await response.read()  # the toy says that the prompt had 10
        assert (bench.level(limit=0), bench.level(limit=1)) == (90.5, 98.5)

    run(main())


@pytest.mark.parametrize(
    ("expected", "max_tokens", "reserved"),
    [(None, 80, 80), (30, 80, 30), (30, 20, 20), (30, None, 30), (None, None, 211)],
)
def test_what_is_reserved_for_an_answer(expected, max_tokens, reserved):
    async def main():
        bench = Bench(output_tokens=1.0, burst=1000.0, expected_output=expected)
        await bench.send(ask(max_tokens=max_tokens))
        assert bench.level() == 1000.0 - reserved

    run(main())


def test_without_a_hint_the_mean_of_the_answers_so_far_is_reserved():
    async def main():
        bench = Bench(output_tokens=100.0, burst=100.0)
        for _ in range(60):
            await bench.call()
        before = bench.level()
        await bench.send(ask())
        assert before - bench.level() == pytest.approx(2.0, abs=0.1)

    run(main())


def test_a_call_that_used_more_leaves_a_debt():
    async def main():
        bench = Bench(tokens=1.0, burst=20.0, expected_output=1)
        bench.toy = Toy(["x"] * 40, name="up", gap_s=0.0)
        await (await bench.handler(ask(input_tokens=10), bench.toy.send)).read()
        assert bench.level() == 20 - 50
        error = await bench.call()
        assert error.retry_after_s == pytest.approx(30 + 11)

    run(main())


@pytest.mark.parametrize(
    ("failed_requests", "error", "requests", "tokens"),
    [
        ("count", ServerError(), 9.0, 100.0),
        ("free", ServerError(), 10.0, 100.0),
        ("count", TtftTimeout(), 9.0, 90.0),  # it was sent: its prompt was read, or may have been
        ("free", TtftTimeout(), 10.0, 90.0),
    ],
)
def test_failed_calls(failed_requests, error, requests, tokens):
    async def main():
        bench = Bench(error, requests=1e-9, tokens=1e-9, burst=1e10, failed_requests=failed_requests)
        bench.handler._rates = (1e-9, 1e-8)  # 10 requests, 100 tokens, and practically no refill
        await bench.call(max_tokens=50)
        assert (round(bench.level(limit=0), 6), round(bench.level(limit=1), 6)) == (requests, tokens)

    run(main())


def test_of_a_cancelled_call_the_prompt_stays_charged_and_of_a_closed_one_what_it_had():
    async def main():
        bench = Bench(9.0, tokens=1e-9, burst=1e11)
        task = asyncio.ensure_future(bench.call(max_tokens=50))
        await asyncio.sleep(0.1)
        assert round(bench.level(), 6) == 40.0
        task.cancel()
        await asyncio.wait([task])
        assert round(bench.level(), 6) == 90.0
        bench = Bench(tokens=1e-9, burst=1e11)
        response = await bench.send(ask(input_tokens=10, max_tokens=50))
        await anext(response)
        response.close()
        assert round(bench.level(), 6) == 89.0

    run(main())


def test_they_wait_in_line_and_nobody_overtakes():
    """A large request at the head keeps small ones behind it from starving it."""

    async def main():
        bench = Bench(0.0, tokens=10.0, burst=10.0, queue=WaitingLine(limit=9, timeout=60.0), expected_output=1)
        order = []

        async def one(number, tokens):
            await bench.call(number, input_tokens=tokens, max_tokens=1)
            order.append(number)

        await asyncio.gather(one(0, 99), one(1, 99), one(2, 9), one(3, 9))
        assert [request.id for _, request in bench.toy.calls] == [f"{n}/0/0" for n in range(4)]
        # The first is settled after 0.5 s, when it turns out to have used 12 of 100: the second waits for the 7 that
        # are then missing and not for 10 s, and the others until that one is settled.
        assert [round(event["waited_s"], 3) for event in bench.world.of("queued")] == [1.2, 1.7, 1.7]

    run(main())


def test_a_wait_that_must_be_too_long_is_not_begun():
    """Requests do not come back, so the wait is known: 5 and 10 s are waited for, 15 s are not."""

    async def main():
        bench = Bench(0.0, requests=0.2, burst=5.0, queue=WaitingLine(limit=9, timeout=12.0))
        results = await asyncio.gather(*(outcome(bench.call(n)) for n in range(5)))
        assert [(at, getattr(result, "retry_after_s", None)) for result, at in results] == [
            (0.5, None), (5.5, None), (10.5, None), (0.0, 15.0), (0.0, 15.0),
        ]  # fmt: skip
        assert bench.reasons == ["limit", "limit"]

    run(main())


def test_nor_one_that_ends_after_the_deadline():
    async def main():
        bench = Bench(
            0.0, requests=0.2, burst=5.0, queue=WaitingLine(limit=9, timeout=60.0), around=[Deadline(timeout=4.0)]
        )
        results = await asyncio.gather(*(outcome(bench.call(n)) for n in range(2)))
        assert results[1][0].word == "rate_limited"
        assert results[1][1] == 0.0

    run(main())


def test_a_full_line_and_one_that_takes_too_long():
    async def main():
        bench = Bench(60.0, tokens=1.0, burst=100.0, queue=WaitingLine(limit=2, timeout=5.0))
        results = await asyncio.gather(*(outcome(bench.call(n, max_tokens=20)) for n in range(6)))
        assert [at for _, at in results] == [60.5, 60.5, 60.5, 5.0, 5.0, 0.0]
        assert bench.reasons == ["queue_full", "queue_timeout", "queue_timeout"]
        # 30 each, and 10 are there: the last would wait for 60 and its own. At 5 s, 15 are there.
        assert [round(result.retry_after_s, 6) for result, _ in results[3:]] == [45.0, 15.0, 80.0]

    run(main())


def test_more_than_a_full_bucket_never_fits_and_says_so():
    async def main():
        bench = Bench(tokens=1.0, burst=60.0, queue=WaitingLine(limit=9, timeout=5.0))
        error = await bench.call(max_tokens=51)
        assert isinstance(error, Rejected)  # which no retry takes up
        assert "61 tokens can never fit into 60" in str(error)
        assert (error.retry_after_s, bench.reasons) == (None, ["too_large"])
        assert await bench.call(max_tokens=50) == "hello"

    run(main())


@pytest.mark.parametrize(
    ("fields", "left"), [({}, 0.0), ({"expected_output": 500}, 0.0), ({"expected_output": 7}, 43.0)]
)
def test_a_guess_makes_nothing_too_large(fields, left):
    async def main():
        bench = Bench(tokens=1.0, burst=60.0, **fields)
        await bench.send(ask(input_tokens=10))
        assert bench.level() == left
        assert isinstance(await bench.call(input_tokens=61), Rejected)
        assert bench.reasons == ["too_large"]

    run(main())


def test_a_limit_for_each_and_they_are_forgotten():
    async def main():
        bench = Bench(0.0, requests=1.0, burst=1.0, per="user", upstream="")
        results = await asyncio.gather(*(bench.call(n, user=f"u{n % 3}") for n in range(6)))
        assert [isinstance(result, RateLimited) for result in results] == [False] * 3 + [True] * 3
        for number in range(300):
            await bench.call(number, user=f"once{number}")
            assert len(bench.handler._lanes) <= 6
        assert len(bench.handler._lanes) <= 4

    run(main())


def test_a_crowd_of_keys_in_use_is_remembered():
    async def main():
        bench = Bench(50.0, requests=0.01, burst=100.0, per="user")
        await asyncio.gather(*(bench.call(n, user=f"u{n}") for n in range(50)))
        results = await asyncio.gather(*(outcome(bench.call(n, user=f"u{n}")) for n in range(50)))
        assert all(isinstance(result, RateLimited) and at == 0 for result, at in results)

    run(main())


def test_a_retry_outside_waits_as_long_as_told_and_gets_through():
    async def main():
        bench = Bench(0.0, requests=0.1, burst=10.0, around=[Retry(max_attempts=2)])
        results = await asyncio.gather(*(outcome(bench.call(n)) for n in range(2)))
        assert results[0] == ("hello", 0.5)
        answer, at = results[1]
        assert answer == "hello"
        assert 10.5 <= at < 12.5

    run(main())


def test_a_fallback_outside_takes_what_does_not_fit():
    async def main():
        bench = Bench(0.0, requests=0.1, burst=10.0)
        other = Toy(name="b")

        async def route(request):
            return await (other.send(request) if request.upstream == "b" else bench.send(request))

        fallback = bench.world.start(Fallback(order=("a", "b")))
        for number in range(2):
            await (await fallback(ask(number), route)).read()
        assert (len(bench.toy.calls), len(other.calls)) == (1, 1)

    run(main())


def test_a_breaker_outside_does_not_take_a_refusal_for_an_answer():
    async def main():
        breaker = CircuitBreaker(minimum_calls=2)
        bench = Bench(0.0, requests=0.1, burst=10.0, around=[breaker])
        await asyncio.gather(*(bench.call(n) for n in range(10)))
        bench = Bench(ServerError(), requests=0.1, burst=20.0, around=[breaker])
        await asyncio.gather(*(bench.call(n) for n in range(20)))
        assert [event["state"] for event in bench.world.of("circuit_breaker")] == ["open"]

    run(main())


def test_a_timeout_inside_settles_too():
    async def main():
        bench = Bench(9.0, requests=1.0, tokens=100.0, inside=[Timeout(ttft=1.0)])
        assert isinstance(await bench.call(max_tokens=100), TtftTimeout)
        assert [bucket.reserved for bucket in bench.handler._lanes[""].limits.buckets] == [0.0, 0.0]

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "limits nothing; write at least one of requests"),
        ({"requests": 0.0}, "requests must be above 0"),
        ({"requests": 1.0, "burst": 0.0}, "burst must be above 0"),
        ({"requests": 1.0, "expected_output": 5}, "no effect without a limit of tokens"),
        ({"tokens": 1.0, "expected_output": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        RateLimit(**fields)
