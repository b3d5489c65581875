import asyncio
import dataclasses

import pytest
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play

from llmsim.errors import AuthError, CircuitOpen, RateLimited, ServerError, StreamBroken
from llmsim.gateway.contract import current_run, policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import CircuitBreaker, Deadline, Fallback, OutlierEjection, Timeout

EJECT = OutlierEjection()


def gateway(*upstream, order=("a", "b"), policies=(), **fields):
    return Gateway(policies=(*policies, Fallback(order=order)), upstream=upstream, **fields)


def fine(name="b"):
    return Toy(0.0, name=name, gap_s=0.0)


def ejections(site):
    return [fields for kind, fields in site.events if kind == "outlier_ejection"]


async def errors(site, times=1, **fields):
    return [(await outcome(site.send(ask(number, **fields))))[0] for number in range(times)]


def test_five_in_a_row_and_it_is_left_out_for_half_a_minute():
    async def main():
        a, b = Toy(*[ServerError()] * 5, 0.0, gap_s=0.0), fine()
        site = Site(gateway(EJECT), a, b)
        await errors(site, 20)
        assert (len(a.calls), len(b.calls)) == (5, 20)
        event = {key: ejections(site)[0][key] for key in ("upstream", "reason", "for_s", "times")}
        assert event == {"upstream": "a", "reason": "consecutive_errors", "for_s": 30.0, "times": 1}
        assert len(ejections(site)) == 1
        error, _ = await outcome(site.running._replicas[0]._upstreams["a"].chain(ask()))
        assert isinstance(error, CircuitOpen)
        assert (error.upstream, error.retry_after_s) == ("a", 30.0)
        assert "a is ejected; try again in 30s" in str(error)
        await asyncio.sleep(30)
        assert (await site.send()).upstream == "a"

    play(main)


@pytest.mark.parametrize(
    ("script", "ejected"),
    [
        ([ServerError()] * 4 + [0.0] + [ServerError()] * 4, False),
        ([ServerError()] * 4 + [AuthError()] + [ServerError()] * 4, False),
        ([RateLimited()] * 20, False),
        ([["x", StreamBroken()]] * 5, True),
    ],
)
def test_what_counts(script, ejected):
    async def main():
        site = Site(gateway(EJECT), Toy(*script, 0.0), fine())
        await errors(site, len(script))
        assert bool(ejections(site)) == ejected

    play(main)


def test_what_the_gateway_says_itself_and_who_goes_away_do_not_count():
    async def main():
        breaker = CircuitBreaker(minimum_calls=2)
        site = Site(gateway(dataclasses.replace(EJECT, on=("any",)), breaker), Toy(ServerError()), fine())
        await errors(site, 20)
        assert not ejections(site)
        site = Site(gateway(EJECT, policies=[Deadline(timeout=1.0)]), Toy(9.0), fine())
        await errors(site, 20)
        assert not ejections(site)
        site = Site(gateway(Timeout(ttft=1.0), EJECT), Toy(9.0), fine())
        await errors(site, 20)
        assert ejections(site)

    play(main)


