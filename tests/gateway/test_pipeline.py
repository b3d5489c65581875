"""What the pipeline itself promises, whatever policies stand in it."""

import asyncio
import contextlib
import dataclasses

import pytest
from gateway.policies.toys import Toy, ask

from llmsim.engine.driver import simulate
from llmsim.errors import CircuitOpen, GatewayError, PolicyError, RateLimited, ServerError, StreamBroken
from llmsim.gateway.contract import FunctionPolicy, current_run, policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker, Fallback, Retry, Timeout
from llmsim.gateway.policies.cache import Cache
from llmsim.pricing import TokenPrice
from llmsim.types import Response, Usage, WholeAnswer


class Site:
    """A started gateway in front of toy providers, with what was noted about it."""

    def __init__(self, gateway, *providers, seed=3):
        self.providers = {provider.name: provider for provider in providers or (Toy(),)}
        self.attempts, self.events = [], []
        self.running = Gateway.of(gateway).open(
            list(self.providers.values()),
            on_attempt=self.attempts.append,
            on_event=lambda kind, fields: self.events.append((kind, fields)),
            seed=seed,
        )

    async def send(self, request=None, exchange=None):
        """Send and read to the end: the response."""
        response = await self.running.send(request or ask(), exchange)
        await response.read()
        return response

    def causes(self):
        return [(attempt.number, attempt.cause, attempt.upstream, attempt.outcome) for attempt in self.attempts]


def play(script):
    """Run ``await script()`` in virtual time."""
    return simulate(lambda loop: script(), event_budget=200_000)


def trace(name, log):
    """A policy that notes when it is entered and left."""

    @policy
    async def tracing(request, call_next):
        log.append(f"+{name}")
        try:
            return await call_next(request)
        finally:
            log.append(f"-{name}")

    return tracing


# -- composition -------------------------------------------------------------------------------------------------------


def test_policies_are_entered_outermost_first_the_gateways_before_the_upstreams():
    log = []

    async def script():
        gateway = Gateway(policies=(trace("g1", log), trace("g2", log)), upstream=(trace("u1", log), trace("u2", log)))
        await Site(gateway).send()

    play(script)
    assert log == ["+g1", "+g2", "+u1", "+u2", "-u2", "-u1", "-g2", "-g1"]


def test_an_empty_gateway_asks_the_first_provider():
    async def script():
        site = Site(Gateway(), Toy(name="b"), Toy(name="a"))
        response = await site.send()
        assert (response.upstream, response.model) == ("b", "b-model")
        assert site.causes() == [(1, "first", "b", "ok")]

    play(script)


def test_upstream_policies_have_a_state_of_their_own_for_each_upstream():
    started = []

    @dataclasses.dataclass(frozen=True)
    class Counting:
        def start(self, run):
            started.append((run.scope, run.upstream, run.upstreams, run.replica))
            calls = []

            async def handle(request, call_next):
                calls.append(request.id)
                run.emit("count", request, n=len(calls))
                return await call_next(request)

            return handle

    async def script():
        site = Site(Gateway(policies=(Counting(),), upstream=(Counting(),)), Toy(name="a"), Toy(name="b"))
        for number, upstream in enumerate("aab"):
            await site.send(ask(number).to(upstream))
        return [(fields["upstream"], fields["n"]) for _, fields in site.events]

    assert play(script) == [("", 1), ("a", 1), ("", 2), ("a", 2), ("", 3), ("b", 1)]
    assert sorted(started) == [("gateway", "", ("a", "b"), 0)] + [("upstream", name, ("a", "b"), 0) for name in "ab"]


def test_policies_share_nothing_between_runs():
    breaker = CircuitBreaker(minimum_calls=1, failure_rate=0.5)

    async def script():
        words = []
        site = Site(Gateway(upstream=(breaker,)), Toy(ServerError()))
        for number in range(2):
            with pytest.raises(GatewayError) as caught:
                await site.send(ask(number))
            words.append(caught.value.word)
        return words

    assert play(script) == play(script) == ["server_error", "circuit_open"]


def test_what_is_given_for_a_gateway_is_understood_or_refused():
    async def mine(request, providers):
        return await providers["a"].send(request)

    assert Gateway.of([Retry()]) == Gateway(policies=(Retry(),))
    assert Gateway.of(mine).entry is mine
    same = Gateway()
    assert Gateway.of(same) is same
    for wrong in (7, "retry", Retry, None):
        with pytest.raises(TypeError, match="a gateway is"):
            Gateway.of(wrong)


