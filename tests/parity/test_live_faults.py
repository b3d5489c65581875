"""The faults of a scenario in front of live providers do what they do in the simulation, request by request."""

from __future__ import annotations

import polars as pl
import pytest
from loopback import LoopbackServer, Seen, completion, stream

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.live_run import plan_live, run_live
from llmsim.scenario.load import parse_scenario

pytestmark = [
    pytest.mark.clock,
    # Of anyio: see llmsim.providers.live.sockets, whose filter pytest does not keep.
    pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning"),
]

TTFT_S, GAP_S, TOKENS = 0.06, 0.02, 5
SCENARIO = """
version: 1
seed: 11
replications: 1
clock: {{warm_up: 500ms, duration: 2500ms, drain: 3s}}
traffic:
  base_rate: 40/s
  mix: [{{input_tokens: 20, output_tokens: 5{whole}}}]
providers:
  one: {{ttft: 60ms, inter_token: 20ms, answer_time: 10ms, concurrency: 1000{limits}}}
  two: {{ttft: 60ms, inter_token: 20ms, answer_time: 10ms, price: {{input: $1/Mtok, output: $1/Mtok}}}}
gateway:
  policies: [{{fallback: {{order: [one, two]{more}}}}}{policies}]
faults: [{faults}]
"""
OUTAGE = "{name: out, provider: one, at: 450ms, duration: 500ms, outage: true}"
LIMITS = ", dialect: openai, rate_limit: {requests: 1800/min, burst: 1s}"
CLAMP = "{name: cut, provider: one, at: 500ms, duration: 700ms, rate_limit: {multiplier: 0.2x}}"
ON = ", on: [any]"


def story(faults: str, *, limits: str = "", more: str = ON, policies: str = "", whole: str = "") -> ls.Scenario:
    return parse_scenario(
        SCENARIO.format(faults=faults, limits=limits, more=more, policies=policies, whole=whole), "story.yaml"
    )


STORIES = {
    "outage": story(OUTAGE),
    "outage, and nobody else to ask": story(OUTAGE, more=", on: [overloaded]"),
    "outage, in one piece": story(OUTAGE, whole=", stream: false"),
    "outage, gone on with": story(OUTAGE, more=", on: [any], mid_stream: continue"),
    "clamp": story(CLAMP, limits=LIMITS),
    "clamp of tokens": story(CLAMP, limits=", rate_limit: {tokens: 60k/min, window: 1s}"),
    "two clamps multiply": story(
        f"{CLAMP}, {{name: again, provider: one, at: 800ms, duration: 700ms, rate_limit: {{multiplier: 0.5x}}}}",
        limits=", rate_limit: {requests: 2400/min, window: 500ms}",
    ),
    "limits as they are": story(
        CLAMP.replace("0.2x", "1x").replace("500ms", "0s").replace("700ms", "9s"),
        limits=", rate_limit: {requests: 900/min, window: 500ms}",
    ),
    "abort": story("{name: a, provider: one, at: 300ms, duration: 700ms, abort: {status: 503, percentage: 40%}}"),
    "two aborts": story(
        "{name: a, provider: one, at: 200ms, duration: 800ms, abort: {status: 503, percentage: 40%}}, "
        "{name: b, provider: one, at: 500ms, duration: 900ms, abort: {status: 429, percentage: 50%}}",
        policies=", {retry: {max_attempts: 2, backoff: {initial: 20ms, jitter: full}}}",
    ),
    "delay": story(
        "{name: d, provider: one, at: 300ms, duration: 700ms, delay: {time: 600ms, percentage: 50%}}",
        more=", on: [any], ttft: 400ms",
    ),
    "stall": story(
        "{name: s, provider: one, at: 300ms, duration: 700ms, stall: {after_tokens: 2, time: 1s, percentage: 50%}}",
        policies="]\n  upstream: [{timeout: {inter_token: 300ms}}",
    ),
    "break": story("{name: b, provider: one, at: 300ms, duration: 700ms, break: {after_tokens: 3, percentage: 50%}}"),
    "sequence": story(
        "{name: s, provider: one, at: 300ms, sequence: [429, 503, ok], sequence_per: request}",
        policies=", {retry: {max_attempts: 3, backoff: {initial: 10ms}}}",
    ),
    "an outage of what is clamped and aborts": story(
        f"{OUTAGE}, {CLAMP}, "
        "{name: a, provider: one, at: 200ms, duration: 1s, abort: {status: 500, percentage: 30%}}",
        limits=LIMITS,
    ),
}
#: By default; the others are slow.
FEW = ("outage",)


