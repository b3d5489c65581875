"""The bookkeeping of a cache, against one that looks through everything every time."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmsim.algorithms.shelf import Shelf


class Oracle:
    """What a `Shelf` should do, in the order in which its documentation says it."""

    def __init__(self, capacity, capacity_bytes, eviction):
        self.capacity, self.capacity_bytes, self.eviction = capacity, capacity_bytes, eviction
        self.entries = {}  # id -> dict
        self.clock, self.tick = 0.0, 0

    def _rank(self, one):
        if self.eviction == "lru":
            return (one["used"],)
        if self.eviction == "lfu":
            return one["uses"], one["used"]
        return one["value"], one["used"]

    def _used(self, one):
        self.tick += 1
        one["used"] = self.tick
        one["value"] = self.clock + one["uses"] * one["cost"] / max(one["size"], 1.0)

    def find(self, place, now_s):
        return next(
            (name for name, one in self.entries.items() if one["place"] == place and now_s < one["expires_s"]), None
        )

    def put(self, name, place, expires_s, now_s, size, cost):
        gone = [other for other, one in self.entries.items() if one["place"] == place and other != name]
        self.entries = {other: one for other, one in self.entries.items() if other not in (*gone, name)}
        over = [other for other, one in self.entries.items() if one["expires_s"] <= now_s]
        for other in over:
            del self.entries[other]
        gone += over
        if size > self.capacity_bytes:
            return [*gone, name]
        while len(self.entries) >= self.capacity or self.bytes + size > self.capacity_bytes:
            first = min(self.entries, key=lambda other: self._rank(self.entries[other]))
            if self.eviction == "cost":
                self.clock = self.entries[first]["value"]
            del self.entries[first]
            gone.append(first)
        self.entries[name] = one = {"place": place, "expires_s": expires_s, "size": size, "cost": cost, "uses": 1}
        self._used(one)
        return gone

    def touch(self, name, expires_s):
        if name in self.entries:
            one = self.entries[name]
            one["uses"] += 1
            self._used(one)
            if expires_s is not None:
                one["expires_s"] = max(one["expires_s"], expires_s)

    @property
    def bytes(self):
        return sum(one["size"] for one in self.entries.values())


names = st.sampled_from([f"e{number}" for number in range(9)])
places = st.integers(0, 6)


class Machine(RuleBasedStateMachine):
    @initialize(
        capacity=st.integers(1, 5),
        capacity_bytes=st.sampled_from([math.inf, 12]),
        eviction=st.sampled_from(["lru", "lfu", "cost"]),
    )
    def begin(self, capacity, capacity_bytes, eviction):
        self.now = 0.0
        self.limits = capacity, capacity_bytes
        self.shelf = Shelf(capacity, capacity_bytes, eviction)
        self.oracle = Oracle(capacity, capacity_bytes, eviction)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        name=names,
        place=places,
        ttl_s=st.sampled_from([1.0, 4.0, 20.0, math.inf]),
        size=st.integers(0, 14),
        cost=st.integers(0, 4),
    )
    def put(self, name, place, ttl_s, size, cost):
        fields = {"expires_s": self.now + ttl_s, "now_s": self.now, "size": size, "cost": cost}
        gone = self.shelf.put(name, place, **fields)
        assert len(set(gone)) == len(gone), "nothing goes twice"
        assert set(gone) == set(self.oracle.put(name, place, **fields))
        assert (name in self.shelf) is (name not in gone)

    @rule(name=names, ttl_s=st.none() | st.sampled_from([0.5, 3.0]))
    def touch(self, name, ttl_s):
        expires_s = None if ttl_s is None else self.now + ttl_s
        self.shelf.touch(name, expires_s)
        self.oracle.touch(name, expires_s)

    @rule(name=names)
    def drop(self, name):
        assert self.shelf.drop(name) is (self.oracle.entries.pop(name, None) is not None)

    @invariant()
    def agrees(self):
        if not hasattr(self, "shelf"):
            return
        shelf, oracle = self.shelf, self.oracle
        assert {name for name in [f"e{number}" for number in range(9)] if name in shelf} == set(oracle.entries)
        assert len(shelf) == len(oracle.entries) <= self.limits[0]
        assert shelf.bytes == oracle.bytes <= self.limits[1]
        for place in range(7):
            found = shelf.find(place, self.now)
            assert found == oracle.find(place, self.now)
            assert found is None or shelf.lives(found, self.now)


TestShelf = Machine.TestCase
TestShelf.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestShelfAtLength(Machine.TestCase):
    settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@given(st.floats(0, 100), st.floats(0.001, 100))
def test_nothing_is_found_from_its_time_on(stored_s, ttl_s):
    shelf = Shelf(capacity=3)
    expires_s = stored_s + ttl_s
    shelf.put("a", "place", expires_s=expires_s)
    assert shelf.find("place", math.nextafter(expires_s, -math.inf)) == "a"
    assert shelf.find("place", expires_s) is None


def test_what_has_expired_goes_before_what_lives():
    for eviction in ("lru", "lfu", "cost"):
        shelf = Shelf(2, eviction=eviction)
        shelf.put("lives", 1, expires_s=100.0, cost=1, size=1)
        shelf.put("popular", 2, expires_s=10.0, cost=9, size=1)
        for _ in range(9):
            shelf.touch("popular")
        assert shelf.put("new", 3, expires_s=100.0, now_s=10.0, cost=1, size=1) == ["popular"], eviction


def test_use_can_keep_it_alive_and_never_shortens_its_time():
    shelf = Shelf(2)
    shelf.put("a", 1, expires_s=10.0)
    shelf.touch("a", 30.0)
    shelf.touch("a", 20.0)
    assert shelf.lives("a", 29.0)
    assert shelf.put("b", 2, expires_s=99.0, now_s=29.9) == []
    assert shelf.put("c", 3, expires_s=99.0, now_s=30.0) == ["a"]


@pytest.mark.parametrize("eviction", ["lru", "lfu", "cost"])
def test_the_books_stay_small_and_quick(eviction):
    """Heaps do not grow with the number of operations."""
    shelf = Shelf(50, eviction=eviction)
    for number in range(5000):
        shelf.put(f"{number}", number % 60, expires_s=number + 40.0, now_s=float(number), size=1, cost=number % 7)
        shelf.touch(f"{number - 3}", number + 50.0)
        if number % 3 == 0:
            shelf.drop(f"{number - 1}")
    assert len(shelf) <= 50
    assert len(shelf._by_time) <= 2 * 50 + 65
    assert len(shelf._by_rank) <= 2 * 50 + 65


def test_value_is_what_it_costs_for_its_size_and_ages():
    """By hand, from HPL-98-69: values are clock + uses × cost / size."""
    shelf = Shelf(capacity=10, capacity_bytes=10, eviction="cost")
    shelf.put("dear", 1, expires_s=math.inf, size=4, cost=8.0)  # 2.0
    shelf.put("cheap", 2, expires_s=math.inf, size=4, cost=4.0)  # 1.0
    assert shelf.put("x", 3, expires_s=math.inf, size=6, cost=9.0) == ["cheap"]  # clock 1.0; x: 2.5
    assert shelf.put("y", 4, expires_s=math.inf, size=4, cost=4.0) == ["dear"]  # clock 2.0; y: 3.0
    assert shelf.put("z", 5, expires_s=math.inf, size=1, cost=0.0) == ["x"]
