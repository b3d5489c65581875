"""Intervals of shares: the exact binomial one, and one that knows that wrong answers come in groups."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from llmsim.report.rates import Spread, share_of, spread_of


@pytest.mark.parametrize(("count", "total"), [(0, 50), (0, 8000), (3, 8000), (25, 50), (50, 50)])
def test_of_one_replication_it_is_clopper_and_pearson(count, total):
    exact = binomtest(count, total).proportion_ci(0.95, method="exact")
    found = share_of([count], [total])
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.value == count / total


def test_none_of_few_is_not_none():
    assert share_of([0, 0], [1000, 1000]).high == pytest.approx(1 - 0.025 ** (1 / 2000))
    assert share_of([0] * 2, [1000] * 2).least_claim == pytest.approx(share_of([0] * 2, [1000] * 2).high)


def test_nothing_of_nothing():
    found = share_of([0], [0])
    assert math.isnan(found.value)
    assert (found.low, found.high, found.least_claim) == (0.0, 1.0, 1.0)


def test_groups_widen_it():
    even, groups = share_of([5] * 8, [1000] * 8), share_of([0, 20, 0, 0, 0, 20, 0, 0], [1000] * 8)
    assert even.value == groups.value
    assert groups.low < even.low < even.high < groups.high
    one = share_of([40], [8000], spread_of([40], [8000], [4 * 10**2]))
    assert one.low < even.low < even.high < one.high


def test_few_replications_do_not_show_their_spread():
    assert spread_of([0, 20], [100, 100]) == Spread()
    assert spread_of([0, 20, 0, 20, 0, 20], [100] * 6).effect > 5


def test_a_spread_seen_elsewhere_widens_even_none():
    assert share_of([0] * 4, [1000] * 4, Spread(5.0)).high == pytest.approx(5 * share_of([0], [4000]).high, rel=0.01)


def coverage(group, replications, rounds, share=0.004, size=4000):
    """How often the truth is in an interval where wrong answers come in groups, and in one that does not know it."""
    rng = np.random.default_rng(1)
    inside = naive = 0
    for _ in range(rounds):
        groups = rng.poisson(share * size / group, replications)
        counts, totals = (group * groups).tolist(), [size] * replications
        found = share_of(counts, totals, spread_of(counts, totals, (group**2 * groups).tolist()))
        plain = share_of([sum(counts)], [sum(totals)], Spread())
        inside += found.low <= share <= found.high
        naive += plain.low <= share <= plain.high
    return inside / rounds, naive / rounds


@pytest.mark.parametrize(("group", "replications"), [(1, 1), (8, 10), (8, 4)])
def test_it_contains_the_truth_as_often_as_it_says(group, replications):
    inside, naive = coverage(group, replications, rounds=400)
    assert inside >= 0.94
    if group > 1:
        assert naive < 0.8
