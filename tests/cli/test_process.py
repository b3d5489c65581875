"""The command line as a process: signals, pipes, colours, speed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from stolen import Stolen

pytestmark = pytest.mark.clock

OWN_POLICIES = """\
import llmsim as ls
from llmsim.cli import main


@ls.policy
class Spin:
    after: int = 50

    def start(self, run):
        seen = 0

        async def handle(request, call_next):
            nonlocal seen
            seen += 1
            while seen > self.after:
                pass
            return await call_next(request)

        return handle


@ls.policy
class Broken:
    def start(self, run):
        async def handle(request, call_next):
            return {}["nothing"]

        return handle


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def own(tmp_path: Path, scenario: Any) -> Path:
    """A program with policies of its own, and scenarios that name them."""
    for policy in ("spin", "broken"):
        path = scenario(policy, duration="60s")
        text = path.read_text(encoding="utf-8").replace("- retry: {max_attempts: 2}", f"- {policy}: {{}}")
        path.write_text(text, encoding="utf-8")
    script = tmp_path / "mine.py"
    script.write_text(OWN_POLICIES, encoding="utf-8")
    return script


def _interrupt(
    process: subprocess.Popen[str], after: str, sent: signal.Signals = signal.SIGINT
) -> tuple[float, str, str]:
    """A signal once `after` was said on stderr and a moment passed: seconds until the end, stdout, stderr."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if after in line:
            break
    time.sleep(1.0)
    assert process.poll() is None, "it ended before it could be interrupted"
    with Stolen(process.pid) as stolen:
        start = time.monotonic()
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
        seconds = time.monotonic() - start - stolen.s
    return seconds, out, said + err


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_an_interrupt_shows_and_saves_what_there_is_and_ends_with_130(
    scenario: Any, spawn: Any, tmp_path: Path, sent: signal.Signals
) -> None:
    scenario("long", duration="100h", replications=50)
    process = spawn("run", "long.yaml", "--out", "out", "--json", "-", "--jobs", 1)
    seconds, out, err = _interrupt(process, "slots", sent)
    page = json.loads(out)
    assert process.returncode == page["exit_code"] == 130
    assert page["partial"] is True
    assert page["metrics"]["requests"] > 0
    assert "(partial: interrupted)" in err
    assert "interrupted after 0 whole replications" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["partial"] is True
    assert seconds < 3.0  # showing and saving included


@pytest.mark.slow
def test_ctrl_c_ends_a_policy_that_spins(own: Path, spawn: Any) -> None:
    process = spawn("run", "spin.yaml", script=own)
    seconds, out, err = _interrupt(process, "slots")
    assert process.returncode == 130
    assert "(partial: interrupted)" in out
    assert "Traceback" not in err
    assert seconds < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP], ids=["ctrl_c", "sighup"])
def test_an_interrupt_ends_worker_processes(scenario: Any, spawn: Any, sent: signal.Signals) -> None:
    scenario("long", duration="100h", replications=50)
    process = spawn("run", "long.yaml", "--jobs", 2)
    seconds, _, err = _interrupt(process, "slots", sent)
    assert process.returncode == 130
    assert "interrupted after 0 whole replications" in err
    assert "Traceback" not in err
    assert seconds < 3.0


@pytest.mark.slow
def test_ctrl_c_ends_a_check_and_its_processes(scenario: Any, spawn: Any, tmp_path: Path) -> None:
    for name, duration in (("a", "100h"), ("c", "10s")):
        scenario(name, duration=duration, replications=50)
    process = spawn("check", "c.yaml", "a.yaml", "--jobs", 2, "--json", "out.json")
    seconds, out, err = _interrupt(process, "1 of 2 done")
    assert process.returncode == 130
    assert "Traceback" not in out + err
    pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [page["verdict"] for page in pages] == ["PASS", "NOT RUN"]
    assert seconds < 3.0


@pytest.mark.slow
def test_a_policy_that_breaks_its_contract_is_bad_input(own: Path, spawn: Any) -> None:
    process = spawn("run", "broken.yaml", script=own)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "policy 'broken' broke its contract" in err
    assert "KeyError: 'nothing'" in err
    line = 1 + own.read_text(encoding="utf-8").splitlines().index('            return {}["nothing"]')
    assert f'{own}:{line}: return {{}}["nothing"]' in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_policies_of_ones_own_reach_worker_processes(own: Path, spawn: Any) -> None:
    process = spawn("run", "broken.yaml", "--jobs", 2, script=own)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "policy 'broken' broke its contract" in err


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(scenario: Any, spawn: Any) -> None:
    scenario("calm")
    process = spawn("run", "calm.yaml")
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) == 0
    assert "BrokenPipe" not in err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("run", "calm.yaml", "-q", "--json", "-"), ("policies",), ("run", "--help")])
def test_a_full_disk_behind_standard_output_is_not_a_broken_slo(
    scenario: Any, spawn: Any, words: tuple[str, ...]
) -> None:
    scenario("calm", duration="10s")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = spawn(*words, stdout=full.fileno())
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2  # 1 would tell a build that an SLO is broken
    assert "standard output cannot be written: No space left on device" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_terminal_without_our_letters(scenario: Any, spawn: Any) -> None:
    scenario("calm")
    process = spawn("run", "calm.yaml", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "? calm: PASS" in out


def _on_a_terminal(tmp_path: Path, *words: str, **environment: str) -> str:
    """What a person sees: stdout and stderr on one pseudo-terminal."""
    ours, theirs = pty.openpty()
    unset = ("NO_COLOR", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE")
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "120", **environment}
    command = [sys.executable, "-m", "llmsim", *words]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=variables, close_fds=True
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not part:
                break
            seen += part
    os.close(ours)
    assert process.returncode == 0
    return seen.decode()


@pytest.mark.slow
def test_colours_on_a_terminal(scenario: Any, tmp_path: Path) -> None:
    scenario("calm")
    seen = _on_a_terminal(tmp_path, "run", "calm.yaml")
    assert "\x1b[32mPASS\x1b[0m" in seen
    assert "replication" in seen  # the progress line


@pytest.mark.slow
def test_no_colours_with_no_color(scenario: Any, tmp_path: Path) -> None:
    scenario("calm")
    plain = _on_a_terminal(tmp_path, "run", "calm.yaml", "--no-progress", NO_COLOR="1")
    assert "\x1b" not in plain


def test_help_needs_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys
        from llmsim.cli import main
        try:
            main(["--help"])
        except SystemExit:
            pass
        heavy = {"numpy", "polars", "pydantic", "rich", "simpy", "httpx", "joblib", "asyncio"} & set(sys.modules)
        print("heavy:", sorted(heavy))
    """)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy: []"
