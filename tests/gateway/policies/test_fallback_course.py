"""Fallbacks beyond a list: orders by error, windows, a limit on the first chunk, no order at all."""

import asyncio

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import (
    AllUpstreamsFailed,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    RateLimited,
    ServerError,
    TtftTimeout,
)
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import Deadline, Fallback, Hedge, Retry, Routing


def sent(policies, *scripts, request=None, windows=(), gap_s=0.1):
    """(answer or error, order in which upstreams were asked, seconds, site) of one request."""
    providers = [Toy(script, name=name, gap_s=gap_s) for name, script in zip("abcd", scripts, strict=False)]
    for provider, window in zip(providers, windows, strict=False):
        provider.context_window = window

    async def script():
        site = Site(list(policies), *providers)
        start = asyncio.get_running_loop().time()
        try:
            answer = await site.running.send(request or ask())
        except Exception as error:
            answer = error
        seconds = round(asyncio.get_running_loop().time() - start, 9)
        if not isinstance(answer, Exception):
            await answer.read()
            answer = answer.upstream
        await asyncio.sleep(30.0)
        assert all(not toy.open_streams and not toy.in_flight for toy in providers)
        attempts = sorted(site.attempts, key=lambda attempt: attempt.number)
        return answer, "".join(attempt.upstream for attempt in attempts), seconds, site

    return play(script)


def test_without_an_order_or_a_route_it_is_the_configured_one():
    assert sent([Fallback()], ServerError(), ServerError(), 0.0)[:2] == ("c", "abc")
    assert sent([Fallback()], 0.0, ServerError(), 0.0, request=ask(upstream="b"))[:2] == ("a", "ba")
    assert isinstance(sent([Fallback()], ServerError(), ServerError())[0], AllUpstreamsFailed)


def test_an_error_can_have_an_order_of_its_own():
    orders = {"context_too_long": ("c",), "content_filtered": ("d", "c"), 429: ("d",)}
    spec = Fallback(order=("a", "b"), orders=orders)
    assert sent([spec], ContextTooLong(), 0.0, 0.0, 0.0)[:2] == ("c", "ac")
    assert sent([spec], ContentFiltered(), 0.0, 0.0, 0.0)[:2] == ("d", "ad")
    assert sent([spec], RateLimited(), 0.0, 0.0, 0.0)[:2] == ("d", "ad")
    assert sent([spec], ServerError(), 0.0, 0.0, 0.0)[:2] == ("b", "ab")
    # A word of `orders` alone is caught; what neither names is not.
    assert isinstance(sent([spec], BadRequest(), 0.0, 0.0, 0.0)[0], BadRequest)
    # From an order of its own it goes on in that, until an error with another one comes.
    assert sent([spec], ContentFiltered(), 0.0, 0.0, ServerError())[:2] == ("c", "adc")
    assert sent([spec], ServerError(), ContextTooLong(), 0.0, 0.0)[:2] == ("c", "abc")


def test_as_many_as_are_allowed():
    answer, order, _, _ = sent([Fallback(max_fallbacks=2)], *[ServerError()] * 3, 0.0)
    assert isinstance(answer, AllUpstreamsFailed)
    assert (order, len(answer.causes)) == ("abc", 3)


def test_a_prompt_that_cannot_fit_is_not_sent_there():
    spec = Fallback(order=("a", "b", "c"), on=("context_too_long", "server_error"))
    long = ask(input_tokens=900, max_tokens=200)
    answer, order, _, site = sent([spec], 0.0, 0.0, 0.0, request=long, windows=(1000, 1099, 1100))
    assert (answer, order) == ("c", "c")
    assert [(fields["from"], fields["to"], fields["error"]) for _, fields in site.events] == [
        ("a", "c", "context_too_long")
    ]
    assert site.attempts[0].exchange.first_choice == "a"
    assert site.attempts[0].exchange.fallbacks == 1
    assert sent([spec], 0.0, 0.0, 0.0, request=ask(input_tokens=900), windows=(1000,))[1] == "a"
    # If it does not catch that error, it is for the upstream to say.
    assert sent([Fallback(order=("a", "b"))], 0.0, 0.0, request=long, windows=(1000,))[1] == "a"


def test_after_the_error_only_larger_windows_are_asked():
    spec = Fallback(order=("a", "b", "c"), on=("context_too_long",))
    assert sent([spec], ContextTooLong(upstream="a"), 0.0, 0.0, windows=(1000, 1000, 2000))[:2] == ("c", "ac")
    assert sent([spec], ContextTooLong(upstream="a"), 0.0, 0.0, windows=(1000, None, 2000))[:2] == ("b", "ab")
    routed = [Fallback(on=("context_too_long",)), Routing(strategy="ordered")]
    assert sent(routed, ContextTooLong(upstream="a"), 0.0, 0.0, windows=(1000, 900, 2000))[:2] == ("c", "ac")