def answer(seen: Seen):
    made = seen.body["max_tokens"]
    if not seen.body["stream"]:
        return completion("tok " * made, delay_s=TTFT_S + (made - 1) * GAP_S, usage=(20, made))
    return stream(*["tok "] * made, ttft_s=TTFT_S, gap_s=GAP_S, usage=(20, made), finish_reason="length")


def file(server: LoopbackServer) -> dict[str, object]:
    one = {"base_url": server.url, "model": "m"}
    return {"version": 1, "providers": {"one": one, "two": one}}


def told(result: ls.Result) -> pl.DataFrame:
    """What happened to each request, without times."""
    key = ["session", "step", "user_retry"]
    calls = (
        result.attempts.sort(*key, "attempt")
        .group_by(*key, maintain_order=True)
        .agg(calls=pl.col("upstream").cast(pl.String) + ":" + pl.col("outcome").cast(pl.String))
    )
    chosen = [*key, *(pl.col(name).cast(pl.String) for name in ("outcome", "served_by"))]
    return result.requests.select(chosen).join(calls, on=key, how="left")


LATE_S = 0.06  #: a machine that others use too is so late now and then


def clear_of_edges(sim: ls.Result) -> pl.Series:
    """Ids of those to whom the same happens if they are a little late: nothing of theirs was near a window's edge."""
    edges = [edge for fault in sim.scenario.faults for edge in (fault.at, fault.end_s) if 0 < edge < 5]
    measured = sim.requests.filter(pl.col("window") == "measured")
    if not edges:
        return measured["session"]
    times = [pl.col(name) for name in ("start_s", "first_s", "end_s")]
    near = pl.any_horizontal(*((time - edge).is_between(-LATE_S, 0.0) for time in times for edge in edges))
    touched = sim.attempts.filter(near.fill_null(value=False))["session"].unique()
    return measured.filter(~pl.col("session").is_in(touched.implode()))["session"]


def agreement(sim: ls.Result, live: ls.Result) -> float:
    """Share of the requests, clear of the edges of windows, to which the same happened."""
    ours, theirs = told(sim), told(live)
    both = ours.join(theirs, on=["session", "step", "user_retry"], suffix="_live")
    assert both.height == ours.height == theirs.height
    clear = clear_of_edges(sim)
    assert len(clear) > 0.4 * both.height
    both = both.filter(pl.col("session").is_in(clear.implode()))
    met = both["calls"].list.join(" ") != "one:ok"
    assert met.sum() >= 3, "of those that are compared hardly anybody met a fault"
    same = (pl.col(name) == pl.col(f"{name}_live") for name in ("outcome", "served_by", "calls"))
    return float(both.select(pl.all_horizontal(*same).mean()).item())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in STORIES]
)
def test_the_same_happens_in_both_worlds(name: str) -> None:
    scenario = STORIES[name]
    sim = ls.run(scenario)
    hit = set(sim.attempts["outcome"].cast(pl.String)) - {"ok"}
    assert hit, "the fault hits nobody, so this shows nothing"
    shares: list[float] = []
    for _ in range(
        3
    ):  # a machine that is busy elsewhere is late: whoever comes at the edge of a window meets another fate
        with LoopbackServer(answer) as server:
            live = run_live(scenario, file(server), budget_usd=1.0)
        shares.append(agreement(sim, live))
        if shares[-1] >= 0.95:
            break
    assert max(shares) >= 0.95, f"{name}: the same happened to {shares} of the requests"
    print(f"{name}: {shares[-1]:.3f} of {sim.requests.height}, {sorted(hit)}")


