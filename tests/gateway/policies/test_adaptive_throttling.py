import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from gateway.site import Site
from gateway.site import play as on_site

from llmsim.algorithms.throttle import AdaptiveThrottle
from llmsim.errors import AuthError, CircuitOpen, RateLimited, Rejected, ServerError
from llmsim.gateway.contract import policy
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import AdaptiveThrottling, Fallback, Timeout

PLAIN = AdaptiveThrottling(minimum_requests=0)


def many(spec, provider, count, *outer, gap_s=0.1):
    """Results of so many requests, one after the other, and what was noted."""
    world = World()

    async def main():
        handlers = [*(world.start(policy) for policy in outer), world.start(spec, upstream="a")]
        found = []
        for number in range(count):
            found.append((await outcome(chain(*handlers, inner=provider.send)(ask(number))))[0])
            if not isinstance(found[-1], Exception):
                found[-1].close()
            await asyncio.sleep(gap_s)
        return found

    return run(main()), world


def test_nothing_is_refused_while_enough_is_accepted():
    results, world = many(PLAIN, Toy(), 300)
    assert not any(isinstance(result, Rejected) for result in results[1:])
    assert world.of("rejected") == []
    half = Toy(*[item for _ in range(150) for item in (0.0, ServerError())])
    results, _ = many(PLAIN, half, 300)
    assert sum(isinstance(result, Rejected) for result in results) < 20


def test_a_dead_upstream_gets_next_to_nothing():
    provider = Toy(ServerError())
    results, world = many(PLAIN, provider, 1000)
    refused = [result for result in results if isinstance(result, Rejected)]
    # The n-th of 1,000 gets through with probability 1/n: their sum is 7.5.
    assert 3 <= len(provider.calls) <= 16
    assert len(refused) == len(world.of("rejected")) == 1000 - len(provider.calls)
    assert refused[-1].upstream == "a"
    assert world.of("rejected")[-1]["probability"] == pytest.approx(999 / 1000, abs=0.002)


def test_it_notices_when_the_upstream_is_back():
    dead, fine = ServerError(), 0.0
    provider = Toy(*[dead] * 30, fine)
    results, _ = many(AdaptiveThrottling(window=10.0, minimum_requests=20), provider, 3000)
    tail = results[-500:]
    assert not any(isinstance(result, Exception) for result in tail)


def test_below_the_minimum_nothing_is_refused():
    provider = Toy(ServerError())
    many(AdaptiveThrottling(minimum_requests=50), provider, 50)
    assert len(provider.calls) == 50


@pytest.mark.parametrize("error", [AuthError(), CircuitOpen(), ServerError(status=404)])
def test_what_says_nothing_of_overload_makes_it_refuse_nothing(error):
    spec = AdaptiveThrottling(minimum_requests=0, on=["rate_limited", 500, 503])
    results, _ = many(spec, Toy(error), 200)
    assert not any(isinstance(result, Rejected) for result in results[1:])


def test_a_caller_who_goes_away_says_nothing_and_a_timeout_does():
    def refused(*outer, cancel):
        world, provider = World(), Toy(60.0)

        async def main():
            specs = (*outer, PLAIN)
            call = chain(*(world.start(spec, upstream="a") for spec in specs), inner=provider.send)
            for number in range(100):
                task = asyncio.ensure_future(outcome(call(ask(number))))
                await asyncio.sleep(1.0)
                if cancel:
                    task.cancel()
                    await asyncio.wait({task})
                else:
                    await task

        run(main())
        return len(world.of("rejected"))

    assert refused(cancel=True) <= 1  # two at a time, of which the first has not ended
    assert refused(Timeout(ttft=0.5), cancel=False) > 80


def test_requests_count_before_they_are_sent():
    """A burst of calls that do not come back is noticed at once (zeromicro/go-zero#5011)."""
    world, provider = World(), Toy(100.0)

    async def main():
        call = chain(world.start(PLAIN, upstream="a"), inner=provider.send)
        tasks = [asyncio.ensure_future(outcome(call(ask(number)))) for number in range(200)]
        await asyncio.sleep(1.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())
    assert len(provider.calls) < 20


def test_luck_is_the_requests_and_its_next_call_has_another(monkeypatch):
    monkeypatch.setattr(AdaptiveThrottle, "probability", lambda self, now: 0.5)

    @policy
    async def stubborn(request, call_next):
        while True:
            try:
                return await call_next(request)
            except (Rejected, ServerError):
                await asyncio.sleep(0.01)

    async def script():
        site = Site(Gateway(policies=(stubborn,), upstream=(PLAIN,)), Toy(*[ServerError()] * 5, 0.0))
        for number in range(40):
            await site.send(ask(number))
        return [fields["request_id"] for kind, fields in site.events if kind == "rejected"]

    refused = on_site(script)
    assert on_site(script) == refused
    # One success each, at even odds: as many refusals on average, and no request is refused for ever.
    assert 20 < len(refused) < 70


def test_in_gateway_scope_it_counts_what_comes_out_of_the_fallback():
    async def script(order):
        dead, fine = Toy(ServerError(), name="a"), Toy(name="b")
        site = Site([PLAIN, Fallback(order=order)], dead, fine)
        refused = 0
        for number in range(60):
            try:
                await site.send(ask(number))
            except Rejected as error:
                assert error.upstream == ""
                refused += 1
            except ServerError:
                pass
            except Exception as error:
                assert error.word == "all_upstreams_failed"
            await asyncio.sleep(0.1)
        return refused

    assert on_site(lambda: script(("a", "b"))) == 0


def test_a_fallback_takes_over_what_it_refuses():
    async def script():
        dead, fine = Toy(RateLimited(), name="a"), Toy(name="b")
        gateway = Gateway(policies=(Fallback(order=("a", "b"), on=("rate_limited", "rejected")),), upstream=(PLAIN,))
        site = Site(gateway, dead, fine)
        for number in range(100):
            assert (await site.send(ask(number))).upstream == "b"
            await asyncio.sleep(0.1)
        return len(dead.calls)

    assert on_site(script) < 20


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"k": 0.5}, "write k: 2"),
        ({"window": 0.0}, "write it like 2m"),
        ({"minimum_requests": -1}, "write it like 20"),
        ({"on": ["rate_limitd"]}, "did you mean"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        AdaptiveThrottling(**fields)