@pytest.mark.parametrize("policies", [[Fallback(ttft=2.0)], [Fallback(ttft=2.0), Routing(strategy="ordered")]])
def test_a_slow_first_chunk_moves_it_on_unless_nobody_is_left(policies):
    answer, order, seconds, site = sent(policies, 9.0, 9.0, 5.0)
    assert (answer, order, seconds) == ("c", "abc", 9.0)
    assert [attempt.outcome for attempt in site.attempts] == ["ttft_timeout", "ttft_timeout", "ok"]
    assert [fields["error"] for kind, fields in site.events if kind == "fallback"] == ["ttft_timeout"] * 2


def test_the_limit_names_whom_it_was_for():
    answer, _, _, _ = sent([Fallback(order=("a", "b"), ttft=2.0)], 9.0, ServerError())
    assert [type(cause) for cause in answer.causes] == [TtftTimeout, ServerError]
    assert answer.causes[0].upstream == "a"


@pytest.mark.parametrize("policies", [[], [Routing(strategy="ordered")]])
def test_the_slow_one_may_be_kept_and_still_win(policies):
    keep = Fallback(ttft=2.0, on_ttft="keep")
    answer, order, seconds, site = sent([keep, *policies], 3.0, 9.0, 9.0)
    assert (answer, order, seconds) == ("a", "ab", 3.0)
    assert [(attempt.upstream, attempt.outcome) for attempt in site.attempts] == [("b", "cancelled"), ("a", "ok")]
    answer, order, seconds, _ = sent([keep, *policies], 9.0, 9.0, 0.5)
    assert (answer, order, seconds) == ("c", "abc", 4.5)


def test_kept_ones_that_fail_are_made_up_for_at_once():
    keep = Fallback(ttft=2.0, on_ttft="keep")
    answer, order, seconds, _ = sent([keep], ServerError(), 9.0, 0.5)
    assert (answer, order, seconds) == ("c", "abc", 2.5)
    answer, order, seconds, _ = sent([keep], 9.0, ServerError(), 0.5)  # a still runs when b fails
    assert (answer, order, seconds) == ("c", "abc", 2.5)
    answer, order, _, _ = sent([keep], ServerError(), ServerError())
    assert isinstance(answer, AllUpstreamsFailed)
    answer, _, seconds, site = sent([keep], 9.0, BadRequest(), 0.0)
    assert isinstance(answer, BadRequest)
    assert seconds == 2.0
    assert site.attempts[-1].outcome == "cancelled"


def test_an_outer_limit_reaches_those_that_were_kept():
    keep = [Deadline(timeout=3.0), Fallback(ttft=2.0, on_ttft="keep")]
    answer, _, seconds, site = sent(keep, 9.0, 9.0)
    assert (answer.word, seconds) == ("deadline_exceeded", 3.0)
    assert [attempt.outcome for attempt in site.attempts] == ["deadline_exceeded"] * 2


@pytest.mark.parametrize("hedges", [[], [Hedge(after=0.5, budget=None)]])
@pytest.mark.parametrize("leaves_s", [None, 2.5, 2.0])
def test_a_kept_one_that_a_policy_inside_still_reads_is_not_taken_for_forgotten(leaves_s, hedges):
    policies = [Fallback(ttft=2.0, on_ttft="keep"), *hedges, Retry(on=("stream_broken",), buffer=True)]

    async def script():
        site = Site(policies, Toy(["word"] * 90, name="a"), Toy(["word"] * 20, name="b"))
        exchange = Exchange(ask(), site.running._runtime)
        try:
            async with asyncio.timeout(leaves_s):
                await site.send(ask(), exchange)
        except TimeoutError:
            assert leaves_s is not None
        open_streams = [toy.open_streams for toy in site.providers.values()]
        return exchange.leaked, open_streams, {attempt.outcome for attempt in site.attempts}

    assert play(script) == (0, [0, 0], {"cancelled", "ok"} if leaves_s is None else {"cancelled"})


def test_an_error_inside_of_the_retry_has_been_tried():
    # [fallback, retry, route]: the retry's picks count, so the fallback does not ask them again.
    policies = [Fallback(), Retry(max_attempts=2), Routing(strategy="ordered")]
    answer, order, _, _ = sent(policies, *[ServerError()] * 3, 0.0)
    assert (answer, order) == ("d", "abccd")  # a, then b by the retry; c, which is named, is retried itself


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"orders": {"contxt_too_long": ("a",)}}, "did you mean 'context_too_long'"),
        ({"orders": {"context_too_long": "a"}}, r"=\('a',\)"),
        ({"orders": {"context_too_long": ()}}, "order after context_too_long is empty"),
        ({"max_fallbacks": 0}, "at least 1"),
        ({"on_ttft": "keep"}, "no effect without ttft"),
        ({"ttft": 0.0}, "above 0"),
        ({"ttft": 3.0, "on": ("server_error",)}, "on does not catch ttft_timeout"),
        ({"mid_stream": "again"}, "write error, restart or continue"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Fallback(**fields)
