import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.throttle import AdaptiveThrottle

steps = st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ra")), max_size=200)


@given(st.floats(1, 5), st.integers(0, 30), steps)
def test_it_is_googles_formula_over_the_window(k, minimum, steps):
    throttle, now, requests, accepts = AdaptiveThrottle(k, 60.0, minimum), 0.0, [], []
    for wait, what in steps:
        now += wait
        (requests if what == "r" else accepts).append(now)
        (throttle.request if what == "r" else throttle.accept)(now)
        found = throttle.probability(now)
        assert 0 <= found < 1

        def formula(window, now=now):
            return [sum(at > now - window for at in times) for times in (requests, accepts)]

        (low_r, low_a), (high_r, high_a) = formula(54.0), formula(60.0)  # the ring covers 54 to 60 s
        if high_r < minimum:
            assert found == 0
        elif low_r >= minimum:
            assert found <= max(0.0, (high_r - k * low_a) / (high_r + 1)) + 1e-12
            assert found >= max(0.0, (low_r - k * high_a) / (low_r + 1)) - 1e-12


@pytest.mark.parametrize("accepted", [0, 10, 50, 60, 100])
def test_the_formula_to_the_digit(accepted):
    throttle = AdaptiveThrottle(2.0)
    for number in range(100):
        throttle.request(number / 10)
        if number < accepted:
            throttle.accept(number / 10)
    assert throttle.probability(10.0) == max(0.0, (100 - 2 * accepted) / 101)
    assert throttle.probability(200.0) == 0.0
