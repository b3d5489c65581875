"""`llmsim search`: what it writes, what it says where, and its exit codes."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

SHOP = """\
version: 1
name: shop
replications: 6
clock: {duration: 40s, drain: 5s}
traffic: {base_rate: 2/s, arrivals: constant, mix: [{input_tokens: 50, output_tokens: 5}]}
providers:
  openai: {ttft: 100ms, inter_token: 1ms}
# Nothing catches anything.
slo: {error_rate: ["value < 5%"]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP, encoding="utf-8")
    return path


def test_what_is_found_is_written_and_red(shop: Path, ask: Any) -> None:
    words = ("search", shop, "--budget", "50", "--kinds", "abort,outage", "--max-faults", "1")
    ran = ask(*words, "--json", "-")
    assert ran.exit_code == 1, ran.stderr
    page = json.loads(ran.stdout)
    assert page["found"] is True
    assert page["verdict"] == "FAIL"
    assert page["runs"]["done"] <= 50
    (fault,) = page["faults"]
    assert fault["name"] in ("abort-openai", "outage-openai")
    assert "shop: one fault breaks error_rate value < 5%" in ran.stderr
    written = shop.with_name("shop-found.yaml")
    assert page["written"] == str(written)
    assert "# Nothing catches anything.\n" in written.read_text(encoding="utf-8")
    assert ask("run", written, "--quiet").exit_code == 1
    # Its own files are written over, others not.
    before = written.read_bytes()
    assert ask(*words, "--quiet").exit_code == 1
    assert written.read_bytes() == before
    taken = ask("search", shop, "--output", shop)
    assert taken.exit_code == 2
    assert "there is a file already, and not one of a search" in taken.stderr


def test_nothing_found(shop: Path, ask: Any) -> None:
    ran = ask("search", shop, "--budget", "50", "--kinds", "latency", "--max-faults", "1", "--quiet")
    assert ran.exit_code == 0, ran.stderr
    assert "shop: nothing found that breaks it in " in ran.stdout
    assert not shop.with_name("shop-found.yaml").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nope.yaml",), "there is no such file"),
        (("scenarios/hacker-news-spike.yaml",), "llmsim comes with it"),  # an example of --help, without a clone
        (("shop.yaml", "--budget", "5"), "use 50 or more"),
        (("shop.yaml", "--kinds", "flood"), "there is no kind 'flood'"),
        (("shop.yaml", "--max-fault-time", "lots"), "--max-fault-time"),
        (("shop.yaml", "--gateway", "nothing"), "write it like my_app.gateway:gateway"),
        (("shop.yaml", "--output", "nowhere/found.yaml"), "there is no directory nowhere"),
    ],
)
def test_bad_input(shop: Path, ask: Any, words: tuple[str, ...], told: str) -> None:
    ran = ask("search", *words)
    assert ran.exit_code == 2
    assert told in ran.stderr


@pytest.mark.slow
@pytest.mark.clock
def test_an_interrupt_writes_what_there_is(shop: Path, spawn: Any) -> None:
    process = spawn("search", shop, "--budget", "100000", "--replications", "6", "--kinds", "abort")
    time.sleep(12)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in out
    assert ("Written: " in out) == shop.with_name("shop-found.yaml").exists()
    assert "Traceback" not in err