def test_a_gateway_without_providers_is_refused():
    async def script():
        with pytest.raises(ValueError, match="at least one provider"):
            Gateway().open([])

    play(script)


# -- entry functions ---------------------------------------------------------------------------------------------------


def test_an_entry_function_is_a_whole_gateway_and_upstream_policies_still_hold():
    log = []

    async def mine(request, providers):
        try:
            return await providers["a"].send(request)
        except ServerError:
            return await providers["b"].send(request)

    async def script():
        site = Site(Gateway(entry=mine, upstream=(trace("u", log),)), Toy(ServerError(), name="a"), Toy(name="b"))
        response = await site.send()
        assert response.upstream == "b"
        assert site.causes() == [(1, "first", "a", "server_error"), (2, "fallback", "b", "ok")]

    play(script)
    assert log == ["+u", "-u", "+u", "-u"]


def test_policies_stand_in_front_of_an_entry_function():
    async def mine(request, providers):
        return await providers["a"].send(request)

    async def script():
        site = Site(Gateway(policies=(Retry(max_attempts=2),), entry=mine), Toy(ServerError(), [""]))
        await site.send()
        assert [cause for _, cause, _, _ in site.causes()] == ["first", "retry"]

    play(script)


# -- routing -----------------------------------------------------------------------------------------------------------


def test_an_unknown_upstream_names_the_known_ones():
    async def script():
        with pytest.raises(PolicyError, match=r"'c'.*a, b"):
            await Site(Gateway(), Toy(name="a"), Toy(name="b")).send(ask().to("c"))

    play(script)


@pytest.mark.parametrize(("wanted", "asked", "given"), [(None, True, True), (None, False, False), (False, True, False)])
def test_the_gateway_decides_whether_upstreams_stream(wanted, asked, given):
    async def script():
        toy = Toy()
        await Site(Gateway(stream=wanted), toy).send(ask()._replace(stream=asked))
        assert toy.calls[0][1].stream is given

    play(script)


def test_first_choice_and_fallbacks_count_routing_even_where_nothing_was_sent():
    async def script():
        from llmsim.gateway.exchange import Exchange

        gateway = Gateway(
            policies=(Fallback(order=("a", "b", "c")),), upstream=(CircuitBreaker(minimum_calls=1, wait_in_open=99.0),)
        )
        site = Site(gateway, Toy(ServerError(), name="a"), Toy(ServerError(), [""], name="b"), Toy(name="c"))
        seen = []
        for number in range(2):
            request = ask(number)
            exchange = Exchange(request, site.running._runtime)
            await site.send(request, exchange)
            seen.append((exchange.first_choice, exchange.attempts, exchange.fallbacks))
        # The second time a and b are open: nothing was sent there, and a is still what was wanted first.
        return seen, site.causes()

    seen, causes = play(script)
    assert seen == [("a", 3, 2), ("a", 1, 2)]
    assert causes[3] == (1, "first", "c", "ok")


# -- replicas ----------------------------------------------------------------------------------------------------------


def _served_by(gateway, sessions, hold=()):
    """Replica of each request, one for each session; those in `hold` are not read until the end."""

    async def script():
        site = Site(gateway, Toy(*[["x"]] * 50))
        open_ones = []
        for number, session in enumerate(sessions):
            response = await site.running.send(ask(number)._replace(session=session))
            if number in hold:
                open_ones.append(response)
            else:
                await response.read()
        for response in open_ones:
            await response.read()
        assert site.running.in_flight == 0
        return [
            attempt.exchange.replica
            for attempt in sorted(site.attempts, key=lambda one: int(one.exchange.request.id.split("/")[0]))
        ]

    return play(script)


def test_round_robin_takes_turns():
    replicas = _served_by(Gateway(replicas=3), ["s"] * 9)
    assert sorted(replicas[:3]) == [0, 1, 2]
    assert replicas == replicas[:3] * 3


def test_least_in_flight_avoids_the_busy():
    replicas = _served_by(Gateway(replicas=3, balancer="least_in_flight"), ["s"] * 6, hold=(0, 1))
    assert sorted(replicas[:3]) == [0, 1, 2]
    assert len(set(replicas[2:])) == 1, "two are busy to the end, the third is free again each time"
    assert replicas[2] not in replicas[:2]


