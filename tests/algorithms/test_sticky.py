"""The same key to the same place."""

import math
import random

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.sticky import Rendezvous, bounded

names = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=8, unique=True)

few = settings(max_examples=examples(40))  # each is a sequence of steps


@few
@given(names, st.lists(st.text(max_size=12), min_size=1, max_size=30), st.data())
def test_only_the_keys_of_a_place_that_goes_away_move(places, keys, data):
    gone = data.draw(st.sampled_from(places))
    before, after = Rendezvous(places), Rendezvous([place for place in places if place != gone])
    for key in keys:
        ranked = before.ranked(key)
        assert sorted(ranked) == sorted(places)
        assert after.ranked(key) == [place for place in ranked if place != gone]


@few
@given(names, st.text(max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_the_places_does_not_matter(places, key, order):
    ranked = Rendezvous(places).ranked(key)
    order.shuffle(places)
    assert Rendezvous(places).ranked(key) == ranked


def test_keys_spread_evenly_also_when_they_are_numbered():
    places, count = ["openai", "azure", "anthropic"], 9000
    ranks = Rendezvous(places)
    orders = [tuple(ranks.ranked(f"session/{number}")) for number in range(count)]
    for place in places:
        assert abs(sum(order[0] == place for order in orders) - count / 3) < 5 * math.sqrt(count * 2 / 9)
    assert len(set(orders)) == 6  # the keys of one place do not all move to the same second
    for order in set(orders):
        assert abs(orders.count(order) - count / 6) < 5 * math.sqrt(count * 5 / 36)


def test_it_is_the_same_in_every_process():
    assert Rendezvous(["openai", "azure", "anthropic"]).ranked("session 7") == ["openai", "azure", "anthropic"]


@few
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.floats(1, 3))
def test_a_bound_always_leaves_somebody_and_holds(loads, bound):
    place = bounded(loads, bound)
    most = math.ceil(bound * (sum(loads) + 1) / len(loads))
    assert loads[place] + 1 <= most
    assert all(load + 1 > most for load in loads[:place])  # nobody is passed over for nothing


def test_a_hot_key_spills_to_its_next_places_only():
    loads, stream = [0, 0, 0, 0], random.Random(1)
    for _ in range(400):
        loads[bounded(loads, 1.25)] += 1
        if sum(loads) > 40:
            busy = [place for place in range(4) if loads[place]]
            loads[stream.choice(busy)] -= 1
    assert loads[0] >= loads[3]
    assert max(loads) <= math.ceil(1.25 * 41 / 4)
    assert bounded([9, 0, 0, 0], None) == 0
