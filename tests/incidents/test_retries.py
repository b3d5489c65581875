"""Incidents of retries: a small scenario each that is red under the code with the bug, and green under the library's.

The buggy policies are written as they were found, a few lines of a user's own code.
"""

import asyncio

import polars as pl
import pytest

import llmsim as ls
from llmsim.algorithms.backoff import Backoff
from llmsim.scenario.load import parse_scenario


def run(text, *policies):
    """Six replications: what a verdict needs."""
    return ls.run(parse_scenario(text).with_gateway(policies), replications=6, jobs=1)


def red(result):
    """The metrics that failed; none may be undecided."""
    verdicts = {line.objective.metric: line.verdict for line in result.slo}
    assert "UNDECIDED" not in verdicts.values(), verdicts
    return {metric for metric, verdict in verdicts.items() if verdict == "FAIL"}


# -- mpfaffenberger/code_puppy PR 317: three layers of retries of 3, 3 and 5 attempts made 45 calls of one 429

MULTIPLIED = """
version: 1
seed: 7
clock: {duration: 10s, drain: 60s}
traffic: {base_rate: 2/s, arrivals: constant, mix: [{output_tokens: 1}]}
providers: {claude: {ttft: 100ms}}
faults: [{name: throttled, provider: claude, abort: {status: 429}}]
slo: {retry_amplification: ["max < 6"]}
"""


def retries(attempts):
    @ls.policy
    async def loop(request, call_next):
        for _attempt in range(attempts - 1):
            try:
                return await call_next(request)
            except ls.GatewayError:
                await asyncio.sleep(0.1)
        return await call_next(request)

    return loop


@pytest.mark.slow
def test_three_layers_of_retries_multiply():
    result = run(MULTIPLIED, retries(3), retries(3), retries(5))
    assert red(result) == {"retry_amplification"}
    assert (result.requests["attempts"] == 45).all()
    wait = Backoff(initial=0.1, jitter="none", growth="constant")
    layers = [
        ls.Retry(max_attempts=n, backoff=wait, name=name) for n, name in ((3, "outer"), (3, "middle"), (5, "inner"))
    ]
    result = run(MULTIPLIED, *layers)
    assert red(result) == set()
    assert (result.requests["attempts"] == 5).all()
    refused = result.events.filter(pl.col("kind") == "retry_refused", pl.col("policy") == "outer")
    assert refused.height == result.requests.height


# -- NousResearch/hermes-agent PR 109234: 19 of 20 retries waited exactly 600.0 s, and met at the same account

HERD = """
version: 1
seed: 7
clock: {duration: 40ms, drain: 30m}
traffic: {base_rate: 1000/s, arrivals: constant, mix: [{output_tokens: 1}]}   # 40 agents at once
providers: {claude: {dialect: anthropic, ttft: 100ms, rate_limit: {requests: 60/min, burst: 5s}}}
faults: [{name: account-limit, provider: claude, duration: 10s, abort: {status: 429, retry_after: 10m}}]
slo: {error_rate: ["value < 5%"]}
"""


@ls.policy
async def waits_exactly_as_told(request, call_next):
    for _attempt in range(2):
        try:
            return await call_next(request)
        except ls.GatewayError as error:
            await asyncio.sleep(min(error.retry_after_s or 1.0, 600.0))
    return await call_next(request)


@pytest.mark.slow
def test_a_retry_after_without_jitter_makes_a_herd():
    result = run(HERD, waits_exactly_as_told)
    assert red(result) == {"error_rate"}
    again = result.attempts.filter(replication=0, attempt=2)["start_s"]
    assert again.max() - again.min() < 0.04  # forty agents within the 40 ms in which they were refused

    spread = ls.Retry(max_attempts=3, backoff=Backoff(initial=60.0, max=60.0, jitter="full"), max_retry_after=900.0)
    result = run(HERD, spread)
    assert red(result) == set()
    again = result.attempts.filter(replication=0, attempt=2)["start_s"]
    assert again.min() > 600.0
    assert again.max() - again.min() > 45.0

    as_sdks_do = ls.Retry(max_attempts=3, max_retry_after=900.0, retry_after_jitter=False)
    assert red(run(HERD, as_sdks_do)) == {"error_rate"}


# -- LiteLLM 1.106.2, router.py, async_function_with_retries: it sleeps after the last attempt as after any other

DOWN = """
version: 1
seed: 7
clock: {duration: 20s, drain: 60s}
traffic: {base_rate: 2/s, mix: [{output_tokens: 1}]}
providers: {openai: {errors: {server_error: 100%}}}
slo: {sleep_after_last_attempt: ["p(50) < 10ms"], error_rate: ["value >= 0%"]}
"""


@ls.policy
async def router(request, call_next):
    original = None
    for attempt in range(3):  # the first, and num_retries = 2
        try:
            return await call_next(request)
        except ls.GatewayError as error:
            original = original or error
            luck = ls.current_run().luck("jitter", request, attempt)
            await asyncio.sleep(min(0.5 * 2**attempt, 8.0) + 0.75 * luck)
    raise original


@pytest.mark.slow
def test_a_sleep_after_the_last_attempt_is_for_nothing():
    result = run(DOWN, router)
    assert red(result) == {"sleep_after_last_attempt"}
    assert result.requests["idle_after_last_attempt_s"].min() > 2.0

    same = Backoff(initial=0.5, max=8.75, jitter="added", spread=0.75)
    result = run(DOWN, ls.Retry(max_attempts=3, backoff=same))
    assert red(result) == set()
    assert result.requests["idle_after_last_attempt_s"].max() == pytest.approx(0.0, abs=1e-9)
    assert (result.requests["attempts"] == 3).all()


# -- timbal-ai/timbal PR 117: a 429 with a large Retry-After was slept out before the fallback was asked

COOLDOWN = """
version: 1
seed: 7
clock: {duration: 30s, drain: 20m}
traffic: {base_rate: 2/s, mix: [{output_tokens: 10}]}
providers: {openai: {}, anthropic: {ttft: 400ms}}
faults: [{name: cooldown, provider: openai, duration: 30m, abort: {status: 429, retry_after: 5m}}]
slo: {ttft: ["p(95) < 2s"], error_rate: ["value < 1%"]}
"""


@pytest.mark.slow
def test_a_large_retry_after_must_not_delay_the_fallback():
    fallback = ls.Fallback(order=("openai", "anthropic"))
    result = run(COOLDOWN, fallback, waits_as_long_as_told)
    assert red(result) == {"ttft"}
    assert result.requests["ttft_s"].min() > 300.0

    result = run(COOLDOWN, fallback, ls.Retry())
    assert red(result) == set()
    assert set(result.requests["served_by"]) == {"anthropic"}
    refused = result.events.filter(pl.col("kind") == "retry_refused")
    assert refused.height == result.requests.height


@ls.policy
async def waits_as_long_as_told(request, call_next):
    for _attempt in range(2):
        try:
            return await call_next(request)
        except ls.GatewayError as error:
            if request.upstream == "anthropic":
                raise
            await asyncio.sleep(error.retry_after_s or 1.0)
    return await call_next(request)