def test_sticky_keeps_a_session_where_it_was_and_spreads_sessions():
    sessions = [f"user {number % 40}" for number in range(120)]
    replicas = _served_by(Gateway(replicas=3, balancer="sticky"), sessions)
    assert replicas[:40] == replicas[40:80] == replicas[80:]
    assert set(replicas) == {0, 1, 2}


@pytest.mark.parametrize(
    ("shared", "words"), [(False, ["server_error", "server_error"]), (True, ["server_error", "circuit_open"])]
)
def test_replicas_have_a_state_of_their_own_unless_it_is_shared(shared, words):
    async def script():
        breaker = CircuitBreaker(minimum_calls=1, shared=shared)
        site = Site(Gateway(replicas=2, upstream=(breaker,)), Toy(ServerError(), ServerError()))
        seen = []
        for number in range(2):
            with pytest.raises(GatewayError) as caught:
                await site.send(ask(number))
            seen.append(caught.value.word)
        return seen

    assert play(script) == words


def test_a_shared_policy_is_still_one_for_each_upstream():
    async def script():
        breaker = CircuitBreaker(minimum_calls=1, shared=True)
        site = Site(Gateway(replicas=2, upstream=(breaker,)), Toy(ServerError(), name="a"), Toy(name="b"))
        with pytest.raises(ServerError):
            await site.send(ask(0))
        await site.send(ask(1).to("b"))
        with pytest.raises(CircuitOpen):
            await site.send(ask(2).to("a"))

    play(script)


def test_two_equal_shared_specs_are_two_policies():
    async def script():
        site = Site(Gateway(policies=(Cache(shared=True), Cache(shared=True, name="inner")), replicas=2))
        for number in range(3):
            await site.send(ask(number))
        assert len(site.attempts) == 1

    play(script)


# -- losers and leaks --------------------------------------------------------------------------------------------------


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


# -- attempts ----------------------------------------------------------------------------------------------------------


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
    assert play(script) == (0.0, 0.5, 1.0, (10, 2, 0), 200, True)


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

    assert play(script) == ("ttft_timeout", 1.0, (10, 0, 0))


def test_a_call_that_breaks_before_its_first_chunk_is_billed_and_one_that_is_refused_is_not():
    async def script():
        site = Site(Gateway(), Toy(StreamBroken(), ServerError()))
        for number in range(2):
            with pytest.raises(GatewayError):
                await site.send(ask(number))
        return [attempt.usage for attempt in site.attempts]

    assert play(script) == [(10, 0, 0), (0, 0, 0)]


def test_attempts_are_priced():
    async def script():
        toy = Toy()
        toy.price = TokenPrice(input=1e-6, output=10e-6)
        site = Site(Gateway(), toy)
        await site.send()
        return site.attempts[0].cost_usd, site.attempts[0].exchange.cost_usd

    assert play(script) == (pytest.approx(30e-6), pytest.approx(30e-6))


def test_tokens_of_a_broken_stream_count_as_duplicated_once_it_is_tried_again():
    broken = ["one", "two", StreamBroken("cut", tokens_delivered=2)]

    @policy
    async def stubborn(request, call_next):
        while True:
            response = await call_next(request)
            try:
                await response.read()
            except StreamBroken:
                continue
            return Response(WholeAnswer("fine", 1, response.usage), parents=(response,))

    async def script():
        from llmsim.gateway.exchange import Exchange

        site = Site(Gateway(policies=(stubborn,)), Toy(broken, broken, ["fine"]))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(ask(), exchange)
        once = Site(Gateway(), Toy(broken))
        alone = Exchange(ask(), once.running._runtime)
        with pytest.raises(StreamBroken):
            await once.send(ask(), alone)
        return exchange.duplicated_tokens, alone.duplicated_tokens

    assert play(script) == (4, 0)


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


# -- policies of one's own ---------------------------------------------------------------------------------------------


