import asyncio
import contextlib

import pytest
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from gateway.site import Site, play

from llmsim.errors import (
    AllUpstreamsFailed,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    DeadlineExceeded,
    PolicyError,
    RateLimited,
    Rejected,
    ServerError,
)
from llmsim.gateway.contract import Run, policy
from llmsim.gateway.deadlines import cancelled_by
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Backoff, Hedge, Retry, Routing, Timeout


def hedged(spec, *providers, request=None):
    """(what came, seconds, site) of one request."""

    async def script():
        site = Site(Gateway(policies=(spec,)), *providers)
        result, seconds = await outcome(site.send(request))
        return result, seconds, site

    return play(script)


def test_a_second_attempt_after_a_fixed_delay_wins():
    response, seconds, site = hedged(Hedge(after=0.5, budget=None), Toy(9.0, 0.3))
    assert (response.outcome.kind, seconds) == ("ok", pytest.approx(1.0))  # 0.5 + 0.3, and two gaps of 0.1
    assert site.causes() == [(1, "first", "a", "cancelled"), (2, "hedge", "a", "ok")]
    assert [attempt.won for attempt in site.attempts] == [False, True]
    assert site.attempts[0].usage.input_tokens == 10  # the loser is billed
    [(kind, fields)] = site.events
    assert (kind, fields["hedge"], fields["reason"]) == ("hedge", 1, "slow")
    assert site.providers["a"].times == [0.0, 0.5]


def test_the_first_wins_though_a_hedge_is_out():
    response, seconds, site = hedged(Hedge(after=0.5, budget=None), Toy(0.7, 5.0))
    assert (response.outcome.kind, seconds) == ("ok", pytest.approx(0.9))
    assert [attempt.won for attempt in site.attempts] == [False, True]
    assert [(number, result) for number, _, _, result in site.causes()] == [(2, "cancelled"), (1, "ok")]


@pytest.mark.parametrize("script", [(9.0, 0.3), (0.7, 5.0)], ids=["the hedge wins", "the first wins"])
def test_the_loser_has_ended_when_the_winner_is_handed_out(script):
    """Whoever closes the books with the answer's end finds the loser's bill in them."""

    async def main():
        site = Site(Gateway(policies=(Hedge(after=0.5, budget=None),)), Toy(*script))
        response = await site.running.send(ask())
        assert [attempt.outcome for attempt in site.attempts] == ["cancelled"]
        response.close()

    play(main)


def test_a_quick_one_is_not_hedged():
    _, _, site = hedged(Hedge(after=0.5), Toy(0.4))
    assert site.causes() == [(1, "first", "a", "ok")]


@pytest.mark.parametrize(
    ("to", "inside", "calls"),
    [
        ((), [], [3, 0]),
        (("b",), [], [3, 3]),
        ((), [Routing(strategy="ordered")], [2, 1]),  # the route placed each, and none is left
    ],
)
def test_where_a_retry_inside_has_given_up_it_does_not_begin_anew(to, inside, calls):
    async def script():
        quick = Retry(backoff=Backoff(initial=0.0))
        site = Site(
            [Hedge(after=0.5, to=to, budget=None), quick, *inside], Toy(ServerError()), Toy(ServerError(), name="b")
        )
        with pytest.raises(ServerError):
            await site.send()
        return [len(toy.calls) for toy in site.providers.values()]

    assert play(script) == calls


def test_a_hedge_before_a_route_goes_elsewhere_also_where_a_retry_has_given_up():
    async def script():
        upstream = (Retry(max_attempts=2, backoff=Backoff(initial=0.0)),)
        gateway = Gateway(policies=(Hedge(after=0.5, budget=None), Routing(strategy="ordered")), upstream=upstream)
        site = Site(gateway, Toy(ServerError()), Toy(name="b"))
        return (await site.send()).upstream

    assert play(script) == "b"


def test_at_most_so_many_hedges_one_delay_apart():
    _, _, site = hedged(Hedge(after=0.5, max_hedges=3, budget=None), Toy(9.0))
    assert site.providers["a"].times == [0.0, 0.5, 1.0, 1.5]


def test_to_other_upstreams_in_order():
    toys = Toy(9.0, name="a"), Toy(9.0, name="b"), Toy(0.1, name="c")
    response, _, _ = hedged(
        Hedge(after=0.5, to=("b", "c"), max_hedges=3, budget=None), *toys, request=ask(upstream="a", model="m")
    )
    assert (response.upstream, [len(toy.calls) for toy in toys]) == ("c", [1, 1, 1])
    assert [toy.calls[0][1].model for toy in toys] == ["m", None, None]


def test_a_failure_is_not_waited_for():
    response, seconds, site = hedged(Hedge(after=5.0, budget=None), Toy(ServerError(), 0.1, delay_s=0.2))
    assert (response.outcome.kind, seconds) == ("ok", pytest.approx(0.5))
    assert [fields["reason"] for _, fields in site.events] == ["failed"]


