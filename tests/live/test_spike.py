"""A spike with injected 429s and an outage of 20 s, simulated and on two real servers: who is asked, and how often.

The first provider is llama.cpp's chat completions; its fallback another process that speaks Anthropic's messages.
"""

from __future__ import annotations

import time
from typing import Any

from live.served import MARKS, llama, served

import llmsim as ls
from llmsim.gateway.contract import PolicySpec
from llmsim.live_run import run_live
from llmsim.report.reality.check import RealityCheck
from llmsim.scenario.load import parse_scenario

pytestmark = MARKS

# Rates are what one thread of a busy machine can do (half a second a call). Before the outage nobody comes for a while:
# who is under way when it begins depends on the machine, not on the gateway.
SCENARIO = """
version: 1
name: small-spike
seed: 21
replications: 1
clock: {warm_up: 2s, duration: 52s, drain: 30s}
traffic:
  executor: ramping-arrival-rate
  base_rate: 0.6/s
  stages:
    - {duration: 8s, target: 1x}
    - {duration: 1s, target: 3x}
    - {duration: 6s, target: 3x}
    - {duration: 1s, target: 0x}
    - {duration: 12s, target: 0x}
    - {duration: 1s, target: 1x}
    - {duration: 18s, target: 1x}
    - {duration: 1s, target: 0x}
  mix: [{input_tokens: 34, output_tokens: 2}]
providers:
  primary:  {ttft: 400ms, inter_token: 30ms, answer_time: 2ms, price: {input: $0.15/Mtok, output: $0.60/Mtok}}
  fallback: {ttft: 400ms, inter_token: 30ms, answer_time: 2ms, price: {input: $0.25/Mtok, output: $1.25/Mtok}}
gateway:
  policies:
    - fallback: {order: [primary, fallback], on: [rate_limited, server_error, connection_failed, stream_broken]}
    - retry: {max_attempts: 2, backoff: {initial: 50ms, jitter: full}, on: [rate_limited, server_error]}
faults:
  - {name: throttled, provider: primary, at: 8s, duration: 8s, abort: {status: 429, percentage: 50%, retry_after: 10ms}}
  - {name: gone, provider: primary, at: 28s, duration: 20s, outage: true}
"""


@ls.policy
class Witness:
    """Does nothing, and remembers which object it is."""

    def start(self, run: Any) -> Any:
        STARTED.append(id(self))

        async def handle(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        return handle


STARTED: list[int] = []


def test_the_same_fallbacks_retries_and_order_of_providers_in_both_worlds() -> None:
    given = parse_scenario(SCENARIO)
    policies: tuple[PolicySpec, ...] = (*given.gateway.policies, Witness())
    scenario = given.with_gateway(ls.Gateway(policies=policies))
    # No reuse of connections: llama.cpp drops them after a stream, and that would be a fault of its own.
    common = {"model": llama.MODEL, "keep_alive": "0s", "template_tokens": 31, "extra_body": {"ignore_eos": True}}
    began = time.perf_counter()
    with served() as first, served() as second:
        live_file = {
            "version": 1,
            "providers": {
                "primary": {"base_url": first, "api": "openai-chat", **common},
                "fallback": {"base_url": second, "api": "anthropic", **common},
            },
        }
        live = run_live(scenario, live_file, budget_usd=0.5, rate_scale=0.8)
    sim = ls.run(live.scenario, replications=1)
    # One object, by identity, and nothing was done to it: the policies of both runs are those that were given.
    assert [id(policies[-1])] * 2 == STARTED
    for result in (sim, live):
        assert all(one is other for one, other in zip(result.scenario.gateway.policies, policies, strict=True))
    check = RealityCheck.of(sim, live)
    lines = {line.name: line for line in check.lines}
    fallback, retry = lines["fallback_rate"], lines["retry_amplification"]
    outcomes = live.attempts["outcome"].cast(str).value_counts(sort=True).rows()
    print(
        f"{time.perf_counter() - began:.0f} s, {check.pairs.table.height} pairs, same path {check.same_path:.3f}; "
        f"fallback rate {fallback.sim:.3f} simulated, {fallback.live:.3f} live; "
        f"retry amplification {retry.sim:.3f}, {retry.live:.3f}; live attempts {outcomes}"
    )
    said = {word for word, _ in outcomes}
    assert not {"rate_limited", "connection_failed", "ok"} - said, "the faults hit nobody"
    assert fallback.live > 0.2
    assert abs(fallback.error) <= 0.03
    assert abs(retry.error) <= 0.05
    assert check.same_path >= 0.95
