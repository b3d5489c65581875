"""Limits of a gateway's own: counted too late, off by one, without a word on when to come back."""

import asyncio

import pytest

import llmsim as ls
from llmsim.errors import RateLimited
from llmsim.gateway.contract import policy
from llmsim.gateway.policies import Backoff, Fallback, RateLimit, Retry, WaitingLine


def judged(scenario, policies, upstream=(), replications=6):
    """The result of this scenario under these policies."""
    gateway = ls.Gateway(policies=tuple(policies), upstream=tuple(upstream))
    return ls.run(ls.load({"version": 1, **scenario}).with_gateway(gateway), replications=replications)


#: An account of 1,200 tokens a minute for two teams. Each may use half of it; one asks for five times as much, in
#: requests that are under way for ten seconds.
TWO_TEAMS = {
    "traffic": {
        "base_rate": "6/s",
        "mix": [
            {"route": "agents", "tenant": "noisy", "weight": "95%", "input_tokens": 12, "output_tokens": 20},
            {"route": "chat", "tenant": "quiet", "weight": "5%", "input_tokens": 5, "output_tokens": 10},
        ],
    },
    "clock": {"warm_up": "30s", "duration": "3m", "drain": "60s"},
    "providers": {"llm": {"ttft": "200ms", "inter_token": "500ms", "rate_limit": {"tokens": "1200/min"}}},
    "slo": {"error_rate{route:chat}": ["value < 2%"]},
}


