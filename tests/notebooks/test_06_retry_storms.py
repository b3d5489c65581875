"""Retry storms: its story, and that it still comes out when it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebooks.stories import committed, facts, figure, fresh, with_parameters

NAME = "06_retry_storms"

CURES = {
    "two retries (an SDK)": 0,
    "one retry": 0,
    "the server stops when they hang up": 0,
    "at most 250 calls at once": 0,
    "circuit breaker": 6,
    "no retries": 6,
    "retries are a tenth of requests": 6,
    "at most 130 calls at once": 6,
    "the server refuses the 131st": 6,
}


def test_its_story_holds() -> None:
    told = facts(committed(NAME))
    assert told["runs that are up again 30 s after the spike"] == "0 of 6"
    assert {name: figure(told[f"up again, {name}"]) for name in CURES} == CURES
    assert 0 < figure(told["up again, retries after 20 s and 40 s"]) < 6, "some, and not all"
    sent, borne = (
        figure(told[f"calls {what}"])
        for what in ("the server gets per second then", "per second it could answer within 3 s")
    )
    assert sent > 1.5 * borne
    up = [figure(told[f"answered 30 s after the spike, at {rate} a second"]) for rate in (15, 20, 25, 30, 40)]
    assert min(up[:2]) > 90 > 50 > max(up[2:]), "three attempts each: a third of what it can bear"
    assert borne / 3 < 25 < 0.4 * borne
    down, of = (int(part) for part in told["runs that stay down after five seconds of twice the load"].split(" of "))
    assert 0 < down < of, "chance decides"


def test_its_decision_holds() -> None:
    told = facts(committed(NAME))
    assert told["runs that stay down, with both"] == "0 of 20"
    assert figure(told["of all such spikes at most, with 95 % confidence"]) == 14  # 1 - 0.05 ** (1 / 20)
    assert figure(told["less than with the budget alone"].split(", ")[1]) > 0, "in all pairs"
    assert told["up again with the wrong limit and the budget"] == "6 of 6"


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert facts(fresh(NAME)) == facts(committed(NAME)), f"run python tests/notebook_tools.py {NAME}.ipynb"


@pytest.mark.long  # so do the quickstart and the spike, in a browser, and three more by papermill
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=1, SURE=2)
