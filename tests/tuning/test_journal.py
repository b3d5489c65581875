"""The journal: what is in it comes back, what a kill cut off does not, and another study's is refused."""

import math

import polars as pl
import pytest

from llmsim.errors import LlmsimError
from llmsim.tuning.journal import Journal
from llmsim.tuning.sweep_kept import Kept

ASKED = {"varies": ["a: 1..2"], "seed": 3}


def test_answers_come_back_whatever_they_are(tmp_path):
    place = tmp_path / "study.jsonl"
    one = Journal(place, "study", ASKED)
    one.add("x", [1.5, math.inf, math.nan, "hash"])
    one.add("y", [-math.inf, 2.0])
    one.close()
    two = Journal(place, "study", ASKED)
    assert two.resumed == 2
    assert two.known["x"][:2] == [1.5, math.inf]
    assert math.isnan(two.known["x"][2])
    assert two.known["y"] == [-math.inf, 2.0]
    two.close()


def test_every_cut_leaves_whole_answers_and_the_same_bytes_in_the_end(tmp_path):
    place = tmp_path / "study.jsonl"
    answers = {"x": [1.5], "y": [math.inf], "z": [0.25]}

    def go_on():
        journal = Journal(place, "study", ASKED)
        found = journal.resumed
        for key, values in answers.items():
            if key not in journal.known:
                journal.add(key, values)
        journal.close()
        return found

    assert go_on() == 0
    whole = place.read_bytes()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        place.write_bytes(whole[:cut])
        assert go_on() == max(0, sum(end <= cut for end in ends) - 1)
        assert place.read_bytes() == whole


def test_another_study_and_another_file_are_refused(tmp_path):
    place = tmp_path / "study.jsonl"
    Journal(place, "study", ASKED).close()
    with pytest.raises(LlmsimError, match=r"is of another study: the seed differs; name another file"):
        Journal(place, "study", {**ASKED, "seed": 4})
    for other in ("version: 1\n", "[1, 2]\n", "no line end", '["a", "b"]'):
        place.write_text(other)
        with pytest.raises(LlmsimError, match="is no study"):
            Journal(place, "study", ASKED)
        assert place.read_text() == other
    with pytest.raises(LlmsimError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "study.jsonl", "study", ASKED)


@pytest.mark.parametrize(
    ("what", "first"),
    [("study", '{"llmsim_study":1,"seed":3}\n["x",[1.5]]\n'), ("sweep", '0a1b2c3d {"format":1,"version":"0.1.0"}\n')],
)
def test_an_earlier_form_is_told_from_a_file_of_something_else(tmp_path, what, first):
    place = tmp_path / "kept"
    place.write_text(first)
    with pytest.raises(LlmsimError, match=r"was written by an earlier llmsim.* begin anew with: rm -f .*kept"):
        Journal(place, what, ASKED)
    assert place.read_text() == first


def test_so_is_a_table_of_an_earlier_form(tmp_path):
    out = tmp_path / "a.parquet"
    was = {"llmsim.sweep": '{"format":1,"version":"0.1.0","scenario":"0","seed":3,"points":"1","metrics":["x"]}'}
    pl.DataFrame({"point": [0], "replication": [0]}).write_parquet(out, metadata=was)
    with pytest.raises(LlmsimError, match=r"a.parquet was written by an earlier llmsim.*begin anew with: rm -f"):
        Kept(out, ASKED)
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]


def test_two_at_once_are_refused(tmp_path):
    one = Journal(tmp_path / "study.jsonl", "study", ASKED)
    with pytest.raises(LlmsimError, match="in use"):
        Journal(tmp_path / "study.jsonl", "study", ASKED)
    one.close()


def test_a_line_that_does_not_check_is_not_there(tmp_path):
    place = tmp_path / "study.jsonl"
    one = Journal(place, "study", ASKED)
    one.add("x", [1.5])
    one.add("y", [2.5])
    one.close()
    place.write_bytes(place.read_bytes().replace(b"1.5", b"1.7"))
    two = Journal(place, "study", ASKED)
    assert two.known == {"y": [2.5]}
    two.close()
    with pytest.raises(LlmsimError, match="is no sweep of llmsim"):
        Journal(place, "sweep", ASKED)
    place.write_bytes(place.read_bytes().replace(b'"seed":3', b'"seed":4'))
    with pytest.raises(LlmsimError, match="is no study of llmsim"):
        Journal(place, "study", {**ASKED, "seed": 4})


def test_one_that_was_taken_away_is_begun_anew(tmp_path):
    place = tmp_path / "study.jsonl"
    one = Journal(place, "study", ASKED)
    one.add("x", [1.5])
    one.remove()
    assert not place.exists()
    two = Journal(place, "study", ASKED)
    assert (two.resumed, place.exists()) == (0, True)
    two.close()
