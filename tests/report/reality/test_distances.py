"""Distances against closed forms, and bands against how often they hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from llmsim.report.reality.distances import ks_band, ks_band_of_pairs, ks_distance, per_request


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


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_pairs_of_one_distribution_stay_within_their_band(alike: float) -> None:
    """95 % asked for; the band must also be no wider than it takes, or nothing is ever found."""
    rng = np.random.default_rng(8)
    inside, inside_independent = [], []
    for _ in range(120):
        one = rng.normal(size=60)
        other = alike * one + np.sqrt(1 - alike**2) * rng.normal(size=60)
        distance = ks_distance(one, other)
        inside.append(distance <= ks_band_of_pairs(one, other))
        inside_independent.append(distance <= ks_band(60, 60))
    assert 0.90 < np.mean(inside) < 1.0  # chance: 2 points
    if alike:
        assert np.mean(inside_independent) == 1.0  # which is why pairs need a band of their own
        shifted = one + 0.5
        assert ks_distance(one, shifted) > ks_band_of_pairs(one, shifted)
