"""One `budget:` entry, and no call to an upstream gets past it: retries, fallbacks, hedges, cancelled calls."""

import asyncio

import pytest
from gateway.policies.toys import Toy, ask, outcome
from gateway.site import Site, play

import llmsim as ls
from llmsim.algorithms.ledger import PICO
from llmsim.errors import AllUpstreamsFailed, BudgetExceeded, ConnectionFailed, ServerError
from llmsim.gateway.policies import Backoff, Budget, CircuitBreaker, Fallback, Retry, Timeout
from llmsim.pricing import TokenPrice

CENT = 0.01  #: price of a token, input or output, wherever a Toy is asked; it bills 10 + one per chunk


def toy(*script, name="a", price=CENT, **more):
    provider = Toy(*script, name=name, **more)
    provider.price = TokenPrice(input=price, output=price)
    return provider


def question(number=0, **fields):
    return ask(number, **{"input_tokens": 10, "max_tokens": 10, **fields})  # may cost 0.20


class Watched:
    """A policy whose handlers the test can look into."""

    def __init__(self, spec):
        self.spec, self.kind, self.handlers = spec, spec.kind, []

    def start(self, run):
        self.handlers.append(self.spec.start(run))
        return self.handlers[-1]

    def account(self, key="", number=0):
        return self.handlers[number].ledger.account(key, 0.0)


def test_money_is_set_aside_at_the_most_and_given_back():
    async def script():
        site = Site([Budget(limit=0.37)], toy(["x", "y"]))
        for number in range(2):  # 0.12 each: 0.24 in all, and 0.20 may not fit any more
            await site.send(question(number))
        with pytest.raises(BudgetExceeded, match=r"\$0.24 spent, \$0 set aside .* may cost \$0.2$") as caught:
            await site.send(question(2))
        assert caught.value.retry_after_s is None  # never again in this run
        assert len(site.attempts) == 2
        await site.send(question(3, max_tokens=2))  # but what asks for less may still fit
        assert len(site.attempts) == 3

    play(script)


def test_concurrent_calls_cannot_pass_it_together():
    async def script():
        site = Site([Budget(limit=0.50)], toy(1.0))
        results = await asyncio.gather(*(site.send(question(n)) for n in range(5)), return_exceptions=True)
        assert [type(result) for result in results].count(BudgetExceeded) == 3  # two times 0.20 fit into 0.50
        await site.send(question(9))  # and 0.24 of it is spent now: there is room again

    play(script)


def test_a_fallback_is_checked_at_its_own_price():
    async def script():
        cheap = toy(ServerError(), name="a")
        dear = toy(name="b", price=10 * CENT)
        site = Site([Budget(limit=1.0), Fallback(order=("a", "b"))], cheap, dear)
        with pytest.raises(BudgetExceeded):
            await site.send(question())
        assert [attempt.upstream for attempt in site.attempts] == ["a"]
        assert not dear.calls

    play(script)


def test_a_fallback_may_look_for_a_cheaper_one():
    async def script():
        site = Site(
            [Budget(limit=1.0), Fallback(order=("b", "a"), on=("budget_exceeded",))],
            toy(name="a"),
            toy(name="b", price=10 * CENT),
        )
        response = await site.send(question())
        assert response.upstream == "a"
        ((_, fields),) = [event for event in site.events if event[0] == "fallback"]
        assert fields["error"] == "budget_exceeded"

    play(script)


def test_no_fallback_gets_past_it():
    async def script():
        site = Site([Budget(limit=0.1), Fallback(order=("a", "b"), on=("any",))], toy(name="a"), toy(name="b"))
        with pytest.raises(AllUpstreamsFailed):
            await site.send(question())
        assert not site.attempts

    play(script)


def test_a_free_upstream_takes_over_when_all_is_spent():
    async def script():
        fallback = Fallback(order=("a", "local"), on=("budget_exceeded",))
        site = Site([Budget(limit=0.2), fallback], toy(["x"] * 10), toy(name="local", price=0.0))
        assert [(await site.send(question(n))).upstream for n in range(3)] == ["a", "local", "local"]
        with pytest.raises(BudgetExceeded):  # all is spent, and it has no other place to go
            await Site([Budget(limit=0.1)], toy()).send(question())

    play(script)


