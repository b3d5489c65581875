"""Files of similarities: what is read, and what is said of one that is wrong."""

import json

import pytest
from stores.streams import tiny

from llmsim.errors import ScenarioError
from llmsim.traffic.similarity import CORPORA, TRAP_KINDS, parse_tables, similarity_tables


@pytest.mark.parametrize("name", CORPORA)
def test_corpora_that_come_along(name):
    tables = similarity_tables(name)
    assert tables is similarity_tables(name), "read once"
    assert {1, 2, 4, 8, 16, 32} <= set(tables.same.counts)
    assert {30, 100, 300, 1000} <= set(tables.other.counts)
    assert len(tables.traps) == len(TRAP_KINDS)


def test_what_a_file_leaves_out_is_as_in_the_corpora(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(tiny(meta={"rows": 12}, source="ours")))
    tables = similarity_tables(str(path))
    assert tables.same.quantiles == ((0.2, 0.6, 0.9),)
    assert tables.other.counts == (10,)
    usual = similarity_tables("banking77")
    assert [rows.quantiles for rows in tables.traps] == [rows.quantiles for rows in usual.traps]
    assert (tables.rephrased.levels, tables.rephrased.quantiles) == (usual.rephrased.levels, usual.rephrased.quantiles)
    assert (tables.spread.within, tables.same.growth, tables.other.growth, tables.sizes) == (0.26, 0.447, 0.182, ())


def test_what_a_file_says_counts(tmp_path):
    path = tmp_path / "own.json"
    more = {
        "rephrased": {"2": [0.5, 0.7, 0.9], "1": [0.4, 0.6, 0.8]},
        "traps": {kind: [0.1, 0.2, 0.3] for kind in TRAP_KINDS},
        "correlation": -0.1,
        "intents": {"same": 0.2, "between": -0.3},
        "growth": {"same": 0.3},
        "sizes": [3, 4],
    }
    path.write_text(json.dumps(tiny(**more)))
    tables = similarity_tables(str(path))
    assert (tables.rephrased.counts, tables.rephrased.quantiles[0]) == ((1, 2), (0.4, 0.6, 0.8))
    assert {rows.quantiles for rows in tables.traps} == {((0.1, 0.2, 0.3),)}
    assert tables.spread == (0.2, 0.0, -0.3, -0.1)
    assert (tables.same.growth, tables.other.growth, tables.sizes) == (0.3, 0.182, (3.0, 4.0))


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(tiny(correlation=0.1)))
    assert similarity_tables(str(path)).spread.within == 0.1
    path.write_text(json.dumps(tiny(correlation=0.22)))
    assert similarity_tables(str(path)).spread.within == 0.22


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"levels": [0.5]}, "levels", "must be a list of numbers"),
        ({"levels": [0.0, 0.5, 0.5]}, "levels", "must ascend"),
        ({"levels": [0.0, 0.5, 1.5]}, "levels[2]", "1.5 is not a number from 0 to 1"),
        ({"same": None}, "same", "must be a mapping of counts"),
        ({"same": {}}, "same", "its prompts had no labels"),
        ({"same": []}, "same", "must be a mapping of counts"),
        ({"intents": {"sane": 0.1}}, "intents", "keys same, other, between, within"),
        ({"intents": {"same": -0.1}}, "intents.same", "between 0 and 1"),
        ({"intents": {"between": -1}}, "intents.between", "between -1 and 1"),
        ({"same": {"one": [0.2, 0.6, 0.9]}}, "same.one", "is no number of phrases"),
        ({"same": {"0": [0.2, 0.6, 0.9]}}, "same.0", "is no number of phrases"),
        ({"other": {"30": [0.2, 0.6]}}, "other.30", "2 cosines for 3 levels"),
        ({"other": {"30": [0.2, 0.6, 0.5]}}, "other.30", "must not fall"),
        ({"other": {"30": [0.2, "0.6", 0.7]}}, "other.30[1]", "'0.6' is not a number from -1 to 1"),
        ({"other": {"30": [0.2, True, 0.7]}}, "other.30[1]", "is not a number"),
        ({"other": {"30": [0.2, float("nan"), 0.7]}}, "other.30[1]", "is not a number"),
        ({"traps": {"negation": [0.1, 0.2, 0.3]}}, "traps", "must have the keys negation, number, entity, scope"),
        ({"traps": {kind: [0.1] for kind in TRAP_KINDS}}, "traps.negation", "1 cosines for 3 levels"),
        ({"correlation": 1}, "correlation", "is no correlation"),
        ({"correlation": "high"}, "correlation", "is no correlation"),
        ({"growth": {"sane": 0.4}}, "growth", "keys same, other"),
        ({"growth": {"same": -0.4}}, "growth.same", "between 0 and 2"),
        ({"sizes": [3, 0]}, "sizes[1]", "not a number above 0"),
        ({"sizes": 3}, "sizes", "must be a list"),
        ({"simile": 3}, "simile", "unknown key 'simile'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(change, place, message):
    with pytest.raises(ScenarioError) as caught:
        parse_tables({**tiny(), **change}, "own.json")
    (problem,) = caught.value.problems
    assert (caught.value.source, problem.path) == ("own.json", place)
    assert message in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"levels: [0, 1]", "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        (b"[1, 2]", "holds no mapping"),
        (b"{}", "levels is missing"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, message):
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        similarity_tables(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ScenarioError, match=r"cannot be read.*banking77, clinc150"):
        similarity_tables(str(tmp_path / "none.json"))
    with pytest.raises(ScenarioError, match="cannot be read"):
        similarity_tables(str(tmp_path))
