"""`llmsim tune`: what it says where, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmsim.scenario.load import load_scenario
from llmsim.tuning.stages import Stages

SHOP = """\
# A shop whose provider fails one call in five.
version: 1
name: shop
replications: 6
clock: {duration: 10s, drain: 20s}
traffic: {base_rate: 5/s}
providers:
  a: {ttft: 300ms, errors: {server_error: 20%}}   # measured
gateway:
  policies:
    - retry:
        max_attempts: 1   # the first included
        backoff: {initial: 100ms}
slo: {error_rate: ["value < 30%"]}
"""
BETTER = ("--space", "gateway.retry.max_attempts=1,2,4", "--minimize", "error_rate", "--held-out", "6")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP, encoding="utf-8")
    return path


@pytest.mark.slow
def test_it_tells_writes_and_can_be_seen_again(file: Path, ask: Any) -> None:
    tuned, page = file.with_name("tuned.yaml"), file.with_name("tuned.html")
    ran = ask("tune", file, *BETTER, "--json", "-", "--write", tuned, "--report", page, "--study", "shop.jsonl",
              "--optuna", file.with_name("trials.log"))  # fmt: skip
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["settings"] == {"gateway.retry.max_attempts": 4}
    assert told["written"] == str(tuned)
    assert tuned.read_text() == SHOP.replace("max_attempts: 1 ", "max_attempts: 4 ")  # comments and all
    assert load_scenario(tuned).gateway.policies[0].max_attempts == 4  # type: ignore[attr-defined]
    assert f"llmsim run {tuned} --seed {told['held_out_seed']}" in ran.stderr
    assert "luck it has not seen" in ran.stderr
    assert "<table" in page.read_text()
    assert '"study_name":"llmsim tune shop"' in file.with_name("trials.log").read_text().partition("\n")[0]


@pytest.mark.slow
def test_what_it_starts_from_can_be_set_and_is_written(file: Path, ask: Any) -> None:
    tuned = file.with_name("tuned.yaml")
    start = ("--set", "gateway.retry.max_attempts=1", "--set", "traffic.base_rate=6/s")
    ran = ask("tune", file, *BETTER, *start, "--json", "-", "--write", tuned)
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["now"] == {"gateway.retry.max_attempts": "1"}
    assert told["settings"] == {"gateway.retry.max_attempts": 4}  # and not what was set
    assert tuned.read_text() == SHOP.replace("max_attempts: 1 ", "max_attempts: 4 ").replace("5/s", "6/s")
    assert file.read_text() == SHOP


def test_nothing_better_is_1_and_writes_nothing(file: Path, ask: Any) -> None:
    tuned = file.with_name("tuned.yaml")
    worst = ("--space", "gateway.retry.max_attempts=1,2", "--maximize", "error_rate", *BETTER[4:])
    ran = ask("tune", file, *worst, "--write", tuned, "--quiet")
    assert ran.exit_code == 1
    assert "what you have is the best" in ran.stdout
    assert not tuned.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--minimize", "error_rate"), "the space is empty"),
        (("--space", "gateway.retry.max_attempts", "--minimize", "error_rate"), "is not PATH=VALUES"),
        (("--space", "gateway.retry.max_attempts=1,2"), "nothing is asked for"),
        (("--recipe", "breaker", "--minimize", "error_rate"), "nothing of the kind"),
        (("--space", "gateway.retry.max_atempts=1,2", "--minimize", "error_rate"), "max_attempts"),
        ((*BETTER, "--set", "gateway.retry.max_atempts=2"), "max_attempts"),
        ((*BETTER, "--within", "3"), "--within: '3' is not a duration"),
        ((*BETTER, "--weights", "a"), "--weights 'a' are no numbers"),
        ((*BETTER, "--study", "a.log", "--optuna", "./a.log"), "--study and --optuna both name a.log; name two files"),
        ((*BETTER, "--report", "a.html", "--json", "a.html"), "--report and --json both name a.html"),
        ((*BETTER, "--report", "nowhere/page.html"), "there is no directory"),
    ],
)
def test_what_is_wrong_is_2(file: Path, ask: Any, words: tuple[str, ...], says: str) -> None:
    ran = ask("tune", file, *words)
    assert ran.exit_code == 2
    assert says in ran.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--study", "kept.jsonl"), "Kept in kept.jsonl: the same command goes on from there."),
        ((), "with --study FILE the same command could go on from here."),
    ],
)
def test_after_an_interrupt_it_says_how_to_go_on(
    file: Path, ask: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    def stop(self: Stages) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stages, "choose", stop)
    ran = ask("tune", file, *BETTER, *words)
    assert ran.exit_code == 130
    assert says in ran.stdout
