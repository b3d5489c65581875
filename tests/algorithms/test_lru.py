from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmsim.algorithms.lru import LruCache

CAPACITY = 4
TTL = 10.0
keys = st.integers(0, 7)


class LruAgainstAList(RuleBasedStateMachine):
    """The model is a list of (key, value, stored at), least recently used first, that does everything the slow way."""

    def __init__(self):
        super().__init__()
        self.cache = LruCache[int](CAPACITY, TTL)
        self.model = []
        self.now = 0.0
        self.value = 0

    @rule(key=keys)
    def put(self, key):
        self.value += 1
        self.cache.put(key, self.value, self.now)
        self.model = [entry for entry in self.model if entry[0] != key] + [(key, self.value, self.now)]
        self.model = self.model[-CAPACITY:]

    @rule(key=keys)
    def get(self, key):
        found = [entry for entry in self.model if entry[0] == key]
        self.model = [entry for entry in self.model if entry[0] != key]
        fresh = [entry for entry in found if self.now - entry[2] < TTL]
        self.model += fresh
        assert self.cache.get(key, self.now) == (fresh[0][1] if fresh else None)

    @rule(wait=st.sampled_from([0.25, 1.0, 5.0, 10.0]))
    def wait(self, wait):
        self.now += wait

    @precondition(lambda self: self.model)
    @rule()
    def never_after_its_time(self):
        key, _, stored = self.model[0]
        self.model = self.model[1:]
        assert self.cache.get(key, stored + TTL) is None

    @invariant()
    def never_over_capacity(self):
        assert len(self.cache) == len(self.model) <= CAPACITY


TestLruAgainstAList = LruAgainstAList.TestCase
TestLruAgainstAList.settings = settings(max_examples=examples(60), stateful_step_count=40)


@given(st.integers(1, 20), st.lists(st.integers(0, 50), max_size=200))
def test_never_exceeds_capacity_and_counts_what_had_to_go(capacity, puts):
    cache = LruCache[int](capacity)
    for position, key in enumerate(puts):
        cache.put(key, position, now=float(position))
        assert len(cache) <= capacity
        assert cache.get(key, now=float(position)) == position
    if len(set(puts)) <= capacity:
        assert cache.evicted == 0


def test_without_ttl_nothing_expires():
    cache = LruCache[str](1)
    cache.put("a", "x", now=0.0)
    assert cache.get("a", now=1e12) == "x"
    assert cache.expired == 0
