"""Choosing a cache's threshold: its story, and that it still comes out when it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebooks.stories import committed, facts, figure, fresh, with_parameters

NAME = "05_cache_threshold"


def test_its_story_holds() -> None:
    told = facts(committed(NAME))

    def number(name: str) -> float:
        return figure(told[name])

    assert number("hits of an exact-match cache") > 40, "40 % are there without any threshold"
    assert number("wrong at 0.6") > 25 > 1 > number("wrong with 3 % traps at 0.94")
    assert told["default of gptcache as a cosine"] == "0.60"
    for threshold in (0.85, 0.9, 0.94, 0.98):
        without, some, many = (number(f"wrong with {share} % traps at {threshold}") for share in (0, 3, 6))
        assert without < some < many
    assert number("wrong with 3 % traps at 0.9") > 3 * number("wrong with 0 % traps at 0.9")
    chosen = [told[f"threshold for wrong < 1% with {share} % traps"] for share in (0, 3, 6)]
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 3
    assert number("hits given up for each wrong answer avoided, from 0.85 to 0.94") > 3
    places = [told[f"share of 40 % reached from, at Zipf {skew}"] for skew in ("0.6", "0.8", "1.0", "1.2")]
    assert places == ["none of these", "threshold 0.8", "threshold 0.95", "exact matches alone"]


def test_its_decision_holds() -> None:
    told = facts(committed(NAME))
    assert told["threshold for wrong < 1%"] == "0.94"
    assert figure(told["wrong, 0.94"]) < 1 < figure(told["wrong, 0.85"])
    least = told["more hits than by exact matches"].split(", ")[1]
    assert figure(least) > 5
    assert figure(told["more hits by the verifier"].split(", ")[1]) > 0, "in all pairs"
    assert figure(told["more wrong by the verifier"]) < figure(told["more wrong by the bad one"])


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert facts(fresh(NAME)) == facts(committed(NAME)), f"run python tests/notebook_tools.py {NAME}.ipynb"


@pytest.mark.long  # so do the quickstart and the spike, in a browser, and three more by papermill
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=1)
