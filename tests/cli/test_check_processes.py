"""A check in several processes: how many there are does not show, and one that dies takes only its scenario along."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCENARIOS = Path(__file__).parents[2] / "scenarios"

#: What a clock on the wall says, in each of the formats.
WALL = {
    "json": r'"wall_s": [\d.e-]+',
    "xml": r' time="[\d.]+"',
    "md": r"simulated in [\d.:]+s?",
}


def test_the_number_of_processes_and_the_hash_seed_do_not_show(spawn: Any, tmp_path: Path) -> None:
    for name in ("runaway-agent", "redis-down"):
        shutil.copy(SCENARIOS / f"{name}.yaml", tmp_path)
    told = []
    for jobs, hash_seed in ((1, "1"), (2, "2")):
        outputs = {kind: f"{jobs}.{kind}" for kind in WALL}
        process = spawn(
            "check", "runaway-agent.yaml", "redis-down.yaml", "--replications", 2, "--jobs", jobs, "-q",
            "--set", "clock.duration=4m", "--json", outputs["json"], "--junit", outputs["xml"],
            "--markdown", outputs["md"], PYTHONHASHSEED=hash_seed,
        )  # fmt: skip
        out, err = process.communicate(timeout=120)
        assert process.returncode in (0, 1, 3), out + err
        told.append(
            {
                kind: re.sub(WALL[kind], "", (tmp_path / file).read_text(encoding="utf-8"))
                for kind, file in outputs.items()
            }
        )
    assert told[0] == told[1]
    assert len(told[0]["json"]) > 5_000


def _workers(pid: int) -> list[int]:
    """Those of its child processes that simulate; joblib has one that tidies up, too."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(one) for one in children if b"popen_loky" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the workers")
def test_a_worker_that_is_killed(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    """As the kernel does when memory runs out: what was done is told and written, and the rest is named."""
    scenario("calm", replications=6)
    scenario("long", duration="100h", replications=50)
    process = spawn("check", "calm.yaml", "long.yaml", "--jobs", 2, "--json", "out.json", "--junit", "out.xml")
    said = ""
    while "1 of 2 done" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    workers = _workers(process.pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, out + err
    pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [(page["file"], page["verdict"]) for page in pages] == [("calm.yaml", "PASS"), ("long.yaml", "ERROR")]
    assert pages[1]["error"] == "WorkerDied"
    assert "long.yaml" in out and "ended from outside" in out
    assert "Traceback" not in out + err
    suites = ET.fromstring((tmp_path / "out.xml").read_text(encoding="utf-8"))
    assert suites.get("errors") == "1"


def test_a_gateway_that_ends_its_process(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        scenario(name)
    code = "import os\n\n\nasync def gateway(request, providers):\n    os._exit(7)\n"
    (tmp_path / "gone.py").write_text(code, encoding="utf-8")
    process = spawn("check", "a.yaml", "b.yaml", "--jobs", 2, "--gateway", "gone:gateway", "--json", "out.json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, out + err
    pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [page["error"] for page in pages] == ["WorkerDied"] * 2
    assert "Traceback" not in out + err