def test_a_function_policy_reaches_its_run():
    @policy
    async def outer(request, call_next):
        before = current_run().name
        response = await call_next(request)
        assert current_run().name == before == "outer", "what is further in has a run of its own"
        return response

    @policy
    async def inner(request, call_next):
        run = current_run()
        run.emit("seen", request, luck=run.luck("mine", request))
        task = asyncio.ensure_future(call_next(request))
        return await task

    async def script():
        with pytest.raises(LookupError, match="current_run"):
            current_run()
        site = Site(Gateway(policies=(outer,), upstream=(inner,)))
        await site.send()
        kind, fields = site.events[0]
        return kind, fields["policy"], fields["upstream"], 0 < fields["luck"] < 1

    assert play(script) == ("seen", "inner", "a", True)


def test_concurrent_requests_do_not_mix_their_runs():
    @policy
    async def slow(request, call_next):
        await asyncio.sleep(int(request.id.split("/")[0]) % 3)
        current_run().emit("ran", request, upstream_seen=current_run().upstream)
        return await call_next(request)

    async def script():
        site = Site(Gateway(upstream=(slow,)), Toy(name="a"), Toy(name="b"))
        await asyncio.gather(*(site.send(ask(n).to("ab"[n % 2])) for n in range(20)))
        assert len(site.events) == 20
        for _, fields in site.events:
            assert fields["upstream_seen"] == "ab"[int(fields["request_id"].split("/")[0]) % 2]
        for attempt in site.attempts:
            assert attempt.upstream == "ab"[int(attempt.exchange.request.id.split("/")[0]) % 2]

    play(script)


def test_luck_belongs_to_policy_purpose_request_and_upstream_and_not_to_the_order():
    def draws(order):
        @policy
        async def draw(request, call_next):
            run = current_run()
            run.emit("luck", request, value=[run.luck("p", request), run.luck("p", request, 1), run.luck("q", request)])
            return await call_next(request)

        async def script():
            site = Site(Gateway(policies=(draw,), upstream=(draw,)), Toy(name="a"), Toy(name="b"))
            for number, upstream in order:
                await site.send(ask(number).to(upstream))
            return {(f["request_id"], f["upstream"]): tuple(f["value"]) for _, f in site.events}

        return play(script)

    one = draws([(0, "a"), (1, "b"), (2, "a")])
    assert one == draws([(2, "a"), (0, "a"), (1, "b")])
    values = [value for row in one.values() for value in row]
    assert len(set(values)) == len(values) == 18


def test_policy_on_a_class_makes_a_frozen_spec_known_by_its_name():
    @policy
    class OnlyShortOnes:
        limit: int = 100

        def start(self, run):
            async def handle(request, call_next):
                if request.input_tokens > self.limit:
                    raise RateLimited(f"{run.name}: too long")
                return await call_next(request)

            return handle

    from llmsim.gateway.registry import policy_kinds

    assert OnlyShortOnes(limit=5) == OnlyShortOnes(limit=5)
    assert policy_kinds()["only_short_ones"] is OnlyShortOnes
    with pytest.raises(dataclasses.FrozenInstanceError):
        OnlyShortOnes().limit = 3

    async def script():
        site = Site([OnlyShortOnes(limit=5)])
        await site.send(ask()._replace(input_tokens=5))
        with pytest.raises(RateLimited, match="only_short_ones: too long"):
            await site.send(ask()._replace(input_tokens=6))

    play(script)


def test_policy_refuses_what_is_none():
    with pytest.raises(TypeError, match=r"needs a method start\(self, run\)"):

        @policy
        class Nothing:
            pass

    with pytest.raises(TypeError, match="async function or a class"):
        policy(7)


def test_a_function_stays_callable_and_needs_no_decorator():
    async def plain(request, call_next):
        return await call_next(request._replace(tenant="t"))

    decorated = policy(plain)
    assert isinstance(decorated, FunctionPolicy)
    assert decorated.name == "plain"

    async def script():
        toy = Toy()
        await Site([plain], toy).send()
        assert toy.calls[0][1].tenant == "t"

        async def inner(request):
            return request.tenant

        assert await decorated(ask(), inner) == "t"

    play(script)


def test_a_gateway_value_can_be_copied_compared_and_started_many_times():
    gateway = Gateway(policies=(Retry(), Fallback(order=("a",))), upstream=(Timeout(ttft=1.0),), replicas=2)
    assert gateway == dataclasses.replace(gateway)
    assert gateway != dataclasses.replace(gateway, replicas=3)
    assert hash(gateway) == hash(dataclasses.replace(gateway))
