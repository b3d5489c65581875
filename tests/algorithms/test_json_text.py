import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmsim.algorithms.json_text import find_json

texts = st.text(st.sampled_from("ab\"'\\{}[]:,.1é \n"), max_size=6)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-999, 999), st.floats(-9, 9), texts)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(texts, values, min_size=1, max_size=4)
words = st.sampled_from(["", "Here's the JSON:\n\n", "```json\n", "It isn't [long]: "])


def leaves_of(value, path=()):
    """Every value that holds no other, by its path."""
    if isinstance(value, dict):
        return {leaf for key, inner in value.items() for leaf in leaves_of(inner, (*path, key))}
    if isinstance(value, list):
        return {leaf for at, inner in enumerate(value) for leaf in leaves_of(inner, (*path, at))}
    return {(path, repr(value))}


@settings(max_examples=30)
@given(documents, words, st.sampled_from(["", "\n```", " That's all."]))
def test_what_is_closed_is_whole_whatever_stands_around_it(document, before, after):
    assume(len(json.dumps(document)) > len("[long]"))
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False, indent=2)):
        assert find_json(before + text + after) == ("whole", text)


@settings(max_examples=30)
@given(documents)
def test_the_brackets_at_the_end_may_be_missing(document):
    text = json.dumps(document)
    bare = text.rstrip("}]")
    assume(len(bare) > 1)
    complete = bare[-1] not in "0123456789.ey{[" or bare.endswith(("true", "false"))
    if bare[-1] == '"':
        assert find_json(bare).ending == "open"  # a string that was closed; an object's text never ends with a key
    elif bare[-1].isdigit() or bare[-1] in "{[":
        assert find_json(bare).ending == "cut"  # there may have been more of it
    elif complete:
        assert find_json(bare).ending == "open"


@settings(max_examples=30)
@given(documents, words, st.data())
def test_what_may_be_closed_is_closed_without_making_anything_up(document, before, data):
    """Every value of the repaired text was in the original, letter by letter."""
    text = json.dumps(document)
    found = find_json(before + text[: data.draw(st.integers(1, len(text) - 1))])
    assert found.ending in ("open", "cut")
    if found.ending == "open":
        assert leaves_of(json.loads(found.text)) <= leaves_of(document)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "none"),
        ("I can't help with that.", "none"),
        ('{"a": "it\'s"', "open"),
        ("{'a': 'b'", "open"),
        ("{'a': 'b", "cut"),
        ('{"a": "b\\"', "cut"),
        ('{"a": "b",', "cut"),
        ('{"a"', "cut"),
        ('{"a": nul', "cut"),
        ('{"a": null', "open"),
        ('{"a": 1}, {"b": "c', "cut"),
        ("[", "cut"),
        ("[[]", "open"),
        ("{}}", "whole"),
        ('```json\n{"a": "b"\n```', "open"),
    ],
)
def test_endings(text, expected):
    assert find_json(text).ending == expected


def test_time_grows_with_the_length_and_not_with_its_square():
    """Quotes without an end, brackets without one: nothing is looked at twice."""
    for piece in ('"', "[", '{"a', "\\", "'x"):
        find_json(piece * 50_000)
