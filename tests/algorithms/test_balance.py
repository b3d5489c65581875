"""Choosing by chance and by load."""

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.balance import least, two_choices, weighted
from llmsim.luck import Luck

lucks = st.floats(0, 1, exclude_min=True, exclude_max=True)
loads = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(weights=st.lists(st.floats(0, 100), min_size=1, max_size=6).filter(any), luck=lucks)
def test_a_weight_of_zero_is_never_drawn(weights, luck):
    assert weights[weighted(weights, luck)] > 0


@settings(max_examples=20)
@given(weights=st.lists(st.integers(1, 9), min_size=2, max_size=5), seed=st.integers(0, 2**32))
def test_shares_are_the_weights_whatever_the_order_of_requests(weights, seed):
    count = 1000
    forwards, backwards = Luck(seed), Luck(seed)
    drawn = [weighted(weights, forwards.uniform("pick", f"{number}/0/0")) for number in range(count)]
    again = [weighted(weights, backwards.uniform("pick", f"{number}/0/0")) for number in reversed(range(count))]
    assert drawn == again[::-1]
    for place, weight in enumerate(weights):
        share = weight / sum(weights)
        z = (drawn.count(place) - count * share) / math.sqrt(count * share * (1 - share))
        assert abs(z) < 5  # up to 100 looks a run: red by chance once in some ten thousand runs


@given(loads, lucks)
def test_least_is_one_of_the_smallest(values, luck):
    assert values[least(values, luck)] == min(values)


def test_equals_are_all_drawn_alike():
    stream = random.Random(3)
    draws = [least([1, 0, 0, 0, 2], stream.random()) for _ in range(3000)]
    for place in (1, 2, 3):
        assert abs(draws.count(place) - 1000) < 5 * math.sqrt(3000 * 2 / 9)


@given(loads, lucks, lucks)
def test_two_choices_never_takes_the_worse_of_its_two(values, first, second):
    taken = two_choices(values, first, second)
    drawn = {two_choices([0] * len(values), first, second), taken}
    assert all(values[taken] <= values[place] for place in drawn)
    # Whatever the loads, the place that was drawn first is taken unless another is better.
    assert values[taken] < values[two_choices([0] * len(values), first, second)] or len(drawn) == 1


@given(st.integers(2, 6), lucks, lucks)
def test_its_two_are_different(count, first, second):
    a = two_choices([0] * count, first, second)
    b = two_choices([int(place == a) for place in range(count)], first, second)  # `a` is worse now
    assert a != b


def test_all_pairs_are_drawn_alike():
    stream, count, pairs = random.Random(5), 12_000, {}
    for _ in range(count):
        first, second = stream.random(), stream.random()
        a = two_choices([0, 0, 0, 0], first, second)
        b = two_choices([int(place == a) for place in range(4)], first, second)
        pairs[a, b] = pairs.get((a, b), 0) + 1
    assert len(pairs) == 12
    assert all(abs(seen - 1000) < 5 * math.sqrt(count * 11 / 144) for seen in pairs.values())
