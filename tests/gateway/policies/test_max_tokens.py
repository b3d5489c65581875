"""As many tokens as the answer needs, a route at a time; and what is cut is said."""

import math

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

import llmsim as ls
from llmsim.distributions import Lognormal
from llmsim.engine.driver import simulate
from llmsim.gateway.policies import MaxTokens
from llmsim.luck import Luck
from llmsim.providers.dialects import Accounts, Limits
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock
from llmsim.traffic.spec import Route, Traffic
from llmsim.traffic.workload import World


class Wordy(Toy):
    """The n-th answer has as many tokens as the n-th number, unless it is cut."""

    async def send(self, request):
        item = self._script[min(len(self.calls), len(self._script) - 1)]
        kept = item if request.max_tokens is None else min(item, request.max_tokens)
        self._script = [*self._script[: len(self.calls)], ["x"] * kept, *self._script[len(self.calls) + 1 :], item]
        response = await super().send(request)
        response._stream._finish = "stop" if kept == item else "length"
        return response


def asked(toy):
    return [request.max_tokens for _, request in toy.calls]


def told(site):
    return [(fields["state"], fields["max_tokens"]) for kind, fields in site.events if kind == "max_tokens"]


def test_a_cap_is_set_and_lowers_what_is_asked_for_but_raises_nothing():
    async def script():
        toy = Wordy(5)
        site = Site([MaxTokens(cap=20, routes={"chat": 3})], toy)
        for most in (None, 50, 20, 7):
            await site.send(ask(max_tokens=most))
        for most in (None, 2):
            response = await site.send(ask(route="chat", max_tokens=most))
        assert asked(toy) == [20, 20, 20, 7, 3, 2]
        assert told(site) == [("cut", 3)]  # what the caller's own limit cut is the caller's
        assert response.finish_reason == "length"

    play(script)


def test_the_stream_passes_as_it_is():
    async def script():
        toy = Wordy(5)
        response = await Site([MaxTokens(cap=20)], toy).running.send(ask())
        assert toy.open_streams
        assert len([chunk async for chunk in response]) == 5

    play(script)


def test_ask_again_with_more():
    async def script():
        for length, most, caps, states in (
            (9, None, [10], []),
            (39, None, [10, 40], [("reasked", 10)]),
            (400, None, [10, 40, 160], [("reasked", 10), ("reasked", 40), ("cut", 160)]),
            (400, 30, [10, 30], [("reasked", 10)]),  # more is not ours to ask for
        ):
            toy = Wordy(length)
            site = Site([MaxTokens(cap=10, max_attempts=3)], toy)
            response = await site.send(ask(max_tokens=most))
            assert asked(toy) == caps
            assert told(site) == states
            assert response.tokens_delivered == min(length, caps[-1])
            assert response.finish_reason == ("stop" if length <= caps[-1] else "length")
            assert [attempt.won for attempt in site.attempts] == [False] * (len(caps) - 1) + [True]

    play(script)


def test_a_route_learns_from_its_own_answers():
    async def script():
        toy = Wordy(40)
        site = Site([MaxTokens(quantile=0.9, margin=2.0, floor=10, minimum_answers=5)], toy)
        for route in ["long"] * 5 + ["short"]:
            await site.send(ask(route=route))
        await site.send(ask(route="long"))
        assert asked(toy) == [None] * 6 + [80]

    play(script)


@pytest.mark.parametrize(("short", "cap"), [(150, None), (30, 45)])
def test_what_callers_cut_themselves_is_not_what_answers_need(short, cap):
    """Most ask for a preview of 20 tokens; who asks for all of it must not be cut at a preview's length."""

    async def script():
        toy = Wordy(*[200] * short, *[30] * (150 - short), 200)
        site = Site([MaxTokens(quantile=0.7, floor=1)], toy)
        for number in range(150):
            await site.send(ask(number, max_tokens=20 if number < short else None))
        await site.send(ask(999))
        assert asked(toy)[-1] == cap

    play(script)


