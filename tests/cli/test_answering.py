"""What commands that answer one question have in common."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from llmsim.cli import answering as module
from llmsim.cli.answering import answering, or_partial
from llmsim.errors import LlmsimError, SimulationInterrupted

FILE = Path("shop.yaml")


def test_the_answer_goes_where_it_is_to_go(tmp_path: Path) -> None:
    place = tmp_path / "page.json"
    with pytest.raises(typer.Exit) as ended, answering(FILE, "again", json=str(place), traceback=False) as answer:
        answer.code, answer.page = 3, {"exit_code": 3}
    assert (ended.value.exit_code, answer.to) == (3, "stdout")
    assert json.loads(place.read_text(encoding="utf-8")) == {"exit_code": 3}
    with pytest.raises(typer.Exit), answering(FILE, "again", json="-", traceback=False) as answer:
        pass
    assert answer.to == "stderr"


def test_what_goes_wrong_is_told_where_it_was_and_is_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "page.json"
    error = LlmsimError("no such knob")
    error.add_note("at max_attempts=3")
    with pytest.raises(typer.Exit) as ended, answering(FILE, "again", json=str(place), traceback=False) as answer:
        answer.code = 1
        raise error
    told = capsys.readouterr().err
    assert ended.value.exit_code == 2
    assert "no such knob" in told and "at          max_attempts=3" in told
    assert json.loads(place.read_text(encoding="utf-8"))["exit_code"] == 2


def test_a_place_that_is_none_is_said_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    worked = []
    with pytest.raises(typer.Exit) as ended, answering(FILE, "again", json="nowhere/a.json", traceback=False):
        worked.append(1)
    assert (ended.value.exit_code, worked) == (2, [])
    assert capsys.readouterr().err.count("nowhere/a.json") == 1, "once is enough"


def test_an_interrupt_leaves_what_there_is_and_a_thread_that_spins_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped() -> str:
        raise SimulationInterrupted("stopped", abandoned="spinning", partial="half")

    left: list[int] = []
    monkeypatch.setattr(module, "os", SimpleNamespace(_exit=left.append))
    with pytest.raises(typer.Exit), answering(FILE, "again", json=None, traceback=False) as answer:
        assert or_partial(answer, stopped) == "half"
    assert answer.abandoned and left == [130]


def test_an_interrupt_before_there_is_anything_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> str:
        raise SimulationInterrupted("stopped too early")

    with pytest.raises(typer.Exit), answering(FILE, "again", json=None, traceback=False) as answer:
        or_partial(answer, stopped)
    assert "stopped too early" in capsys.readouterr().err
