"""``llmsim lab``: a copy that is the user's, and a server on loopback that ends when it is told to."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from llmsim.scenario.shipped import shipped

ROOT = Path(__file__).parents[2]
QUICKSTART = "notebooks/01_quickstart.ipynb"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that would have been served."""
    folders: list[Path] = []

    def serve(folder: Path, port: int | None, *, browser: bool) -> int:
        folders.append(folder)
        return 0

    def leave(code: int) -> None:
        raise typer.Exit(code)

    monkeypatch.setattr("llmsim.cli.lab._serve", serve)
    monkeypatch.setattr("llmsim.cli.lab._leave", leave)  # would end the tests, too
    return folders


def _content(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_first_time_everything_is_copied(ask: Any, served: list[Path], tmp_path: Path) -> None:
    answer = ask("lab")
    assert answer.exit_code == 0, answer.output
    lab = tmp_path / "llmsim-lab"
    assert served == [lab]
    assert (lab / QUICKSTART).read_bytes() == (ROOT / QUICKSTART).read_bytes()
    for notebook in (lab / "notebooks").glob("*.ipynb"):
        named = set(re.findall(r"\.\./(scenarios/[\w./-]+)", notebook.read_text(encoding="utf-8")))
        assert not [name for name in named if not (lab / name).is_file()]
    assert (lab / "scenarios/traces/bursty-code.csv").is_file()
    assert "a fresh copy" in answer.stdout
    assert "to go on: llmsim lab" in answer.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["llmsim-lab"]


def test_the_second_time_nothing_is_written_over(ask: Any, served: list[Path], tmp_path: Path) -> None:
    ask("lab", "mine")
    lab = tmp_path / "mine"
    assert "as it was copied" in ask("lab", "mine").stdout
    (lab / QUICKSTART).write_text("{}", encoding="utf-8")
    (lab / "notebooks" / "own.ipynb").write_text("{}", encoding="utf-8")
    (lab / "scenarios" / "brown-out.yaml").unlink()
    before = _content(lab)
    answer = ask("lab", "mine")
    assert answer.exit_code == 0, answer.output
    assert _content(lab) == before
    assert "going on with your copy" in answer.stdout
    assert re.search(rf"changed: +{QUICKSTART}, scenarios/brown-out.yaml\n", answer.stdout)
    assert re.search(r"your own: +notebooks/own.ipynb\n", answer.stdout)
    assert "newer in llmsim" not in answer.stdout
    assert "to go on: llmsim lab mine" in answer.stdout
    answer = ask("lab", "mine", "--fresh")
    assert served[-1] == tmp_path / "mine-2"
    assert _content(lab) == before
    assert (tmp_path / "mine-2" / QUICKSTART).read_bytes() == (ROOT / QUICKSTART).read_bytes()
    assert ask("lab", "mine", "--fresh").exit_code == 0
    assert served[-1] == tmp_path / "mine-3"


def test_what_is_newer_in_llmsim_is_said(ask: Any, served: list[Path], tmp_path: Path) -> None:
    ask("lab", "mine")
    mark = tmp_path / "mine" / ".llmsim-lab.json"
    told = json.loads(mark.read_text(encoding="utf-8"))
    told["files"][QUICKSTART] = "of an older one"
    del told["files"]["scenarios/brown-out.yaml"]
    mark.write_text(json.dumps(told), encoding="utf-8")
    assert re.search(rf"newer in llmsim: +{QUICKSTART}, scenarios/brown-out.yaml\n", ask("lab", "mine").stdout)
    mark.write_text("no JSON", encoding="utf-8")
    answer = ask("lab", "mine")
    assert answer.exit_code == 2
    assert "llmsim lab mine --fresh" in answer.stderr
    assert ask("lab", "mine", "--fresh").exit_code == 0


def test_an_empty_folder_will_do_and_any_other_not(
    ask: Any, served: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("lab", "first")  # goes to the test's folder
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    from command_line import invoke

    assert invoke("lab", ".").exit_code == 0
    assert (Path.cwd() / QUICKSTART).is_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name in ("other", "file"):
        answer = ask("lab", name)
        assert answer.exit_code == 2
        assert f"llmsim lab {name}-2" in answer.stderr
    assert len(served) == 2
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_an_interrupted_copy_leaves_nothing(
    ask: Any, served: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, copy = [], shutil.copyfile

    def full(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) > 3:
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    answer = ask("lab")
    assert answer.exit_code == 2
    assert "No space left on device" in answer.stderr
    assert not list(tmp_path.iterdir())
    assert not served


def test_a_port_that_is_taken(ask: Any, served: list[Path], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = ask("lab", "--port", taken.getsockname()[1])
    assert answer.exit_code == 2
    assert "leave out --port" in answer.stderr
    assert not served
    assert not list(tmp_path.iterdir())


def test_a_package_that_was_copied_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Any) -> None:
    import llmsim

    (tmp_path / "llmsim").mkdir()
    (tmp_path / "notebooks").mkdir()  # somebody else's
    monkeypatch.setattr(llmsim, "__file__", str(tmp_path / "llmsim" / "__init__.py"))
    answer = ask("lab", "mine")
    assert answer.exit_code == 2
    assert "has no notebooks" in answer.stderr
    monkeypatch.undo()
    assert shipped("notebooks") == ROOT / "notebooks"


# -- for real -------------------------------------------------------------------------------------------------------


@contextmanager
def _running(python: Path, folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``llmsim lab`` in that folder, and the address it says, once it has said it."""
    homes = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    environment = {**os.environ, **homes, "IPYTHONDIR": str(folder / "ipython")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [str(python), "-m", "llmsim", "lab", "--no-browser", *words]
    log = folder / "server.log"
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, text=True
        ) as process,
    ):
        try:
            yield process, _address(process, log)
        finally:
            process.kill()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    until = time.monotonic() + 60
    while True:
        said = log.read_text(encoding="utf-8")
        if (found := re.search(r"http://127\.0\.0\.1:(\d+)/lab\S*token=\w+", said)) and _listens(int(found[1])):
            return found[0]
        assert process.poll() is None, said
        assert time.monotonic() < until, said
        time.sleep(0.1)


def _listens(port: int) -> bool:
    """An address may be told a moment before it is open."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str) -> tuple[int, bytes]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def _start_and_stop(python: Path, folder: Path, *words: str) -> None:
    with _running(python, folder, *words) as (process, address):
        base, token = re.fullmatch(r"(http://[^/]+)/lab.*token=(\w+)", address).groups()  # type: ignore[union-attr]
        status, body = _get(f"{base}/api/status?token={token}")
        assert status == 200
        assert json.loads(body)["kernels"] == 0
        assert _get(f"{base}/api/contents/{QUICKSTART}")[0] == 403, "without the token nobody comes in"
        status, body = _get(f"{base}/api/contents/{QUICKSTART}?token={token}")
        assert json.loads(body)["content"]["cells"]
        with socket.socket() as elsewhere:  # another address of this machine, also of loopback
            elsewhere.settimeout(2)
            with pytest.raises(OSError, match="refused"):
                elsewhere.connect(("127.0.0.2", int(base.rpartition(":")[2])))
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    said = (folder / "server.log").read_text(encoding="utf-8")
    assert code == 0, said
    assert "It is all in" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.clock
def test_it_starts_serves_and_stops(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _start_and_stop(Path(sys.executable), tmp_path, "--port", str(port))


@pytest.mark.slow
@pytest.mark.clock
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds the wheel")
def test_a_wheel_brings_notebooks_and_scenarios(tmp_path: Path) -> None:
    """Of the wheel, only what it contains; what it depends on comes from this environment."""
    import numpy as np

    dist, venv, work = tmp_path / "dist", tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    for words in (
        ("uv", "build", "--quiet", "--out-dir", dist, ROOT),
        (sys.executable, "-m", "venv", "--without-pip", venv),
    ):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    python = venv / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    done = subprocess.run(
        ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(str(Path(np.__file__).parents[1]) + "\n", encoding="utf-8")
    ask = "import llmsim; print(llmsim.__file__)"
    where = subprocess.run([str(python), "-c", ask], cwd=work, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).is_relative_to(venv)
    _start_and_stop(python, work)
    copied = {file.relative_to(work / "llmsim-lab").as_posix() for file in (work / "llmsim-lab").rglob("*.yaml")}
    assert copied == {f"scenarios/{file.name}" for file in (ROOT / "scenarios").glob("*.yaml")}
    ran = subprocess.run(
        [str(python), "-m", "llmsim", "init", "new"], cwd=work, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert (work / "new" / ".github" / "workflows" / "rehearsal.yml").is_file()
