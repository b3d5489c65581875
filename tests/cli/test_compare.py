"""`llmsim compare`: what moved, what did not, and where two runs part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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
    # They part with the first failure: where one gives up, the other tries again.
    request = found["parts"]["request_id"]
    assert found["parts"]["before"] == "no attempt 2"
    assert found["parts"]["after"].startswith("attempt 2 (retry) to openai at ")
    assert f"with request {request}:" in ran.stdout


def test_what_cannot_be_compared(scenario: Any, ask: Any) -> None:
    scenario("one")
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
