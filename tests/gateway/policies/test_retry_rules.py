"""Rules by error, what the upstream says about trying again, nested retries, and answers that are held back."""

import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from gateway.site import Site
from gateway.site import play as on_site
from pydantic import TypeAdapter

from llmsim.algorithms.backoff import Backoff
from llmsim.errors import (
    AllUpstreamsFailed,
    BadRequest,
    CircuitOpen,
    ConnectionFailed,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamBroken,
    StreamStalled,
)
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.policies import Fallback, Retry, RetryRule, Timeout, given_up

SLOW = Backoff(initial=4.0, jitter="none")
FAST = Backoff(initial=0.5, jitter="none")
AT_ONCE = Backoff(initial=0.0, jitter="none")


def play(*specs, script=(), request=None, delay_s=0.0):
    """(result or error, seconds, provider, world) of one request through these retries, outermost first."""
    world, provider = World(), Toy(*script, delay_s=delay_s)

    async def main():
        call = chain(*(world.start(spec) for spec in specs), inner=provider.send)
        return await outcome(call(request or ask()))

    return *run(main()), provider, world


def told(answer, error=ServerError, **fields):
    return error(headers={"x-should-retry": answer}, **fields)


# -- rules --------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_holds_and_the_rest_goes_by_on():
    spec = Retry(
        max_attempts=5,
        backoff=FAST,
        rules=(RetryRule(on=["rate_limited"], backoff=SLOW), RetryRule(on=[503, "connection_failed"], max_attempts=2)),
    )
    assert play(spec, script=[RateLimited(), ServerError(), RateLimited(), 0.0])[2].times == [0, 4, 5, 21]
    assert play(spec, script=[ConnectionFailed()])[2].times == [0, 0.5]
    assert play(spec, script=[ServerError(status=503)])[2].times == [0, 0.5]


def test_attempts_are_counted_over_all_rules():
    spec = Retry(max_attempts=4, backoff=FAST, rules=(RetryRule(on=["rate_limited"], max_attempts=2),))
    assert len(play(spec, script=[ServerError(), RateLimited()])[2].calls) == 2
    assert len(play(spec, script=[RateLimited(), ServerError()])[2].calls) == 4


def test_a_rule_can_add_an_error_or_take_one_out():
    spec = Retry(backoff=FAST, rules=(RetryRule(on=["bad_output", "circuit_open"], backoff=SLOW),))
    assert play(spec, script=[CircuitOpen(), 0.0])[2].times == [0, 4]
    spared = Retry(backoff=FAST, rules=(RetryRule(on=["rate_limited"], max_attempts=1),))
    assert len(play(spared, script=[RateLimited()])[2].calls) == 1


def test_decorrelated_jitter_starts_at_its_own_first_wait_after_another_rule():
    spec = Retry(
        max_attempts=3,
        backoff=Backoff(initial=0.01, jitter="none"),
        rules=(RetryRule(on=["rate_limited"], backoff=Backoff(initial=1.0, max=9.0, jitter="decorrelated")),),
    )
    for number in range(20):
        times = play(spec, script=[ServerError(), RateLimited(), 0.0], request=ask(number))[2].times
        assert 1.0 <= times[2] - times[1] <= 3.0


def test_the_rules_of_aws_in_yaml():
    written = {"backoff": {"initial": "50ms"}, "rules": [{"on": ["rate_limited"], "backoff": {"initial": "1s"}}]}
    spec = TypeAdapter(Retry).validate_python(written)
    assert spec.rules == (RetryRule(on=("rate_limited",), backoff=Backoff(initial=1.0)),)
    assert hash(spec) == hash(TypeAdapter(Retry).validate_python(written))
    throttled = [play(spec, script=[RateLimited(), 0.0], request=ask(n))[1] for n in range(60)]
    failed = [play(spec, script=[ServerError(), 0.0], request=ask(n))[1] for n in range(60)]
    assert 0.5 < max(throttled) < 1.0
    assert 0.025 < max(failed) < 0.05


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"on": ["rate_limited"]}, "changes nothing"),
        ({"on": [], "max_attempts": 2}, "nothing would ever match"),
        ({"on": ["bad_request"], "max_attempts": 2}, "does not cure bad_request"),
        ({"on": ["timeout"], "max_attempts": 1, "backoff": FAST}, "backoff has no effect"),
        ({"on": ["timeout"], "max_attempts": 0}, "write 1 for no retry"),
    ],
)
def test_what_is_wrong_with_a_rule(rule, says):
    with pytest.raises(ValueError, match=says):
        RetryRule(**rule)


