"""A hard budget on a real server that misbehaves, counted by the server itself; and what becomes of policies then."""

from __future__ import annotations

import json
import random

import pytest
from loopback import Cut, LoopbackServer, Seen, Stall, completion, event, failure, hang, hang_up, stream
from stolen import Stolen

import llmsim as ls
from llmsim.live_run import plan_live, run_live
from llmsim.scenario.load import parse_scenario

pytestmark = [
    pytest.mark.clock,
    # Of anyio: see llmsim.providers.live.sockets, whose filter pytest does not keep.
    pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning"),
]

INPUT_USD, OUTPUT_USD = 2e-6, 10e-6

SCENARIO = """
version: 1
seed: {seed}
clock: {{warm_up: 0s, duration: 250ms, drain: 400ms}}
traffic:
  base_rate: {rate}/s
  patience: {{lognormal: {{p50: 200ms, p99: 1s}}}}
  user_retry: {{share: 50%, after: 10ms, limit: 2}}
  mix:
    - input_tokens: {{uniform: {{low: 5, high: 90}}}}
      output_tokens: {{uniform: {{low: 1, high: 12}}}}
      max_tokens: 8
providers:
  one: {{price: {{input: $2/Mtok, output: $10/Mtok}}}}
  two: {{price: {{input: $2/Mtok, output: $10/Mtok}}}}
gateway:
  policies: {policies}
"""
POLICIES = [
    "[]",
    "[{fallback: {order: [one, two], on: [any]}}]",
    "[{fallback: {order: [two, one], ttft: 30ms, on_ttft: keep}}]",
    "[{retry: {max_attempts: 3, backoff: {initial: 5ms}, on: [any]}}]",
    "[{fallback: {order: [one, two]}}, {retry: {max_attempts: 3, backoff: {initial: 5ms}}}]",
    "[{hedge: {after: 20ms}}, {retry: {max_attempts: 2, backoff: {initial: 5ms}, on: [any]}}]",
    "[{deadline: {timeout: 80ms}}, {hedge: {after: 15ms}}, {fallback: {order: [one, two], on: [any]}}]",
]


