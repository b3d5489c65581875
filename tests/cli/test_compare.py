"""`llmsim compare`: what moved, what did not, and where two runs part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import llmsim as ls


@pytest.mark.slow
def test_compare(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("one", replications=9, error_rate="20%")
    for name, attempts in (("before", 1), ("after", 3)):
        ask("run", "one.yaml", "--set", f"gateway.retry.max_attempts={attempts}", "--out", name, "--quiet")
    ran = ask("compare", "before", "before")
    assert ran.exit_code == 0
    assert "The two runs are the same, attempt by attempt." in ran.stdout
    ran = ask("compare", "before", "after", "--json", "out.json")
    assert ran.exit_code in (0, 1)
    assert "9 pairs under the same luck" in ran.stdout
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    moved = {one["name"]: one for one in found["differences"]}
    assert moved["error_rate"]["verdict"] == "better"
    assert moved["error_rate"]["interval"][1] < 0
    assert ask("compare", "after", "before").exit_code == 1
    ran = ask("compare", "before", "after", "--metric", "retry_amplification+2*error_rate")
    assert "retry_amplification + 2*error_rate" in ran.stdout
    assert "Did you mean 'error_rate'" in ask("compare", "before", "after", "--metric", "eror_rate").stderr
    # They part with the first failure: where one gives up, the other tries again.
    request = found["parts"]["request_id"]
    assert found["parts"]["before"] == "no attempt 2"
    assert found["parts"]["after"].startswith("attempt 2 (retry) to openai at ")
    assert f"with request {request}:" in ran.stdout


def test_what_cannot_be_compared(scenario: Any, ask: Any) -> None:
    scenario("one", replications=1)
    for name, seed in (("a", 1), ("b", 2)):
        ask("run", "one.yaml", "--seed", seed, "--out", name, "--quiet")
    ran = ask("compare", "a", "b")
    assert ran.exit_code == 2
    assert "they differ in seed: 1 and 2" in ran.stderr
    ran = ask("compare", "a", "a", "--json", "absent/out.json")
    assert ran.exit_code == 2
    assert "--json absent/out.json: cannot be written" in ran.stderr
    ran = ask("compare", "a", "nowhere")
    assert ran.exit_code == 2
    assert "holds no saved result" in ran.stderr


LIVE = """\
version: 1
name: small
seed: 3
clock: {warm_up: 2s, duration: 30s}
traffic: {base_rate: 4/s, mix: [{input_tokens: 100, output_tokens: {uniform: {low: 10, high: 40}}}]}
providers:
  one: {ttft: {lognormal: {p50: 300ms, p99: 1s}}, inter_token: 20ms, price: {input: $1/Mtok, output: $2/Mtok}}
"""


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """``saved("last", "providers.one.inter_token=25ms")``: a saved result that says it was live."""

    def save(name: str, *overrides: str) -> None:
        (tmp_path / "small.yaml").write_text(LIVE, encoding="utf-8")
        result = ls.run(ls.load(tmp_path / "small.yaml", list(overrides)), replications=1)
        one = result.replications[0]
        ls.Result(result.scenario, [one._replace(counters={**one.counters, "live": 1.0})]).save(tmp_path / name)

    return save


def test_a_scenario_against_a_live_run_that_was_saved(saved: Any, ask: Any, tmp_path: Path) -> None:
    """As a profile is held against a live run of a later week."""
    saved("week", "providers.one.inter_token=25ms")
    ran = ask("compare", "small.yaml", "week", "--html", "week.html", "--json", "week.json")
    assert ran.exit_code == 1, ran.output
    assert "live is worse than assumed: tpot p(50) 1.25x" in ran.stdout
    assert "page: week.html" in ran.stderr
    page = (tmp_path / "week.html").read_text(encoding="utf-8")
    assert "llmsim compare small.yaml week" in page
    assert page.count('<svg class="drawing"') == 4
    assert json.loads((tmp_path / "week.json").read_text(encoding="utf-8"))["cause"] == "model wrong"
    fitting = ask("compare", "small.yaml", "week", "--set", "providers.one.inter_token=25ms")
    assert "within every tolerance" in fitting.stdout
    ran = ask("compare", "small.yaml", "week", "--set", "providers.one.inter_token=25ms", "--html", "absent/a.html")
    assert ran.exit_code == 2
    assert "there is no directory absent" in ran.stderr


@pytest.mark.slow
def test_last_weeks_live_run_against_this_weeks(saved: Any, ask: Any, tmp_path: Path) -> None:
    saved("last")
    saved("this", "providers.one.ttft={lognormal: {p50: 400ms, p99: 1333ms}}")
    ran = ask("compare", "last", "this", "--html", "drift.html")
    assert ran.exit_code == 1, ran.output
    assert "worse: ttft p(50) +33" in ran.stdout
    assert "then and now" in (tmp_path / "drift.html").read_text(encoding="utf-8")
    assert ask("compare", "last", "this", "--least-effect", "0.5").exit_code == 0
    ran = ask("compare", "last", "this", "--tolerance", "cost=1%")
    assert ran.exit_code == 2
    assert "give least_effect" in ran.stderr


@pytest.mark.slow
def test_earlier_runs_say_what_is_no_change(saved: Any, ask: Any, tmp_path: Path) -> None:
    saved("last")
    for name, milliseconds in (("this", 400), ("monday", 360), ("tuesday", 260)):
        saved(name, f"providers.one.ttft={{lognormal: {{p50: {milliseconds}ms, p99: {milliseconds * 10 // 3}ms}}}}")
    ran = ask("compare", "last", "this", "--baseline", "monday", "--baseline", "tuesday", "--html", "drift.html")
    assert ran.exit_code == 3, ran.output
    assert "runs differ by as much" in ran.stdout
    assert "--baseline monday --baseline tuesday" in (tmp_path / "drift.html").read_text(encoding="utf-8")
    assert ask("compare", "last", "this", "--run-to-run", "40%").exit_code == 3
    for words, told in (
        (("--run-to-run", "0"), "write a share above 0"),
        (("--run-to-run", "5%", "--baseline", "monday"), "leave run_to_run out"),
        (("--baseline", "sunday"), "holds no saved result"),
    ):
        ran = ask("compare", "last", "this", *words)
        assert ran.exit_code == 2
        assert told in ran.stderr


@pytest.mark.slow
def test_a_page_of_two_simulations_there_is_not(scenario: Any, ask: Any) -> None:
    scenario("one")
    ask("run", "one.yaml", "--out", "a", "--quiet")
    ran = ask("compare", "a", "a", "--html", "a.html")
    assert ran.exit_code == 2
    assert "--html is for comparisons with a live run" in ran.stderr
    ran = ask("compare", "one.yaml", "a")
    assert ran.exit_code == 2
    assert "one.yaml is a file and a was simulated" in ran.stderr
