import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.telemetry.percentiles import nearest_rank, percentile, samples_needed


@pytest.mark.parametrize(
    ("percent", "needed"), [(50, 2), (75, 4), (90, 10), (95, 20), (99, 100), (99.9, 1000), (5, 20)]
)
def test_too_few_samples_are_missing_not_zero(percent, needed):
    assert samples_needed(percent) == needed
    assert math.isnan(percentile(np.ones(needed - 1), percent))
    assert percentile(np.ones(needed), percent) == 1.0


@given(
    st.lists(st.floats(0, 100) | st.just(math.inf), min_size=1, max_size=300),
    st.sampled_from([1, 10, 50, 90, 95, 99]),
    st.floats(0, 100),
)
def test_inside_the_bound_means_that_share_of_the_samples_is(values, percent, bound):
    ascending = np.sort(np.array(values))
    value = percentile(ascending, percent)
    if not math.isnan(value):
        within = np.count_nonzero(ascending <= bound)
        assert (value <= bound) == (within >= percent / 100 * len(values) - 1e-9)


@given(st.integers(1, 2000), st.sampled_from([1, 7, 29, 50, 57, 58, 90, 95, 99, 99.9]))
def test_ranks_do_not_suffer_from_binary_fractions(samples, percent):
    exact = -(-samples * round(percent * 10) // 1000)  # in whole tenths of a percent
    assert nearest_rank(percent, samples) == max(1, exact)


def test_infinity_is_never_averaged_with_its_neighbour():
    values = np.array([1.0] * 19 + [math.inf])
    assert percentile(values, 95) == 1.0
    assert percentile(np.array([1.0] * 18 + [math.inf] * 2), 95) == math.inf
