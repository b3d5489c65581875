"""Budgets of a retry: Envoy's, AWS's, Brooker's, and that they are settled when a response ends, on every path."""

import asyncio

import pytest
from examples import examples
from gateway.policies.toys import Toy, World, ask, chain, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmsim.algorithms.backoff import Backoff
from llmsim.errors import RateLimited, ServerError, StreamBroken
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import ActiveBudget, Quota, Retry
from llmsim.gateway.policies.retry_budgets import Budgets

AT_ONCE = Backoff(initial=0.0, jitter="none")
AWS = Retry(max_attempts=3, backoff=AT_ONCE, quota=Quota())


class Bench:
    """A started retry, its budgets in sight."""

    def __init__(self, spec):
        self.world = World()
        self.handler = self.world.start(spec)
        self.budgets: Budgets = self.handler._budgets

    async def send(self, provider, number=0):
        response = await chain(self.handler, inner=provider.send)(ask(number))
        await response.read()
        return response


def level_after(spec, *scripts):
    """What is in the quota after requests to these providers, one after the other."""
    bench = Bench(spec)

    async def main():
        for number, script in enumerate(scripts):
            await outcome(bench.send(Toy(*script), number))
        return bench.budgets.quota.level

    return run(main())


FINE, FAILED, THROTTLED = [0.0], [ServerError()], [RateLimited()]


def test_the_quota_of_aws():
    assert level_after(AWS, FINE) == 500  # full is full
    assert level_after(AWS, FAILED) == 500 - 2 * 14
    assert level_after(AWS, THROTTLED) == 500 - 2 * 5
    assert level_after(AWS, FAILED, FINE, FINE) == 500 - 2 * 14 + 2
    # A success after retries gives back what the last of them cost.
    assert level_after(AWS, [ServerError(), ServerError(), 0.0]) == 500 - 14
    assert level_after(AWS, [ServerError(), RateLimited(), 0.0]) == 500 - 14
    assert level_after(AWS, FAILED, [RateLimited(), 0.0]) == 500 - 2 * 14


def test_a_stream_that_breaks_earns_nothing():
    cut = [["a", StreamBroken("cut", tokens_delivered=1)]]
    assert level_after(AWS, FAILED, cut) == 500 - 2 * 14
    assert level_after(AWS, [ServerError(), *cut]) == 500 - 14


def test_when_everything_fails_the_quota_ends_retries_for_good():
    bench, provider = Bench(AWS), Toy(ServerError())

    async def main():
        for number in range(200):
            await outcome(bench.send(provider, number))
            await asyncio.sleep(60.0)  # no clock brings it back

    run(main())
    assert len(provider.calls) == 200 + 500 // 14
    assert {event["reason"] for event in bench.world.of("retry_refused")} == {"budget"}


def test_the_bucket_of_brooker():
    spec = Retry(
        max_attempts=1000,
        backoff=AT_ONCE,
        quota=Quota(capacity=5, cost=1, rate_limited_cost=1, earn=0.1, earn_on="request", refund=False),
    )
    assert level_after(spec, FAILED) == pytest.approx(0.0)
    assert level_after(spec, FAILED, FINE, FINE, FINE) == pytest.approx(0.3)


def test_the_share_of_open_requests_of_envoy():
    """Ten requests wait for their first token; then everything they get is a failure."""
    bench = Bench(Retry(max_attempts=2, backoff=Backoff(initial=5.0, jitter="none"), active_budget=ActiveBudget()))
    provider = Toy(*[ServerError() for _ in range(100)], delay_s=1.0)

    async def main():
        tasks = [asyncio.ensure_future(outcome(bench.send(provider, number))) for number in range(20)]
        await asyncio.sleep(2.0)
        # The first three are the minimum; a fourth needs more than fifteen open, and those that failed have gone.
        seen = (bench.budgets.active.retries, bench.budgets.active.active)
        await asyncio.gather(*tasks)
        return seen

    retries, active = run(main())
    assert retries == active == 4  # 20 open: 20 % of them is 4
    assert len(provider.calls) == 24
    assert (bench.budgets.active.retries, bench.budgets.active.active) == (0, 0)


