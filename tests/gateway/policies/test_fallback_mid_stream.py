"""One answer out of several streams."""

import asyncio
import gc

import pytest
from examples import examples
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play
from hypothesis import given, settings
from hypothesis import strategies as st

import llmsim as ls
from llmsim.errors import BadRequest, GatewayError, ServerError, StreamBroken, StreamStalled, TotalTimeout
from llmsim.gateway.exchange import Exchange, current_exchange
from llmsim.gateway.policies import Cache, Deadline, Fallback, Retry, Routing, SingleFlight, Timeout
from llmsim.gateway.policies._splice import Splice
from llmsim.scenario.replicate import replicate
from llmsim.types import Message, Response, Usage

CUT = StreamBroken("cut")


def go_on(*policies, mode="continue", **fields):
    return [Fallback(mid_stream=mode, **fields), *policies]


def story(policies, *scripts, request=None, upstream=(), manner="iterate", gap_s=0.1, **fields):
    """One request: (text or error, what came, providers, exchange, response, site)."""
    from llmsim.gateway.pipeline import Gateway

    providers = [
        Toy(*script, name=name, gap_s=gap_s if name == "a" else 0.1, **fields)
        for name, script in zip("abc", scripts, strict=False)
    ]

    async def script():
        gateway = Gateway(policies=tuple(policies), upstream=tuple(upstream))
        site = Site(gateway, *providers)
        exchange = Exchange(request or ask(), site.running._runtime)
        response = await site.running.send(request or ask(), exchange)
        came = []
        try:
            if manner == "whole":
                came.append(await response.read())
            else:
                async for chunk in response:
                    came += [chunk.text]
            result = "".join(came)
        except Exception as error:
            result = error
        await asyncio.sleep(0)  # what was cancelled learns of it
        assert all(not toy.open_streams and not toy.in_flight for toy in providers)
        assert site.running.in_flight == 0
        assert exchange.leaked == 0
        return result, came, providers, exchange, response, site

    return play(script)


def test_by_default_the_reader_gets_the_error():
    error, came, providers, *_ = story([Fallback()], [["a", "b", CUT]], [["c"]])
    assert error is CUT
    assert came == ["a", "b"]
    assert providers[1].calls == []


@pytest.mark.parametrize("manner", ["iterate", "whole"])
def test_the_next_goes_on_where_it_broke(manner):
    request = ask(messages=(Message("user", "count"),), max_tokens=10, input_tokens=50)
    result, _, (_, b), exchange, response, site = story(
        go_on(), [["one ", "two ", CUT]], [["three ", "four"]], request=request, manner=manner
    )
    assert result == "one two three four"
    (_, asked), *more = b.calls
    assert more == []
    assert asked.messages == (Message("user", "count"), Message("assistant", "one two"))
    assert (asked.max_tokens, asked.input_tokens) == (8, 52)
    assert [(segment.upstream, segment.tokens) for segment in response.segments] == [("a", 2), ("b", 2)]
    assert (response.upstream, response.model, response.tokens_delivered) == ("b", "b-model", 4)
    assert response.usage.output_tokens == 4
    assert response.usage.input_tokens == 20  # both prompts are billed
    assert response.finish_reason == "stop"
    assert exchange.duplicated_tokens == 0
    assert exchange.fallbacks == 1
    assert [(attempt.upstream, attempt.outcome, attempt.won) for attempt in site.attempts] == [
        ("a", "stream_broken", True),
        ("b", "ok", True),
    ]
    assert site.attempts[1].cause == "fallback"
    ((_, fields),) = site.events
    assert (fields["from"], fields["to"], fields["error"], fields["delivered_tokens"]) == ("a", "b", "stream_broken", 2)


def test_white_space_at_the_seam_is_not_doubled():
    assert story(go_on(), [["one ", CUT]], [[" two"]])[0] == "one two"
    assert story(go_on(), [["one", CUT]], [[" two"]])[0] == "one two"


@pytest.mark.parametrize("manner", ["iterate", "whole"])
@pytest.mark.parametrize("outside", [SingleFlight(), Fallback(name="outer", mid_stream="continue"), Cache()])
def test_who_stands_outside_knows_who_went_on_with_it(outside, manner):
    policies = [outside, *go_on()]
    result, *_, response, _ = story(policies, [["one ", CUT]], [["two"]], manner=manner)
    assert result == "one two"
    assert (response.upstream, response.origin, response.model) == ("b", "b", "b-model")


@pytest.mark.parametrize("inside", [[], [SingleFlight()]])
def test_a_cache_says_what_one_call_would_have_cost(inside):
    async def script():
        site = Site([Cache(), *inside, *go_on()], Toy(["one ", CUT]), Toy(["two"], name="b"))
        paid = await site.send(ask(0))
        saved = await site.send(ask(1))
        return paid.usage, saved.served_from, saved.usage

    assert play(script) == (Usage(20, 2), "cache", Usage(10, 2))


