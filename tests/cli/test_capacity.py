"""`llmsim capacity`: what it says where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

BUCKET = """\
version: 1
name: bucket
replications: {replications}
clock: {{duration: 20s, drain: 5s}}
traffic: {{base_rate: 4/s, arrivals: constant, mix: [{{input_tokens: 500, output_tokens: 100}}]}}
providers:
  llm: {{ttft: 50ms, inter_token: 1ms, rate_limit: {{tokens: 180k/min, window: 1s}}}}
{slo}
"""
SLO = 'slo: {error_rate: ["value < 10%"]}'


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """3,000 tokens a second, 600 a request: 5/s, and a tenth more may be refused."""
    path = tmp_path / "bucket.yaml"
    path.write_text(BUCKET.format(replications=6, slo=SLO), encoding="utf-8")
    return path


def test_the_answer(bucket: Path, ask: Any) -> None:
    ran = ask("capacity", bucket, "--json", "-")
    assert ran.exit_code == 0
    page = json.loads(ran.stdout)
    assert page["exit_code"] == 0
    assert page["resolved"] is True
    assert 5.0 < page["passes"]["load"] <= 5.9  # 5/0.9 = 5.56, and one bucket of a second in twenty
    assert page["binds"] == ["llm tokens"]
    assert page["breaks_first"] == ["error_rate value < 10%"]
    assert "What binds: llm's tokens" in ran.stderr
    assert "2x: FAIL (error_rate value < 10%)" in ran.stderr


@pytest.mark.slow
def test_quiet_is_one_line(bucket: Path, ask: Any) -> None:
    ran = ask("capacity", bucket, "--quiet", "--tolerance", "50%", "--json", "page.json")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("bucket: holds up to ")
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""
    assert json.loads((bucket.parent / "page.json").read_text(encoding="utf-8"))["tolerance"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("load", "code"), [("5/s", 0), ("6.5/s", 1)])
def test_a_load_that_is_asked_for(bucket: Path, ask: Any, load: str, code: int) -> None:
    ran = ask("capacity", bucket, "--at-least", load, "--tolerance", "100%", "--quiet")
    assert ran.exit_code == code


def test_undecided(bucket: Path, ask: Any) -> None:
    few = ("--replications", 2, "--set", "clock.duration=2s", "--tolerance", "100%", "--quiet")
    assert ask("capacity", bucket, *few).exit_code == 3
    assert ask("capacity", bucket, *few, "--allow-undecided").exit_code == 0
    assert ask("capacity", bucket, *few, "--at-least", "4/s").exit_code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bucket.yaml", "--tolerance", "soon"), "--tolerance: 'soon' is not a ratio"),
        (("bucket.yaml", "--tolerance", "0%"), "tolerance is 0"),
        (("bucket.yaml", "--at-least", "fast"), "--at-least: 'fast' is not a rate"),
        (("buckt.yaml",), "Did you mean bucket.yaml?"),
        (("bucket.yaml", "--set", "slo={}"), "there is no SLO"),
        (("bucket.yaml", "--set", "traffic.base_rat=4/s"), "Did you mean 'base_rate'?"),
    ],
)
def test_wrong_words_say_what_to_type(bucket: Path, ask: Any, words: tuple[str, ...], said: str) -> None:
    ran = ask("capacity", *words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.output


def test_help_has_examples_and_exit_codes(ask: Any) -> None:
    ran = ask("capacity", "--help")
    assert "Examples:\n" in ran.stdout
    assert "130  interrupted" in ran.stdout