@pytest.mark.slow
def test_an_injected_429_says_when_to_come_back_as_the_simulated_one_does() -> None:
    said: dict[str, list[tuple[int, bool]]] = {"sim": [], "live": []}

    def listening(world: str) -> ls.Gateway:
        @ls.policy
        async def listen(request, call_next):
            try:
                return await call_next(request)
            except ls.errors.RateLimited as error:
                wait_s = error.retry_after_s or 0.0
                said[world].append((error.status, "x-ratelimit-limit-requests" in error.headers))
                assert 0 < wait_s <= 1.0
                raise

        return ls.Gateway(policies=(listen,))

    scenario = story(CLAMP, limits=LIMITS)
    with LoopbackServer(answer) as server:
        run_live(scenario.with_gateway(listening("live")), file(server), budget_usd=1.0)
    ls.run(scenario.with_gateway(listening("sim")))
    assert said["live"]
    assert abs(len(said["live"]) - len(said["sim"])) <= 3
    assert {*said["live"]} == {*said["sim"]} == {(429, True)}


@pytest.mark.slow
def test_the_server_sees_who_is_cut_off_leave_and_nobody_during_the_outage() -> None:
    with LoopbackServer(answer) as server:
        live = run_live(story(OUTAGE, more=", on: [overloaded]"), file(server), budget_usd=1.0)
        ends = [seen.ended for seen in server.seen]
        gaps = [after.arrived_s - before.arrived_s for before, after in zip(server.seen, server.seen[1:], strict=False)]
    cut = live.attempts.filter(pl.col("outcome").cast(pl.String).is_in(["stream_broken", "connection_failed"]))
    lost = cut.filter(pl.col("end_s") <= 0.45 + 0.1)
    assert ends.count("client_left") >= 2
    assert lost.height >= 2
    assert max(gaps) > 0.45


# -- what cannot be had ------------------------------------------------------------------------------------------------

BROWN_OUT = (
    "{name: brown-out, provider: one, at: 1s, latency: {multiplier: 4x}, capacity: {multiplier: 0.5x}, "
    "abort: {status: 503}}, {name: dearer, provider: two, price: {multiplier: 2x}}, " + OUTAGE
)
NOBODY = {"version": 1, "providers": {name: {"base_url": "http://127.0.0.1:1/v1"} for name in ("one", "two")}}


def test_what_a_live_provider_cannot_suffer_is_refused_with_its_line_and_a_way_out() -> None:
    with pytest.raises(ScenarioError) as caught:
        plan_live(story(BROWN_OUT), NOBODY)
    first, second = caught.value.problems
    assert (first.path.partition(".")[0], first.line) == ("faults[0]", 14)
    assert "brown-out: latency and capacity change a provider from within" in first.message
    assert "dearer: price changes" in second.message
    for word in ("--without-faults simulated-only", "--without-faults brown-out"):
        assert word in first.hint


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (["simulated-only"], {"brown-out": ("abort",), "out": ("outage",)}),
        (["brown-out", "dearer"], {"out": ("outage",)}),
        (["all"], {}),
        ("all", {}),
    ],
)
def test_without_faults(names, left) -> None:
    plan = plan_live(story(BROWN_OUT), NOBODY, without_faults=names)
    assert {fault.name: fault.effects for fault in plan.scenario.faults} == left


def test_without_a_fault_that_there_is_not() -> None:
    with pytest.raises(ScenarioError, match="no fault 'brownout'; its faults of providers are brown-out, dearer, out"):
        plan_live(story(BROWN_OUT), NOBODY, without_faults=["brownout"])
