"""A scenario simulated and run on a real model, twice: what a reality check and a drift say of it.

Run with ``pytest -m live``: two runs of some 20 s. The server is started here and takes one core.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live.served import MARKS, llama, served

import llmsim as ls
from llmsim.live_run import run_live

pytestmark = MARKS

#: One thread prefills some 67 tokens and decodes some 35 a second (research): a guess, for the check to judge.
SCENARIO = """
version: 1
name: smollm2
seed: 11
clock: {warm_up: 2s, duration: 16s, drain: 30s}
traffic:
  base_rate: 0.8/s
  mix:
    - route: short
      weight: 60%
      input_tokens: {uniform: {low: 40, high: 60}}
      output_tokens: {uniform: {low: 4, high: 12}}
    - {route: long, weight: 40%, input_tokens: 60, output_tokens: 20}
providers:
  local: {ttft: 900ms, inter_token: 30ms, concurrency: 2, price: {input: $1/Mtok, output: $2/Mtok}}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a running server, ended with the module."""
    with served() as line:
        yield line


@pytest.fixture(scope="module")
def runs(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[ls.Result, ls.Result, ls.Result, Path]:
    """Simulated, live, live again; and where all are saved."""
    from llmsim.scenario.load import parse_scenario

    given = {"base_url": url, "model": llama.MODEL, "template_tokens": 31, "extra_body": {"ignore_eos": True}}
    file: dict[str, Any] = {"version": 1, "providers": {"local": {**given, "keep_alive": "0s"}}}
    lives = [run_live(parse_scenario(SCENARIO), file, budget_usd=0.05) for _ in range(2)]
    sim = ls.run(lives[0].scenario, replications=1)
    place = tmp_path_factory.mktemp("pair")
    for name, result in zip(("sim", "live", "again"), (sim, *lives), strict=True):
        result.save(place / name)
    return sim, lives[0], lives[1], place


def test_how_far_the_guess_was_off(runs: Any) -> None:
    sim, live, again, _ = runs
    check = ls.compare(sim, live, again=again)
    print(check)
    lines = {line.name: line for line in check.lines}
    assert check.pairs.table.height >= 5
    assert (lines["output_tokens"].verdict, lines["output_tokens"].error) == ("good", 0.0)
    assert lines["input_tokens"].verdict == "good"
    assert lines["cost"].verdict == "good"
    assert check.same_path == 1
    # Real gaps vary, and simulated ones here do not: the longest says so. What the machine repeats stands beside it.
    assert lines["max_inter_token p(50)"].live > lines["tpot p(50)"].live
    assert 0 < check.repeated["e2e"].mdape < 3
    json.dumps(check.to_dict(), allow_nan=False)
    page = check.to_page()
    assert page.count('<svg class="drawing"') == 4
    assert "smollm2" in check.plot.ecdf("e2e").alt
    assert check.plot.qq("ttft").png()[:4] == b"\x89PNG"


def test_the_same_run_again(runs: Any) -> None:
    _, live, again, _ = runs
    drift = ls.compare(live, again)
    print(drift)
    assert drift.paired
    assert {drift.changes[name] for name in ("input_tokens", "output_tokens", "cost")} == {"same"}
    assert drift.changes["error_rate"] == "not seen"


def test_saved_and_compared_on_the_command_line(runs: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from llmsim.cli.app import app

    place = runs[3]
    for one, other in (("sim", "live"), ("live", "again")):
        html = tmp_path / f"{one}.html"
        ran = CliRunner().invoke(app, ["compare", str(place / one), str(place / other), "--html", str(html)])
        assert ran.exit_code in (0, 1, 3), ran.output
        assert "smollm2" in ran.stdout
        assert html.stat().st_size > 10_000
