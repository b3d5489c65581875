"""A scenario on live providers: a real server on loopback, real time, the requests of the simulation."""

from __future__ import annotations

import asyncio

import pytest
from loopback import LoopbackServer, Seen, failure, stream

import llmsim as ls
from llmsim.engine.real import run_for_real
from llmsim.errors import ScenarioError
from llmsim.live_run import plan_live, run_live
from llmsim.scenario.live_file import load_live

pytestmark = pytest.mark.clock

SMALL = """
version: 1
seed: 3
clock: {warm_up: 100ms, duration: 500ms, drain: 5s}
traffic:
  base_rate: 40/s
  mix: [{input_tokens: {uniform: {low: 20, high: 80}}, output_tokens: {uniform: {low: 2, high: 6}}}]
providers:
  one: {price: {input: $1/Mtok, output: $2/Mtok}}
  two: {price: {input: $1/Mtok, output: $2/Mtok}}
gateway: {policies: [{fallback: {order: [one, two]}}]}
"""


def scenario(extra: str = "") -> ls.Scenario:
    from llmsim.scenario.load import parse_scenario

    return parse_scenario(SMALL + extra)


def answer(seen: Seen):
    """As many tokens as were asked for; the server counts words as tokens."""
    asked = seen.body["max_tokens"]
    words = len(seen.body["messages"][-1]["content"].split())
    return stream(*["tok "] * asked, usage=(words, asked), finish_reason="length")


def live(server: LoopbackServer, **more: object) -> dict[str, object]:
    one = {"base_url": server.url, "model": "m", **more}
    return {"version": 1, "providers": {"one": one, "two": one}}


def test_the_requests_are_those_of_the_simulation() -> None:
    with LoopbackServer(answer) as server:
        result = run_live(scenario(), live(server), budget_usd=1.0)
        calls = [seen.body for seen in server.seen]
    sim = ls.run(result.scenario, replications=1)
    assert result.requests["request_id"].to_list() == sim.requests["request_id"].to_list()
    assert result.requests["output_tokens"].to_list() == sim.requests["output_tokens"].to_list()
    assert result.requests["input_tokens"].to_list() == sim.requests["input_tokens"].to_list()
    late = result.requests["arrival_s"] - sim.requests["arrival_s"]
    assert late.min() > -0.005
    assert late.median() < 0.1
    assert result.requests["outcome"].to_list() == ["ok"] * result.requests.height
    assert set(result.requests["finish_reason"]) == {"stop"}  # the cap is the scenario's length, not a cut
    assert sorted(call["max_tokens"] for call in calls) == sorted(sim.requests["output_tokens"])
    asked = sorted(result.requests["input_tokens"])
    assert [len(call["messages"][-1]["content"].split()) for call in calls] != [2] * len(calls)
    assert max(asked) - 12 <= max(len(call["messages"][-1]["content"].split()) for call in calls) <= max(asked)


@pytest.mark.slow
def test_policies_answer_for_what_goes_wrong() -> None:
    def script(seen: Seen):
        return failure(503) if seen.number % 2 == 0 else answer(seen)

    with LoopbackServer(script) as server:
        result = run_live(scenario(), live(server), budget_usd=1.0)
    assert result.metrics["fallback_activations"] > 5
    assert set(result.attempts.filter(result.attempts["outcome"] != "ok")["status"]) == {503}


def test_it_stops_before_the_budget_is_passed() -> None:
    with LoopbackServer(answer) as server:
        whole = run_live(scenario(), live(server), budget_usd=1.0)
        served = len(server.seen)
        part = run_live(scenario(), live(server), budget_usd=0.0008)
        paid = [seen.body["max_tokens"] * 2e-6 + len(seen.body["messages"][-1]["content"].split()) * 1e-6
                for seen in server.seen[served:]]  # fmt: skip
    assert part.partial
    assert any("budget of $0.0008" in note for note in part.notes)
    assert 0 < len(paid) < served
    assert sum(paid) <= 0.0008
    counters = part.replications[0].counters
    assert sum(paid) == pytest.approx(counters["spent_usd"])
    assert (counters["live_calls"], counters["budget_usd"]) == (len(paid), 0.0008)
    assert counters["unpaid_calls"] >= 1
    assert part.live
    assert "the budget was used up" in repr(part)
    assert part.requests["outcome"].to_list().count("unfinished") >= 1
    assert not whole.partial


