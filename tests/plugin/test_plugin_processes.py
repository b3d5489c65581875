"""The pytest plugin when processes end: by Ctrl-C, by a crash in C code, by a gateway that would end its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

SCENARIO = """\
version: 1
name: {name}
seed: 3
replications: 6
clock: {{duration: {duration}, drain: 20s}}
traffic: {{base_rate: 4/s, mix: [{{route: {name}}}]}}
providers:
  openai: {{ttft: 300ms}}
slo:
  error_rate: ["value < 20%"]
"""

GATEWAY = """\
import ctypes
import os
import pathlib


async def gateway(request, providers):
    if request.route == "crash":
        ctypes.string_at(0)
    if request.route == "exit":
        os._exit(7)
    pathlib.Path("runs").touch()
    return await providers["openai"].send(request)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nllmsim_gateway = ending:gateway\n")
    (pytester.path / "ending.py").write_text(GATEWAY, encoding="utf-8")
    return pytester.path


def write(folder: Path, name: str, duration: str = "10s") -> None:
    text = SCENARIO.format(name=name, duration=duration)
    (folder / f"{name}.scenario.yaml").write_text(text, encoding="utf-8")


def test_a_gateway_that_would_end_the_process(folder: Path, pytester: pytest.Pytester) -> None:
    write(folder, "exit")
    write(folder, "calm")
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["os._exit() inside a simulation, at *ending.py:10 in gateway: *"])


def test_a_worker_of_xdist_that_crashes(folder: Path, pytester: pytest.Pytester) -> None:
    for name in ("crash", "calm"):
        write(folder, name)
    ran = pytester.runpytest_subprocess("-n", "2", "--junitxml=out.xml")
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["worker 'gw*' crashed while running 'crash.scenario.yaml::error_rate value < 20%'"])
    assert (folder / "out.xml").read_text(encoding="utf-8").count("crashed while running") >= 1


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Ctrl-C as a terminal sends it: to the process group")
@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_ctrl_c(folder: Path, pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    write(folder, "long", "100h")
    command = [sys.executable, "-m", "pytest", *options]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        end_s = perf_counter() + 60
        while not (folder / "runs").exists():
            assert process.poll() is None and perf_counter() < end_s, process.communicate(timeout=5)
            sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=45)  # 1 to 2 s on a machine of its own
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()
        process.wait(10)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in out
    assert "INTERNALERROR" not in out and "Traceback" not in out
