"""What goes into Redis comes back to the last bit; what comes out of Redis is not believed."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.gateway.caching import Entry, StoreError
from llmsim.stores.redis_codec import canonical, decoded, digest, encoded
from llmsim.types import Chunk, Message, Usage

texts = st.text(st.characters(), max_size=12)  # lone surrogates too
numbers = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70)
keys = st.recursive(
    st.none() | st.booleans() | texts | numbers, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=8
)
counts = st.integers(0, 2**53)
entries = st.builds(
    Entry,
    id=texts,
    partition=st.lists(texts, max_size=4).map(tuple),
    key=keys,
    words=texts,
    chunks=st.lists(st.builds(Chunk, texts, counts), max_size=4).map(tuple),
    usage=st.builds(Usage, counts, counts, counts, counts),
    model=texts,
    origin=texts,
    request_id=texts,
    stored_s=st.floats(allow_nan=False),
    expires_s=st.floats(allow_nan=False),
    cost_usd=st.floats(allow_nan=False),
)


def exactly(value):
    """A text that tells 1 from 1.0, 0.0 from -0.0, and a chunk from a tuple."""
    return repr(value)


@given(entries)
def test_an_entry_survives_exactly(entry):
    back = decoded(encoded(entry))
    assert back == entry
    assert exactly(back) == exactly(entry)


@given(keys, keys)
def test_names_are_equal_where_keys_are(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


def test_equal_numbers_are_one_key_as_in_a_dict():
    assert canonical((0, 1, 2.5, -0.0)) == canonical((0.0, True, 2.5, 0))
    assert canonical("1") != canonical(1)
    assert canonical(("a", "b")) != canonical(("a,b",))
    assert canonical((Message("user", "hi"),)) == canonical((("user", "hi"),))


@pytest.mark.parametrize("value", [b"bytes", frozenset({"a"}), object(), ("a", {"b": 1})])
def test_a_key_that_is_none_is_refused(value):
    with pytest.raises(StoreError, match="made of texts, numbers, None and tuples"):
        canonical(value)


@pytest.mark.slow
def test_names_are_the_same_in_every_process():
    code = "from llmsim.stores.redis_codec import *; print(digest(canonical(('a', None, 0.1, ('é', 3)))))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {digest(canonical(("a", None, 0.1, ("é", 3))))}


GOOD = Entry("i", ("p",), "k", "w", (Chunk("yes", 2),), Usage(1, 2, 0), "m", "o", "r", 1.0, math.inf)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_rubbish_is_no_entry(text):
    assert decoded(text) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from(sorted(Entry._fields)), json_values)
def test_a_field_of_another_type_makes_it_none(name, value):
    """Whatever stands in a field: it is no entry, or one whose every field has the type it says."""
    fields = {**json.loads(encoded(GOOD)), name: value}
    entry = decoded(json.dumps(fields).encode())
    if entry is None:
        return
    assert exactly(decoded(encoded(entry))) == exactly(entry)
    assert all(isinstance(chunk.text, str) and chunk.tokens >= 0 for chunk in entry.chunks)
    assert isinstance(entry.tokens, int)
    assert all(isinstance(part, str) for part in (*entry.partition, entry.id, entry.words, entry.model))
    assert not any(math.isnan(number) for number in (entry.stored_s, entry.expires_s, entry.cost_usd))


@pytest.mark.parametrize("missing", Entry._fields)
def test_what_a_field_less_is(missing):
    fields = json.loads(encoded(GOOD))
    del fields[missing]
    entry = decoded(json.dumps(fields).encode())
    assert (entry is None) == (missing not in Entry._field_defaults)


def test_another_version_may_have_more_fields():
    fields = {**json.loads(encoded(GOOD)), "colour": "blue"}
    assert decoded(json.dumps(fields).encode()) == GOOD


def test_deep_nesting_is_no_entry():
    assert decoded(b"[" * 100_000) is None
    for depth, fine in ((40, True), (60, False), (900, False), (50_000, False)):
        nested = encoded(GOOD).replace(b'"key":"k"', b'"key":' + b"[" * depth + b"]" * depth)
        assert (decoded(nested) is not None) == fine
    assert decoded(encoded(GOOD).replace(b'"stored_s":1.0', b'"stored_s":1' + b"0" * 400)) is None
