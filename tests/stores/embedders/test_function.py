"""Vectors from a function of one's own."""

import asyncio

import numpy as np
import pytest
from stores.toys import question

from llmsim.gateway.caching import StoreError
from llmsim.stores.embedders import FunctionEmbedder


def embedder(answer, dimensions=2, **fields):
    async def function(texts):
        assert type(texts) is list
        if isinstance(answer, BaseException):
            raise answer
        return answer(texts) if callable(answer) else answer

    return FunctionEmbedder(function, dimensions, "mine", **fields)


def test_vectors_of_any_length_become_unit_vectors():
    found = asyncio.run(embedder([[3, 4], [0, -2]]).embed(("a", "b")))
    assert found.dtype == np.float32
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, -1.0]]
    probe = asyncio.run(embedder([[3, 4]]).probe(question("30")))
    assert probe.shape == (2,)


def test_a_vector_has_the_same_bits_whichever_others_came_with_it():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((40, 384))
    many = asyncio.run(embedder(rows, 384).embed(["x"] * 40))
    for number in (0, 7, 39):
        alone = asyncio.run(embedder(rows[[number]], 384).embed(["x"]))
        assert np.array_equal(alone[0], many[number])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([[1.0, 0.0, 0.0]], r"for 1 text, an array of shape \(1, 2\) was expected, \(1, 3\) came"),
        ([1.0, 0.0], r"\(2,\) came"),
        ([[1.0, 0.0], [0.0, 1.0]], r"\(2, 2\) came"),
        ([[0.0, 0.0]], "vector 0 of 1 has only zeros"),
        ([[1.0, float("nan")]], "vector 0 of 1 has 1 values that are not finite"),
        ([[1.0, float("inf")]], "not finite"),
        ([["a", "b"]], "no array of numbers came but list"),
        ([[1.0], [1.0, 2.0]], "no array of numbers came but list"),
        (None, r"\(\) came"),
        ({"data": 1}, "no array of numbers came but dict"),
    ],
)
def test_what_is_no_vector_is_said(answer, said):
    with pytest.raises(StoreError, match=f"embedder mine: .*{said}"):
        asyncio.run(embedder(answer).embed(["a"]))


def test_its_errors_are_errors_of_the_store_and_give_no_key_away():
    with pytest.raises(StoreError, match=r"^embedder mine: RuntimeError$") as raised:
        asyncio.run(embedder(RuntimeError("Incorrect API key provided: sk-1234")).embed(["a"]))
    assert "sk-1234" not in str(raised.value)
    kept = StoreError("as it was")
    with pytest.raises(StoreError, match="as it was"):
        asyncio.run(embedder(kept).embed(["a"]))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(embedder(asyncio.CancelledError()).embed(["a"]))


def test_tokens_are_estimated_or_counted():
    assert embedder([]).tokens(question("12345")) == 2
    assert embedder([], count_tokens=lambda text: 7).tokens(question("12345")) == 7


@pytest.mark.parametrize(("dimensions", "name"), [(0, "x"), (2, "")])
def test_what_it_must_be_told(dimensions, name):
    with pytest.raises(ValueError, match="an embedder"):
        FunctionEmbedder(None, dimensions, name)
