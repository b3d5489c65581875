"""A check in several processes: how many there are does not show, and one that dies takes only its scenario along."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCENARIOS = Path(__file__).parents[2] / "scenarios"

#: What a clock on the wall says, in each of the formats.
WALL = {
    "json": r'"wall_s": [\d.e-]+',
    "xml": r' time="[\d.]+"',
    "md": r"simulated in [\d.:hms]+",
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
    """As the kernel does when memory runs out, alone too: what was done is told and written, and the rest is named."""
    scenario("calm", replications=6)
    scenario("long", duration="100h", replications=50)
    process = spawn("check", "calm.yaml", "long.yaml", "--jobs", 2, "--json", "out.json", "--junit", "out.xml")
    for said in ("1 of 2 done", "one scenario is begun again"):
        line = ""
        while said not in line:
            line = process.stderr.readline()
            assert line, said
        end_s = perf_counter() + 30
        while not (workers := _workers(process.pid)):
            assert perf_counter() < end_s
            sleep(0.05)
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


#: What C code does is not refused.
ENDING = """\
import ctypes


async def gateway(request, providers):
    if request.route == "crash":
        ctypes.string_at(0)
    return await providers["openai"].send(request)
"""


def _with_one_that_crashes(scenario: Any, tmp_path: Path) -> tuple[str, ...]:
    for name in ("a", "b", "c"):
        path = scenario(name)
        if name == "b":
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("base_rate: 4/s", "base_rate: 4/s, mix: [{route: crash}]"), encoding="utf-8")
    (tmp_path / "ending.py").write_text(ENDING, encoding="utf-8")
    return ("a.yaml", "b.yaml", "c.yaml", "--gateway", "ending:gateway", "--json", "out.json")


def test_a_gateway_that_crashes_takes_no_other_along(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    process = spawn("check", *_with_one_that_crashes(scenario, tmp_path), "--jobs", 2)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 4, out + err
    pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [page["verdict"] for page in pages] == ["PASS", "ERROR", "PASS"]
    assert pages[1]["error"] == "WorkerDied"
    assert "begun again, one at a time" in err
    assert "ending.py" in err, "where it was"
    assert "Traceback" not in out + err


def test_a_crash_in_this_process_says_where(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    words = _with_one_that_crashes(scenario, tmp_path)
    process = spawn("check", "b.yaml", *words[3:])
    _, err = process.communicate(timeout=60)
    assert process.returncode < 0
    assert "ending.py" in err
    # With processes for the replications the check survives.
    process = spawn("check", "b.yaml", *words[3:], "--jobs", 2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, out + err
    assert "ended from outside" in out


def test_a_gateway_that_would_end_the_process(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    """Bad input, with the line, however many processes there are."""
    for name in ("a", "b"):
        scenario(name)
    code = "import os\n\n\nasync def gateway(request, providers):\n    os._exit(7)\n"
    (tmp_path / "gone.py").write_text(code, encoding="utf-8")
    for jobs in (1, 2):
        process = spawn("check", "a.yaml", "b.yaml", "--jobs", jobs, "--gateway", "gone:gateway", "--json", "out.json")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 2, out + err
        pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        assert [page["error"] for page in pages] == ["VirtualTimeError"] * 2
        assert "os._exit() inside a simulation" in out and "gone.py:5 in gateway" in out
        assert "Traceback" not in out + err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs terminals")
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_on_a_terminal_nothing_of_the_line_stays(scenario: Any, spawn: Any, term: str) -> None:
    names = [f"a-scenario-with-quite-a-long-name-{number}.yaml" for number in range(4)]
    for name in names:
        scenario(name.removesuffix(".yaml"))
    ours, theirs = os.openpty()
    process = spawn("check", *names, "--jobs", 2, stderr=theirs, TERM=term, COLUMNS="40")
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # Linux: EIO when the other end is closed
        while piece := os.read(ours, 65536):
            drawn += piece
    os.close(ours)
    assert process.wait(60) == 0
    frames = drawn.decode("utf-8").replace("\r\n", "\n").split("\r\x1b[2K")
    if term == "dumb":
        assert "\x1b" not in frames[0] and len(frames) == 1
        assert "1 of 4 done" in frames[0]
    else:
        assert frames[-1] == "", "erased at the end"
        assert max(map(len, frames)) < 40 and not any("\n" in frame for frame in frames)
        assert any("0 of 4 done: a-scen" in frame for frame in frames)
        assert any("3 of 4 done" in frame for frame in frames)
