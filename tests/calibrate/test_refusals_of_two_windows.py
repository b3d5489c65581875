"""Limits of two windows that hold together are found in the calls of a provider that has them."""

from __future__ import annotations

import pytest
from calibrate.test_refusals import CASES, calls

from llmsim.calibrate.failures import limit_words
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.profile_text import written
from llmsim.calibrate.refusals import limits_of, refused
from llmsim.calibrate.upstream import fit_upstream

#: So many a minute, and of these so many in a second; or, as Mistral has it, tokens a minute and requests a second.
BURST = {"rate_limit": {"requests": "70/min", "requests_per_second": 3}}
TOKENS = {"rate_limit": {"tokens": "40000/min", "requests_per_second": 3}}


def told(provider, seed):
    """What is said of each limit, by what it is and its window: low and high per second."""
    found = limits_of(calls(provider, seed))
    return {(one.what, one.window_s): (one.low, one.high) for one in (found[0], *found[0].beside)} if found else {}


def inside(found, truth):
    return set(found) == set(truth) and all(found[kind][0] <= per_s <= found[kind][1] for kind, per_s in truth.items())


def test_a_burst_of_a_second_and_a_minute_are_told_apart():
    found = calls(BURST, 0)
    word, why = limit_words(found)
    assert word is not None
    assert why == ""
    assert word.value["requests"] * 60 == pytest.approx(70, rel=0.01)
    assert word.value["requests_per_second"] == 3
    assert "requests a minute (in a window of 1 s)" in word.note
    assert written("rate_limit", word.value) == {"requests": "70/min", "requests_per_second": 3}
    assert inside(told(BURST, 0), {("requests", 60.0): 70 / 60, ("requests", 1.0): 3.0})


@pytest.mark.slow
@pytest.mark.parametrize("provider", [BURST, TOKENS], ids=["requests", "tokens"])
def test_both_are_found_where_both_refuse(provider):
    """Where one of them refused fewer than five calls that the other would have let in, nobody can know of it."""
    what = next(iter(provider["rate_limit"]))
    truth = {(what, 60.0): {"requests": 70, "tokens": 40000}[what] / 60, ("requests", 1.0): 3.0}
    found = [told(provider, seed) for seed in range(6)]
    assert sum(inside(one, truth) for one in found) >= 5
    assert all(set(one) <= set(truth) for one in found)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_one_limit_is_never_taken_for_two_of_two_windows(name):
    found = [limits_of(calls(CASES[name][0], seed)) for seed in range(30, 50)]
    assert sum(bool(one and one[0].beside) for one in found) <= 1


@pytest.mark.slow
def test_a_scenario_with_both_refuses_as_many(tmp_path):
    served = {"inter_token": "10ms", **BURST}
    found = fit_upstream(calls(served, 0))
    path = write_profile(profile_document(found, name="p", date="2026-11-26", of="a test"), tmp_path / "p.yaml")
    assert "requests_per_second: 3" in path.read_text(encoding="utf-8")
    one, other = (refused(calls(provider, 1)).sum() for provider in ({"profile": str(path)}, served))
    assert one == pytest.approx(other, abs=3)
    assert other > 10
