"""Shares of luck: found where they are known, and worth what a control variate is worth."""

import math

import numpy as np
import pytest

from llmsim.tuning.common_luck import BELIEF, CommonLuck, unlike


def pairs(rng, correlation, n):
    theirs = rng.normal(0, 1, n)
    return list(correlation * theirs + math.sqrt(1 - correlation**2) * rng.normal(0, 1, n)), list(theirs)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7, 0.95])
def test_of_many_comparisons_of_two_replications_it_is_the_slope(correlation):
    rng, common, count = np.random.default_rng(3), CommonLuck(), 2000
    for _ in range(count):
        common.learn("limit 0", *pairs(rng, correlation, 2))
    # A slope of 2,000 comparisons with a degree of freedom each has a standard error of 1/sqrt(2000) at most; the
    # belief moves it by two comparisons of them.
    assert common.share("limit 0") == pytest.approx(correlation, abs=3 / math.sqrt(count) + BELIEF / count)
    known = 1 - 2 * 0.5 * correlation + 0.25  # of mine less half of theirs
    found = [common.variance("limit 0", 0.5) or 0.0]
    # In the median of chi-squared with one degree of freedom, .455 of the mean.
    assert found[0] / 0.455 == pytest.approx(known, rel=0.15)


def test_nothing_known_is_believed_to_be_common():
    common = CommonLuck()
    assert (common.share("goal 0"), common.variance("goal 0")) == (1.0, None)
    common.learn("goal 0", [1.0, math.inf], [1.0, 2.0])
    common.learn("goal 0", [1.0], [1.0])
    assert (common.share("goal 0"), common.variance("goal 0")) == (1.0, None)
    common.learn("goal 0", [1.0, 2.0], [3.0, 3.0])
    assert common.share("goal 0") == 1.0


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_right_share_tells_a_mean_best(correlation):
    """Of two replications out of twenty, of which the other has all: no other share has less error."""
    rng, shares = np.random.default_rng(8), (0.0, 0.5, 0.95, 1.0)
    errors = dict.fromkeys(shares, 0.0)
    for _ in range(3000):
        mine, theirs = pairs(rng, correlation, 20)
        for share in shares:
            told = math.fsum(unlike(mine[:2], theirs, share)) / 2 + math.fsum(theirs) / 20
            errors[share] += (told - math.fsum(mine) / 20) ** 2
    assert min(errors, key=errors.__getitem__) == correlation
