"""``llmsim init``: what it writes works as it stands, and nothing of anybody's is lost."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from llmsim.api import load
from llmsim.cli.init import FILES


def _in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of this environment, in that folder."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GITHUB_"))}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=plain, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_folder_to_start_from(ask: Any, tmp_path: Path) -> None:
    answer = ask("init", "new/rehearsal")
    assert answer.exit_code == 0, answer.output
    folder = tmp_path / "new" / "rehearsal"
    written = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert written == set(FILES)
    assert all(name in answer.stdout for name in FILES)
    assert "cd new/rehearsal" in answer.stdout
    scenario = load(folder / "scenario.yaml")
    assert len(scenario.slo) >= 3
    assert {provider for fault in scenario.faults for provider in [fault.target]} <= set(scenario.providers)
    steps = YAML(typ="safe").load(folder / ".github/workflows/rehearsal.yml")["jobs"]["rehearsal"]["steps"]
    assert any("llmsim check scenario.yaml --gateway gateway:gateway" in step.get("run", "") for step in steps)
    for name in ("gateway.py", "test_gateway.py"):
        ast.parse((folder / name).read_text(encoding="utf-8"))
    assert json.loads((folder / "notebook.ipynb").read_text(encoding="utf-8"))["nbformat"] == 4
    assert all(name in (folder / "README.md").read_text(encoding="utf-8") for name in FILES if name != "README.md")


def test_what_is_there_is_named_and_stays(ask: Any, tmp_path: Path) -> None:
    mine = tmp_path / "gateway.py"
    mine.write_text("precious = True\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine too\n", encoding="utf-8")
    answer = ask("init", ".")
    assert answer.exit_code == 2
    assert ". has gateway.py already, and nothing was written" in answer.stderr
    assert "--force" in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway.py", "notes.txt"]
    assert mine.read_text(encoding="utf-8") == "precious = True\n"
    answer = ask("init", ".", "--force")
    assert answer.exit_code == 0, answer.output
    assert "whoever_answers" in mine.read_text(encoding="utf-8")
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine too\n"
    assert "cd " not in answer.stdout


@pytest.mark.parametrize("way", ["file/rehearsal", "file"])
def test_where_it_cannot_be_written(ask: Any, tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    answer = ask("init", way)
    assert answer.exit_code == 2
    assert "file" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_everything_in_it_works(ask: Any, tmp_path: Path) -> None:
    assert ask("init", ".").exit_code == 0
    for words in (
        ("llmsim", "run", "scenario.yaml", "--replications", "6"),
        ("llmsim", "run", "scenario.yaml", "--gateway", "gateway:gateway", "--replications", "6"),
        ("llmsim", "check", "scenario.yaml", "--gateway", "gateway:gateway", "--junit", "c.xml", "--html", "report"),
        ("pytest", "-p", "no:cacheprovider"),
        ("ruff", "check", "--isolated", "."),
        ("nbclient.cli", "notebook.ipynb"),
    ):
        done = _in(tmp_path, *words)
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        if words[:2] == ("llmsim", "run"):
            assert "✓ launch-day: PASS" in done.stdout
        if words[0] == "pytest":
            assert "2 passed" in done.stdout
    assert list((tmp_path / "report").glob("*.html"))
