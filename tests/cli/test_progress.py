"""What is said of a run that goes on."""

from __future__ import annotations

import pytest

from llmsim.api import RunProgress
from llmsim.cli.progress import progress
from llmsim.report.live_display import left_s, sentence

HALF = RunProgress(replications=4, most=20, simulated_s=130.0, total_s=540.0, requests=12_345, wall_s=6.0)


def test_a_sentence() -> None:
    assert sentence(HALF) == "replication 5 of at most 20, 2:10 of 9:00, 12,345 requests"


def test_worker_processes_do_not_say_where_they_are() -> None:
    assert sentence(HALF._replace(simulated_s=0.0, replications=20)) == "replication 20 of at most 20, 12,345 requests"


def test_the_time_left_waits_until_there_is_something_to_tell_it_by() -> None:
    assert left_s(HALF._replace(wall_s=0.2)) is None
    assert left_s(HALF._replace(replications=0, simulated_s=0.0)) is None
    assert left_s(HALF) == pytest.approx(6.0 / HALF.share - 6.0)


def test_a_log_gets_a_line_now_and_then(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("spike", wanted=True) as report:
        assert report is not None
        for tenths in range(250):
            report(HALF._replace(wall_s=tenths / 10))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"spike: {sentence(HALF)}, 10s"


def test_unwanted(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("spike", wanted=False) as report:
        assert report is None
    assert capfd.readouterr().err == ""
