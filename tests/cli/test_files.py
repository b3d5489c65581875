"""Which scenario was meant: what a name that is not there leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsim.scenario.missing import missing_file
from llmsim.scenario.shipped import shipped

SPIKE = shipped("scenarios") / "hacker-news-spike.yaml"


@pytest.mark.parametrize("name", ["scenarios/hacker-news-spike.yaml", "hacker-news-spike", "hacker-news-spike.yaml"])
def test_a_scenario_of_the_readme_is_found_by_those_who_have_no_clone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = missing_file(Path(name))
    assert error is not None
    assert f"llmsim comes with it: {SPIKE} (copy it here to change it)." in str(error)


def test_the_folder_of_the_readme_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"is in {SPIKE.parent}, and `llmsim init` writes one." in str(missing_file(Path("scenarios")))


def test_what_stands_here_is_nearer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hacker-news-spike.yml").write_text("version: 1\n", encoding="utf-8")
    assert "Did you mean hacker-news-spike.yml?" in str(missing_file(Path("hacker-news-spike.yaml")))


def test_and_of_what_nobody_knows_the_path_is_to_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(missing_file(Path("mine.yaml"))).endswith("Check the path.")
