"""Steps from the best hang on all answers before them: cut off anywhere, a tuning goes on to the same bytes."""

import random

import pytest
from tuning.spaces import DIALS, pretended, shop
from tuning.test_racing import bowl

from llmsim.tuning.journal import Journal


def searched(place):
    """All that a tuning kept, and where its trials were; with more of them than come before the first steps."""
    journal = Journal(place, "study", {})
    stages = pretended(
        shop(), {**DIALS, "gateway.retry.max_attempts": [1, 2, 3]}, bowl, noise=0.05, trials=40, most=4, held_out=6,
        limit=bowl, subject_to=["retry_amplification < 2"], journal=journal,
    )  # fmt: skip
    stages.all()
    journal.close()
    assert stages.proposer._stepped > 0
    return place.read_bytes(), [(one.settings, one.costs, one.outside) for one in stages.trials()], stages.apart


@pytest.mark.slow
def test_a_study_that_is_cut_off_anywhere_ends_with_the_same_bytes(tmp_path):
    kept, *told = searched(tmp_path / "whole.jsonl")
    for cut in random.Random(1).sample(range(len(kept)), 3):
        place = tmp_path / f"{cut}.jsonl"
        place.write_bytes(kept[:cut])
        assert searched(place) == (kept, *told)
