"""The gallery: every picture there is, and what it says about the pictures of others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from notebooks.stories import committed, facts, figure, fresh, with_parameters

from llmsim.report.plots import Plots
from llmsim.tuning.sweep_plots import SweepPlots
from llmsim.tuning.tuned_plots import TunedPlots

NAME = "10_gallery"


def test_its_story_holds() -> None:
    told = facts(committed(NAME))
    assert figure(told["requests without an answer"]) > 5
    assert told["p95 of everybody"] == "never"
    assert figure(told["p95 of those who were answered"]) < 20
    assert figure(told["p95 of the shipped gateway, everybody"]) < figure(told["p95 of those who were answered"])


def test_no_picture_is_missing() -> None:
    source = "\n".join(cell.source for cell in committed(NAME).cells if cell.cell_type == "code")
    shown = set(re.findall(r"\.plot\.(\w+)\(", source)) | set(re.findall(r'"(outcomes|amplification)"', source))
    for kind in (Plots, SweepPlots, TunedPlots):
        assert {name for name in vars(kind) if not name.startswith("_")} <= shown
    assert re.findall(r"^(\w+)\.plot\(\)$", source, re.MULTILINE) == ["settings", "tuned"]  # of both the first


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert facts(fresh(NAME)) == facts(committed(NAME))


@pytest.mark.long  # one replication in place of two: next to the same pictures
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=1)
