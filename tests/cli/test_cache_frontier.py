"""`llmsim cache frontier`: what it says where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

BOT = """\
version: 1
name: bot
seed: 2
replications: 2
clock: {duration: 60s, drain: 10s}
traffic:
  base_rate: 8/s
  topics: {zipf: {s: 1.0, unique: 300}, paraphrases: 40%, traps: 5%}
providers:
  llm: {ttft: 50ms, price: {input: $1/Mtok, output: $4/Mtok}}
gateway:
  policies:
    - semantic_cache: {threshold: 0.9}
"""


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    path = tmp_path / "bot.yaml"
    path.write_text(BOT, encoding="utf-8")
    return path


def test_the_answer(bot: Path, ask: Any) -> None:
    ran = ask("cache", "frontier", bot, "--thresholds", "0.75,0.9,0.95", "--tolerance", "wrong < 20%", "--json", "-")
    assert ran.exit_code == 0
    page = json.loads(ran.stdout)
    assert page["exit_code"] == 0
    best = page["recommended"]
    assert [row["threshold"] for row in page["points"]] == [0.75, 0.9, 0.95, "Infinity"]
    assert f"{best:.3f} ←" in ran.stderr
    assert page["headline"].startswith(f"bot: threshold {best:.3g} for wrong < 20%")


@pytest.mark.slow
def test_what_is_written(bot: Path, ask: Any, tmp_path: Path) -> None:
    out = tmp_path / "there"
    ran = ask("cache", "frontier", bot, "--thresholds", "0.8,0.95", "--tolerance", "wrong < 20%", "--out", out, "-q")
    assert ran.exit_code == 0
    assert ran.stdout.count("\n") == 1 and ran.stdout.startswith("bot: threshold 0.")
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "frontier.json").read_text(encoding="utf-8"))["scenario"] == "bot"
    assert (out / "frontier.csv").read_text(encoding="utf-8").splitlines()[0].startswith("sweep,threshold,ttl_s,")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thresholds", "tolerance", "code"),
    [
        ("0.98,0.999", "wrong < 0.01%", 3),  # none was wrong, and there are too few to show that
        ("0.72,0.75", "wrong < 0.01%", 1),  # too few to show that, and plainly not so
        ("0.72,0.75", "wrong < 0.5%", 1),
        ("0.72,0.75", "wrong < 99%", 0),
    ],
)
def test_exit_codes(bot: Path, ask: Any, thresholds: str, tolerance: str, code: int) -> None:
    ran = ask("cache", "frontier", bot, "--thresholds", thresholds, "--tolerance", tolerance, "-q")
    assert ran.exit_code == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--thresholds", "0.9,1.5"), "1.5 is out of range"),
        (("--thresholds", "high"), "0.70:0.99:20"),
        (("--tolerance", "errors < 1%"), "wrong < 0.5%"),
        (("--ttls", "soon"), "soon"),
        (("--set", "traffic.topics=null"), "topics"),
        (("--claim", "many"), "--claim"),
        (("--claim", "40%", "--out", "x"), "leave --out out"),
    ],
)
def test_bad_input(bot: Path, ask: Any, arguments: tuple[str, ...], said: str) -> None:
    ran = ask("cache", "frontier", bot, *arguments)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_semantic_cache_it_says_what_to_add(bot: Path, ask: Any) -> None:
    bot.write_text(BOT[: BOT.index("gateway:")], encoding="utf-8")
    ran = ask("cache", "frontier", bot, "--json", "-")
    assert ran.exit_code == 2
    assert "semantic_cache: {threshold: 0.92}" in ran.stderr
    assert json.loads(ran.stdout)["exit_code"] == 2


def test_no_such_file(ask: Any) -> None:
    assert ask("cache", "frontier", "nowhere.yaml").exit_code == 2
