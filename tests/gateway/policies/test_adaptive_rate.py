import asyncio
import itertools

import pytest
from examples import examples
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.buckets import TokenBucket
from llmsim.errors import RateLimited, Rejected, ServerError
from llmsim.gateway.policies import AdaptiveRate
from llmsim.types import Response, WholeAnswer


class Limited:
    """An upstream that takes so many calls a second and answers the rest with 429."""

    name = "a"

    def __init__(self, rate_per_s):
        self.bucket = TokenBucket(rate_per_s, 1.0)
        self.times, self.refused = [], 0

    async def send(self, request):
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        await asyncio.sleep(0.02)
        if self.bucket.wait_s(1.0, now):
            self.refused += 1
            raise RateLimited(upstream="a")
        self.bucket.take(1.0, now)
        return Response(WholeAnswer("x", 1, None), upstream="a")


def offered(rate_per_s, seconds, provider, spec=None):
    """What becomes of so many calls a second: outcomes and the world."""
    world = World()

    async def main():
        call = provider.send if spec is None else chain(world.start(spec, upstream="a"), inner=provider.send)
        tasks = []
        for number in range(int(rate_per_s * seconds)):
            deadline = asyncio.get_running_loop().time() + 20.0
            tasks.append(asyncio.ensure_future(outcome(call(ask(number, deadline_s=deadline)))))
            await asyncio.sleep(1 / rate_per_s)
        return [found for found, _ in await asyncio.gather(*tasks)]

    return run(main()), world


def test_it_finds_the_rate_that_the_upstream_bears():
    plain, held = Limited(10.0), Limited(10.0)
    offered(20.0, 60.0, plain)
    results, world = offered(20.0, 60.0, held, AdaptiveRate())
    assert plain.refused > 550  # half of what is sent
    assert held.refused < 0.25 * plain.refused
    answered = [result for result in results if isinstance(result, Response)]
    assert len(answered) > 0.8 * 600  # most of what could be had
    events = world.of("adaptive_rate")
    assert events[0] == {"rate_per_s": 0.5, "measured_per_s": 0.0}  # throttled before anything was measured
    assert all(0.5 <= event["rate_per_s"] <= max(0.5, 0.7 * event["measured_per_s"] + 1e-9) for event in events)
    assert len(events) == held.refused
    late = [result for result in results if isinstance(result, Rejected)]
    assert late and "after its deadline" in str(late[0])


def test_without_throttling_nothing_waits():
    provider = Limited(1e9)
    results, world = offered(200.0, 5.0, provider, AdaptiveRate())
    assert all(isinstance(result, Response) for result in results)
    assert world.events == []
    assert provider.times == pytest.approx([number / 200 for number in range(1000)])


def throttled_once(*then):
    return Toy(RateLimited(), *(then or (0.0,)))


def test_first_come_first_served_and_half_a_call_a_second_at_least():
    """A first 429 before anything was measured leaves the lowest rate there is."""
    provider, world = throttled_once(), World()

    async def main():
        call = chain(world.start(AdaptiveRate(), upstream="a"), inner=provider.send)
        await outcome(call(ask(0)))
        tasks = [asyncio.ensure_future(outcome(call(ask(number)))) for number in range(1, 4)]
        await asyncio.gather(*tasks)

    run(main())
    assert [request.id for _, request in provider.calls] == ["0/0/0", "1/0/0", "2/0/0", "3/0/0"]
    assert provider.times[:2] == [0.0, 0.0]  # the bucket is full at the first throttle
    assert provider.times[2] == pytest.approx(2.0)


def test_only_answers_count():
    provider, world = Toy(ServerError(status=None)), World()
    refused = Rejected("by a policy further in")
    provider._script = [refused]

    async def main():
        handler = world.start(AdaptiveRate(), upstream="a")
        for number in range(50):
            await outcome(chain(handler, inner=provider.send)(ask(number)))
            await asyncio.sleep(0.1)
        return handler._rate.measured_per_s

    assert run(main()) == 0.0


def test_a_turn_that_comes_with_a_cancellation_goes_to_the_next_at_once():
    provider, world = throttled_once(), World()

    async def main():
        call = chain(world.start(AdaptiveRate(), upstream="a"), inner=provider.send)
        await outcome(call(ask(0)))
        await outcome(call(ask(1)))  # empties the bucket; the next turn is at 2.0
        first, second = (asyncio.ensure_future(outcome(call(ask(number)))) for number in (2, 3))
        await asyncio.sleep(1.0)
        asyncio.get_running_loop().call_at(2.0, first.cancel)  # after the timer of the turn, at the same instant
        await asyncio.wait({first, second})
        return first.cancelled()

    assert run(main())
    assert [request.id for _, request in provider.calls] == ["0/0/0", "1/0/0", "3/0/0"]
    assert provider.times[2] == pytest.approx(2.0)


def test_who_waits_goes_sooner_once_an_answer_raises_the_rate():
    provider, world = Toy(RateLimited(), 1.5, 0.0), World()

    async def main():
        call = chain(world.start(AdaptiveRate(), upstream="a"), inner=provider.send)
        await outcome(call(ask(0)))
        await asyncio.gather(*(outcome(call(ask(number))) for number in (1, 2)))

    run(main())
    # At half a call a second 2.0; after the answer at 1.5 the limit is 0.4 * 1.5³ = 1.35, and 0.25 is to come.
    assert provider.times[2] == pytest.approx(1.5 + 0.25 / 1.35)


@settings(max_examples=examples(40))
@given(st.lists(st.floats(0, 8) | st.sampled_from([2.0, 4.0, 6.0]), min_size=1, max_size=6))
def test_who_goes_away_while_waiting_leaves_the_turn_to_the_next(cancels):
    provider, world, limits = throttled_once(), World(), []

    async def main():
        handler = world.start(AdaptiveRate(), upstream="a")

        async def send(request):
            limits.append(handler._rate.limit_per_s)
            return await provider.send(request)

        call = chain(handler, inner=send)
        await outcome(call(ask(0)))
        await outcome(call(ask(1)))  # empties the bucket
        waiting = [asyncio.ensure_future(outcome(call(ask(2 + number)))) for number in range(len(cancels))]
        for task, when in zip(waiting, cancels, strict=True):
            asyncio.get_running_loop().call_later(when, task.cancel)
        last = asyncio.ensure_future(outcome(call(ask(99))))
        found = await asyncio.gather(*waiting, last, return_exceptions=True)
        assert isinstance(found[-1][0], Response)
        assert len(handler._line) == 0

    run(main())
    # Whoever was cancelled at the very moment of its turn has been given a token: it goes to the next, and not twice.
    for number, (at, limit) in enumerate(
        zip(provider.times[2:], itertools.accumulate(limits[2:], max), strict=True), 1
    ):
        assert number <= limit * at + 1e-6
    assert provider.times[-1] <= 2.0 * len(provider.calls)  # half a call a second, and nobody's turn is lost


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"beta": 0.0}, "write 70%"),
        ({"smoothing": 1.5}, "write 80%"),
        ({"scale": 0.0}, "write it like 0.4"),
        ({"min_rate": 0.0}, "write it like 0.5/s"),
        ({"bucket": 0.0}, "write it like 500ms"),
        ({"most": 0.5}, "write 2 for twice"),
        ({"on": []}, "nothing would ever match"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        AdaptiveRate(**fields)