def test_nothing_is_learnt_from_a_cache():
    """One question is asked again and again, and answered in two tokens: the others' answers have forty."""

    async def script():
        toy = Wordy(2, *[40] * 10)
        site = Site([MaxTokens(quantile=0.5, minimum_answers=5, floor=1), ls.Cache()], toy)
        for _ in range(50):
            await site.send(ask(0, max_tokens=500))
        for number in range(10):
            await site.send(ask(number, max_tokens=500, messages=(ls.Message("user", str(number)),)))
        assert asked(toy)[-1] == 60

    play(script)


def test_the_floor_and_the_fixed_cap_bound_what_is_learnt():
    async def script():
        for spec, cap in (
            (MaxTokens(quantile=0.5, minimum_answers=2), 64),
            (MaxTokens(quantile=0.5, minimum_answers=2, floor=1, cap=3), 3),
            (MaxTokens(quantile=0.5, minimum_answers=2, floor=1, cap=100), 6),
        ):
            toy = Wordy(4)
            site = Site([spec], toy)
            for _ in range(3):
                await site.send(ask())
            assert asked(toy)[-1] == cap

    play(script)


@pytest.mark.slow
def test_the_share_that_is_cut_is_that_beyond_the_margin():
    """Lognormal lengths: P(L > 1.5 Q(90 %)) = 1 - Phi(1.2816 + ln 1.5 / sigma) = 2.5 %."""
    sigma = 0.6
    lengths = Lognormal(p50=200.0, p99=200.0 * math.exp(2.3263 * sigma))
    scenario = ls.Scenario(
        version=1,
        seed=3,
        replications=1,
        clock=Clock(warm_up=200.0, duration=2000.0),
        traffic=Traffic(base_rate=5.0, mix=(Route(output_tokens=lengths),)),
        providers={"a": SimProvider()},
        gateway=ls.Gateway(policies=(MaxTokens(quantile=0.9),)),
    )
    requests = ls.run(scenario).requests
    cut = (requests["finish_reason"] == "length").mean()
    expected = 1 - 0.5 * (1 + math.erf((1.2816 + math.log(1.5) / sigma) / math.sqrt(2)))
    # The quantile of 1,000 lengths is uncertain itself: 4 standard errors of the share, plus its own 15 %.
    assert cut == pytest.approx(expected, abs=4 * math.sqrt(expected / requests.height) + 0.15 * expected)


@pytest.mark.parametrize(("policies", "admitted"), [((), 31), ((MaxTokens(cap=1000),), 1333)])
def test_how_many_calls_a_bedrock_quota_admits_at_once(policies, admitted):
    """2M tokens a minute, prompts of 500: 31 calls without max_tokens (64,000 each), 1,333 with 1,000.

    aws/agent-toolkit-for-aws quota-health.md.
    """

    async def main(loop):
        import asyncio

        spec = SimProvider(dialect="bedrock", rate_limit=Limits(tokens=2e6 / 60))
        provider = SimulatedProvider("a", spec, loop=loop, luck=Luck(1), world=World(), accounts=Accounts(0.0))
        site = Site(list(policies), provider)
        requests = [ask(number, input_tokens=500) for number in range(1500)]
        answers = await asyncio.gather(*(site.running.send(one) for one in requests), return_exceptions=True)
        good = [answer for answer in answers if isinstance(answer, ls.Response)]
        for answer in good:
            answer.close()
        return len(good)

    assert simulate(main, event_budget=200_000) == admitted


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "limits nothing"),
        ({"cap": 0}, "cap must be at least 1"),
        ({"quantile": 1.0}, "below 100%"),
        ({"quantile": 0.9, "margin": 1.0}, "above 1x"),
        ({"cap": 5, "max_attempts": 2, "grow": 1.0}, "grow must be above 1x"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MaxTokens(**fields)
