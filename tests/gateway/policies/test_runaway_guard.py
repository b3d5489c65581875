"""A session that does too much is refused or sent somewhere cheap; others notice nothing."""

import asyncio

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

import llmsim as ls
from llmsim.errors import BudgetExceeded, PolicyError, Rejected
from llmsim.gateway.policies import Fallback, RunawayGuard
from llmsim.pricing import TokenPrice


def say(number, *past, session="s", newest="the same", **fields):
    messages = tuple(ls.Message("user", text) for text in (*past, newest))
    return ask(number, session=session, messages=messages, **fields)


def dear(name="a"):
    toy = Toy(name=name)
    toy.price = TokenPrice(input=0.01, output=0.01)  # 0.12 for each answer
    return toy


def reasons(site):
    return [fields["reason"] for kind, fields in site.events if kind == "runaway_guard"]


def test_a_growing_prompt_that_asks_the_same_is_a_loop():
    async def script():
        site, past = Site([RunawayGuard(max_repeats=3)], Toy()), []
        for number in range(3):
            await site.send(say(number, *past))
            past += ["the same", f"answer {number}"]
        for number in range(3, 6):
            with pytest.raises(Rejected, match="session 's' has run away \\(repeats\\): 3 calls"):
                await site.send(say(number, *past))
        assert reasons(site) == ["repeats"]  # said once
        await site.send(say(7, *past, newest="something else"))
        await site.send(say(8, session="another"))
        await site.send(say(9, tenant="of another tenant"))

    play(script)


def test_too_many_calls_and_too_many_a_minute():
    async def script():
        site = Site([RunawayGuard(max_calls=5, calls_per_minute=2, max_repeats=None)], Toy(["x"]))
        outcomes = []
        for number in range(9):
            try:
                await site.send(say(number))
                outcomes.append("ok")
            except Rejected:
                outcomes.append("no")
            await asyncio.sleep(20.0)
        assert outcomes == ["ok", "ok", "no", "ok", "ok", "no", "ok", "no", "no"]
        assert reasons(site) == ["rate", "calls"]

    play(script)


def test_spend_counts_every_attempt_and_stops_the_next_call():
    async def script():
        first = dear()
        first._script = [["x", "y", ls.GatewayError("broke")], ["x", "y"]]

        @ls.policy
        async def again(request, call_next):
            try:
                response = await call_next(request)
                await response.read()
            except ls.GatewayError:
                response = await call_next(request)
            return response

        site = Site([RunawayGuard(max_spend=0.23, max_repeats=None), again], first)
        await site.send(say(0))  # 0.12 broke, 0.12 came
        with pytest.raises(BudgetExceeded, match=r"\$0.24 spent"):
            await site.send(say(1))
        assert reasons(site) == ["spend"]

    play(script)


def test_degraded_instead_of_refused():
    async def script():
        site = Site(
            [RunawayGuard(max_repeats=1, degrade_to="cheap"), Fallback(order=("a", "cheap"))], Toy(), Toy(name="cheap")
        )
        assert [(await site.send(say(number))).upstream for number in range(3)] == ["a", "cheap", "cheap"]

    play(script)


def test_what_has_no_session_is_not_guarded():
    async def script():
        site = Site([RunawayGuard(max_calls=1)], Toy())
        for number in range(5):
            await site.send(say(number, session=""))

    play(script)


def test_sessions_are_forgotten_by_time_and_by_number():
    async def script():
        site = Site([RunawayGuard(max_calls=1, forget_after=60.0, capacity=2)], Toy(["x"]))
        await site.send(say(0))
        await asyncio.sleep(50.0)
        with pytest.raises(Rejected):  # which is a sign of life
            await site.send(say(1))
        await asyncio.sleep(50.0)
        with pytest.raises(Rejected):
            await site.send(say(2))
        await asyncio.sleep(61.0)
        await site.send(say(3))
        for number in (4, 5):
            await site.send(say(number, session=f"other {number}"))
        await site.send(say(6))

    play(script)


def test_replicas_each_remember_their_own_unless_shared():
    async def script():
        for shared, through in ((False, 4), (True, 2)):
            guard = RunawayGuard(max_calls=2, shared=shared)
            site = Site(ls.Gateway(policies=(guard,), replicas=2), Toy())
            results = await asyncio.gather(*(site.send(say(n)) for n in range(6)), return_exceptions=True)
            assert sum(isinstance(result, ls.Response) for result in results) == through

    play(script)


def test_an_unknown_upstream_is_named():
    with pytest.raises(PolicyError, match="unknown upstream 'cheep' in degrade_to; did you mean 'cheap'"):
        play_start(RunawayGuard(degrade_to="cheep"))


def play_start(spec):
    async def script():
        Site([spec], Toy(), Toy(name="cheap"))

    play(script)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_calls": 0}, "max_calls must be above 0"),
        ({"similarity": 0.0}, "similarity must be above 0%"),
        ({"similarity": 0.5, "max_repeats": None}, "no effect without max_repeats"),
        ({"max_calls": None, "max_repeats": None}, "limits nothing"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RunawayGuard(**fields)
