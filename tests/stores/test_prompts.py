"""Real vectors in the lab: the nearest is the nearest, to the last bit, whoever multiplies."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_prompts import made_vectors, texts_of

from llmsim.stores.prompts import PromptIndex, PromptVectors


def prompts(seed=0, **shape):
    vectors, answer = made_vectors(seed=seed, **shape)
    vectors[40], vectors[41] = vectors[7], vectors[7]  # ties
    return PromptVectors(texts_of(answer), vectors)


def oracle(known, kept, prompt):
    """Whole numbers, one by one: what the nearest is by definition; of equals the lowest number."""
    grid = [[int(x * 2**24) for x in known.vectors[number]] for number in (prompt, *sorted(kept))]
    cosines = [sum(a * b for a, b in zip(grid[0], row, strict=True)) for row in grid[1:]]
    best = max(cosines)
    return sorted(kept)[cosines.index(best)], min(best / 2**48, 1.0)


@pytest.mark.parametrize("shape", [{"intents": 24, "each": 10, "dimensions": 16}, {"intents": 8, "each": 7}])
def test_the_nearest_whatever_came_and_went(shape):
    """With lists of neighbours, and (few prompts) without."""
    known = prompts(**shape)
    index, random, kept = PromptIndex(known), np.random.default_rng(2), {}
    looked = 0
    for step in range(400):
        prompt = int(random.integers(len(known.vectors)))
        if kept and random.random() < 0.45:
            gone = list(kept)[int(random.integers(len(kept)))]
            index.remove(("p",), kept.pop(gone))
        elif prompt not in kept:
            kept[prompt] = f"e{step}"
            index.add(("p",), kept[prompt], prompt)
        asker = int(random.integers(len(known.vectors)))
        found = index.nearest(("p",), asker)
        if not kept:
            assert found is None
        elif asker in kept:
            assert found == (kept[asker], known.cosine(asker, asker))
        else:
            number, cosine = oracle(known, kept, asker)
            assert found == (kept[number], cosine), "and not one bit less"
            looked += 1
    assert looked > 200


def test_partitions_do_not_see_each_other_and_the_unknown_matches_nothing():
    index = PromptIndex(prompts())
    index.add(("a",), "e", 1)
    index.add(("a",), "x", None)
    assert index.nearest(("b",), 1) is None
    assert index.nearest(("a",), None) is None
    index.remove(("b",), "e")
    index.remove(("a",), "never there")
    assert index.nearest(("a",), 1).id == "e"
    index.remove(("a",), "e")
    assert index.nearest(("a",), 1) is None


def test_of_two_entries_of_one_prompt_the_first_until_it_goes():
    index = PromptIndex(prompts())
    index.add((), "one", 3)
    index.add((), "two", 3)
    assert index.nearest((), 3).id == "one"
    index.remove((), "one")
    assert index.nearest((), 3).id == "two"


def test_the_order_of_adding_does_not_matter():
    """What would fail for vectors as they come, single or double."""
    known = prompts(dimensions=384, intents=8, each=20)
    rows, query = known.vectors, known.vectors[0]
    order = np.random.default_rng(1).permutation(384)
    exact = rows @ query
    assert np.array_equal(rows[:, order] @ query[order], exact)
    assert np.array_equal(rows @ rows.T[:, :1], exact[:, None])
    assert np.array_equal([float(np.cumsum(row * query)[-1]) for row in rows], exact)
    raw = np.random.default_rng(3).normal(size=(200, 384))
    assert not np.array_equal(raw[:, order] @ raw[0][order], raw @ raw[0]), "doubles in general do not have that"


def test_rounding_moves_a_cosine_by_less_than_a_millionth():
    vectors, answer = made_vectors(dimensions=384, intents=8, each=20)
    known = PromptVectors(texts_of(answer), vectors)
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(known.vectors @ known.vectors.T - exact).max() < 1e-6


_LOOK = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from made_prompts import made_vectors, texts_of
from llmsim.stores.prompts import PromptIndex, PromptVectors
vectors, answer = made_vectors(dimensions=384, intents=40, each=25)
index = PromptIndex(PromptVectors(texts_of(answer), vectors))
for number in range(0, 1000, 9):
    index.add((), str(number), number)
print(hashlib.sha256(repr([index.nearest((), number) for number in range(1000)]).encode()).hexdigest())
"""


@pytest.mark.slow
def test_processes_with_other_numbers_of_threads_find_the_same():
    code = _LOOK.format(tests=str(Path(__file__).parents[1]))
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(next(iter(found)).strip()) == len(hashlib.sha256().hexdigest())


def test_where_more_are_equally_near_than_a_list_holds_the_lowest_number_is_the_nearest():
    vectors = np.zeros((150, 2), dtype=np.float32)
    angle = np.where(np.arange(150) % 3, 0.9, 0.1 + np.arange(150) / 1000)  # two of three are a tie, others nearer
    angle[149] = 0.0
    vectors[:] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    known = PromptVectors([str(number) for number in range(150)], vectors)
    ties = [number for number in range(149) if number % 3]
    for low, high in zip(ties, ties[1:] + ties[:1], strict=True):
        index = PromptIndex(known)
        for number in (high, low):
            index.add((), str(number), number)
        assert index.nearest((), 149).id == str(min(low, high))
