"""The nearest of many vectors, against looking at all of them in double precision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores.clusters import clustered, unit

from llmsim.gateway.caching import StoreError
from llmsim.stores import graph
from llmsim.stores import vectors as module
from llmsim.stores.vectors import VectorIndex

DIMENSIONS = 3
#: Few different ones, so that there are ties: the vectors of a small grid.
GRID = unit(np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (0, 1) if x or y or z], dtype=float))


class Oracle:
    """A list that is looked through."""

    def __init__(self):
        self.entries = []  # (partition, id, vector), as they came

    def nearest(self, partition, vector):
        best = None
        for where, entry, kept in self.entries:
            if where == partition:
                similarity = float((kept.astype(np.float64) * vector.astype(np.float64)).sum())
                if best is None or similarity > best[1]:  # the first of equals stays
                    best = (entry, similarity)
        return best


operations = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "nearest"]), st.integers(0, 1), st.integers(0, len(GRID) - 1)),
    max_size=60,
)


@given(operations)
def test_it_finds_what_looking_at_all_of_them_finds(script):
    index, oracle = VectorIndex(), Oracle()
    for number, (what, where, which) in enumerate(script):
        partition, vector = (f"p{where}",), GRID[which]
        inside = [entry for place, entry, _ in oracle.entries if place == partition]
        if what == "add":
            index.add(partition, f"e{number}", vector)
            oracle.entries.append((partition, f"e{number}", vector))
        elif what == "remove" and inside:
            gone = inside[which % len(inside)]
            index.remove(partition, gone)
            oracle.entries = [each for each in oracle.entries if each[1] != gone]
        found, wanted = index.nearest(partition, vector), oracle.nearest(partition, vector)
        assert (None if found is None else tuple(found)) == (
            None if wanted is None else (wanted[0], min(max(wanted[1], -1.0), 1.0))
        )
        assert len(index) == len(oracle.entries)


def test_the_first_of_equals_also_when_rows_have_moved():
    index = VectorIndex()
    for entry in "abcd":
        index.add((), entry, GRID[0])
    index.remove((), "a")  # d moves into the first row
    assert index.nearest((), GRID[0]).id == "b"


def test_a_similarity_has_the_same_bits_wherever_the_vector_stands():
    """Products of matrices depend on the row a vector has, in the last digits: a threshold would, too."""
    kept, _ = clustered(300, 384)
    similarities = set()
    for place in (0, 1, 7, 150, 299):
        index = VectorIndex()
        order = [*range(1, place + 1), 0, *range(place + 1, 300)]
        for row in order:
            index.add((), str(row), kept[row])
        found = index.nearest((), unit(kept[0] + 0.02 * kept[1]))
        assert found.id == "0"
        similarities.add(found.similarity)
    assert len(similarities) == 1


def test_what_single_precision_cannot_tell_apart_is_told_apart():
    rng = np.random.default_rng(3)
    middle = rng.standard_normal(384)
    kept = unit(middle + 1e-6 * rng.standard_normal((400, 384)))
    asked = unit(middle)
    exact = (kept.astype(np.float64) * asked.astype(np.float64)).sum(axis=1)
    assert (kept @ asked).argmax() != exact.argmax(), "else this shows nothing"
    index = VectorIndex()
    for number, vector in enumerate(kept):
        index.add((), str(number), vector)
    assert index.nearest((), asked).id == str(exact.argmax())


def test_many_small_partitions_hold_no_free_rows():
    index = VectorIndex()
    vector = unit(np.arange(1, 385))
    for number in range(500):
        index.add((str(number),), "e", vector)
    assert index.allocated_bytes == 500 * vector.nbytes
    for number in range(500):
        index.remove((str(number),), "e")
    assert index.allocated_bytes == len(index) == 0


def test_room_follows_what_is_there():
    index = VectorIndex()
    kept, _ = clustered(1000, 8)
    for number, vector in enumerate(kept):
        index.add((), str(number), vector)
        assert index.allocated_bytes <= 2 * (number + 1) * vector.nbytes
    for number in range(990):
        index.remove((), str(number))
    assert index.allocated_bytes <= 4 * 10 * kept[0].nbytes
    assert index.nearest((), kept[995]).id == "995"
    index.remove((), "never there")
    index.remove(("no such",), "x")


@pytest.mark.parametrize(
    ("vector", "word"),
    [
        (np.array([1.0, 0.0]), r"3 dimensions got a vector of shape \(2,\)"),
        (np.array([[1.0, 0.0, 0.0]]), r"shape \(1, 3\)"),
        (np.array([3.0, 4.0, 0.0]), "of length 5"),
        (np.array([0.0, 0.0, 0.0]), "of length 0"),
        (np.array([np.nan, 0.0, 0.0]), "of length nan"),
    ],
)
def test_what_is_no_unit_vector_of_these_dimensions_is_refused(vector, word):
    index = VectorIndex()
    index.add((), "e", GRID[0])
    with pytest.raises(StoreError, match=word):
        index.add((), "f", vector)
    with pytest.raises(StoreError, match=word):
        index.nearest((), vector)
    assert len(index) == 1


# -- with a graph ------------------------------------------------------------------------------------------------------


def test_without_usearch_it_goes_on_and_says_so_once(monkeypatch):
    monkeypatch.setattr(module, "graph_library", lambda: None)
    said = []
    index = VectorIndex(graph_from=10, capacity=100, say=said.append)
    kept, _ = clustered(30)
    for number, vector in enumerate(kept):
        assert len(said) == (number >= 10), "not before it is needed"
        index.add((), str(number), vector)
    index.add(("another",), "x", kept[0])
    assert len(said) == 1
    assert "pip install 'llmsim[hnsw]'" in said[0]
    assert index.graphs() == 0
    assert [index.nearest((), vector).id for vector in kept] == [str(number) for number in range(30)]


def test_a_graph_grows_beside_the_matrix_and_answers_like_it():
    pytest.importorskip("usearch.index")
    kept, _ = clustered(400, clusters=40)
    index, plain = VectorIndex(graph_from=100), VectorIndex(graph_from=10**9)
    grown = []
    for number, vector in enumerate(kept):
        for each in (index, plain):
            each.add((), str(number), vector)
        grown.append(index.graphs())
        if number % 7 == 3:  # also some that still wait for the graph
            for each in (index, plain):
                each.remove((), str(number - 2))
        assert index.nearest((), kept[number // 2]) == plain.nearest((), kept[number // 2])
    reached = next(number for number in range(400) if number + 1 - (number + 3) // 7 >= 100)
    assert not any(grown[: reached + 10]), "the matrix answers until all are in it"
    assert grown[reached + 100 // module.MOVED_PER_ADD + 1] == 1
    for number in range(370):
        for each in (index, plain):
            each.remove((), str(number))
    assert index.graphs() == 0, "few are left"
    assert index.nearest((), kept[380]) == plain.nearest((), kept[380])


def test_an_entry_that_comes_again_while_it_waits_for_the_graph():
    pytest.importorskip("usearch.index")
    kept, _ = clustered(60)
    index = VectorIndex(graph_from=30)
    for number in range(30):
        index.add((), str(number), kept[number])
    index.remove((), "20")
    index.add((), "20", kept[50])
    for number in range(30, 50):
        index.add((), str(number), kept[number])
    assert index.graphs() == 1
    assert index.nearest((), kept[50]) == ("20", pytest.approx(1.0))
    assert index.nearest((), kept[20]).id != "20"


def recall(count, dimensions, replaced, questions, seed):
    """Share of questions whose nearest entry is found; all similarities are held against the vectors themselves."""
    kept, _ = clustered(count * (1 + replaced), dimensions, clusters=count // 7, spread=0.6, seed=seed)
    index = VectorIndex(graph_from=count // 2)
    for number, vector in enumerate(kept):
        if number >= count:
            index.remove((), str(number - count))
        index.add((), str(number), vector)
    assert index.graphs() == 1
    living = kept[-count:].astype(np.float64)
    rng = np.random.default_rng(seed)
    found = 0
    for row in rng.integers(0, count, questions):
        asked = unit(living[row] + 0.4 * rng.standard_normal(dimensions) / np.sqrt(dimensions))
        similarities = living @ asked.astype(np.float64)
        answer = index.nearest((), asked)
        assert answer.similarity == pytest.approx(similarities[int(answer.id) - count * replaced], abs=1e-12)
        found += answer.similarity >= similarities.max() - 1e-12
    return found / questions


@pytest.mark.slow
def test_the_graph_finds_the_nearest():
    pytest.importorskip("usearch.index")
    assert recall(1500, 64, replaced=1, questions=300, seed=2) >= 0.99


def test_several_proposals_make_good_for_half_precision(monkeypatch):
    pytest.importorskip("usearch.index")
    rng = np.random.default_rng(3)
    kept = unit(unit(rng.standard_normal(64)) + 0.00125 * rng.standard_normal((300, 64)))
    index = VectorIndex(graph_from=100)
    for number, vector in enumerate(kept):
        index.add((), str(number), vector)
    assert index.graphs() == 1
    found = {}
    for proposals in (1, graph.PROPOSALS):
        monkeypatch.setattr(graph, "PROPOSALS", proposals)
        found[proposals] = 0
        for vector in kept[:100]:
            asked = unit(vector + 0.0005 * rng.standard_normal(64))
            best = (kept.astype(np.float64) @ asked.astype(np.float64)).max()
            found[proposals] += index.nearest((), asked).similarity >= best - 1e-12
    few, many = found.values()
    assert many >= 1.5 * few


@pytest.mark.slow
def test_a_large_graph_finds_the_nearest_after_all_were_replaced():
    pytest.importorskip("usearch.index")
    assert recall(5_000, 384, replaced=1, questions=500, seed=3) >= 0.99