@pytest.mark.parametrize(("upstreams", "left"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_when_all_are_bad_half_of_them_stay(upstreams, left):
    async def main():
        names = "abcd"[:upstreams]
        providers = [Toy(ServerError(), name=name) for name in names]
        site = Site(gateway(EJECT, order=tuple(names)), *providers)
        await errors(site, 25)
        assert len(ejections(site)) == upstreams - left
        assert sum(len(provider.calls) == 25 for provider in providers) == left

    play(main)


def test_each_time_it_is_left_out_longer():
    async def main():
        a = Toy(ServerError())
        site = Site(gateway(dataclasses.replace(EJECT, consecutive_errors=1)), a, fine())
        for _ in range(12):
            await errors(site)
            await asyncio.sleep(ejections(site)[-1]["for_s"])
        lengths = [event["for_s"] for event in ejections(site)]
        assert lengths == [30.0 * n for n in range(1, 11)] + [300.0, 300.0]

    play(main)


def test_good_health_takes_one_off_for_every_interval():
    async def main():
        a = Toy(*[ServerError()] * 3, 0.0, ServerError(), gap_s=0.0)
        site = Site(gateway(dataclasses.replace(EJECT, consecutive_errors=1)), a, fine())
        for _ in range(3):
            await errors(site)
            await asyncio.sleep(ejections(site)[-1]["for_s"])
        await errors(site)  # well again
        await asyncio.sleep(25)  # two intervals
        await errors(site)
        assert [event["times"] for event in ejections(site)] == [1, 2, 3, 2]

    play(main)


def test_after_it_a_growing_share_goes_through():
    async def main():
        a = Toy(*[ServerError()] * 5, 0.0, gap_s=0.0)
        site = Site(gateway(dataclasses.replace(EJECT, ramp=20.0)), a, fine())
        await errors(site, 5)
        await asyncio.sleep(30)
        shares = []
        for _ in range(5):
            results = await errors(site, 400)
            shares.append(sum(result.upstream == "a" for result in results) / 400)
            await asyncio.sleep(5)
        # 400 coins: a standard error of 2.5 % at most.
        assert all(abs(s - e) < 0.1 for s, e in zip(shares, (0.1, 0.25, 0.5, 0.75, 1.0), strict=True))
        assert (shares[0] < 0.2) and shares[4] == 1.0

    play(main)


def test_a_look_at_the_rates_is_taken_by_whoever_comes_next_and_told_by_whom_it_concerns():
    """The call that ends after the interval went to b; the one that sticks out is a."""

    async def main():
        a = Toy(*[ServerError(), 0.0] * 20, gap_s=0.0)
        spec = OutlierEjection(consecutive_errors=None, failure_rate=0.5, minimum_calls=20)
        site = Site(gateway(spec), a, fine())
        await errors(site, 20)
        await asyncio.sleep(10)
        assert not ejections(site)
        await site.send(ask(upstream="b"))
        assert [(event["upstream"], event["reason"]) for event in ejections(site)] == [("a", "failure_rate")]
        assert (await site.send(ask(1))).upstream == "b"

    play(main)


def test_a_success_rate_far_below_the_others():
    async def main():
        names = "abcde"
        providers = [Toy(*[ServerError(), 0.0] * 20, name="a", gap_s=0.0), *(fine(name) for name in names[1:])]
        spec = OutlierEjection(consecutive_errors=None, success_rate_stdev=1.9, minimum_calls=20)
        site = Site(gateway(spec, order=tuple(names)), *providers)
        for name in names:
            await errors(site, 20, upstream=name)
        await asyncio.sleep(10)
        await site.send(ask(upstream="e"))
        assert [(event["upstream"], event["reason"]) for event in ejections(site)] == [("a", "success_rate")]

    play(main)


@pytest.mark.parametrize(("shared", "calls"), [(False, 15), (True, 5)])
def test_shared_by_replicas_one_row_is_enough(shared, calls):
    async def main():
        a = Toy(ServerError())
        site = Site(gateway(dataclasses.replace(EJECT, shared=shared), replicas=3), a, fine())
        await errors(site, 30)
        assert len(a.calls) == calls

    play(main)


def test_replicas_do_not_know_of_each_other_unless_told_to():
    """Each of two replicas may eject one of two upstreams, and they need not agree; a shared one ejects one in all."""

    async def main(shared, expected):
        a, b = Toy(ServerError()), Toy(ServerError(), name="b")
        spec = dataclasses.replace(EJECT, shared=shared)
        site = Site(Gateway(upstream=(spec,), replicas=2), a, b)
        for number in range(20):  # round robin: a's calls all go through one replica, b's through the other
            await errors(site, upstream="ab"[number % 2])
        assert sorted(event["upstream"] for event in ejections(site)) == expected

    play(lambda: main(False, ["a", "b"]))
    play(lambda: main(True, ["a"]))


def test_the_end_is_posted_for_those_who_choose():
    @policy
    async def elsewhere(request, call_next):
        run = current_run()
        up = [name for name in run.upstreams if run.health.refused_until_s(name) <= run.now()]
        return await call_next(request.to(up[0]))

    async def main():
        a, b = Toy(*[ServerError()] * 5, 0.0, gap_s=0.0), fine()
        site = Site(Gateway(policies=(elsewhere,), upstream=(EJECT,)), a, b)
        await errors(site, 5)
        assert [answer.upstream for answer in await errors(site, 3)] == ["b"] * 3
        await asyncio.sleep(30)
        assert (await site.send()).upstream == "a"

    play(main)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"consecutive_errors": 0}, "consecutive_errors must be at least 1"),
        ({"consecutive_errors": None}, "nothing ejects"),
        ({"minimum_calls": 0}, "minimum_calls must be at least 1"),
        ({"interval": 0.0}, "interval must be above 0"),
        ({"ramp": -1.0}, "ramp must be above 0"),
        ({"success_rate_stdev": 0.0}, "write it like 1.9"),
        ({"max_ejection_time": 10.0}, "at least base_ejection_time"),
        ({"max_ejection_percent": 0.0}, "write 50%"),
        ({"failure_rate": 1.5}, "write 85%"),
        ({"on": ["circuit_open"]}, "take it out of on:"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        OutlierEjection(**fields)