@pytest.mark.parametrize("inside", [[], [Routing(strategy="ordered")]])
def test_one_that_was_only_too_slow_can_go_on_where_the_winner_broke(inside):
    policies = go_on(*inside, ttft=0.2, on_ttft="keep")

    async def script():
        site = Site(policies, Toy(["one ", CUT], delay_s=0.5), Toy(9.0, ["two"], name="b"))
        response = await site.running.send(ask())
        text = await response.read() + await response.read()
        return text, response.upstream, [(fields["from"], fields["to"], fields["error"]) for _, fields in site.events]

    text, upstream, events = play(script)
    assert (text, upstream) == ("one two", "b")
    assert events == [("a", "b", "ttft_timeout"), ("a", "b", "stream_broken")]


def test_it_can_break_more_than_once():
    result, _, (_, _, c), exchange, response, _ = story(go_on(), [["a", CUT]], [["b", CUT]], [["c"]])
    assert result == "abc"
    assert c.calls[0][1].messages[-1] == Message("assistant", "ab")
    assert [segment.upstream for segment in response.segments] == ["a", "b", "c"]
    assert exchange.duplicated_tokens == 0


def test_when_nobody_is_left_the_reader_gets_the_last_break_with_all_that_was_delivered():
    error, came, *_ = story(go_on(), [["a", "b", CUT]], [["c", StreamBroken("again")]])
    assert str(error) == "again"
    assert error.tokens_delivered == 3
    assert came == ["a", "b", "c"]


def test_who_refuses_to_continue_leaves_the_first_error():
    error, _, (_, _, c), *_ = story(go_on(), [["a", CUT]], [BadRequest("no prefill")], [["c"]])
    assert error is CUT
    assert isinstance(error.__cause__, BadRequest)
    assert c.calls == []
    assert story(go_on(), [["a", CUT]], [ServerError()], [["c"]])[0] == "ac"


def test_restart_only_while_nothing_was_given_to_the_reader():
    at_once = [[CUT, "x"]]
    result, _, (_, b), exchange, *_ = story(go_on(mode="restart"), at_once, [["b"]])
    assert result == "b"
    assert b.calls[0][1].messages == ask().messages
    assert exchange.duplicated_tokens == 0
    error, _, (_, b), *_ = story(go_on(mode="restart"), [["a", CUT]], [["b"]])
    assert error is CUT
    assert b.calls == []
    assert story(go_on(), at_once, [["b"]])[0] == "b"  # continue includes it


def test_an_answer_without_a_finish_reason_is_a_break():
    error, *_ = story([Fallback()], [["a", "b"]], finish_reason="")
    assert isinstance(error, StreamBroken)
    result, *_ = story(go_on(Routing(strategy="ordered")), [["a", "b"]], [["c"]], finish_reason="")
    assert isinstance(result, StreamBroken)  # b does no better
    assert result.tokens_delivered == 3


def test_tokens_that_were_asked_for_are_not_exceeded():
    result, _, (_, b), _, response, _ = story(go_on(), [["a", "b", CUT]], [["c"]], request=ask(max_tokens=2))
    assert result == "ab"
    assert response.finish_reason == "length"
    assert b.calls == []


def test_retries_and_routes_inside_serve_the_continuation_too():
    policies = go_on(Retry(max_attempts=2), Routing(strategy="ordered"))
    result, _, (_, b, c), *_ = story(policies, [["a", CUT]], [ServerError(), ["b"]], [["c"]])
    assert result == "ab"
    assert len(b.calls) == 2  # a request that names its upstream is retried there
    assert c.calls == []


def test_the_stall_that_a_policy_inside_sees_is_a_reason_the_readers_own_limit_is_not():
    slow = [["a", "b", "c"]]
    inside = story(go_on(), slow, [["x"]], upstream=[Timeout(inter_token=2.0)], gap_s=5.0)[0]
    assert inside == "ax"
    outside = story([Timeout(inter_token=2.0), *go_on()], slow, [["x"]], gap_s=5.0)[0]
    assert isinstance(outside, StreamStalled)
    both = story([Timeout(inter_token=3.0), *go_on()], slow, [["x"]], upstream=[Timeout(inter_token=2.0)], gap_s=5.0)[0]
    assert both == "ax"
    whole = story(
        [Timeout(inter_token=3.0), *go_on()],
        [["a", "b", "c"]],
        [["x"]],
        upstream=[Timeout(inter_token=2.0)],
        gap_s=5.0,
        manner="whole",
    )[0]
    assert whole == "ax"