def test_a_rule_that_is_never_reached_is_an_error():
    rules = (RetryRule(on=["server_error"], max_attempts=2), RetryRule(on=["overloaded"], max_attempts=5))
    with pytest.raises(ValueError, match="rule 2 on overloaded is never reached"):
        Retry(rules=rules)
    Retry(rules=rules[::-1])


# -- what the upstream says ---------------------------------------------------------------------------------------


def test_x_should_retry_is_heeded():
    error, _, provider, world = play(Retry(backoff=FAST), script=[told("false")])
    assert (len(provider.calls), error.word) == (1, "server_error")
    assert [event["reason"] for event in world.of("retry_refused")] == ["should_retry"]
    assert len(play(Retry(backoff=FAST, on=["timeout"]), script=[told("true")])[2].calls) == 3
    assert len(play(Retry(backoff=FAST, honor_should_retry=False), script=[told("false")])[2].calls) == 3
    assert len(play(Retry(backoff=FAST), script=[told("maybe")])[2].calls) == 3


@pytest.mark.parametrize("error", [QuotaExhausted, BadRequest])
def test_x_should_retry_does_not_cure_what_cannot_be_cured(error):
    assert len(play(Retry(backoff=FAST), script=[told("true", error)])[2].calls) == 1


def test_retry_after_exactly_as_the_sdks_do_or_ignored_when_too_long():
    exact = Retry(max_attempts=2, backoff=Backoff(initial=1.0), retry_after_jitter=False)
    assert {play(exact, script=[RateLimited(retry_after_s=20.0)], request=ask(n))[1] for n in range(5)} == {20.0}
    assert {play(exact, script=[RateLimited(retry_after_s=0.001)], request=ask(n))[1] for n in range(5)} == {0.001}
    assert 0 < play(exact, script=[RateLimited(retry_after_s=0.0)])[1] < 1.0  # an SDK takes 0 for nothing said
    lenient = Retry(max_attempts=2, backoff=FAST, beyond_max_retry_after="back_off")
    assert play(lenient, script=[RateLimited(retry_after_s=61.0)])[1] == 0.5
    assert play(lenient, script=[RateLimited(retry_after_s=60.0)])[1] == 60.0


# -- nested retries -----------------------------------------------------------------------------------------------


def test_what_a_retry_further_in_has_given_up_on_is_not_retried_again():
    inner, outer = Retry(max_attempts=5, backoff=AT_ONCE), Retry(max_attempts=3, backoff=AT_ONCE)
    error, _, provider, world = play(outer, outer, inner, script=[RateLimited()])
    assert len(provider.calls) == 5
    assert error.retried
    assert [event["reason"] for event in world.of("retry_refused")] == ["retried", "retried"]
    multiplying = Retry(max_attempts=3, backoff=AT_ONCE, multiply=True)
    assert len(play(multiplying, inner, script=[RateLimited()])[2].calls) == 15


def test_what_it_left_alone_is():
    inner = Retry(max_attempts=5, backoff=AT_ONCE, on=["timeout"])
    assert len(play(Retry(backoff=AT_ONCE), inner, script=[ServerError()])[2].calls) == 3
    once = Retry(max_attempts=1)
    assert len(play(Retry(backoff=AT_ONCE), once, script=[ServerError()])[2].calls) == 3
    spared = Retry(backoff=AT_ONCE, rules=(RetryRule(on=["server_error"], max_attempts=1),))
    assert len(play(Retry(backoff=AT_ONCE), spared, script=[ServerError()])[2].calls) == 3


