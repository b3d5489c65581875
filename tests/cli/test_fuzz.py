"""Files that went wrong: whatever stands in them, the answer is a verdict or what is wrong in which line."""

from __future__ import annotations

import json
import re
import signal
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mutated_files import mutated, shrunk

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SEED = 6

#: Longer runs are not what this is about: a file that honestly asks for more is read and not run.
MOST_REQUESTS = 2_000
WATCHED_S = 60


@contextmanager
def watchdog() -> Iterator[None]:
    """Ctrl-C for what takes longer than 10 s."""

    def bite(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, bite)
    signal.alarm(WATCHED_S)  # 10 s of a machine of its own; wall time, on a machine that does other things, too
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def trees() -> list[Any]:
    return [shrunk(file.read_text(encoding="utf-8"), SCENARIOS) for file in sorted(SCENARIOS.glob("*.yaml"))]


def asks_for_much(file: Path) -> bool:
    from llmsim.api import load
    from llmsim.errors import ScenarioError
    from llmsim.scenario.preflight import preflight

    try:
        scenario = load(file)
    except ScenarioError:
        return False
    longest_s = scenario.clock.warm_up + scenario.clock.duration
    return preflight(scenario).expected_requests * longest_s / scenario.clock.duration > MOST_REQUESTS


@pytest.mark.slow
def test_mutations_are_a_function_of_seed_and_number(trees: list[Any]) -> None:
    first = [mutated(trees, SEED, number) for number in range(3)]
    assert first == [mutated(trees, SEED, number) for number in range(3)]
    assert len({*first, *(mutated(trees, SEED + 1, number) for number in range(3))}) == 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of numpy, about numbers like 1e308: what counts is what comes out
@pytest.mark.parametrize("numbers", [range(100), pytest.param(range(100, 300), marks=pytest.mark.long)], ids=len)
def test_mutated_files(trees: list[Any], ask: Any, tmp_path: Path, numbers: range) -> None:
    codes: Counter[int] = Counter()
    wrong = []
    for number in numbers:
        file = tmp_path / f"f{number}.yaml"
        file.write_bytes(mutated(trees, SEED, number))
        with watchdog():
            if asks_for_much(file):
                codes[-1] += 1
                continue
            done = ask(
                "check", file.name, "--no-progress", "--replications", 1, "--json", "out.json", "--junit", "out.xml"
            )
        codes[done.exit_code] += 1
        (page,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        ET.fromstring((tmp_path / "out.xml").read_text(encoding="utf-8"))
        honest = done.exit_code in (0, 1, 2, 3) and page["exit_code"] == done.exit_code
        located = done.exit_code != 2 or re.search(rf"^ *{file.name}:\d+:\d+: ", done.output, re.MULTILINE)
        if not honest or not located or "Traceback" in done.output:
            wrong.append((number, done.exit_code, done.output[:400]))
    assert not wrong
    # It is no test if everything is refused, or nothing.
    assert codes[2] > len(numbers) / 5
    assert codes[0] + codes[1] + codes[3] > len(numbers) / 6
    assert codes[-1] < len(numbers) / 10


@pytest.mark.slow
def test_a_sample_of_them_in_processes_of_their_own(trees: list[Any], spawn: Any, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"f{number}.yaml").write_bytes(mutated(trees, SEED + 1, number))
    process = spawn("check", *(f"f{number}.yaml" for number in range(3)), "--jobs", 2, "--replications", 1)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1, 2, 3)
    assert "Traceback" not in out + err
    assert out.count("The same again") + out.count("ERROR") >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--set", "gateway.retry.max_attempts"], ["--set", "="], ["--set", "a=b"], ["--set", "clock.duration=[[["],
        ["--set", "traffic=*x"], ["--set", "clock.duration=1e9d"], ["--set", "=5"], ["--set", "slo.ttft=nan"],
        ["--gateway", "nothing:here"], ["--gateway", ":"], ["--gateway", "a.b"], ["--gateway", "os:nothing"],
        ["--gateway", "os:sep"], ["--gateway", "..:x"], ["--gateway", "\x00:x"], ["--gateway", "json:loads"],
        ["--junit", "/nowhere/x.xml"], ["--json", "/"], ["--markdown", "."], ["--html", "calm.yaml"],
        ["--out", "calm.yaml"], ["--baseline", "calm.yaml"], ["--baseline", "nothing.json"],
        ["--junit", "calm.yaml/x.xml"], ["--seed", "-1"], ["--seed", str(10**30)],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_typed_wrong(words: list[str], scenario: Any, ask: Any) -> None:
    scenario("calm", replications=1)
    done = ask("check", "calm.yaml", *words)
    assert done.exit_code in (2, 3), done.output
    assert "Traceback" not in done.output
    assert "itself broke" not in done.output
    assert done.exit_code == 3 or len(done.output) > 20
