import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms import RollingQuantile

values = st.lists(st.floats(0, 1e6), max_size=60)


@given(values, st.integers(1, 20), st.sampled_from([0.01, 0.25, 0.5, 0.9, 0.95, 0.99]))
def test_it_is_the_quantile_of_the_last_so_many(values, size, quantile):
    rolling = RollingQuantile(quantile, size)
    for count, value in enumerate(values, start=1):
        rolling.add(value)
        last = values[max(0, count - size) : count]
        assert rolling.count == len(last)
        assert rolling.value == np.quantile(last, quantile, method="inverted_cdf")


def test_of_nothing_there_is_none():
    assert math.isnan(RollingQuantile(0.95, 10).value)


@pytest.mark.parametrize("count", [20, 100, 1000])
def test_a_rounding_error_is_not_a_whole_rank(count):
    """0.95 · 100 is 95.00000000000001 in floats, and the 95th value, not the 96th, has 95 % at or below it."""
    rolling = RollingQuantile(0.95, count)
    for value in range(1, count + 1):
        rolling.add(float(value))
    assert rolling.value == 0.95 * count
