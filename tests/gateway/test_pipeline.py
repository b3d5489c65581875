"""What the pipeline itself promises, whatever policies stand in it."""

import dataclasses

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play, trace

from llmsim.errors import CircuitOpen, GatewayError, PolicyError, ServerError
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker, Fallback, Retry
from llmsim.gateway.policies.cache import Cache

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


def test_going_back_to_the_first_choice_is_no_fallback():
    async def script():
        from llmsim.gateway.exchange import Exchange

        gateway = Gateway(policies=(Retry(max_attempts=3, on=("any",)), Fallback(order=("a", "b"))))
        site = Site(gateway, Toy(ServerError(), name="a"), Toy(ServerError(), ServerError(), [""], name="b"))
        exchange = Exchange(ask(), site.running._runtime)
        await site.send(ask(), exchange)
        return exchange.fallbacks, exchange.attempts

    assert play(script) == (3, 6)


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
    assert replicas[:3] == [0, 1, 2], "of those that are as busy, the first"
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
