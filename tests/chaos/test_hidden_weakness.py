"""The real thing: a weakness that no single fault shows is found, and shrunk to the two faults it takes."""

import pytest
from chaos import hidden
from chaos.spaces import CHECKOUT

import llmsim
from llmsim.chaos.search import search

SEEDS = (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEEDS[0], pytest.param(SEEDS[1], marks=pytest.mark.long)])
def test_only_a_stall_overlapping_a_quota_cut_hurts(seed):
    scenario = llmsim.load(CHECKOUT).with_gateway(hidden.gateway)
    found = search(scenario, budget=300, seed=seed, jobs=1)
    assert found.found, found.headline
    assert found.runs <= 300
    assert {spell[:2] for spell in found.schedule} == {("stall", "openai"), ("rate_limit", "anthropic")}
    assert found.overlap is not None
    assert found.line.key == "error_rate"
    assert found.broken.verdict == "FAIL"
    alone = [part for part in found.parts if len(part.schedule) == 1]
    assert [part.verdict for part in alone] == ["PASS", "PASS"]
    assert "429 from anthropic" in found.advice[0]


@pytest.mark.slow
def test_the_answer_does_not_depend_on_the_number_of_processes():
    scenario = llmsim.load(CHECKOUT).with_gateway([])
    one, two = (
        {**search(scenario, budget=60, slo=["error_rate"], jobs=jobs).to_dict(), "wall_s": 0} for jobs in (1, 2)
    )
    assert one == two
    assert one["found"]