@policy
class CountsAfterTheResponse:
    """Tokens a minute of each tenant, counted when the response has told how many there were.

    BerriAI/litellm#18730 and #5783: requests that are under way are not counted yet, so any number of them pass (663
    tokens on a limit of 100 a minute). Minutes are those of the clock, as there.
    """

    tokens_per_minute: int = 600

    def start(self, run):
        used = {}

        async def handle(request, call_next):
            minute = (request.tenant, int(run.now() // 60))
            if used.get(minute, 0) >= self.tokens_per_minute:
                raise RateLimited("over the limit")
            response = await call_next(request)
            response.on_end(lambda _, usage: used.__setitem__(minute, used.get(minute, 0) + usage[0] + usage[1]))
            return response

        return handle


def _most_in_a_minute(result, tenant):
    """The most tokens of a tenant's calls that began within any 60 seconds of a replication."""
    keys = ["replication", "session", "step", "user_retry"]
    calls = result.attempts.join(result.requests.select(*keys, "tenant"), on=keys).filter(tenant=tenant).sort("start_s")
    most = 0
    for _, one in calls.group_by("replication"):
        starts, tokens = one["start_s"].to_list(), (one["input_tokens"] + one["output_tokens"]).to_list()
        first = total = 0
        for at, more in zip(starts, tokens, strict=True):
            total += more
            while starts[first] <= at - 60:
                total -= tokens[first]
                first += 1
            most = max(most, total)
    return most


@pytest.mark.slow
def test_tokens_counted_after_the_response_do_not_limit_concurrent_requests():
    red = judged(TWO_TEAMS, [CountsAfterTheResponse(tokens_per_minute=600)])
    green = judged(TWO_TEAMS, [RateLimit(tokens=10.0, per="tenant", burst=20.0, expected_output=20)])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    # With the bug, the noisy team used up what was the quiet one's. Without, rate × 60 s + burst, and not more.
    assert _most_in_a_minute(red, "noisy") > 1000
    assert _most_in_a_minute(green, "noisy") <= 600 + 200
    refused = red.attempts.filter(outcome="rate_limited")
    assert refused.height > 50
    assert green.attempts.filter(outcome="rate_limited").height == 0


#: Two requests a minute on a deployment that may have two a minute.
TWO_A_MINUTE = {
    "traffic": {"base_rate": "2/min", "arrivals": "constant"},
    "clock": {"duration": "20m", "drain": "60s"},
    "providers": {"llm": {"ttft": "200ms", "rate_limit": {"requests": "2/min"}}},
    "slo": {"error_rate": ["value < 1%"]},
}


@policy
class OffByOne:
    """Of `rpm` requests a minute, one fewer pass: the filter asks whether the count plus one has *reached* the limit.

    BerriAI/litellm#33032 (``rpm + 1 >= limit``): of a limit of two a minute one is left.
    """

    rpm: int = 2

    def start(self, run):
        counts = {}

        async def handle(request, call_next):
            minute = int(run.now() // 60)
            if counts.get(minute, 0) + 1 >= self.rpm:
                raise RateLimited("no deployments available")
            counts[minute] = counts.get(minute, 0) + 1
            return await call_next(request)

        return handle


def test_a_limit_of_two_a_minute_lets_two_a_minute_pass():
    red = judged(TWO_A_MINUTE, [OffByOne(rpm=2)])
    green = judged(TWO_A_MINUTE, [RateLimit(requests=2 / 60)])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert red.metrics["error_rate"] == pytest.approx(0.5, abs=0.05)
    assert green.metrics["error_rate"] == 0.0


#: Callers with an SDK: three attempts, 0.5 s doubling up to 8 s, and Retry-After where it is given (openai-python).
SDK = Retry(max_attempts=3, backoff=Backoff(initial=0.5, max=8.0, jitter="equal"))
BURSTY = {
    "traffic": {"base_rate": "12/min"},
    "clock": {"duration": "60m", "drain": "2m"},
    "providers": {"llm": {"ttft": "200ms"}},
    "slo": {"error_rate": ["value < 6%"]},
}


@policy
class LimitWithoutAWord:
    """A right limit whose 429 does not say when to come back (BerriAI/litellm#4695): SDKs then guess."""

    limit: RateLimit

    def start(self, run):
        handler = self.limit.start(run)

        async def handle(request, call_next):
            try:
                return await handler(request, call_next)
            except RateLimited as error:
                raise RateLimited(str(error)) from None

        return handle


@pytest.mark.slow
def test_a_429_of_the_gateways_own_says_when_to_come_back():
    """12 a minute on average, 20 a minute allowed, two at once: nobody need fail, if he knows when to come."""
    limit = RateLimit(requests=20 / 60, burst=6.0)
    red = judged(BURSTY, [SDK, LimitWithoutAWord(limit=limit)])
    green = judged(BURSTY, [SDK, limit])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert green.events.filter(kind="rejected").height > 100
    assert green.metrics["error_rate"] < red.metrics["error_rate"] / 2


#: Two deployments of two requests a minute each, and five in two minutes that come as they like.
DEPLOYMENTS = {
    "traffic": {"base_rate": "2.5/min"},
    "clock": {"duration": "60m", "drain": "5m"},
    "providers": {"a": {"ttft": "200ms"}, "b": {"ttft": "200ms"}},
    "slo": {"error_rate": ["value < 3%"]},
}


@policy
class UsageBasedRouting:
    """The deployment with room in this minute; if there is none: an error, at once, and retries that do not wait.

    BerriAI/litellm#7669: "No deployments available", and the retries come and fail within the same second, whatever
    ``retry_after`` says.
    """

    rpm: int = 2
    retries: int = 3

    def start(self, run):
        counts = {}

        async def handle(request, call_next):
            for attempt in range(self.retries + 1):
                minute = int(run.now() // 60)
                for name in ("a", "b"):
                    if counts.get((name, minute), 0) < self.rpm:
                        counts[name, minute] = counts.get((name, minute), 0) + 1
                        return await call_next(request.to(name))
                await asyncio.sleep(0.2 * attempt)
            raise RateLimited("no deployments available", retry_after_s=60 - run.now() % 60)

        return handle


@pytest.mark.slow
def test_when_all_deployments_are_full_it_waits_as_long_as_that_takes():
    """The library's parts: a limit per deployment that tells when, a fallback that passes the soonest on, a retry."""
    red = judged(DEPLOYMENTS, [UsageBasedRouting()])
    router = [
        Retry(max_attempts=4, on=("all_upstreams_failed",)),
        Fallback(order=("a", "b"), on=("rate_limited",)),
    ]
    green = judged(DEPLOYMENTS, router, [RateLimit(requests=2 / 60, burst=60.0)])
    assert (red.verdict, green.verdict) == ("FAIL", "PASS")
    assert green.events.filter(kind="retry").height > 100


@pytest.mark.slow
def test_or_lines_up_in_the_gateway():
    waits = RateLimit(requests=4 / 60, burst=30.0, queue=WaitingLine(limit=20, timeout=120.0))
    green = judged(DEPLOYMENTS, [waits])
    assert (green.verdict, green.metrics["error_rate"]) == ("PASS", 0.0)
    assert green.events.filter(kind="queued").height > 100
