"""Bounds on rare events."""

import math

import pytest
from scipy.stats import binom

from llmsim.telemetry.rates import upper_bound


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (0, 4000), (1, 50), (7, 900), (400, 1000)])
def test_at_the_bound_so_few_events_happen_one_time_in_twenty(events, trials):
    assert binom.cdf(events, trials, upper_bound(events, trials)) == pytest.approx(0.05, rel=1e-6)


def test_none_in_n_is_about_three_in_n_and_none_of_none_says_nothing():
    assert upper_bound(0, 8000) == pytest.approx(3 / 8000, rel=0.01)
    assert upper_bound(3, 3) == 1
    assert math.isnan(upper_bound(0, 0))