def test_a_refusal_is_a_verdict_too():
    """A budget of the inner one that the outer one would walk around is no budget."""
    inner = Retry(max_attempts=2, backoff=AT_ONCE, budget=0.0, budget_minimum=0.0)
    assert len(play(Retry(backoff=AT_ONCE), inner, script=[ServerError()])[2].calls) == 1


def test_a_mark_of_an_earlier_call_is_none():
    """Tests (and caches of failures) raise the very same object again."""
    world, provider = World(), Toy(ServerError())

    async def main():
        retry = chain(world.start(Retry(max_attempts=2, backoff=AT_ONCE)), inner=provider.send)
        await outcome(retry(ask(1)))
        await outcome(retry(ask(1)))

    run(main())
    assert len(provider.calls) == 4


def test_a_fallback_goes_on_and_the_retry_around_it_does_not_begin_anew():
    outer = Retry(max_attempts=3, backoff=AT_ONCE, on=["all_upstreams_failed"])
    stack = (outer, Fallback(order=("a", "b")), Retry(max_attempts=2, backoff=AT_ONCE, name="inner"))

    async def script():
        site = Site(stack, Toy(ServerError(), name="a"), Toy(ServerError(), name="b"))
        with pytest.raises(AllUpstreamsFailed):
            await site.send()
        return [upstream for _, _, upstream, _ in site.causes()]

    assert on_site(script) == ["a", "a", "b", "b"]


def test_code_of_ones_own_can_mark_its_errors():
    @policy
    async def by_hand(request, call_next):
        for _ in range(3):
            try:
                return await call_next(request)
            except ServerError as error:
                last = error
        raise given_up(last)

    async def script():
        site = Site([Retry(backoff=AT_ONCE), by_hand], Toy(ServerError()))
        with pytest.raises(ServerError):
            await site.send()
        return len(site.attempts)

    assert on_site(script) == 3


# -- answers that are held back -----------------------------------------------------------------------------------

BUFFERED = Retry(max_attempts=3, backoff=FAST, on=["stream_broken", "timeout"], buffer=True)


def _broken_after(*chunks):
    return [*chunks, StreamBroken("cut", tokens_delivered=len(chunks))]


def test_a_broken_stream_is_the_readers_to_see():
    async def script():
        site = Site([Retry(backoff=FAST, on=["stream_broken"])], Toy(_broken_after("a", "b"), ["c"]))
        with pytest.raises(StreamBroken):
            await site.send()
        return len(site.attempts)

    assert on_site(script) == 1


def test_buffered_it_is_asked_again():
    async def script():
        site = Site([BUFFERED], Toy(_broken_after("a", "b"), _broken_after("c"), ["d", "e"]))
        exchange = Exchange(ask(), site.running._runtime)
        response = await site.running.send(ask(), exchange)
        text = await response.read()
        assert (exchange.duplicated_tokens, exchange.leaked) == (0, 0)
        return text, site.causes(), response.upstream, response.finish_reason

    text, causes, upstream, reason = on_site(script)
    assert (text, upstream, reason) == ("de", "a", "stop")
    assert [row[1:] for row in causes] == [
        ("first", "a", "stream_broken"),
        ("retry", "a", "stream_broken"),
        ("retry", "a", "ok"),
    ]


def test_buffered_stalls_are_retried_and_the_whole_takes_its_time():
    async def script():
        slow = Toy(["a", "b"], ["c"], gap_s=1.0)
        site = Site([BUFFERED, Timeout(inter_token=0.5)], slow)
        with pytest.raises(StreamStalled):
            await site.send()  # every answer ends with a silence of a second
        return slow.times, slow.open_streams

    assert on_site(script) == ([0, 1.0, 2.5], 0)


def test_cancelled_while_it_holds_back_nothing_stays_open():
    async def script():
        toy = Toy(["a"] * 10, gap_s=0.1)
        site = Site([BUFFERED], toy)
        task = asyncio.ensure_future(site.send())
        await asyncio.sleep(0.35)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return toy.open_streams

    assert on_site(script) == 0
