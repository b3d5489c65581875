"""How long a tuning still takes, reckoned from what it took."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from llmsim.tuning.time_left import left_s, time_is_up


def _at(
    *, stage: str = "trials", fresh: int = 100, cut: bool = False, within_s: float = math.inf, before_s: float = 0.0
) -> Any:
    """Ten trials of forty, five replications each; two parameters, and 20 replications of held-out luck at most."""
    return SimpleNamespace(
        plan=SimpleNamespace(trials=40, most=10, held_out=20, within_s=within_s),
        runs=SimpleNamespace(scenarios=[None], space=SimpleNamespace(dimensions=[None] * 2),
                             journal=SimpleNamespace(fresh=fresh)),
        tuning=SimpleNamespace(made=50), fresh=SimpleNamespace(made=0), tried=[None] * 10, stage=stage, cut=cut,
        before_s=before_s,
    )  # fmt: skip


# After the trials: the first look of 10 at two settings, and 10 of each of four neighbours and of two put back alone.
_AFTER = 2 * 10 + 6 * 10


@pytest.mark.parametrize(
    ("at", "replications"),
    [
        (_at(), 30 * 5 + _AFTER),
        (_at(cut=True), _AFTER),  # no more trials are made
        (_at(stage="held-out luck"), _AFTER),
    ],
)
def test_what_is_left_goes_as_fast_as_what_was_made(at: Any, replications: int) -> None:
    assert left_s(at, 20.0, around=10) == pytest.approx(replications * 20.0 / 100)


def test_trials_end_with_the_time_there_is() -> None:
    assert left_s(_at(within_s=30.0), 20.0, around=10) == 10.0
    assert left_s(_at(fresh=2), 20.0, around=10) is None


def test_time_is_up_when_one_more_batch_would_take_what_has_to_follow() -> None:
    more_s = (8 * 5 + 4 * 10 + _AFTER) * 20.0 / 100
    common: dict[str, int] = {"batch": 8, "again": 4, "around": 10}
    assert not time_is_up(_at(within_s=20.1 + more_s), 20.0, **common)
    assert time_is_up(_at(within_s=19.9 + more_s), 20.0, **common)
    assert not time_is_up(_at(), 1e9, **common)  # without a limit
    assert not time_is_up(_at(within_s=30.0, fresh=0), 20.0, **common)  # all was read from a study


def test_the_time_that_a_study_takes_to_be_read_is_not_that_of_replications() -> None:
    """Ten seconds for what was known, then ten replications in one second."""
    resumed: dict[str, Any] = {"fresh": 10, "before_s": 10.0}
    assert left_s(_at(**resumed), 11.0, around=10) == pytest.approx((30 * 5 + _AFTER) / 10)
    more_s = (8 * 5 + 4 * 10 + _AFTER) / 10
    common: dict[str, int] = {"batch": 8, "again": 4, "around": 10}
    assert not time_is_up(_at(**resumed, within_s=11.1 + more_s), 11.0, **common)
    assert time_is_up(_at(**resumed, within_s=10.9 + more_s), 11.0, **common)