def test_the_readers_limits_hold_while_the_next_is_asked_and_after():
    patient = [Timeout(inter_token=2.0), *go_on()]
    assert story(patient, [["a", CUT]], [1.5])[0] == "ahello"
    error, *_ = story(patient, [["a", CUT]], [2.5])
    assert isinstance(error, StreamStalled)
    error, *_ = story([Timeout(total=2.0), *go_on()], [["a", CUT]], [3.0])
    assert isinstance(error, TotalTimeout)
    assert error.tokens_delivered == 1
    error, *_ = story([Deadline(timeout=2.0), *go_on(on=("any",))], [["a", CUT]], [["b", *"cdefghijklmnopqrstuvwxyz"]])
    assert error.word == "deadline_exceeded"
    assert error.tokens_delivered == 20  # one of a, one at once and eighteen a tenth of a second apart of b


def test_closing_while_the_next_is_asked_stops_that_too():
    a, b = Toy(["a", CUT], name="a"), Toy(9.0, name="b")

    async def script():
        site = Site(go_on(), a, b)
        response = await site.running.send(ask())
        reader = asyncio.ensure_future(_all(response))
        await asyncio.sleep(1.0)
        assert b.in_flight == 1
        response.close()
        text = await reader
        await asyncio.sleep(0.1)
        assert (a.open_streams, b.open_streams, b.in_flight, b.cancelled) == (0, 0, 0, 1)
        assert response.outcome.kind == "cancelled"
        return text

    assert play(script) == "a"


async def _all(response):
    return "".join([chunk.text async for chunk in response])


def test_it_belongs_to_its_own_request_whoever_reads_it():
    a, b = Toy(["a", CUT], name="a"), Toy(["b"], name="b")

    async def script():
        site = Site(go_on(), a, b)
        exchanges = [Exchange(ask(number), site.running._runtime) for number in range(2)]
        responses = [await site.running.send(ask(number), exchanges[number]) for number in range(2)]
        assert current_exchange.get() is exchanges[1]
        texts = [await _all(response) for response in responses]
        assert current_exchange.get() is exchanges[1]
        return texts, [exchange.attempts for exchange in exchanges]

    assert play(script) == (["ab", "ab"], [2, 2])


@pytest.mark.slow
def test_answers_that_do_not_break_leave_no_circles():
    """Only the cyclic collector could free them, and it does not run while requests do."""
    scenario = ls.load(
        {
            "version": 1,
            "clock": {"duration": "5s", "drain": "5s"},
            "traffic": {"base_rate": "5/s"},
            "providers": {"a": {"ttft": "100ms"}, "b": {"ttft": "100ms"}},
            "gateway": {"policies": [{"fallback": {"mid_stream": "continue"}}, "route"]},
        }
    )

    def alive():
        return {id(one) for one in gc.get_objects() if type(one) in (Splice, Response)}

    gc.collect()
    before = alive()  # errors of this module keep answers of other tests
    gc.disable()
    try:
        replication = replicate(scenario, 0)
        left = alive() - before
    finally:
        gc.enable()
    assert len(replication.tables["requests"]["e2e_s"].values) > 10
    assert left == set()


SCRIPTS = st.lists(
    st.sampled_from([["x", "y"], ["x", CUT], [CUT], ServerError(), 3.0, ["x", "y", "z", CUT]]), min_size=3, max_size=3
)


@settings(max_examples=examples(80), deadline=None)
@given(
    scripts=SCRIPTS,
    mode=st.sampled_from(["error", "restart", "continue"]),
    ttft=st.sampled_from([None, "cancel", "keep"]),
    routed=st.booleans(),
    cancel_s=st.floats(0, 6),
    how=st.sampled_from(["cancel", "close", "read"]),
    whole=st.booleans(),
)
def test_nothing_leaks_under_any_interleaving(scripts, mode, ttft, routed, cancel_s, how, whole):
    providers = [Toy(script, name=name, gap_s=0.5) for name, script in zip("abc", scripts, strict=True)]
    fallback = Fallback(mid_stream=mode, **({"ttft": 1.0, "on_ttft": ttft} if ttft else {}))
    route = Routing(strategy="least_busy")
    places = []

    class Watched:
        def start(self, run):
            handler = route.start(run)
            places.extend(handler.places)
            return handler

    async def script():
        site = Site([fallback, Watched()] if routed else [fallback], *providers)
        exchange = Exchange(ask(), site.running._runtime)
        held = []

        async def user():
            try:
                response = await site.running.send(ask(), exchange)
                held.append(response)
                if whole:
                    await response.read()
                else:
                    await _all(response)
            except GatewayError:
                pass

        task = asyncio.ensure_future(user())
        await asyncio.sleep(cancel_s)
        if how == "cancel":
            task.cancel()
        elif how == "close" and held:
            held[0].close()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(20.0)
        if how == "cancel" and held:
            held[0].close()  # who read it was cancelled: it ended so
        assert [(toy.open_streams, toy.in_flight) for toy in providers] == [(0, 0)] * 3
        assert site.running.in_flight == 0
        assert not exchange.open
        assert exchange.leaked == 0
        assert all(place.in_flight == 0 for place in places)
        assert exchange.duplicated_tokens == 0

    play(script)
