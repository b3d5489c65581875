"""Losers and leaks: whatever a policy forgets is closed and counted."""

import asyncio
import contextlib

from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import GatewayError, RateLimited
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import current_exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.types import Response, Usage, WholeAnswer


@policy
async def both(request, call_next):
    """Ask a and b; answer with b and forget a."""
    await call_next(request.to("a"))
    return await call_next(request.to("b"))


@policy
async def race(request, call_next):
    """Ask a and b at once; answer with the first, and do not even cancel the other."""
    tasks = [asyncio.ensure_future(call_next(request.to(name))) for name in "ab"]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().result()


def _leaks(gateway, *providers, read=True, wait_s=0.0):
    async def script():
        from llmsim.gateway.exchange import Exchange

        site = Site(gateway, *providers)
        exchange = Exchange(ask(), site.running._runtime)
        try:
            response = await site.running.send(ask(), exchange)
            if read:
                await response.read()
        except GatewayError:
            pass
        exchange.finish()
        await asyncio.sleep(wait_s)
        assert [toy.open_streams for toy in providers] == [0] * len(providers)
        assert site.running.in_flight == 0
        return exchange.leaked, site.causes(), [attempt.won for attempt in site.attempts]

    return play(script)


def test_a_forgotten_response_is_closed_and_counted():
    leaked, causes, won = _leaks(Gateway(policies=(both,)), Toy(name="a"), Toy(name="b"))
    assert leaked == 1
    assert causes == [(1, "first", "a", "cancelled"), (2, "hedge", "b", "ok")]
    assert won == [False, True]


def test_a_leak_names_who_lost_it():
    @policy
    async def innocent(request, call_next):
        return await call_next(request)

    @policy
    async def hedge(request, call_next):
        tasks = [asyncio.ensure_future(call_next(request)) for _ in range(2)]
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        return done.pop().result()

    @policy
    async def drops(request, call_next):
        await call_next(request)
        raise RateLimited("never mind")

    def lost_by(*policies, delays=(0.1, 0.2, 0.3)):
        async def script():
            site = Site(Gateway(policies=policies), Toy(*delays, name="a"), Toy(name="b"))
            with contextlib.suppress(RateLimited):
                await site.send()
            await asyncio.sleep(5)
            return [(fields["policy"].partition(" ")[0], fields["upstream"]) for _, fields in site.events]

        return play(script)

    assert lost_by(innocent, both, innocent) == [("both", "a")]
    assert lost_by(innocent, drops, innocent) == [("drops", "a")]
    assert lost_by(race, innocent, delays=(3.0,)) == [("race", "a")]
    # A loser that is cancelled, and one that had answered at the very same instant.
    assert lost_by(innocent, hedge, innocent) == []
    assert lost_by(innocent, hedge, innocent, delays=(0.1, 0.1)) == [("hedge", "a")]


def test_a_loser_that_answers_after_the_winner_is_closed_and_counted():
    leaked, causes, won = _leaks(Gateway(policies=(race,)), Toy(1.0, name="a"), Toy(1.05, name="b"), wait_s=5.0)
    assert leaked == 1
    assert causes == [(1, "first", "a", "ok"), (2, "hedge", "b", "cancelled")]
    assert won == [True, False]


def test_a_loser_that_answers_after_the_request_is_over_is_closed_and_counted():
    leaked, causes, _ = _leaks(Gateway(policies=(race,)), Toy(1.0, name="a"), Toy(60.0, name="b"), wait_s=90.0)
    assert leaked == 1
    assert causes == [(1, "first", "a", "ok"), (2, "hedge", "b", "cancelled")]


def test_a_loser_the_pipeline_closed_is_not_blamed_for_being_closed():
    """Its task, should anybody await it, gets a closed response and no complaint about its policy."""
    kept = []

    @policy
    async def race_and_keep(request, call_next):
        kept.extend(asyncio.ensure_future(call_next(request.to(name))) for name in "ab")
        await asyncio.wait(kept, return_when=asyncio.FIRST_COMPLETED)
        return kept[0].result()

    @policy
    async def innocent(request, call_next):
        return await call_next(request)

    async def script():
        site = Site(Gateway(policies=(race_and_keep, innocent)), Toy(1.0, name="a"), Toy(3.0, name="b"))
        await site.send()
        return (await kept[1]).outcome.kind

    assert play(script) == "cancelled"