class Till:
    """Answers at random, and adds up what it bills: everything it can, also of what nobody has read."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.kinds: dict[str, int] = {}
        self.usd = 0.0

    def __call__(self, seen: Seen):
        kind = self.chance.choice(
            [
                "ok",
                "ok",
                "short",
                "slow",
                "no usage",
                "broken",
                "stalls",
                "hang",
                "hang up",
                "500",
                "503",
                "429",
                "event",
            ]
        )
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        most = seen.body["max_tokens"]
        # A token is a byte at least: a server that bills one for each bills the most there can be.
        prompt = sum(len(message["content"].encode()) for message in seen.body["messages"])
        made = self.chance.randint(1, most) if kind == "short" else most
        if kind not in ("503", "429"):
            self.usd += prompt * INPUT_USD + made * OUTPUT_USD
        pieces = ["tok "] * made
        if not seen.body["stream"]:
            return completion("tok " * made, usage=(prompt, made))
        return {
            "slow": lambda: stream(*pieces, usage=(prompt, made), ttft_s=0.04, gap_s=0.01),
            "no usage": lambda: stream(*pieces, usage=None),
            "broken": lambda: stream(*pieces, after=made // 2, then=(Cut(),)),
            "stalls": lambda: stream(*pieces, after=made // 2, then=(Stall(),)),
            "hang": hang,
            "hang up": hang_up,
            "500": lambda: failure(500),
            "503": lambda: failure(503),
            "429": lambda: failure(429, headers={"Retry-After": "0"}),
            "event": lambda: stream(after=0, then=(event({"error": {"message": "no", "code": 429}}),)),
        }.get(kind, lambda: stream(*pieces, usage=(prompt, made)))()


def live(server: LoopbackServer, **more: object) -> dict[str, object]:
    one = {"base_url": server.url, "model": "m", **more}
    return {"version": 1, "providers": {"one": one, "two": one}}


def once(seed: int) -> tuple[bool, float, dict[str, int]]:
    """A run with chance in everything; whether the budget ended it, the share of it that was billed, what happened."""
    chance = random.Random(seed)
    scenario = parse_scenario(
        SCENARIO.format(seed=seed, rate=chance.choice([40, 100, 200]), policies=POLICIES[seed % len(POLICIES)])
    )
    budget = 10 ** chance.uniform(-2.7, -1.4)
    with LoopbackServer(till := Till(seed)) as server:
        result = run_live(scenario, live(server), budget_usd=budget)
    counters = result.replications[0].counters
    assert till.usd <= budget, f"seed {seed}: billed ${till.usd:.6f} of ${budget:.6f}"
    assert till.usd <= counters["spent_usd"] + 1e-12 <= budget + 1e-12, f"seed {seed}"
    assert counters["live_calls"] >= sum(till.kinds.values()), "a call is counted before it is sent"
    assert result.stopped == ("budget" if counters["unpaid_calls"] else ""), f"seed {seed}"
    return result.stopped == "budget", till.usd / budget, till.kinds


def check(seeds: range) -> None:
    stopped, shares, kinds = zip(*(once(seed) for seed in seeds), strict=True)
    # It is worth something only if budgets ran out, and not because nearly nothing was spent.
    assert sum(stopped) >= len(seeds) // 4
    assert max(shares) > 0.5
    assert len({kind for one in kinds for kind in one}) >= min(12, 2 * len(seeds))


def test_random_runs_never_pass_their_budget() -> None:
    check(range(3))


@pytest.mark.slow
def test_thirty_random_runs_never_pass_their_budget() -> None:
    check(range(100, 130))


# -- what becomes of policies ------------------------------------------------------------------------------------------


def good(seen: Seen):
    made = seen.body["max_tokens"]
    return stream(*["tok "] * made, usage=(30, made), finish_reason="length")


@ls.policy
class Tries:
    """Tries again for ever, as no policy should, and counts."""

    def start(self, run):
        async def handle(request, call_next):
            while True:
                TRIED.append(request.id)
                try:
                    return await call_next(request)
                except Exception:
                    continue

        return handle


@ls.policy
class Deaf:
    """The same, and it cannot even be cancelled."""

    def start(self, run):
        async def handle(request, call_next):
            while True:
                TRIED.append(request.id)
                try:
                    return await call_next(request)
                except BaseException:
                    continue

        return handle


TRIED: list[str] = []


@pytest.mark.parametrize(
    "policies",
    [
        "[{retry: {max_attempts: 5, backoff: {initial: 1ms}, on: [any]}}]",
        "[{fallback: {order: [one, two], on: [any]}}]",
        pytest.param("[{hedge: {after: 1ms}}]", marks=pytest.mark.slow),
    ],
)
def test_a_call_that_cannot_be_paid_is_not_tried_again(policies: str) -> None:
    scenario = parse_scenario(SCENARIO.format(seed=1, rate=60, policies=policies))
    with LoopbackServer(good) as server:
        result = run_live(scenario, live(server), budget_usd=0.002)
        calls = len(server.seen)
    counters = result.replications[0].counters
    assert result.stopped == "budget"
    refused = result.requests.filter(result.requests["outcome"] == "unfinished")
    # One refusal for each who had to go: nothing was retried, and nobody else was asked for nothing.
    assert 1 <= counters["unpaid_calls"] <= refused.height
    assert result.metrics["fallback_activations"] == 0
    assert (
        counters["live_calls"] >= calls
    )  # a hedge's loser may be cancelled before it is sent, and counts all the same


@pytest.mark.parametrize(("policy", "most"), [(Tries, 1), (Deaf, 60)])
def test_a_policy_that_never_gives_up_does_not_hold_up_the_others(policy: type, most: int) -> None:
    TRIED.clear()
    scenario = parse_scenario(SCENARIO.format(seed=1, rate=60, policies="[]")).with_gateway(
        ls.Gateway(policies=(policy(),))
    )
    with LoopbackServer(good) as server, Stolen() as stolen:
        result = run_live(scenario, live(server), budget_usd=0.002)
    assert result.stopped == "budget"
    assert "ok" in set(result.requests["outcome"])
    times = {name: TRIED.count(name) for name in set(TRIED)}
    assert max(times.values()) <= most
    assert result.wall_s < 3 + stolen.s


# -- how it is said ----------------------------------------------------------------------------------------------------


def test_the_budget_ended_it_is_said_everywhere(tmp_path) -> None:
    scenario = parse_scenario(SCENARIO.format(seed=1, rate=60, policies="[]"))
    with LoopbackServer(good) as server:
        result = run_live(scenario, live(server), budget_usd=0.002)
    page = json.loads(result.to_json())
    assert (page["partial"], page["stopped"]) == (True, "budget")
    assert page["live"]["budget_usd"] == 0.002
    assert 0 < page["live"]["spent_usd"] <= 0.002
    assert "could have passed the budget of $0.002" in page["notes"][0]
    assert result.exit_code() == 3
    assert result.exit_code(allow_undecided=True) == 0
    result.save(tmp_path)
    again = ls.load_result(tmp_path)
    for one in (result, again):
        for text in (repr(one), one._repr_html_(), one._repr_markdown_()):
            assert "the budget was used up" in text
            assert "interrupted" not in text


def test_a_server_that_does_not_keep_to_max_tokens_is_told_of() -> None:
    def greedy(seen: Seen):
        return stream(*["tok "] * 3, usage=(30, 40 * seen.body["max_tokens"]))

    scenario = parse_scenario(SCENARIO.format(seed=1, rate=60, policies="[]"))
    with LoopbackServer(greedy) as server:
        result = run_live(scenario, live(server), budget_usd=0.05)
    assert any("does not keep to max_tokens" in note for note in result.notes)
    assert result.stopped == "budget"


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), None])
def test_nothing_is_read_or_sent_without_a_budget(budget) -> None:
    with pytest.raises(ValueError, match="needs a budget above zero"):
        run_live("no-such-file.yaml", "neither.yaml", budget_usd=budget)
    with pytest.raises(TypeError, match="budget_usd"):
        run_live("no-such-file.yaml", "neither.yaml")  # type: ignore[call-arg]


# -- the estimate ------------------------------------------------------------------------------------------------------

SESSIONS = """
version: 1
seed: 5
replications: 6
clock: {warm_up: 60s, duration: 600s, drain: 60s}
traffic:
  base_rate: 1/s
  mix:
    - {input_tokens: {uniform: {low: 50, high: 150}}, output_tokens: 20%s}
