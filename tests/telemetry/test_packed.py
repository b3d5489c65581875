"""Columns in few bytes say what they said."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.telemetry.packed import constant, is_constant, joined, packed
from llmsim.telemetry.recorder import ColumnData


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(-130, 130), min_size=1, max_size=5), st.booleans())
def test_whole_numbers_are_kept_whole(some, many):
    values = np.array(some * (100 if many else 1), dtype="i8")
    assert packed(values).tolist() == values.tolist()
    parts = [packed(values), packed(values[: len(values) // 2]), packed(np.full(80, some[0]))]
    assert joined([*parts], np.dtype("i8")).tolist() == [value for part in parts for value in part.tolist()]


@pytest.mark.parametrize(("high", "bytes_each"), [(100, 1), (128, 2), (40_000, 4), (2**31, 8)])
def test_as_narrow_as_they_are(high, bytes_each):
    assert packed(np.linspace(0, high, 100).astype("i8")).itemsize == bytes_each


def test_floats_keep_their_bits():
    signs = np.array([0.0, -0.0] * 50)
    assert np.signbit(packed(signs)).tolist() == np.signbit(signs).tolist() and not is_constant(packed(signs))
    assert is_constant(packed(np.full(100, np.nan)))
    assert not is_constant(packed(np.array([np.nan] * 99 + [1.0])))


def test_one_value_many_times_is_one_value():
    blocks = [packed(np.full(4096, 7, dtype="i4")) for _ in range(3)]
    whole = joined(blocks, np.dtype("i4"))
    assert is_constant(whole) and whole.tolist() == [7] * 12288
    differ = joined([constant(np.array([1]), 70), constant(np.array([2]), 70)], np.dtype("i4"))
    assert differ.tolist() == [1] * 70 + [2] * 70
    texts = packed(np.array([""] * 100, dtype=object))
    assert is_constant(texts) and texts[99] == ""
    assert joined([], np.dtype("f8")).dtype == np.float64


def test_nothing_is_a_view_of_the_block_it_came_from():
    block = bytearray(8 * 100)
    values = packed(np.frombuffer(block, "f8", 100))
    block[:8] = b"\x01" * 8
    assert not values.any()


def test_one_value_travels_as_one():
    column = ColumnData(constant(np.array([3]), 100_000), ("a", "b", "c", "d"))
    sent = pickle.dumps(column)
    arrived = pickle.loads(sent)
    assert len(sent) < 1000 and is_constant(arrived.values)
    assert arrived.values.tolist() == column.values.tolist() and arrived.categories == column.categories
