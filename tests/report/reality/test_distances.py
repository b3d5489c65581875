"""Distances against closed forms and against how often intervals hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from llmsim.report.reality.distances import interval_of, interval_of_shares, ks_band, ks_distance, per_request


def test_errors_pair_by_pair() -> None:
    live = np.array([1.0, 2.0, 4.0, 5.0, 0.0])
    sim = np.array([1.1, 1.8, 4.8, 5.5, 9.0])
    apart = per_request(sim, live)
    assert apart.pairs == 4  # of nothing there is no share
    assert apart.bias == pytest.approx(0.1)
    assert apart.mdape == pytest.approx(0.1)
    assert apart.mape == pytest.approx((0.1 + 0.1 + 0.2 + 0.1) / 4)
    assert apart.correlation == pytest.approx(stats.spearmanr(sim, live).statistic)


def test_ranks_are_shared_by_equal_values() -> None:
    one, other = np.array([1.0, 1.0, 2.0, 3.0, 3.0]), np.array([2.0, 1.0, 2.0, 5.0, 4.0])
    assert per_request(one, other).correlation == pytest.approx(stats.spearmanr(one, other).statistic)
    assert np.isnan(per_request(one, np.ones(5)).correlation)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (50, 200), (7, 9)])
def test_ks_distance_is_scipys(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.normal(size=n).round(1), rng.normal(0.3, size=m).round(1)
    assert ks_distance(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)


def test_equal_distributions_stay_within_the_band() -> None:
    rng = np.random.default_rng(5)
    inside = [ks_distance(rng.normal(size=80), rng.normal(size=120)) < ks_band(80, 120) for _ in range(400)]
    assert np.mean(inside) > 0.93


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Ratio of sums of pairs whose true ratio is 1.1."""
    rng = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        live = rng.lognormal(0.0, 0.5, size=100)
        sim = 1.1 * live * rng.lognormal(-0.02, 0.2, size=100)  # mean of the noise: 1
        found = interval_of(lambda one, other: one.sum(axis=-1) / other.sum(axis=-1) - 1, sim, live)
        assert found is not None
        held += found[0] <= 0.1 <= found[1]
    # 95 % asked for; the percentile bootstrap of 100 pairs gives 93 to 95 %, and chance 1.6 points.
    assert held / 200 > 0.89
    assert interval_of(lambda one, other: one.sum(axis=-1), sim[:9], live[:9]) is None


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_intervals_of_shares_hold_the_truth(share: float) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(500):
        both = rng.uniform(size=(2, 120))
        both[1] = np.where(rng.uniform(size=120) < 0.5, both[0], both[1])  # half of the requests meet the same fate
        found = interval_of_shares(*(both < [[share + 0.03], [share]]).astype(float))
        assert found is not None
        held.append(found[0] <= 0.03 <= found[1])
    assert np.mean(held) >= 0.93