providers:
  dear: {price: {input: $10/Mtok, output: $100/Mtok}}
  cheap: {price: {input: $1/Mtok, output: $10/Mtok}}
gateway: {policies: [{fallback: {order: [cheap, dear]}}%s]}
"""


def _plan(sessions: str = "", cache: str = ""):
    scenario = parse_scenario(SESSIONS % (sessions, cache))
    nobody = {name: {"base_url": "http://127.0.0.1:1/v1"} for name in ("dear", "cheap")}
    return scenario, plan_live(scenario, {"version": 1, "providers": nobody})


@pytest.mark.slow
@pytest.mark.parametrize(
    "sessions",
    ["", pytest.param(", session: {turns: {geometric: {mean: 3}}, think_time: 2s}", marks=pytest.mark.slow)],
    ids=["single", "sessions"],
)
def test_the_estimate_is_what_the_simulation_spends(sessions: str) -> None:
    scenario, plan = _plan(sessions)
    sim = ls.run(scenario)
    spent = sim.requests["cost_usd"].sum() / 6
    assert plan.requests == pytest.approx(sim.requests.height / 6, rel=0.05)
    assert plan.expected_usd == pytest.approx(spent, rel=0.05)
    assert plan.dearest_usd == pytest.approx(10 * plan.expected_usd, rel=1e-6)
    assert f"${plan.dearest_usd:.4f} by the dearest" in str(plan)


def test_the_estimate_counts_on_no_cache() -> None:
    assert _plan(cache=", {cache: {}}")[1].expected_usd == _plan()[1].expected_usd
