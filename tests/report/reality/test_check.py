"""A reality check where the truth is known: a simulation against a provider changed by a known amount."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from report.reality.runs import simulated

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.report.reality.check import RealityCheck


def line(check: RealityCheck, name: str):
    return next(one for one in check.lines if one.name == name)


def cut(result: ls.Result, until_s: float) -> ls.Result:
    """A live run that ended early."""
    one = result.replications[0]
    return ls.Result(result.scenario, [one._replace(partial=True, simulated_s=until_s)], seed=result.seed)


def test_the_same_is_good(sim: ls.Result, as_if_live: Any) -> None:
    check = ls.compare(sim, as_if_live())
    assert isinstance(check, RealityCheck)
    assert check.pairs.table.height > 250
    assert {one.error for one in check.lines} == {0.0}
    assert (check.verdict, check.cause.word) == ("good", "")
    assert check.same_path == 1
    assert check.errors["e2e"].mdape == 0
    assert check.errors["ttft"].correlation == pytest.approx(1)
    assert "within every tolerance" in str(check)
    # Nothing failed, so answered requests are all requests; the longest gap is told, and judges nothing.
    assert not any("_ok" in one.name for one in check.lines)
    assert line(check, "max_inter_token p(50)").verdict == "not judged"
    assert line(check, "max_inter_token p(50)").live == pytest.approx(0.02)


def test_a_slower_provider_is_found_and_called_worse(sim: ls.Result, slow: ls.Result) -> None:
    check = ls.compare(sim, slow)
    ttft = line(check, "ttft p(50)")
    assert ttft.error == pytest.approx(1 / 1.25 - 1, abs=0.03)
    assert ttft.interval[0] < 1 / 1.25 - 1 < ttft.interval[1] + 0.02
    assert (ttft.verdict, line(check, "cost").verdict, check.verdict) == ("off", "good", "off")
    assert check.errors["ttft"].bias == pytest.approx(-0.2, abs=1e-6)  # the same luck, request by request
    assert "live is worse than assumed: ttft p(50) 1.25x" in check.headline
    assert check.cause.word == "model wrong"
    assert any("model of the provider" in note for note in check.notes)
    distance, band = check.distances["ttft"]
    assert distance > band


@pytest.mark.slow
def test_better_than_assumed_is_said_too(sim: ls.Result, slow: ls.Result, as_if_live: Any) -> None:
    check = ls.compare(slow_as_sim(slow), as_if_live())
    assert "live is better than assumed: ttft p(50) 0.8x" in check.headline


def slow_as_sim(slow: ls.Result) -> ls.Result:
    one = slow.replications[0]
    return ls.Result(slow.scenario, [one._replace(counters={})])


@pytest.mark.slow
def test_errors_and_fallbacks_are_compared_in_points(sim: ls.Result, as_if_live: Any) -> None:
    check = ls.compare(sim, as_if_live({"errors": "{server_error: 20%}"}))
    fallback = line(check, "fallback_rate")
    assert fallback.live == pytest.approx(0.2, abs=0.07)
    assert fallback.error == pytest.approx(-fallback.live)
    assert fallback.verdict == "off"
    assert line(check, "retry_amplification").verdict == "off"
    assert check.same_path == pytest.approx(1 - fallback.live, abs=0.01)
    calls = round(fallback.live * check.pairs.table.height)
    assert any(f"server_error 0 and {calls}" in note for note in check.notes)


@pytest.mark.slow
def test_failures_count_as_never_beside_the_view_of_answers(sim: ls.Result, as_if_live: Any) -> None:
    failing = as_if_live({"errors": "{server_error: 8%}"}, gateway__policies="[]")
    check = ls.compare(sim, failing)
    everyone, answered = line(check, "ttft p(95)"), line(check, "ttft_ok p(95)")
    assert (everyone.live, everyone.error, everyone.verdict) == (math.inf, -1.0, "off")
    assert (answered.error, answered.verdict) == (0.0, "good")
    assert answered.pairs + round(line(check, "error_rate").live * everyone.pairs) == everyone.pairs
    assert "ttft p(95) never" in check.headline
    assert "better" not in check.headline  # less was paid, because less was answered
    page = check.to_dict()
    told = next(one for one in page["metrics"] if one["name"] == "ttft p(95)")
    assert (told["live"], told["verdict"]) == ("Infinity", "off")
    json.dumps(page, allow_nan=False)
    assert line(ls.compare(sim, failing, tolerances={"ttft p(95)": 0.4}), "ttft_ok p(95)").tolerance == 0.4


@pytest.mark.slow
def test_a_server_at_its_limit_is_told_from_a_wrong_model(sim: ls.Result, as_if_live: Any) -> None:
    check = ls.compare(sim, as_if_live({"concurrency": "4"}))
    assert check.cause.word == "server saturated"
    assert "(server saturated)" in check.headline
    assert any(note.startswith("Server saturated") for note in check.notes)
    assert not any("model of the provider" in note for note in check.notes)


@pytest.mark.slow
def test_a_server_full_only_for_a_while_is_told_too(as_if_live: Any) -> None:
    """A crowd in the middle: later answers take no longer than early ones, so only the load tells."""
    crowd = (
        "[{duration: 20s, target: 0.3x}, {duration: 1s, target: 3x}, {duration: 10s, target: 3x}, "
        "{duration: 1s, target: 0.3x}]"
    )
    more = {"traffic__executor": "ramping-arrival-rate", "traffic__stages": crowd}
    sim = simulated(**more)
    found = ls.compare(sim, as_if_live({"concurrency": "12"}, **more))
    assert found.cause.word == "server saturated"
    assert "for a slot (median)" in found.cause.told  # where the server tells
    # A model that is wrong by a lot fills the server as well, and is no full server.
    assert ls.compare(sim, as_if_live({"inter_token": "60ms"}, **more)).cause.word == "model wrong"


@pytest.mark.slow
def test_a_late_client_is_told_from_a_wrong_model(sim: ls.Result, as_if_live: Any) -> None:
    live = as_if_live()
    one = live.replications[0]
    requests = one.tables["requests"]
    late = requests["arrival_s"]._replace(values=requests["arrival_s"].values + 0.2)
    tables = {**one.tables, "requests": {**requests, "arrival_s": late}}
    check = ls.compare(sim, ls.Result(live.scenario, [one._replace(tables=tables)]))
    assert check.cause.word == "client overloaded"
    assert any(note.startswith("Client overloaded: requests were sent 200ms after") for note in check.notes)


@pytest.mark.slow
def test_prompts_are_compared_as_the_server_counted_them(sim: ls.Result, as_if_live: Any) -> None:
    """The tokens of a live request are those that were asked for; what its call was billed for is what came of it."""
    live = as_if_live()
    one = live.replications[0]
    attempts = one.tables["attempts"]
    more = attempts["input_tokens"]._replace(values=(attempts["input_tokens"].values * 1.1).astype("int32"))
    tables = {**one.tables, "attempts": {**attempts, "input_tokens": more}}
    tokens = line(ls.compare(sim, ls.Result(live.scenario, [one._replace(tables=tables)])), "input_tokens")
    assert (tokens.error, tokens.verdict) == (pytest.approx(1 / 1.1 - 1, abs=0.01), "off")


@pytest.mark.slow
def test_what_the_machine_repeats_stands_beside_it(sim: ls.Result, as_if_live: Any) -> None:
    check = ls.compare(sim, as_if_live({"inter_token": "25ms"}), again=as_if_live({"inter_token": "26ms"}))
    assert check.errors["tpot"].mdape == pytest.approx(0.2, abs=0.001)
    assert check.repeated["tpot"].mdape == pytest.approx(0.04, abs=0.001)
    assert "the live run repeated: 4 %" in str(check)
    assert not any("repeated was as far off" in note for note in check.notes)
    worse = ls.compare(sim, as_if_live({"inter_token": "21ms"}), again=as_if_live({"inter_token": "30ms"}))
    assert any("repeated was as far off as the simulation, or further: e2e" in note for note in worse.notes)


@pytest.mark.slow
def test_what_is_off_in_one_route_is_seen(sim: ls.Result, as_if_live: Any) -> None:
    """First tokens come earlier, the others later: short answers are off, and all together are not surely."""
    live = as_if_live({"inter_token": "25ms", "ttft": "{lognormal: {p50: 150ms, p99: 500ms}}"})
    check = ls.compare(sim, live, tolerances={"ttft p(50)": 2.0, "e2e p(50)": 0.05})
    assert set(check.by_route) == {"chat", "rag"}
    assert sum(check.pairs.only(route).table.height for route in check.by_route) == check.pairs.table.height
    by_route = {route: {one.name: one.verdict for one in lines} for route, lines in check.by_route.items()}
    assert by_route["chat"]["output_tokens"] == "good"
    told = [note for note in check.notes if note.startswith("Route ")]
    off = {route for route, lines in by_route.items() if lines["e2e p(50)"] == "off"}
    assert line(check, "e2e p(50)").verdict != "off"
    assert off
    assert [note.split()[1] for note in told] == [route for route in check.by_route if route in off]


def test_few_pairs(sim: ls.Result, as_if_live: Any) -> None:
    """Of eight requests nothing is told but totals that agree one by one."""
    check = ls.compare(sim, cut(as_if_live(), 1.8))
    assert 3 <= check.pairs.table.height < 10
    assert line(check, "output_tokens").verdict == "good"
    assert line(check, "cost").interval == (0.0, 0.0)
    assert (line(check, "ttft p(50)").verdict, line(check, "ttft p(50)").needed) == ("unsure", 10)
    assert "needs 72 pairs" in str(check)
    assert check.verdict == "unsure"
    assert any("ended early" in note for note in check.notes)


@pytest.mark.slow
def test_the_lag_of_conversations_is_not_the_clients(as_if_live: Any) -> None:
    """A second question comes when the first was answered: later, where answers take longer."""
    turns = {"traffic__mix": "[{input_tokens: 100, output_tokens: 30, session: {turns: 3, think_time: 1s}}]"}
    check = ls.compare(simulated(**turns), as_if_live({"inter_token": "60ms"}, **turns))
    assert check.pairs.table["step"].max() >= 1
    assert check.cause.word == "model wrong"


def test_what_cannot_be_compared(sim: ls.Result, as_if_live: Any) -> None:
    with pytest.raises(LlmsimError, match="differ in seed"):
        ls.compare(sim, as_if_live(seed=6))
    with pytest.raises(LlmsimError, match="the simulation comes first"):
        ls.compare(as_if_live(), sim)
    with pytest.raises(LlmsimError, match="no tolerance for 'ttfb'"):
        ls.compare(sim, as_if_live(), tolerances={"ttfb": 0.1})


@pytest.mark.slow
def test_tolerances_are_the_users(sim: ls.Result, as_if_live: Any) -> None:
    live = as_if_live({"inter_token": "25ms"})
    assert line(ls.compare(sim, live), "tpot p(50)").verdict == "off"
    assert line(ls.compare(sim, live, tolerances={"tpot p(50)": 0.25}), "tpot p(50)").verdict == "good"
    assert (
        line(ls.compare(sim, live, tolerances={"max_inter_token p(50)": 0.1}), "max_inter_token p(50)").verdict == "off"
    )


@pytest.mark.slow
def test_as_plain_values(sim: ls.Result, as_if_live: Any) -> None:
    page = json.loads(json.dumps(ls.compare(sim, as_if_live()).to_dict(), allow_nan=False))
    assert (page["verdict"], page["pairs"]) == ("good", ls.compare(sim, as_if_live()).pairs.table.height)
    assert {one["name"] for one in page["metrics"]} >= {"ttft p(50)", "cost", "fallback_rate"}
