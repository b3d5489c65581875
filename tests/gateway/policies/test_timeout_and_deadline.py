import asyncio

import pytest
from examples import examples
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from gateway.site import Site
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.errors import CircuitOpen, DeadlineExceeded, ServerError, StreamStalled, TotalTimeout, TtftTimeout
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Backoff, CircuitBreaker, Deadline, Retry, Timeout
from llmsim.types import Response, Usage, WholeAnswer


async def whole(awaitable):
    response = await awaitable
    return await response.read()


def play(*specs, provider, request=None, upstream="a"):
    """(text or error, seconds) of one request, read to its end."""
    world = World()

    async def main():
        handlers = [world.start(spec, upstream) for spec in specs]
        result = await outcome(whole(chain(*handlers, inner=provider.send)(request or ask())))
        for handler in handlers:
            assert len(handler._deadlines) == 0
        return result

    result = run(main())
    assert (provider.in_flight, provider.open_streams) == (0, 0)
    return result


SLOW = 3.0
CHUNKS = list("abcdefgh")


def test_no_first_chunk_in_time():
    error, seconds = play(Timeout(ttft=2.0), provider=Toy(SLOW))
    assert isinstance(error, TtftTimeout)
    assert isinstance(error, TimeoutError)
    assert (str(error), error.upstream, seconds) == ("no first chunk within 2s", "a", 2.0)


def test_in_time():
    text, seconds = play(Timeout(ttft=3.5, inter_token=0.2, total=9.0), provider=Toy(SLOW))
    assert (text, seconds) == ("hello", 3.2)


def test_silence_in_the_middle():
    error, seconds = play(Timeout(inter_token=0.5), provider=Toy(CHUNKS, gap_s=1.0))
    assert isinstance(error, StreamStalled)
    assert (error.tokens_delivered, error.upstream, seconds) == (1, "a", 0.5)


@pytest.mark.parametrize("spec", [Timeout(total=2.5), Timeout(ttft=2.6, total=2.5), Timeout(ttft=0.1, total=2.5)])
def test_too_long_as_a_whole(spec):
    error, seconds = play(spec, provider=Toy(CHUNKS, gap_s=1.0))
    assert isinstance(error, TotalTimeout)
    assert (error.tokens_delivered, error.upstream, seconds) == (3, "a", 2.5)


def test_total_is_the_limit_before_the_first_chunk_too():
    error, seconds = play(Timeout(ttft=2.6, total=2.5), provider=Toy(SLOW))
    assert isinstance(error, TotalTimeout)
    assert (error.tokens_delivered, str(error), seconds) == (0, "not finished within 2.5s", 2.5)


def test_ttft_limits_the_whole_of_what_is_not_streamed():
    class Unstreamed(Toy):
        async def send(self, request):
            response = await super().send(request)
            text = await response.read()
            return Response(WholeAnswer(text, 8, Usage()), upstream=self.name)

    provider = Unstreamed(CHUNKS, gap_s=1.0)
    error, seconds = play(Timeout(ttft=5.0), provider=provider, request=ask(stream=False))
    assert isinstance(error, TtftTimeout)
    assert seconds == 5.0
    text, _ = play(Timeout(ttft=10.0, total=20.0), provider=Unstreamed(CHUNKS), request=ask(stream=False))
    assert text == "abcdefgh"


def test_every_attempt_has_its_own_time():
    world, provider = World(), Toy(SLOW)

    async def main():
        handlers = [world.start(Retry(max_attempts=3, on=["ttft_timeout"])), world.start(Timeout(ttft=1.0), "a")]
        return await outcome(chain(*handlers, inner=provider.send)(ask()))

    error, _ = run(main())
    assert isinstance(error, TtftTimeout)
    assert len(provider.calls) == provider.cancelled == 3


