"""Attempts: their causes, outcomes and bills, and the counters that tell a bug."""

import asyncio
import contextlib

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import GatewayError, RateLimited, ServerError, StreamBroken
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Hedge, Timeout
from llmsim.gateway.policies.cache import Cache
from llmsim.pricing import TokenPrice
from llmsim.types import Response, Usage, WholeAnswer


def test_causes_of_attempts():
    @policy
    async def everything(request, call_next):
        for upstream in "aabba":
            try:
                await call_next(request.to(upstream))
            except ServerError:
                pass
        slow = asyncio.ensure_future(call_next(request.to("c")))
        await asyncio.sleep(0.1)
        response = await call_next(request.to("b"))
        slow.cancel()
        return response

    async def script():
        toys = Toy(ServerError(), name="a"), Toy(ServerError(), ServerError(), [""], name="b"), Toy(9.0, name="c")
        site = Site(Gateway(policies=(everything,)), *toys)
        await site.send()
        await asyncio.sleep(0)
        return sorted(site.causes())

    assert play(script) == [
        (1, "first", "a", "server_error"),
        (2, "retry", "a", "server_error"),
        (3, "fallback", "b", "server_error"),
        (4, "retry", "b", "server_error"),
        (5, "fallback", "a", "server_error"),
        (6, "fallback", "c", "cancelled"),
        (7, "hedge", "b", "ok"),
    ]


def test_an_attempt_ends_when_its_response_does():
    async def script():
        site = Site(Gateway(), Toy(0.5, gap_s=0.25))
        response = await site.running.send(ask())
        assert site.attempts == []
        await response.read()
        attempt = site.attempts[0]
        return attempt.start_s, attempt.first_s, attempt.end_s, attempt.usage, attempt.status, attempt.won

    # The toy yields its first chunk at once, the second and the end a quarter of a second later each.
    assert play(script) == (0.0, 0.5, 1.0, Usage(10, 2), 200, True)


def test_headers_are_a_mapping_with_any_provider():
    async def script():
        response = await Site(Gateway(policies=(Cache(),))).send(ask())
        assert response.headers.get("x-request-id") is None

    play(script)


def test_an_attempt_a_time_limit_cancelled_says_so():
    async def script():
        site = Site(Gateway(upstream=(Timeout(ttft=1.0),)), Toy(5.0))
        with pytest.raises(GatewayError):
            await site.send()
        attempt = site.attempts[0]
        return attempt.outcome, attempt.end_s, attempt.usage

    assert play(script) == ("ttft_timeout", 1.0, Usage(10))


def test_a_call_that_breaks_before_its_first_chunk_is_billed_and_one_that_is_refused_is_not():
    async def script():
        site = Site(Gateway(), Toy(StreamBroken(), ServerError()))
        for number in range(2):
            with pytest.raises(GatewayError):
                await site.send(ask(number))
        return [attempt.usage for attempt in site.attempts]

    assert play(script) == [Usage(10), Usage()]


def test_attempts_are_priced():
    async def script():
        toy = Toy()
        toy.price = TokenPrice(input=1e-6, output=10e-6)
        site = Site(Gateway(), toy)
        await site.send()
        return site.attempts[0].cost_usd, site.attempts[0].exchange.cost_usd

    assert play(script) == (pytest.approx(30e-6), pytest.approx(30e-6))


BROKEN = ["one", "two", StreamBroken("cut", tokens_delivered=2)]


class Begun:
    """A stream that begins anew when the upstream's breaks: its reader gets the beginning twice."""

    def __init__(self, request, call_next, response):
        self.request, self.call_next, self.response = request, call_next, response

    usage = property(lambda self: self.response.usage)
    finish_reason = property(lambda self: self.response.finish_reason)

    async def next(self, limits):
        try:
            return await anext(self.response, None)
        except StreamBroken:
            self.response = await self.call_next(self.request)
            return await self.next(limits)

    async def rest(self, limits):
        return await self.next(limits)

    def close(self):
        self.response.close()


@policy
async def begins_anew(request, call_next):
    response = await call_next(request)
    return Response(Begun(request, call_next, response), parents=(response,))


@policy
async def stubborn(request, call_next):
    while True:
        response = await call_next(request)
        try:
            await response.read()
        except StreamBroken:
            continue
        return Response(WholeAnswer("fine", 1, response.usage), parents=(response,))


@pytest.mark.parametrize(("policies", "duplicated"), [((begins_anew,), 4), ((stubborn,), 0)])
def test_tokens_of_a_broken_stream_count_as_duplicated_once_the_caller_has_them_and_it_is_tried_again(
    policies, duplicated
):
    async def script():
        from llmsim.gateway.exchange import Exchange

        site = Site(Gateway(policies=policies), Toy(BROKEN, BROKEN, ["fine"]))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(ask(), exchange)
        once = Site(Gateway(), Toy(BROKEN))
        alone = Exchange(ask(), once.running._runtime)
        with pytest.raises(StreamBroken):
            await once.send(ask(), alone)
        return exchange.duplicated_tokens, alone.duplicated_tokens

    assert play(script) == (duplicated, 0)


@pytest.mark.parametrize(
    ("error", "upstreams", "counted"),
    [
        (ServerError(), "aa", 0),
        (RateLimited(), "aa", 0),
        (GatewayError("401", status=401), "aa", 1),
        (GatewayError("401", status=401), "ab", 0),
        (StreamBroken(), "aa", 0),
    ],
)
def test_retries_of_what_a_retry_cannot_cure_are_counted(error, upstreams, counted):
    @policy
    async def again(request, call_next):
        try:
            return await call_next(request.to(upstreams[0]))
        except GatewayError:
            return await call_next(request.to(upstreams[1]))

    async def script():
        from llmsim.gateway.exchange import Exchange

        site = Site(Gateway(policies=(again,)), Toy(error, [""], name="a"), Toy(name="b"))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(ask(), exchange)
        return exchange.non_retryable_retries

    assert play(script) == counted


def test_a_hedge_at_another_upstream_is_no_fallback():
    async def script():
        site = Site(Gateway(policies=(Hedge(after=0.3, to=("b",), budget=None),)), Toy(9.0, name="a"), Toy(name="b"))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(exchange=exchange)
        return exchange, site.causes()

    exchange, causes = play(script)
    assert {cause[1] for cause in causes} == {"first", "hedge"}
    assert exchange.fallbacks == 0


@pytest.mark.parametrize(
    ("asked_s", "calls", "counted"),
    [
        (2.0, [("a", 1.9)], 1),
        (2.0, [("a", 2.0)], 0),  # as asked, to the moment
        (2.0, [("b", 0.0)], 0),  # somebody else was not asked to be left alone
        (2.0, [("b", 0.5), ("a", 0.5)], 1),  # round and back again, a second later
        (2.0, [("b", 1.0), ("a", 1.5)], 0),
        (None, [("a", 0.0)], 0),
    ],
)
def test_calls_before_the_retry_after_was_over_are_counted(asked_s, calls, counted):
    @policy
    async def again(request, call_next):
        for upstream, wait_s in [("a", 0.0), *calls]:
            await asyncio.sleep(wait_s)
            try:
                return await call_next(request.to(upstream))
            except GatewayError:
                continue
        raise RateLimited

    async def script():
        busy = Toy(RateLimited(retry_after_s=asked_s), [""], name="a")
        site = Site(Gateway(policies=(again,)), busy, Toy(RateLimited(), name="b"))
        exchange = Exchange(ask(), site.running._runtime)
        with contextlib.suppress(RateLimited):
            await site.send(ask(), exchange)
        return exchange.retry_after_ignored

    assert play(script) == counted