def test_a_failure_does_not_end_the_one_that_still_runs():
    response, seconds, _ = hedged(Hedge(after=0.5, budget=None), Toy(1.0, ServerError()))
    assert (response.outcome.kind, seconds) == ("ok", pytest.approx(1.2))


def test_a_failure_that_another_attempt_cannot_cure_ends_all():
    error, seconds, site = hedged(Hedge(after=0.5, budget=None), Toy(9.0, BadRequest(), delay_s=0.2))
    assert isinstance(error, BadRequest)
    assert seconds == pytest.approx(0.7)
    assert {one.outcome for one in site.attempts} == {"cancelled", "bad_request"}


REFUSALS = (
    Rejected("full"),
    CircuitOpen("open"),
    BudgetExceeded("spent"),
    DeadlineExceeded("too little left"),
    AllUpstreamsFailed(),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: error.word)
def test_what_the_gateway_refuses_ends_that_attempt_alone(refusal):
    @policy
    async def spare_is_closed(request, call_next):
        if request.upstream == "b":
            raise refusal
        return await call_next(request)

    async def script(primary):
        hedge = Hedge(after=0.5, to=("b",), budget=None)
        site = Site(Gateway(policies=(hedge, spare_is_closed)), primary, Toy(name="b"))
        return *await outcome(site.send()), site

    response, seconds, site = play(lambda: script(Toy(1.0)))
    assert (response.outcome.kind, seconds) == ("ok", pytest.approx(1.2))
    assert site.causes() == [(1, "first", "a", "ok")]

    error, seconds, _ = play(lambda: script(Toy(ServerError("down"), delay_s=0.2)))  # refused after the first failed
    assert (str(error), seconds) == ("down", pytest.approx(0.2))
    error, seconds, _ = play(lambda: script(Toy(ServerError("down"), delay_s=0.9)))  # and before
    assert (str(error), seconds) == ("down", pytest.approx(0.9))


def test_a_first_attempt_that_waits_in_vain_for_a_permit_does_not_end_the_hedge():
    @policy
    async def no_permit(request, call_next):
        if request.upstream != "b":
            await asyncio.sleep(1.0)
            raise Rejected("no turn in time")
        return await call_next(request)

    async def script():
        hedge = Hedge(after=0.5, to=("b",), budget=None)
        site = Site(Gateway(policies=(hedge, no_permit)), Toy(), Toy(1.0, name="b"))
        return await outcome(site.send())

    response, seconds = play(script)
    assert (response.upstream, seconds) == ("b", pytest.approx(1.7))


def test_when_all_fail_the_last_error_is_raised():
    error, _, site = hedged(Hedge(after=5.0, max_hedges=2, budget=None), Toy(ServerError("one"), ServerError("two")))
    assert str(error) == "two"
    assert len(site.attempts) == 3


@pytest.mark.parametrize(("to", "calls"), [((), 1), (("b",), 2)])
def test_an_upstream_that_says_when_to_come_back_is_not_asked_before(to, calls):
    error, _, site = hedged(Hedge(after=5.0, to=to, budget=None), Toy(RateLimited(retry_after_s=3.0)), Toy(name="b"))
    assert len(site.attempts) == calls
    assert isinstance(error, RateLimited) == (calls == 1)


def test_the_budget_bounds_the_hedges():
    async def script():
        site = Site(Gateway(policies=(Hedge(after=0.1, budget=0.2),)), Toy(0.5))
        await asyncio.gather(*(site.send(ask(number)) for number in range(20)))
        kinds = [kind for kind, _ in site.events]
        assert (kinds.count("hedge"), kinds.count("hedge_refused"), len(site.attempts)) == (4, 16, 24)

    play(script)


def test_a_failure_without_a_budget_is_the_answer():
    error, _, site = hedged(Hedge(after=0.1, budget=0.0), Toy(ServerError()))
    assert isinstance(error, ServerError)
    assert [(kind, fields.get("reason")) for kind, fields in site.events] == [("hedge_refused", "budget")]


def test_the_quantile_is_of_request_latencies_and_by_kind():
    """99 quick ones and it is known; a slow request counts with the time it took in all, hedge included."""

    async def script():
        toy = Toy(*[0.1] * 99, 9.0, 2.0, 0.1)
        handlers = []
        spec = Hedge(quantile=0.95, minimum_requests=99, window=100, budget=None)
        site = Site(Gateway(policies=(_noting(spec, handlers),)), toy)
        for number in range(99):
            await site.send(ask(number))
        [times] = handlers[0]._times.values()
        assert (times.count, times.value) == (99, pytest.approx(0.1))
        start = asyncio.get_running_loop().time()
        await site.send(ask(99))
        assert len(site.attempts) == 101
        assert asyncio.get_running_loop().time() - start == pytest.approx(0.1 + 2.0 + 2 * 0.1)
        assert list(times._order)[-1] == pytest.approx(2.1)  # not the 2.0 of the attempt that won
        await site.send(ask(100, stream=False))
        assert {place: times.count for place, times in handlers[0]._times.items()} == {
            (None, True): 100,
            (None, False): 1,
        }

    play(script)


