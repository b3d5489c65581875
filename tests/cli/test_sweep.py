"""`llmsim sweep`: what it says where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tuning.sweeping import SMALL

from llmsim.errors import SimulationInterrupted
from llmsim.tuning import sweep_runs
from llmsim.tuning.sweep_kept import Row


@pytest.fixture
def small(tmp_path: Path, monkeypatch: Any) -> Path:
    """A scenario file whose runs take no time: every attempt more makes errors five times as rare."""

    def one(task: Any, metrics: Any, keep: bool, progress: Any = None) -> Any:
        value = 0.2 ** task.scenario.gateway.policies[0].max_attempts * (1 + task.replication / 100)
        return sweep_runs.Done(Row(task.point, task.replication, (value,) * len(metrics), (value,)), None)

    monkeypatch.setattr(sweep_runs, "_one", one)
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL), encoding="utf-8")  # JSON is YAML
    return path


def test_the_table_the_best_and_the_files(small: Path, ask: Any, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    ran = ask("sweep", small, "--over", "gateway.retry.max_attempts=1,2,3", "--metric", "error_rate",
              "--best", "error_rate", "--out", out)  # fmt: skip
    assert ran.exit_code == 0, ran.output
    assert "→  2                   UNDECIDED" not in ran.stdout
    assert "→  2                   PASS" in ran.stdout
    assert "best error_rate: 0.82 % (0.8 % … 0.84 %) with gateway.retry.max_attempts=3" in ran.stdout
    assert f"Written: {out}" in ran.stdout
    assert pl.read_parquet(out).height == 18


@pytest.mark.parametrize("best", ["ttft p(90)", "error_rate value", "goodput"])
def test_the_best_of_any_metric(small: Path, ask: Any, best: str) -> None:
    ran = ask("sweep", small, "--over", "gateway.retry.max_attempts=1,3", "--best", best, "-q")
    assert ran.exit_code == 0, ran.output
    assert f"best {best.removesuffix(' value')}: " in ran.stdout


@pytest.mark.slow
def test_a_picture(small: Path, ask: Any, tmp_path: Path) -> None:
    plot = tmp_path / "a.png"
    ran = ask("sweep", small, "--over", "gateway.retry.max_attempts=1,2,3", "--plot", plot, "--quiet")
    assert ran.stdout == f"Drawn: {plot}\n"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_json_is_all_there_is_on_standard_output(small: Path, ask: Any) -> None:
    ran = ask("sweep", small, "--over", "gateway.retry.max_attempts=1,3", "--json", "-", "--replications", "7")
    page = json.loads(ran.stdout)
    assert (page["exit_code"], page["replications"], page["runs"]) == (0, 7, 14)
    assert [one["verdict"] for one in page["points"]] == ["FAIL", "PASS"]
    assert page["points"][1]["settings"] == ["gateway.retry.max_attempts=3"]
    assert "small: 2 points" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--over", "gateway.retry.max_attempts"], "Write it like gateway.retry.max_attempts=1,2,3."),
        (["--over", "upstream.timeout.ttft=500,1000"], "500 is not a duration. Write it like 250ms"),
        (["--over", "gateway.retry.max_attemps=1"], "Did you mean 'max_attempts'?"),
        (["--over", "a=1", "--over", "a=2"], "Put all its values into one --over."),
        (["--over", "upstream.timeout.ttft=1s..5s"], "Write 1s..5s in 5, or take a design that draws."),
        (["--over", "upstream.timeout.ttft=1s", "--out", "a.csv"], "ends with .parquet"),
        (["--over", "upstream.timeout.ttft=1s", "--plot", "a.svg"], "ends with .png"),
        (["--over", "upstream.timeout.ttft=1s", "--metric", "eror_rate"], "Did you mean 'error_rate'?"),
        (["--over", "upstream.timeout.ttft=1s", "--best", "eror_rate"], "metric 'eror_rate'"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_type(small: Path, ask: Any, words: list[str], said: str) -> None:
    ran = ask("sweep", small, *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_interrupt_keeps_what_is_there_and_says_how_to_go_on(small: Path, ask: Any, monkeypatch: Any) -> None:
    before, out = sweep_runs._one, small.with_name("b.parquet")

    def some(task: Any, *rest: Any) -> Any:
        if (task.point, task.replication) == (1, 2):
            raise SimulationInterrupted("interrupted")
        return before(task, *rest)

    monkeypatch.setattr(sweep_runs, "_one", some)
    words = ("sweep", small, "--over", "gateway.retry.max_attempts=1,3", "--out", out)
    ran = ask(*words)
    assert ran.exit_code == 130
    assert "interrupted after 5 of 12 runs" in ran.stdout
    assert "the same command goes on from there" in ran.stderr
    monkeypatch.setattr(sweep_runs, "_one", before)
    ran = ask(*words)
    assert ran.exit_code == 0
    assert pl.read_parquet(out).height == 12


def test_help_has_examples(ask: Any) -> None:
    ran = ask("sweep", "--help")
    assert "llmsim sweep scenarios/brown-out.yaml --over gateway.retry.max_attempts=1,2,3" in ran.stdout
    assert "130  interrupted" in ran.stdout