@pytest.mark.parametrize("scope", ["policies", "upstream"])
def test_every_retry_is_checked_wherever_it_stands(scope):
    """Each broken stream is billed 0.11; a third attempt may cost 0.20 and 0.22 is spent."""

    @ls.policy
    async def again(request, call_next):
        for _ in range(5):
            response = await call_next(request)
            try:
                await response.read()
            except ServerError:
                continue
        return response

    async def script():
        gateway = {"policies": (Budget(limit=0.41),), "upstream": ()}
        gateway[scope] = (*gateway[scope], again)
        site = Site(ls.Gateway(**gateway), toy(["x", ServerError()]))
        with pytest.raises(BudgetExceeded):
            await site.send(question())
        assert len(site.attempts) == 2

    play(script)


def test_it_is_never_retried_and_opens_no_breaker():
    async def script():
        site = Site(
            ls.Gateway(
                policies=(Budget(limit=0.1), Retry(max_attempts=3, backoff=Backoff(initial=1.0), on=("any",))),
                upstream=(CircuitBreaker(minimum_calls=1),),
            ),
            toy(),
        )
        for number in range(3):
            with pytest.raises(BudgetExceeded):
                await site.send(question(number))
        assert {kind for kind, _ in site.events} == {"budget"}

    play(script)


def test_what_failed_unbilled_is_given_back():
    async def script():
        site = Site([Budget(limit=0.2)], toy(ConnectionFailed(), ["x"]))
        with pytest.raises(ConnectionFailed):
            await site.send(question())
        await site.send(question(1))

    play(script)


def test_a_cancelled_call_is_settled_with_what_it_is_billed():
    async def script():
        budget = Watched(Budget(limit=1.0))
        site = Site(ls.Gateway(policies=(budget,), upstream=(Timeout(ttft=0.5),)), toy(9.0))
        with pytest.raises(TimeoutError):
            await site.send(question())
        account = budget.account()
        assert (account.spent, account.reserved) == (round(0.10 * PICO), 0)  # Toy: ten tokens of input

    play(script)


def test_accounts_are_apart():
    async def script():
        site = Site([Budget(limit=0.2, per="user")], toy(["x"] * 10))
        await site.send(question(0, user="ann", tenant="t"))
        for other in ({"user": "bob", "tenant": "t"}, {"user": "ann", "tenant": "u"}):
            await site.send(question(1, **other))
        with pytest.raises(BudgetExceeded, match=r"for user 't/ann'"):
            await site.send(question(2, user="ann", tenant="t"))

    play(script)


@pytest.mark.parametrize("per", ["tenant", "route", "feature", "session"])
def test_whose_account(per):
    async def script():
        site = Site([Budget(limit=0.2, per=per)], toy(["x"] * 10))
        await site.send(question(0, **{per: "one"}))
        await site.send(question(1, **{per: "two"}))
        with pytest.raises(BudgetExceeded, match=f"for {per} 'one'"):
            await site.send(question(2, **{per: "one"}))

    play(script)


def test_what_never_fits_is_not_told_to_come_back():
    async def script():
        site = Site([Budget(limit=0.1, window="hour")], toy(["x"]))
        with pytest.raises(BudgetExceeded, match=r"may cost \$0\.2$") as caught:
            await site.send(question())
        assert caught.value.retry_after_s is None
        assert [fields["state"] for _, fields in site.events] == ["too_large"]

    play(script)


def test_a_new_hour_a_new_budget_and_it_says_how_long_that_takes():
    async def script():
        site = Site([Budget(limit=0.2, window="hour")], toy(["x"] * 10))
        await site.send(question())
        with pytest.raises(BudgetExceeded) as caught:
            await site.send(question(1))
        now = asyncio.get_running_loop().time()
        assert now < caught.value.retry_after_s + now <= now + 3600.0
        await asyncio.sleep(caught.value.retry_after_s)
        await site.send(question(2))

    play(script)