def test_a_retry_that_failed_is_not_open_any_more():
    spec = Retry(max_attempts=4, backoff=AT_ONCE, active_budget=ActiveBudget(share=0.0, minimum=1))
    bench, provider = Bench(spec), Toy(ServerError())

    async def main():
        await outcome(bench.send(provider))

    run(main())
    assert len(provider.calls) == 4


def test_a_failure_rate_ends_retries_and_comes_back():
    bench, failing = Bench(Retry(max_attempts=3, backoff=AT_ONCE, max_failure_rate=0.1)), Toy(ServerError())

    async def main():
        for number in range(50):
            await bench.send(Toy(), number)
        for number in range(20):
            await outcome(bench.send(failing, 100 + number))
        during = len(failing.calls) - 20
        await asyncio.sleep(30.0)
        for number in range(50):
            await bench.send(Toy(), 200 + number)
        before = len(failing.calls)
        await outcome(bench.send(failing, 300))
        return during, len(failing.calls) - before

    during, after = run(main())
    assert 2 <= during <= 6
    assert after == 3
    assert "failure_rate" in {event["reason"] for event in bench.world.of("retry_refused")}


def test_what_one_budget_refuses_the_others_have_not_paid_for():
    spec = Retry(
        max_attempts=3, backoff=AT_ONCE, quota=Quota(), active_budget=ActiveBudget(), budget=0.0, budget_minimum=0.0
    )
    bench = Bench(spec)

    async def main():
        await outcome(bench.send(Toy(ServerError())))

    run(main())
    assert (bench.budgets.quota.level, bench.budgets.active.retries, bench.budgets.active.active) == (500, 0, 0)


@settings(max_examples=examples(40))
@given(
    st.lists(st.sampled_from(["ok", "fail", "cut"]), min_size=1, max_size=4),
    st.floats(0, 6),
    st.sampled_from(["read", "close", "drop"]),
)
def test_cancelled_or_closed_at_any_time_nothing_stays_open(script, when, then):
    items = {"ok": ["a", "b"], "fail": ServerError(), "cut": ["a", StreamBroken("cut", tokens_delivered=1)]}
    spec = Retry(
        max_attempts=3, backoff=Backoff(initial=0.5), on=["server_error", "stream_broken"], quota=Quota(),
        active_budget=ActiveBudget(share=0.5, minimum=1),
    )  # fmt: skip
    bench, provider = Bench(spec), Toy(*(items[word] for word in script), delay_s=0.3)

    async def one():
        response = await chain(bench.handler, inner=provider.send)(ask())
        if then == "read":
            await response.read()
        else:
            await response.aclose()

    async def main():
        task = asyncio.ensure_future(outcome(one()))
        await asyncio.sleep(when)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    run(main())
    assert (bench.budgets.active.retries, bench.budgets.active.active) == (0, 0)
    assert 0 <= bench.budgets.quota.level <= 500
    assert provider.open_streams == 0


def test_replicas_share_a_budget_that_says_so():
    def load(shared):
        spec = Retry(max_attempts=2, backoff=AT_ONCE, budget=0.0, budget_minimum=0.1, shared=shared)
        provider = Toy(ServerError())

        async def main():
            gateway = Gateway(policies=(spec,), replicas=4).open([provider], seed=1)
            for number in range(40):
                await outcome(gateway.send(ask(number)))

        run(main())
        return len(provider.calls) - 40

    assert (load(shared=False), load(shared=True)) == (4, 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Quota(capacity=0), "above 0"),
        (lambda: Quota(capacity=10), "never fits into a quota of 10"),
        (lambda: Quota(earn=-1), "earn must not be negative"),
        (lambda: ActiveBudget(share=20), "write share=0.2 for 20%"),
        (lambda: ActiveBudget(minimum=-1), "write it like 3"),
    ],
)
def test_what_is_wrong_says_what_to_type(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_the_yaml_forms():
    written = {
        "active_budget": {"share": "30%", "minimum": 5},
        "quota": {"capacity": "1k", "cost": 2.5, "earn_on": "request"},
        "max_failure_rate": "10%",
        "shared": True,
    }
    assert TypeAdapter(Retry).validate_python(written) == Retry(
        active_budget=ActiveBudget(share=0.3, minimum=5),
        quota=Quota(capacity=1000.0, cost=2.5, earn_on="request"),
        max_failure_rate=0.1,
        shared=True,
    )
