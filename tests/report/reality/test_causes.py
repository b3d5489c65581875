"""What is to blame: real late clients and full servers on loopback, and simulated ones of which the truth is known."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackServer, stream
from report.reality.runs import simulated

import llmsim as ls
from llmsim.live_run import run_live
from llmsim.report.reality.check import RealityCheck
from llmsim.scenario.load import parse_scenario

BEFORE = {"clock__warm_up": "40s"}


def untold(live: ls.Result) -> ls.Result:
    """The same from a server that does not say how long a call waited for a slot."""
    one = live.replications[0]
    attempts = one.tables["attempts"]
    nothing = attempts["queue_s"]._replace(values=np.full(len(attempts["queue_s"].values), np.nan))
    return ls.Result(live.scenario, [one._replace(tables={**one.tables, "attempts": {**attempts, "queue_s": nothing}})],
                     seed=live.seed)  # fmt: skip


@pytest.mark.parametrize("tells", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_server_that_is_full_throughout(as_if_live: Any, tells: bool) -> None:
    """It fills up in the warm-up: later answers take no longer than early ones."""
    live = as_if_live({"concurrency": "5"}, seed=7, **BEFORE)
    check = ls.compare(simulated(seed=7, **BEFORE), live if tells else untold(live))
    assert check.cause.word == "server saturated", check.cause
    assert ("for a slot (median)" if tells else "other requests under way") in check.cause.told


@pytest.mark.slow
def test_a_crowd_that_a_server_has_no_room_for(as_if_live: Any) -> None:
    crowd = (
        "[{duration: 20s, target: 0.3x}, {duration: 1s, target: 3x}, {duration: 10s, target: 3x}, "
        "{duration: 1s, target: 0.3x}]"
    )
    more = {"traffic__executor": "ramping-arrival-rate", "traffic__stages": crowd}
    live = untold(as_if_live({"concurrency": "12"}, **more))
    assert "other requests under way" in ls.compare(simulated(**more), live).cause.told


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"inter_token": "60ms"}, {"ttft": "{lognormal: {p50: 900ms, p99: 3s}}"}])
def test_a_slow_server_that_is_never_full_is_a_wrong_model(as_if_live: Any, change: dict[str, str]) -> None:
    for seed in (5, 6):
        check = ls.compare(simulated(seed=seed), as_if_live(change, seed=seed))
        assert check.cause.word == "model wrong", check.cause


@pytest.mark.slow
def test_a_load_that_never_varies_tells_neither() -> None:
    text = """
version: 1
seed: 5
clock: {warm_up: 5s, duration: 60s}
traffic: {executor: constant-vus, vus: 12, mix: [{input_tokens: 100, output_tokens: {uniform: {low: 10, high: 60}}}]}
providers: {a: {ttft: 300ms, inter_token: 20ms}}
"""
    runs = [ls.run(parse_scenario(text, overrides=more), replications=1)
            for more in ([], ["providers.a.inter_token=60ms"])]  # fmt: skip
    one = runs[1].replications[0]
    live = ls.Result(runs[1].scenario, [one._replace(counters={**one.counters, "live": 1.0, "spent_usd": 0.1})])
    check = RealityCheck.of(runs[0], live)
    assert check.cause.word == "model wrong or server saturated"
    assert "A run with less load tells them apart." in check.cause.told


# -- on loopback -------------------------------------------------------------------------------------------------------

REAL = """
version: 1
seed: 5
clock: {warm_up: 0s, duration: %s, drain: 10s}
traffic: {base_rate: %s, mix: [{input_tokens: 20, output_tokens: 4}]}
providers: {one: {ttft: 30ms, inter_token: 1ms, price: {input: $1/Mtok, output: $1/Mtok}}}
"""


def checked(
    script: Any, rate: str, policies: tuple[Any, ...] = (), *, duration: str = "2s", **words: Any
) -> RealityCheck:
    """The scenario on a scripted server, held against its simulation without the policies."""
    scenario = parse_scenario(REAL % (duration, rate))
    with LoopbackServer(script) as server:
        file = {"version": 1, "providers": {"one": {"base_url": server.url, "model": "m", **words}}}
        live = run_live(scenario.with_gateway(ls.Gateway(policies=policies)), file, budget_usd=1.0)
    return RealityCheck.of(ls.run(scenario, replications=1), live)


@pytest.mark.clock
def test_a_busy_event_loop_is_an_overloaded_client() -> None:
    """A policy that computes for 35 ms in the loop of all requests: they go out late, whatever the server does."""

    @ls.policy
    async def thinks_hard(request: Any, call_next: Any) -> Any:
        until = time.perf_counter() + 0.035
        while time.perf_counter() < until:
            pass
        return await call_next(request)

    check = checked(stream(*["x "] * 4, ttft_s=0.03, usage=(20, 4)), "40/s", (thinks_hard,), duration="900ms")
    assert check.cause.word == "client overloaded", check.cause


class OneSlot:
    """A server that answers one call after the other; the head of an answer comes when it is its turn."""

    def __init__(self, call_s: float) -> None:
        self._call_s, self._free_at = call_s, 0.0

    def __call__(self, seen: Any) -> Any:
        begins = max(seen.arrived_s, self._free_at)
        self._free_at = begins + self._call_s
        return stream(*["x "] * 4, ttft_s=begins - seen.arrived_s + self._call_s, usage=(20, 4))


@pytest.mark.slow
@pytest.mark.clock
@pytest.mark.parametrize("tells", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_real_queue_is_a_full_server(tells: bool) -> None:
    """40 ms a call at 30 calls a second: the queue grows. With and without a server that tells of it."""
    for _ in range(3):
        check = checked(OneSlot(0.04), "30/s", head_waits_for_slot=tells)
        if check.cause.word != "client overloaded":
            break
    else:
        pytest.skip(f"this machine was too busy to send in time: {check.cause.told}")
    assert check.cause.word == "server saturated", check.cause
    assert ("for a slot (median)" in check.cause.told) == tells
