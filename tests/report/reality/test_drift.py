"""Two live runs where it is known what changed between them."""

from __future__ import annotations

import json
from typing import Any

import pytest

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.report.reality.drift import Drift


@pytest.mark.slow
def test_the_same_run_has_not_changed(as_if_live: Any) -> None:
    drift = ls.compare(as_if_live(), as_if_live())
    assert isinstance(drift, Drift)
    assert drift.paired
    assert drift.changes["ttft p(50)"] == drift.changes["output_tokens"] == "same"
    assert drift.changes["error_rate"] == "not seen"  # of 298 pairs, one point either way cannot be told
    assert (drift.verdict, "no change seen" in drift.headline) == ("not seen", True)
    assert any("Run it again" in note for note in drift.notes)


def test_what_changed_is_found_in_pairs(as_if_live: Any, slow: ls.Result) -> None:
    drift = ls.compare(as_if_live(), slow)
    assert drift.changes["ttft p(50)"] == "worse"
    ttft = next(one for one in drift.lines if one.name == "ttft p(50)")
    assert ttft.error == pytest.approx(0.25, abs=0.01)
    assert ttft.interval[0] > 0
    assert drift.changes["tpot p(50)"] == "same"
    assert "worse: ttft p(50) +25" in drift.headline
    page = json.loads(json.dumps(drift.to_dict(), allow_nan=False))
    told = next(one for one in page["metrics"] if one["name"] == "ttft p(50)")
    assert told["now"] / told["then"] == pytest.approx(1.25, abs=0.01)


@pytest.mark.slow
def test_better_and_too_small_to_matter(as_if_live: Any, slow: ls.Result) -> None:
    assert ls.compare(as_if_live(), slow, least_effect=0.4).verdict in ("same", "not seen")
    assert ls.compare(slow, as_if_live()).changes["ttft p(50)"] == "better"


@pytest.mark.slow
def test_other_requests_are_compared_as_samples(as_if_live: Any) -> None:
    drift = ls.compare(as_if_live(), as_if_live({"inter_token": "30ms", "errors": "{server_error: 20%}"}, seed=6))
    assert not drift.paired
    assert drift.requests[0] != drift.requests[1]
    assert (drift.changes["tpot p(50)"], drift.changes["fallback_rate"]) == ("worse", "changed")
    assert drift.changes["retry_amplification"] == "worse"
    assert drift.changes["error_rate"] == "not seen"  # fewer than a point, but nothing proves it
    assert "output_tokens a request" in drift.changes
    assert any("differ in seed, providers" in note and "not request by request" in note for note in drift.notes)


@pytest.mark.slow
def test_nothing_is_found_where_nothing_changed(as_if_live: Any) -> None:
    """Two hours of one provider: of 14 comparisons as samples, one in twenty may find something."""
    found = [
        ls.compare(as_if_live(seed=100 + 2 * n), as_if_live(seed=101 + 2 * n)).verdict in ("worse", "better", "changed")
        for n in range(14)
    ]
    assert sum(found) <= 3  # four or more of 14 at 5 %: 0.4 % (binomial)


def test_what_cannot_be_told(as_if_live: Any, sim: ls.Result) -> None:
    with pytest.raises(LlmsimError, match="of two live runs give least_effect"):
        ls.compare(as_if_live(), as_if_live(), tolerances={"cost": 0.1})
    with pytest.raises(LlmsimError, match="least effect"):
        ls.compare(as_if_live(), as_if_live(), least_effect=0.0)
