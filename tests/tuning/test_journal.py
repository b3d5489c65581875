"""The journal: what is in it comes back, what a kill cut off does not, and another study's is refused."""

import math

import pytest

from llmsim.errors import LlmsimError
from llmsim.tuning.journal import Journal

ASKED = {"space": ["a: 1..2"], "seed": 3}


def test_answers_come_back_whatever_they_are(tmp_path):
    place = tmp_path / "study.jsonl"
    one = Journal(place, ASKED)
    one.add("x", [1.5, math.inf, math.nan, "hash"])
    one.add("y", [-math.inf, 2.0])
    one.close()
    two = Journal(place, ASKED)
    assert two.resumed == 2
    assert two.known["x"][:2] == [1.5, math.inf]
    assert math.isnan(two.known["x"][2])
    assert two.known["y"] == [-math.inf, 2.0]
    two.close()


def test_every_cut_leaves_whole_answers_and_the_same_bytes_in_the_end(tmp_path):
    place = tmp_path / "study.jsonl"
    answers = {"x": [1.5], "y": [math.inf], "z": [0.25]}

    def go_on():
        journal = Journal(place, ASKED)
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
    Journal(place, ASKED).close()
    with pytest.raises(LlmsimError, match=r"a study of something else \(seed differ\)"):
        Journal(place, {**ASKED, "seed": 4})
    for other in ("version: 1\n", "[1, 2]\n", "no line end"):
        place.write_text(other)
        with pytest.raises(LlmsimError, match="is no study"):
            Journal(place, ASKED)
        assert place.read_text() == other
    with pytest.raises(LlmsimError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "study.jsonl", ASKED)


def test_two_at_once_are_refused(tmp_path):
    one = Journal(tmp_path / "study.jsonl", ASKED)
    with pytest.raises(LlmsimError, match="in use"):
        Journal(tmp_path / "study.jsonl", ASKED)
    one.close()
