import asyncio

import pytest
from gateway.policies.toys import Switch, Toy, World, ask, chain, outcome, run

import llmsim as ls
from llmsim.algorithms.backoff import Backoff
from llmsim.errors import (
    AllUpstreamsFailed,
    BadRequest,
    CircuitOpen,
    PolicyError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from llmsim.gateway.policies import Fallback, Retry

ORDER = Fallback(order=("a", "b", "c"))


def play(spec, *scripts, request=None):
    """(result, seconds, providers, world) of one request; provider n plays scripts[n]."""
    world = World()
    providers = [Toy(item, name=name) for name, item in zip("abcd", scripts, strict=False)]

    async def main():
        call = chain(world.start(spec, upstreams=()), inner=Switch(*providers))
        return await outcome(call(request or ask()))

    return *run(main()), providers, world


def tried(providers):
    return "".join(provider.name for provider in providers if provider.calls)


def test_the_first_choice_answers():
    response, _, providers, world = play(ORDER, 0.5, 0.1, 0.1)
    assert response.upstream == "a"
    assert tried(providers) == "a"
    assert world.events == []


def test_goes_on_in_order_and_says_so():
    response, _, _, world = play(ORDER, RateLimited(), CircuitOpen(), 0.1)
    assert response.upstream == "c"
    assert world.of("fallback") == [
        {"from": "a", "to": "b", "error": "rate_limited"},
        {"from": "b", "to": "c", "error": "circuit_open"},
    ]


@pytest.mark.parametrize("guard", ["adaptive_throttling", {"concurrency_limit": {"limit": 4}}])
def test_what_is_refused_in_front_of_one_upstream_goes_to_the_next(guard):
    scenario = {
        "version": 1,
        "replications": 1,
        "clock": {"warm_up": "0s", "duration": "60s"},
        "traffic": {"base_rate": "5/s"},
        "providers": {"a": {"ttft": "300ms"}, "b": {"ttft": "300ms"}},
        "gateway": {"policies": [{"fallback": {"order": ["a", "b"]}}], "upstream": [guard]},
        "faults": [{"name": "down", "provider": "a", "at": "5s", "abort": {"status": 503, "percentage": "100%"}}],
    }
    result = ls.run(scenario)
    assert result.events.filter(result.events["kind"] == "rejected").height > 10
    if guard == "adaptive_throttling":
        assert result.metrics["error_rate"] == 0.0
    else:  # b has as few places
        assert not (result.requests["outcome"] == "rejected").any()


def test_all_failed_tells_all_causes():
    error, _, _, _ = play(ORDER, RateLimited(upstream="a"), ServerError(upstream="b"), QuotaExhausted(upstream="c"))
    assert isinstance(error, AllUpstreamsFailed)
    assert [type(cause) for cause in error.causes] == [RateLimited, ServerError, QuotaExhausted]
    assert str(error) == "every upstream failed: a: rate_limited; b: server_error; c: quota_exhausted"


def test_an_error_that_is_not_listed_ends_the_search():
    first, then = BadRequest("too long"), KeyError("a bug")
    assert play(ORDER, first, 0.1, 0.1)[0] is first
    error, _, providers, _ = play(ORDER, RateLimited(), then, 0.1)
    assert error is then
    assert tried(providers) == "ab"


def test_on_says_which():
    assert isinstance(play(Fallback(order=("a", "b"), on=[503]), ServerError(), 0.1)[0], ServerError)
    assert play(Fallback(order=("a", "b"), on=[500]), ServerError(), 0.1)[0].upstream == "b"


def test_a_request_that_names_an_upstream_starts_there():
    response, _, providers, _ = play(ORDER, 0.1, RateLimited(), 0.1, request=ask(upstream="b"))
    assert response.upstream == "a"  # after b, the others in order
    assert tried(providers) == "ab"
    response, _, providers, _ = play(ORDER, RateLimited(), 0.1, 0.1, RateLimited(), request=ask(upstream="d"))
    assert response.upstream == "b"
    assert tried(providers) == "abd"


def test_only_the_first_choice_gets_the_callers_model():
    _, _, providers, _ = play(ORDER, RateLimited(), 0.1, request=ask(model="gpt-x"))
    assert [provider.calls[0][1].model for provider in providers[:2]] == ["gpt-x", None]
    _, _, providers, _ = play(ORDER, 0.1, RateLimited(), 0.1, request=ask(model="haiku", upstream="b"))
    assert [provider.calls[0][1].model for provider in providers[:2]] == [None, "haiku"]


def test_retries_inside_come_first():
    world = World()
    a, b = Toy(ServerError(), name="a"), Toy(0.1, name="b")
    retry = Retry(max_attempts=3, backoff=Backoff(initial=1.0, jitter="none"))

    async def main():
        call = chain(world.start(Fallback(order=("a", "b"))), world.start(retry), inner=Switch(a, b))
        return await outcome(call(ask()))

    _, seconds = run(main())
    assert a.times == [0, 1, 3]
    assert b.times == [3]  # at once after the last failure: no useless sleep (BerriAI/litellm PR 42450)
    assert seconds == 3.1


def test_the_reader_gets_what_breaks_after_the_first_chunk():
    world, a, b = World(), Toy(["x", ServerError()], name="a"), Toy(name="b")

    async def main():
        call = chain(world.start(Fallback(order=("a", "b"))), inner=Switch(a, b))
        response = await call(ask())
        return [await outcome(anext(response)), await outcome(anext(response))]

    (first, _), (second, _) = run(main())
    assert first.text == "x"
    assert isinstance(second, ServerError)
    assert b.calls == []


def test_cancelled_is_not_a_failure():
    world, a, b = World(), Toy(9.0, name="a"), Toy(name="b")

    async def main():
        task = asyncio.create_task(
            chain(world.start(Fallback(order=("a", "b"), on=["any"])), inner=Switch(a, b))(ask())
        )
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert b.calls == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"order": ()}, "order is empty"),
        ({"order": "a"}, r"write order=\('a',\)"),
        ({"order": ("a", "a")}, "twice"),
        ({"order": ("a",), "on": ["foo"]}, "known words"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Fallback(**fields)


def test_an_unknown_upstream_is_found_at_the_start():
    with pytest.raises(PolicyError, match="unknown upstream 'anthropc' in order; did you mean 'anthropic'"):
        World().start(Fallback(order=("anthropc",)), upstreams=("openai", "anthropic"))