def test_hours_are_those_of_the_scenarios_clock():
    """A budget that is spent within seconds at ten to nine comes back at nine."""
    scenario = ls.load({
        "version": 1,
        "replications": 1,
        "clock": {"start": "monday 08:50", "warm_up": "30s", "duration": "15m"},
        "traffic": {"base_rate": "1/s", "mix": [{"input_tokens": 10, "output_tokens": 10, "max_tokens": 10}]},
        "providers": {"a": {"price": {"input": "$10/ktok", "output": "$10/ktok"}}},
        "gateway": {"policies": [{"budget": {"limit": "$4", "window": "hour"}}]},
    })  # fmt: skip
    requests = ls.run(scenario).requests
    good = requests.filter(requests["outcome"] == "ok")["arrival_s"]
    assert good.len() > 10
    assert good.filter((good > 60) & (good < 600)).is_empty()
    assert good.filter(good >= 600).min() < 620


def test_it_warns_once_and_says_once_that_it_is_over():
    async def script():
        site = Site([Budget(limit=0.5, warn=0.4)], toy(["x"]))
        for number in range(5):
            try:
                await site.send(question(number))
            except BudgetExceeded:
                pass
        told = [fields for kind, fields in site.events if kind == "budget"]
        assert [(one["state"], one["request_id"]) for one in told] == [("warned", "1/0/0"), ("exhausted", "3/0/0")]
        assert told[0]["spent_usd"] == pytest.approx(0.22)
        assert told[0]["limit_usd"] == 0.5

    play(script)


def test_what_is_set_aside_is_not_spent():
    """A second call at once does not fit beside the first: that is said, and later what has happened besides."""

    async def script():
        site = Site([Budget(limit=0.5, warn=0.4)], toy(["x"]))
        results = await asyncio.gather(*(outcome(site.send(question(number))) for number in range(3)))
        assert sum(isinstance(result, BudgetExceeded) for result, _ in results) == 1
        for number in range(3, 6):
            await outcome(site.send(question(number)))
        told = [(fields["state"], fields["spent_usd"]) for kind, fields in site.events if kind == "budget"]
        assert told == [("set_aside", 0.0), ("warned", pytest.approx(0.22)), ("exhausted", pytest.approx(0.33))]

    play(script)


def test_without_max_tokens_an_assumption_stands_in_and_what_is_beyond_is_counted():
    async def script():
        site = Site([Budget(limit=0.2, assumed_output_tokens=10)], toy(["x"] * 30))
        await site.send(question(0, max_tokens=None))  # 0.20 set aside, 0.40 billed
        with pytest.raises(BudgetExceeded):
            await site.send(question(1, max_tokens=None))
        told = [fields for kind, fields in site.events if kind == "budget"]
        assert told[-1]["overrun_usd"] == pytest.approx(0.2)

    play(script)


def test_in_upstream_scope_it_is_one_for_each_upstream():
    async def script():
        gateway = ls.Gateway(
            policies=(Fallback(order=("a", "b"), on=("budget_exceeded",)),), upstream=(Budget(limit=0.2),)
        )
        site = Site(gateway, toy(["x"] * 10, name="a"), toy(["x"] * 10, name="b"))
        assert [(await site.send(question(n))).upstream for n in range(2)] == ["a", "b"]
        with pytest.raises(AllUpstreamsFailed):
            await site.send(question(3))

    play(script)


def test_two_budgets_and_what_the_second_refuses_the_first_gives_back():
    async def script():
        everybody = Watched(Budget(limit=1.0))
        site = Site([Budget(limit=0.25, per="user", name="one"), everybody], toy(["x"] * 10))
        await site.send(question(0, user="ann"))
        for number in range(1, 9):
            with pytest.raises(BudgetExceeded):
                await site.send(question(number, user="ann", max_tokens=5))
        account = everybody.account()
        assert (account.spent, account.reserved) == (round(0.2 * PICO), 0)

    play(script)


def test_a_users_policy_can_be_asked_for_every_call_too():
    seen = []

    class Meter:
        def start(self, run):
            class Handler:
                async def __call__(self, request, call_next):
                    return await call_next(request)

                def before_attempt(self, request, upstream):
                    return upstream

                def after_attempt(self, ticket, usage):
                    seen.append((ticket, usage.output_tokens))

            return Handler()

    async def script():
        site = Site([ls.policy(Meter)(), Fallback(order=("a", "b"))], toy(ServerError()), toy(["x", "y"], name="b"))
        await site.send(question())
        assert seen == [("a", 0), ("b", 2)]

    play(script)