def test_a_response_that_is_left_when_the_policy_fails_is_a_leak():
    @policy
    async def gives_up(request, call_next):
        await call_next(request)
        raise RateLimited("never mind")

    assert _leaks(Gateway(policies=(gives_up,)), Toy(name="a"))[0] == 1


def test_the_answer_itself_unread_is_closed_when_the_request_is_over():
    leaked, causes, _ = _leaks(Gateway(), Toy(name="a"), read=False)
    assert (leaked, causes) == (1, [(1, "first", "a", "cancelled")])


def test_closing_the_loser_oneself_is_no_leak():
    @policy
    async def tidy(request, call_next):
        first = await call_next(request.to("a"))
        await first.aclose()
        return await call_next(request.to("b"))

    leaked, causes, _ = _leaks(Gateway(policies=(tidy,)), Toy(name="a"), Toy(name="b"))
    assert (leaked, [cause for _, cause, _, _ in causes]) == (0, ["first", "fallback"])


def test_parents_of_the_answer_are_no_leaks():
    """A policy that glues two streams together hands out a new response made of both."""

    class Glued:
        def __init__(self, parts):
            self.parts = list(parts)
            self.usage, self.finish_reason = Usage(), ""

        async def next(self, limits):
            while self.parts:
                try:
                    return await anext(self.parts[0])
                except StopAsyncIteration:
                    self.parts.pop(0)
            self.finish_reason = "stop"
            return None

        async def rest(self, limits):
            return await self.next(limits)

        def close(self):
            for part in self.parts:
                part.close()

    @policy
    async def glue(request, call_next):
        parts = [await call_next(request.to(name)) for name in "ab"]
        return Response(Glued(parts), upstream="a+b", parents=tuple(parts))

    leaked, causes, won = _leaks(Gateway(policies=(glue,)), Toy(name="a"), Toy(name="b"))
    assert (leaked, won) == (0, [True, True])
    assert [outcome for *_, outcome in causes] == ["ok", "ok"]


def test_a_buffered_answer_leaves_no_leak():
    @policy
    async def buffer(request, call_next):
        response = await call_next(request)
        text = await response.read()
        return Response(WholeAnswer(text, 2, response.usage), upstream=response.upstream, parents=(response,))

    leaked, causes, won = _leaks(Gateway(policies=(buffer,)), Toy(name="a"))
    assert (leaked, causes, won) == (0, [(1, "first", "a", "ok")], [True])


def test_an_answer_that_was_read_and_not_used_has_not_won():
    @policy
    async def second_opinion(request, call_next):
        await (await call_next(request)).read()
        return await call_next(request.to("b"))

    leaked, causes, won = _leaks(Gateway(policies=(second_opinion,)), Toy(name="a"), Toy(name="b"))
    assert (leaked, won) == (0, [False, True])
    assert causes == [(1, "first", "a", "ok"), (2, "fallback", "b", "ok")]


def _left_open_by(policy_function, provider):
    """Leaks that are counted, and streams that are open, once the answer has been read; nobody says that it is over."""

    async def script():
        from llmsim.gateway.exchange import Exchange

        site = Site(Gateway(policies=(policy_function,)), provider)
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(exchange=exchange)
        return exchange.leaked, provider.open_streams

    return play(script)


def test_what_is_open_when_the_answer_ends_is_closed_then():
    @policy
    async def from_memory(request, call_next):
        await call_next(request)
        return Response(WholeAnswer("known", 1, Usage(1, 1)))

    assert _left_open_by(from_memory, Toy(name="a")) == (1, 0)


def test_a_share_that_is_open_when_the_answer_made_of_it_ends_is_closed_then():
    shares = []

    @policy
    async def of_somebody_else(request, call_next):
        shares.append(Response(WholeAnswer("shared", 1, Usage(1, 1))))
        current_exchange.get().hand_out(shares[0])
        return Response(WholeAnswer("known", 1, Usage(1, 1)), parents=(shares[0],))

    assert _left_open_by(of_somebody_else, Toy(name="a")) == (1, 0)
    assert shares[0].outcome.kind == "cancelled"
