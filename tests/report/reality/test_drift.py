"""Two live runs where it is known what changed between them."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
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
    assert any("One earlier run cannot tell what runs differ by" in note for note in drift.notes)


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


def test_a_tail_of_few_bursts_says_how_many_it_takes(as_if_live: Any, slow: ls.Result) -> None:
    drift = ls.compare(as_if_live(), slow)
    line = next(one for one in drift.lines if one.name == "ttft p(95)")
    few = dataclasses.replace(line, interval=None, bursts=(10, 110))
    told = dataclasses.replace(drift)
    vars(told)["lines"] = [few]
    assert told._row(few)[-1] == "needs about 110 bursts like these 10"


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
    """Two hours of one provider: of 8 comparisons as samples, one in twenty may find something."""
    found = [
        ls.compare(as_if_live(seed=100 + 2 * n), as_if_live(seed=101 + 2 * n)).verdict in ("worse", "better", "changed")
        for n in range(8)
    ]
    assert sum(found) <= 2  # three or more of 8 at 5 %: 0.6 % (binomial)


def _mood(milliseconds: int) -> dict[str, str]:
    return {"ttft": f"{{lognormal: {{p50: {milliseconds}ms, p99: {milliseconds * 10 // 3}ms}}}}"}


def test_a_change_has_to_pass_what_earlier_runs_differ_by(as_if_live: Any) -> None:
    """Hours of which first tokens take 282 to 330 ms, and one of 345 ms: worse than the last, and nothing new."""
    earlier = [as_if_live(_mood(one)) for one in (330, 282, 318)]
    last, this, slow = as_if_live(), as_if_live(_mood(345)), as_if_live(_mood(900))
    alone = ls.compare(last, this)
    assert (alone.verdict, alone.changes["ttft p(50)"]) == ("worse", "worse")
    drift = ls.compare(last, this, baseline=earlier)
    assert drift.changes["ttft p(50)"] == "unsure"
    assert drift.verdict == "unsure"
    row = next(one for one in drift.told.tables[0].rows if one[1] == "ttft p(50)")
    assert row[-1] == "runs differ by as much"
    # Of 300 and these by hand: t(3) = 3.18, and the standard deviation of the logarithms is 0.067.
    spread = statistics.stdev(math.log(one) for one in (300, 330, 282, 318))
    assert drift.reach["ttft p(50)"] == pytest.approx(math.expm1(3.182 * math.sqrt(2) * spread), rel=0.06)
    assert drift.reach["output_tokens"] == pytest.approx(0.0, abs=1e-9)
    assert any("going by the 4 earlier ones" in note for note in drift.notes)
    assert ls.compare(last, slow, baseline=earlier).changes["ttft p(50)"] == "worse"
    page = json.loads(json.dumps(drift.to_dict(), allow_nan=False))
    assert (page["earlier_runs"], page["runs_differ_by"]["error_rate"]) == (4, 0.0)


@pytest.mark.slow
def test_what_is_known_of_runs_widens_what_one_alone_says(as_if_live: Any, slow: ls.Result) -> None:
    last = as_if_live()
    assert ls.compare(last, slow, run_to_run=0.3).changes["ttft p(50)"] == "unsure"
    found = ls.compare(last, slow, run_to_run=0.2)
    assert found.changes["ttft p(50)"] == "worse"
    assert "error_rate" not in found.reach
    assert "said to differ by" in " ".join(found.notes)


@pytest.mark.slow
def test_moods_of_a_machine_are_not_called_changes(as_if_live: Any) -> None:
    """Hours of one provider whose mood varies by 8 %: one earlier run calls many changed, several call few."""
    moods = [int(300 * math.exp(0.08 * one)) for one in (0.3, -1.1, 0.8, -0.2, 1.4, -0.7, 0.1, -1.6, 0.9, 0.5)]
    runs = [as_if_live(_mood(one)) for one in moods]
    called = ("worse", "better", "changed")
    alone = [ls.compare(runs[n], runs[n + 1]).verdict in called for n in range(4, 9)]
    several = [ls.compare(runs[n], runs[n + 1], baseline=runs[n - 4 : n]).verdict in called for n in range(4, 9)]
    assert sum(alone) >= 3
    assert sum(several) <= 1


def test_what_cannot_be_told(as_if_live: Any, sim: ls.Result) -> None:
    with pytest.raises(LlmsimError, match="of two live runs give least_effect"):
        ls.compare(as_if_live(), as_if_live(), tolerances={"cost": 0.1})
    with pytest.raises(LlmsimError, match="baseline 1 was simulated"):
        ls.compare(as_if_live(), as_if_live(), baseline=[sim])
    with pytest.raises(LlmsimError, match="are about two live runs"):
        ls.compare(sim, as_if_live(), run_to_run=0.1)
    with pytest.raises(LlmsimError, match="use a share above 0"):
        ls.compare(as_if_live(), as_if_live(), run_to_run=0.0)
    one, two = as_if_live(_mood(310)), as_if_live(_mood(320))
    for baseline, told in (([as_if_live()], "baseline 1 is the earlier run itself"), ([two, one], "2 is the later run"),
                           ([two, two], "baseline 2 is baseline 1 itself")):  # fmt: skip
        with pytest.raises(LlmsimError, match=told):
            ls.compare(as_if_live(), one, baseline=baseline)
    other = as_if_live(traffic__base_rate="6/s")
    with pytest.raises(LlmsimError, match="differs from the earlier run in traffic"):
        ls.compare(as_if_live(), as_if_live(), baseline=[other])
    with pytest.raises(LlmsimError, match="least effect"):
        ls.compare(as_if_live(), as_if_live(), least_effect=0.0)