def test_nested_limits_each_raise_their_own():
    error, seconds = play(Timeout(total=1.0), Timeout(ttft=2.0), provider=Toy(SLOW))
    assert (type(error), seconds) == (TotalTimeout, 1.0)
    error, seconds = play(Timeout(total=2.0), Timeout(ttft=1.0), provider=Toy(SLOW))
    assert (type(error), seconds) == (TtftTimeout, 1.0)
    error, seconds = play(Timeout(total=1.0), Timeout(ttft=1.0), provider=Toy(SLOW))
    assert (type(error), seconds) == (TotalTimeout, 1.0)


def test_other_errors_pass_through():
    failure = ServerError()
    assert play(Timeout(ttft=1.0), Deadline(timeout=5.0), provider=Toy(failure))[0] is failure


def test_the_caller_going_away_at_that_very_moment_is_not_a_timeout():
    for spec in (Timeout(ttft=2.0), Deadline(timeout=2.0)):
        world, provider = World(), Toy(SLOW)

        async def main(spec=spec, world=world, provider=provider):
            task = asyncio.create_task(chain(world.start(spec), inner=provider.send)(ask()))
            asyncio.get_running_loop().call_at(2.0, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main())
        assert provider.in_flight == 0


def test_an_answer_that_was_begun_survives_the_limit_on_its_beginning():
    text, seconds = play(Timeout(ttft=1.0), provider=Toy(CHUNKS, gap_s=5.0))
    assert (text, seconds) == ("abcdefgh", 40.0)


@settings(max_examples=examples(60), deadline=None)
@given(st.floats(0, 3), st.floats(0.5, 2.5), st.floats(0.5, 2.5), st.floats(0.1, 3))
def test_cancelling_at_any_time_leaves_nothing(when, ttft, deadline, answer):
    world, provider = World(), Toy(answer)

    async def main():
        handlers = [world.start(Deadline(timeout=deadline)), world.start(Timeout(ttft=ttft, total=2.4), "a")]
        task = asyncio.create_task(whole(chain(*handlers, inner=provider.send)(ask())))
        await asyncio.sleep(when)
        task.cancel()
        await asyncio.wait([task])
        for handler in handlers:
            assert len(handler._deadlines) == 0
        if not task.cancelled():
            task.exception()

    run(main())
    assert (provider.in_flight, provider.open_streams) == (0, 0)


def test_the_deadline_is_visible_inside_and_the_earlier_one_counts():
    for given_s, expected in ((None, 30.0), (12.0, 12.0), (99.0, 30.0)):
        provider = Toy()
        play(Deadline(timeout=30.0), provider=provider, request=ask(deadline_s=given_s, user="u"))
        _, seen = provider.calls[0]
        assert seen == ask(deadline_s=expected, user="u")
        assert type(seen) is type(ask())


def test_the_deadline_passes_before_the_first_chunk():
    error, seconds = play(Deadline(timeout=2.0), provider=Toy(SLOW))
    assert isinstance(error, DeadlineExceeded)
    assert not isinstance(error, TimeoutError)
    assert (error.tokens_delivered, seconds) == (0, 2.0)
    error, seconds = play(Deadline(timeout=9.0), provider=Toy(SLOW), request=ask(deadline_s=1.0))
    assert (type(error), seconds) == (DeadlineExceeded, 1.0)


def test_the_deadline_passes_in_the_middle():
    error, seconds = play(Deadline(timeout=2.5), provider=Toy(CHUNKS, gap_s=1.0))
    assert isinstance(error, DeadlineExceeded)
    assert (error.tokens_delivered, seconds) == (3, 2.5)


def test_a_deadline_in_the_past_is_not_even_tried():
    provider = Toy()
    error, seconds = play(Deadline(timeout=9.0), provider=provider, request=ask(deadline_s=0.0))
    assert (type(error), seconds, provider.calls) == (DeadlineExceeded, 0.0, [])


