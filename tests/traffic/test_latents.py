"""Luck that phrases of a meaning share."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest

from llmsim.traffic.latents import Spread, lucks


def drawn(spread, meanings=400, each=100, seed=1):
    random = np.random.default_rng(seed)
    answer = np.repeat(np.arange(meanings), each)
    common = random.random((2, meanings))
    same, other = lucks(spread, (common[0][answer], common[1][answer]), tuple(random.random((2, len(answer)))))
    return same, other, answer


def test_a_phrase_knows_nothing_of_it():
    """Each luck is uniform over phrases of different meanings."""
    same, other, answer = drawn(Spread(same=0.3, other=0.5, between=0.4, within=0.25), meanings=4000, each=1)
    assert len(answer) == 4000
    assert min(kstest(same, "uniform").pvalue, kstest(other, "uniform").pvalue) > 1e-3


def test_shares_and_correlations_are_those_that_were_asked_for():
    spread = Spread(same=0.3, other=0.5, between=0.6, within=-0.2)
    same, other, answer = drawn(spread)
    scores = np.stack([ndtri(same), ndtri(other)])
    means = np.stack([np.bincount(answer, row) / 100 for row in scores])
    rest = scores - means[:, answer]
    # Standard errors with 400 meanings: 7 % of a variance, .04 of a correlation.
    assert np.var(means, axis=1) == pytest.approx([0.3 + 0.007, 0.5 + 0.005], rel=0.2)
    assert np.corrcoef(means)[0, 1] == pytest.approx(0.6, abs=0.12)
    assert np.corrcoef(rest)[0, 1] == pytest.approx(-0.2, abs=0.02)


def test_without_anything_in_common_it_is_the_luck_of_phrases():
    u = np.array([0.1, 0.5, 0.9])
    same, other = lucks(Spread(within=0.0), (u[::-1], u), (u, u[::-1]))
    assert same == pytest.approx(u)
    assert other == pytest.approx(u[::-1])
