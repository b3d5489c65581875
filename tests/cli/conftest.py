"""Small scenarios with known verdicts, and the command line in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import invoke
from typer.testing import Result

SCENARIO = """\
version: 1
name: {name}
description: Made by a test.
seed: 3
replications: {replications}
clock: {{duration: {duration}, drain: 20s}}
traffic: {{base_rate: 4/s}}
providers:
  openai: {{ttft: 300ms, concurrency: 50, errors: {{server_error: {error_rate}}}}}
gateway:
  policies:
    - retry: {{max_attempts: 2}}
slo:
  error_rate: ["value < {bound}"]
"""

#: Without bytecode every process would compile polars and pydantic anew.
UNSET = ("NO_COLOR", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE")

DEFAULTS = {"name": "calm", "replications": 6, "duration": "10s", "error_rate": "0%", "bound": "10%"}

Write = Callable[..., Path]
Ask = Callable[..., Result]


@pytest.fixture
def scenario(tmp_path: Path) -> Write:
    """Write a scenario into the test's directory: ``scenario("calm")``, ``scenario("sick", error_rate="90%")``."""

    def write(name: str, **changes: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(SCENARIO.format(**{**DEFAULTS, "name": name, **changes}), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """``ask("run", "calm.yaml")`` in this process, with the test's directory as the current one."""
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``spawn("run", "calm.yaml")`` in a process of its own, with pipes; ``script=`` runs that file instead,
    and ``stdout=`` and ``stderr=`` are where these go."""

    def start(
        *words: object,
        script: Path | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **environment: str,
    ) -> subprocess.Popen[str]:
        command = [sys.executable, *(["-m", "llmsim"] if script is None else [str(script)]), *map(str, words)]
        plain = {name: value for name, value in os.environ.items() if name not in UNSET}
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={**plain, **environment},
        )
        started.append(process)
        return process

    started: list[subprocess.Popen[str]] = []
    yield start
    for process in started:
        process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait(10)
