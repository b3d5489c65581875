import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.backoff import Backoff

luck = st.floats(0, 1, exclude_min=True, exclude_max=True)
initials = st.floats(1e-3, 100)
retries = st.integers(1, 5000)


@st.composite
def backoffs(draw, jitter=st.sampled_from(["full", "equal", "decorrelated", "none"])):
    initial = draw(initials)
    return Backoff(
        initial=initial,
        max=initial * draw(st.floats(1, 1000)),
        multiplier=draw(st.floats(1, 10)),
        jitter=draw(jitter),
    )


@given(backoffs(), retries)
def test_the_ceiling_is_awss_formula(backoff, retry):
    exact = min(math.log(backoff.max), math.log(backoff.initial) + (retry - 1) * math.log(backoff.multiplier))
    assert backoff.ceiling(retry) == pytest.approx(math.exp(exact), rel=1e-9)


@given(backoffs(st.just("full")), retries, luck)
def test_full_jitter_is_uniform_below_the_ceiling(backoff, retry, u):
    assert backoff.delay(retry, u, backoff.initial) == u * backoff.ceiling(retry)


@given(backoffs(st.just("equal")), retries, luck)
def test_equal_jitter_keeps_half(backoff, retry, u):
    ceiling = backoff.ceiling(retry)
    delay = backoff.delay(retry, u, backoff.initial)
    assert ceiling / 2 <= delay <= ceiling
    assert delay == pytest.approx(ceiling / 2 + u * ceiling / 2)


@given(backoffs(st.just("none")), retries, luck)
def test_no_jitter_is_the_ceiling(backoff, retry, u):
    assert backoff.delay(retry, u, backoff.initial) == backoff.ceiling(retry)


@given(backoffs(st.just("decorrelated")), st.lists(luck, min_size=1, max_size=30))
def test_decorrelated_jitter_follows_its_own_luck(backoff, lucks):
    previous = backoff.initial
    for retry, u in enumerate(lucks, start=1):
        delay = backoff.delay(retry, u, previous)
        low, high = backoff.initial, min(backoff.max, 3 * previous)
        assert low * (1 - 1e-12) <= delay <= max(low, high) * (1 + 1e-12)
        assert delay == pytest.approx(min(backoff.max, low + u * (3 * previous - low)))
        previous = delay


@given(backoffs(), retries, luck, st.floats(0, 1000))
def test_retry_after_is_a_floor_and_the_jitter_goes_on_top(backoff, retry, u, floor):
    delay = backoff.delay(retry, u, backoff.initial)
    waited = backoff.after(floor, retry, u, delay)
    assert waited >= floor
    assert waited >= delay
    assert waited <= max(delay, floor + backoff.ceiling(retry))
    if backoff.jitter == "none":
        assert waited == max(delay, floor)
    elif u * backoff.ceiling(retry) > 1e-9 * floor:
        assert waited > floor


def test_a_crowd_with_one_retry_after_does_not_return_as_one():
    backoff = Backoff(initial=1.0, jitter="full")
    crowd = [(number + 0.5) / 100 for number in range(100)]
    returns = sorted(backoff.after(600.0, 1, u, backoff.delay(1, u, 1.0)) for u in crowd)
    assert returns[0] > 600.0
    assert max(b - a for a, b in itertools.pairwise(returns)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"initial": 0.0}, "above 0"),
        ({"initial": 2.0, "max": 1.0}, "write max: 2s or more"),
        ({"multiplier": 0.5}, "write 2 to double"),
        ({"jitter": "some"}, "write full, equal, decorrelated or none"),
        ({"initial": float("nan")}, "above 0"),
    ],
)
def test_what_is_wrong_says_what_to_type(fields, says):
    with pytest.raises(ValueError, match=says):
        Backoff(**fields)
