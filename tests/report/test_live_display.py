"""The line under a notebook cell: late, seldom, and gone at the end."""

from __future__ import annotations

from typing import Any

import pytest

from llmsim.api import RunProgress
from llmsim.report.live_display import NotebookProgress, notebook_progress

HALF = RunProgress(replications=4, most=20, simulated_s=130.0, total_s=540.0, requests=12_345, wall_s=6.0)


class Screen:
    """What a notebook would show."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, content: dict[str, str], **options: Any) -> Screen:
        assert options == {"raw": True, "display_id": True}
        self.shown.append(content)
        return self

    def update(self, content: dict[str, str], **options: Any) -> None:
        assert options == {"raw": True}
        self.shown.append(content)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    found = Screen()
    monkeypatch.setattr("IPython.display.display", found.display)
    return found


@pytest.mark.slow
def test_a_short_run_shows_nothing(screen: Screen) -> None:
    progress = NotebookProgress()
    for tenths in range(10):
        progress(HALF._replace(wall_s=tenths / 10))
    progress.close()
    assert screen.shown == []


def test_a_long_run_shows_a_line_four_times_a_second_and_leaves_none(screen: Screen) -> None:
    progress = NotebookProgress()
    for tenths in range(31):
        progress(HALF._replace(wall_s=tenths / 10))
    assert 6 <= len(screen.shown) <= 9
    last = screen.shown[-1]
    assert last["text/plain"].startswith("replication 5 of at most 20, 2:10 of 9:00, 12,345 requests, at most ")
    assert '<progress value="0.212"' in last["text/html"]
    progress.close()
    assert screen.shown[-1] == {"text/plain": "", "text/html": ""}


def test_there_is_none_outside_of_notebooks() -> None:
    assert notebook_progress() is None