def test_many_deadlines_out_of_order():
    world, provider = World(), Toy(50.0)
    tight = [(number * 7919) % 40 + 1.0 for number in range(40)]

    async def main():
        handler = world.start(Deadline(timeout=30.0))
        call = chain(handler, inner=provider.send)
        results = await asyncio.gather(*(outcome(call(ask(n, deadline_s=at))) for n, at in enumerate(tight)))
        assert len(handler._deadlines) == 0
        return results

    assert [seconds for _, seconds in run(main())] == [min(at, 30.0) for at in tight]


@pytest.mark.parametrize(
    ("spec", "fields", "says"),
    [
        (Timeout, {}, "write at least one of"),
        (Timeout, {"ttft": 0.0}, "ttft must be above 0"),
        (Timeout, {"total": -1.0}, "total must be above 0"),
        (Deadline, {"timeout": 0.0}, "above 0"),
    ],
)
def test_what_is_wrong_says_what_to_type(spec, fields, says):
    with pytest.raises(ValueError, match=says):
        spec(**fields)


# -- deadlines that travel ---------------------------------------------------------------------------------------------


def test_an_attempt_that_cannot_finish_is_not_begun():
    """Of 5 s the first attempt takes 3.5 s; the second would have 1.5 s, and needs 2."""
    world, provider = World(), Toy(ServerError(), delay_s=3.5)

    async def main():
        handlers = [
            world.start(Deadline(timeout=5.0)),
            world.start(Retry(backoff=Backoff(initial=0.001, jitter="none"))),
            world.start(Deadline(timeout=None, minimum=2.0), "a"),
        ]
        return await outcome(chain(*handlers, inner=provider.send)(ask()))

    error, seconds = run(main())
    assert isinstance(error, DeadlineExceeded)
    assert (error.upstream, str(error)) == ("a", "1.5s left, and it takes at least 2s")
    assert (len(provider.calls), seconds) == (1, 3.501)
    assert world.of("deadline_refused") == [{}]


def test_what_is_left_gets_less_on_the_way_in():
    """Every layer sees the same point in time, and the earlier one counts."""
    seen = []

    async def inner(request):
        seen.append(request.deadline_s)
        raise ServerError

    async def main(outer, brought):
        world = World()
        handlers = [world.start(Deadline(timeout=outer)), world.start(Deadline(timeout=2.0, minimum=0.5), "a")]
        await asyncio.sleep(1.0)
        await outcome(chain(*handlers, inner=inner)(ask(deadline_s=brought)))

    for outer, brought in [(9.0, None), (9.0, 2.5), (1.2, None), (9.0, 1.2)]:
        run(main(outer, brought))
    assert seen == [pytest.approx(3.0), 2.5, pytest.approx(2.2)]  # the last one had 0.2 s and was not begun


def test_without_a_deadline_there_is_nothing_to_keep():
    text, _ = play(Deadline(timeout=None, minimum=60.0), provider=Toy(SLOW))
    assert text == "hello"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"timeout": None}, "limits nothing"),
        ({"minimum": -1.0}, "minimum must be above 0"),
        ({"timeout": 2.0, "minimum": 2.0}, "minimum 2s leaves nothing of its timeout 2s"),
    ],
)
def test_a_deadline_that_makes_no_sense(fields, says):
    with pytest.raises(ValueError, match=says):
        Deadline(**fields)


@pytest.mark.parametrize(("scope", "word", "refused"), [("policies", "timeout", 0), ("upstream", "total_timeout", 1)])
def test_a_limit_on_the_whole_request_does_not_blame_the_upstream_asked_last(scope, word, refused):
    async def script():
        breaker, limit = CircuitBreaker(minimum_calls=1, failure_rate=0.1), Timeout(total=1.0)
        scopes = {"policies": (), "upstream": (breaker,)}
        scopes[scope] = (limit, *scopes[scope])
        site = Site(Gateway(**scopes), Toy(9.0))
        results = [(await outcome(site.send(ask(number))))[0] for number in range(2)]
        assert [attempt.outcome for attempt in site.attempts] == [word] * (2 - refused)
        assert sum(isinstance(result, CircuitOpen) for result in results) == refused

    run(script())
