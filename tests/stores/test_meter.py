"""Stored bytes over time: exact, whatever comes and goes when."""

from hypothesis import given
from hypothesis import strategies as st

from llmsim.stores.index import Found
from llmsim.stores.meter import UNKNOWN, Meter, MeteredIndex

CHANGES = st.lists(st.tuples(st.integers(0, 5), st.integers(-50, 80)), max_size=30)


@given(CHANGES, st.integers(0, 20), st.integers(0, 30))
def test_the_integral_is_that_of_a_sum_over_every_second(steps, start, length):
    meter, now, level, levels = Meter(float(start), float(start + length)), 0, 0, {}
    for wait, size in steps:
        for second in range(now, now + wait):
            levels[second] = level
        now += wait
        meter.change(float(now), float(size))
        level += size
    expected = sum(levels.get(second, level if second >= now else 0) for second in range(start, start + length))
    assert meter.byte_s(1000.0) == expected
    until = sum(levels[second] for second in levels if start <= second < start + length)
    assert meter.byte_s(float(now)) == until


class Plain:
    def __init__(self):
        self.known = {}

    def add(self, partition, entry, probe):
        self.known[entry] = probe

    def remove(self, partition, entry):
        del self.known[entry]

    def nearest(self, partition, probe):
        return Found("x", 0.5) if probe is not None else None


def test_an_index_counts_its_entries_and_weighs_them():
    clock, meter = [0.0], Meter(0.0, 100.0)
    index = MeteredIndex(Plain(), meter, lambda: clock[0])
    index.size = 10.0
    index.add(("a",), "1", "probe")
    index.add(("b",), "2", UNKNOWN)
    assert (len(index), index.entries, meter.stored_bytes) == (2, {("a",): 1, ("b",): 1}, 20.0)
    index.size = 15.0
    index.add(("a",), "1", "probe")  # again: in place of the one that was there
    assert (len(index), index.entries[("a",)], meter.stored_bytes) == (2, 1, 25.0)
    clock[0] = 4.0
    index.remove(("b",), "2")
    assert (index.entries, meter.stored_bytes) == ({("a",): 1}, 15.0)
    assert index.nearest(("a",), UNKNOWN) is None  # what nothing is known about is near nothing
    clock[0] = 6.0
    index.lost()
    assert (len(index), meter.stored_bytes, meter.byte_s(50.0)) == (0, 0.0, 4 * 25.0 + 2 * 15.0)