def _noting(spec, handlers):
    class Noting:
        kind = "hedge"

        def start(self, run):
            handlers.append(spec.start(run))
            return handlers[-1]

    return Noting()


@pytest.mark.parametrize(("leaves_s", "counted"), [(0.05, 0), (0.3, 1)])
def test_who_leaves_after_the_delay_was_slow_and_who_leaves_before_says_nothing(leaves_s, counted):
    world = World()

    async def main():
        handler = world.start(Hedge(quantile=0.5, minimum_requests=1, budget=None))
        call = chain(handler, inner=Toy(0.1, 9.0).send)
        await (await call(ask())).read()
        task = asyncio.create_task(call(ask(1)))
        await asyncio.sleep(leaves_s)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        [times] = handler._times.values()
        assert list(times._order)[1:] == pytest.approx([leaves_s] * counted)

    run(main())


def test_cancelling_the_request_cancels_all_attempts_and_says_why():
    """A timeout outside of it is a timeout for the upstreams inside, too."""
    whys = []

    @policy
    async def notes(request, call_next):
        try:
            return await call_next(request)
        except asyncio.CancelledError as error:
            whys.append(cancelled_by(error))
            raise

    async def script():
        upstream = (Timeout(ttft=1.0), Hedge(after=0.3, budget=None), notes)
        site = Site(Gateway(upstream=upstream), Toy(9.0))
        with contextlib.suppress(TimeoutError):
            await site.send()
        assert whys == ["ttft_timeout"] * 2
        assert [attempt.outcome for attempt in site.attempts] == ["ttft_timeout"] * 2

    play(script)


def test_a_fatal_error_of_the_first_cancels_the_others_and_their_bill_is_in():
    error, _, site = hedged(Hedge(after=0.5, budget=None), Toy(BadRequest(), 9.0, delay_s=0.7))
    assert isinstance(error, BadRequest)
    assert site.causes() == [(1, "first", "a", "bad_request"), (2, "hedge", "a", "cancelled")]


#: Both answer in one instant; the hedge answers; the first has failed and the hedge answers: all at 1.0 s.
TIES = {"both": (1.0, 0.5), "the hedge": (9.0, 0.5), "the hedge alone": (ServerError(), 1.0)}


@pytest.mark.matrix
@pytest.mark.parametrize("ticks", range(9))
@pytest.mark.parametrize("tie", TIES)
def test_who_cancels_at_that_very_moment_is_obeyed_and_nothing_is_left_open(tie, ticks):
    async def script():
        toy = Toy(*TIES[tie])
        site = Site(Gateway(policies=(Hedge(after=0.5, budget=None),)), toy)
        exchange = Exchange(ask(), site.running._runtime)
        task, obeyed, loop = asyncio.create_task(site.running.send(ask(), exchange)), [], asyncio.get_running_loop()

        def later(turns):
            loop.call_soon(later, turns - 1) if turns else obeyed.append(task.cancel())

        loop.call_at(0.9, loop.call_at, 1.0, later, ticks)  # behind the timers of the attempts
        await asyncio.wait([task])
        await asyncio.sleep(0.5)
        assert task.cancelled() == obeyed[0]
        if not task.cancelled():
            assert task.cancelling() == 0
            assert toy.open_streams == 1
            task.result().close()
        assert (toy.open_streams, toy.in_flight, exchange.leaked, len(site.attempts)) == (0, 0, 0, 2)
        return task.cancelled()

    cancelled = play(script)
    assert cancelled or ticks > 0


def test_it_runs_on_an_ordinary_loop():
    """And what two losers and a winner cost is in before the winner's answer is read."""

    async def main():
        site = Site(Gateway(policies=(Hedge(after=0.02, max_hedges=2, budget=None),)), Toy(0.5, 0.5, 0.01, gap_s=0.0))
        await site.send()
        assert sorted(site.causes()) == [
            (1, "first", "a", "cancelled"),
            (2, "hedge", "a", "cancelled"),
            (3, "hedge", "a", "ok"),
        ]

    asyncio.run(main())


def test_upstreams_are_checked():
    with pytest.raises(PolicyError, match="did you mean 'b'"):
        Hedge(to=("bb",)).start(Run(World(), "hedge", upstreams=("a", "b")))
    with pytest.raises(PolicyError, match=r"move it to gateway\.policies"):
        Hedge(to=("b",)).start(Run(World(), "hedge", "upstream", "a", upstreams=("a", "b")))
