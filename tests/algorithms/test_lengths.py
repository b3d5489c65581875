import math

from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.lengths import LengthCap

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=150)
quantiles = st.floats(0.3, 0.95)
margins = st.floats(1.05, 3.0)


def ideal(seen, quantile, margin):
    rank = max(0, math.ceil(quantile * len(seen) - 1e-9) - 1)
    return math.ceil(sorted(seen)[rank] * margin)


@settings(max_examples=25)
@given(lengths, quantiles, margins)
def test_whole_lengths_give_the_quantile_times_the_margin(whole, quantile, margin):
    cap = LengthCap(quantile, margin, floor=1, minimum=1)
    for count, tokens in enumerate(whole, 1):
        cap.learn(tokens)
        assert cap.cap == ideal(whole[:count], quantile, margin)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 500), min_size=200, max_size=200), quantiles, margins)
def test_answers_cut_at_the_cap_do_not_pull_it_down(whole, quantile, margin):
    """When the memory holds nothing but cut lengths, the cap is what it was: what is cut stays above the quantile."""
    cap = LengthCap(quantile, margin, floor=1, minimum=1)
    for tokens in whole:
        cap.learn(tokens)
    right = cap.cap
    for tokens in whole * 5:
        cap.learn(min(tokens, right))
    assert cap.cap == right


@settings(max_examples=10)
@given(st.integers(1, 50), quantiles, st.floats(1.3, 3.0))
def test_longer_answers_are_followed_within_a_few_memories(factor, quantile, margin):
    """All of them are cut at first; the cap grows by the margin until they fit."""
    cap = LengthCap(quantile, margin, floor=1, minimum=1)
    cap.learn(100)
    steps = math.ceil(math.log(factor) / math.log(margin)) + 2
    for _ in range(1000 * steps):
        cap.learn(min(100 * factor, cap.cap))
    assert cap.cap >= 100 * factor


@settings(max_examples=25)
@given(lengths, st.integers(1, 1000))
def test_floor_and_minimum(whole, floor):
    cap = LengthCap(0.9, 1.5, floor=floor, minimum=10)
    for count, tokens in enumerate(whole, 1):
        cap.learn(tokens)
        assert (cap.cap is None) == (count < 10)
        assert cap.cap is None or cap.cap >= floor