@pytest.mark.slow
def test_a_server_that_reports_no_usage_is_taken_at_its_worst() -> None:
    with LoopbackServer(stream("tok ", usage=None)) as server:
        part = run_live(scenario(), live(server), budget_usd=0.003)
        calls = len(server.seen)
    # A call of at most 80 tokens' words, each a byte or more, is some 200 to 450 bytes: up to $0.0005.
    assert part.partial
    assert 3 <= calls < part.scenario.traffic.base_rate * 1.2


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_no_budget_no_run(budget: float) -> None:
    with LoopbackServer(answer) as server:
        with pytest.raises(ValueError, match="budget above zero"):
            run_live(scenario(), live(server), budget_usd=budget)
        assert not server.seen


@pytest.mark.slow
def test_works_inside_a_running_loop() -> None:
    async def cell() -> ls.Result:
        return run_live(scenario(), live(server), budget_usd=1.0)

    with LoopbackServer(answer) as server:
        assert asyncio.run(cell()).metrics["error_rate"] == 0


def test_what_cannot_be_done_to_a_real_provider_is_refused() -> None:
    slow = scenario("faults: [{name: slow, provider: one, at: 0s, duration: 1s, latency: {multiplier: 4x}}]")
    with pytest.raises(ScenarioError, match="latency changes a provider from within"):
        plan_live(
            slow, {"version": 1, "providers": {name: {"base_url": "http://127.0.0.1:1/v1"} for name in ("one", "two")}}
        )


def test_both_files_must_name_the_same_providers() -> None:
    with pytest.raises(ScenarioError) as caught:
        plan_live(
            scenario(),
            {
                "version": 1,
                "providers": {
                    "one": {"base_url": "http://127.0.0.1:1/v1"},
                    "tow": {"base_url": "http://127.0.0.1:1/v1"},
                },
            },
        )
    text = caught.value.render()
    assert "no live provider for 'two'" in text
    assert "Did you mean 'two'" in text or "two" in text.split("tow", 1)[1]


@pytest.mark.parametrize(
    ("line", "place"),
    [("base_url: api.openai.com", "base_url"), ("base_url: http://127.0.0.1/v1\n    modell: m", "modell")],
)
def test_live_yaml_says_where_it_is_wrong(tmp_path, line: str, place: str) -> None:
    file = tmp_path / "live.yaml"
    file.write_text(f"version: 1\nproviders:\n  one:\n    {line}\n")
    with pytest.raises(ScenarioError) as caught:
        load_live(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (4 + line.count("\n"), f"providers.one.{place}")


def test_what_a_callback_raises_ends_the_run() -> None:
    async def main(loop):
        loop.at(0.01, lambda: 1 / 0)
        await asyncio.sleep(30)

    with pytest.raises(ZeroDivisionError):
        run_for_real(main)


def test_a_live_run_is_measured_once_and_no_verdict() -> None:
    """Each line says which side of its bound it was on; one replication decides nothing, whatever its requests say."""
    given = {
        "version": 1,
        "seed": 3,
        "clock": {"warm_up": "0s", "duration": "300ms", "drain": "5s"},
        "traffic": {"base_rate": "60/s", "mix": [{"input_tokens": 20, "output_tokens": 2}]},
        "providers": {"one": {"model": "m", "price": {"input": "$1/Mtok", "output": "$1/Mtok"}}},
        "slo": {"error_rate": ["value < 1%"], "cost_per_ok": ["value < $0.0000001"], "ttft": ["p(99) < 2s"]},
    }
    with LoopbackServer(stream("a", "b", usage=(20, 2))) as server:
        file = {"version": 1, "providers": {"one": {"base_url": server.url}}}
        result = run_live(given, file, budget_usd=1.0)
    reasons = {line.objective.key: line.reason for line in result.slo}
    assert reasons["error_rate"].startswith("measured once, inside the bound; a live run is one replication")
    assert reasons["cost_per_ok"].startswith("measured once, outside the bound")
    assert reasons["ttft"].startswith("could not be told in 1 of 1 replications")  # a p99 of so few requests
    assert result.verdict == "UNDECIDED"
    assert (result.exit_code(), result.exit_code(allow_undecided=True)) == (3, 0)
    (note,) = [one for one in result.notes if "judged over replications" in one]
    assert "a live run is one" in note
    assert all(way in note for way in ("llmsim run FILE", "llmsim compare FILE --live", "--allow-undecided"))
    assert note in repr(result)
