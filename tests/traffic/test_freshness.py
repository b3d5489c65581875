"""When right answers change, and who got an old one."""

import math

import numpy as np
import pytest

from llmsim.distributions import Constant, Exponential, Uniform
from llmsim.luck import Luck
from llmsim.traffic.freshness import Renewals
from llmsim.traffic.meanings import Meanings
from llmsim.traffic.topics import Topics, Zipf
from llmsim.traffic.truth import World

HOUR = 3600.0


def moments(renewals, answer, until_s):
    """All changes up to then, oldest first."""
    found = []
    while (last := renewals.changed_s(answer, until_s)) > -math.inf:
        found.append(last)
        until_s = math.nextafter(last, -math.inf)
    return found[::-1]


@pytest.mark.parametrize(
    "every", [Constant(HOUR), pytest.param(Exponential(HOUR), marks=pytest.mark.slow), Uniform(0.5 * HOUR, 1.5 * HOUR)]
)
def test_answers_change_as_often_as_is_said_from_the_first_moment_on(every):
    """A process in equilibrium: in any window as many changes as its length has means, also in the first."""
    renewals, answers = Renewals(every, Luck(3)), 3000
    told = [moments(renewals, answer, 3 * HOUR) for answer in range(answers)]
    for window in (0.0, 0.5, 2.0):
        count = sum(window * HOUR < moment <= (window + 0.5) * HOUR for one in told for moment in one)
        # Not more uneven than a Poisson process, whose count has its mean for a variance.
        assert abs(count - answers / 2) < 4 * math.sqrt(answers / 2)


def test_a_constant_time_between_changes_is_kept_and_begins_anywhere():
    renewals = Renewals(Constant(HOUR), Luck(3))
    told = np.array([moments(renewals, answer, 5 * HOUR) for answer in range(400)])
    assert np.diff(told, axis=1) == pytest.approx(np.full((400, 4), HOUR))
    first = np.sort(told[:, 0]) / HOUR
    assert np.abs(first - (np.arange(400) + 0.5) / 400).max() < 1.95 / math.sqrt(400), "KS at one in a thousand"


def test_changes_do_not_depend_on_who_looks_first():
    one, other = (Renewals(Exponential(HOUR), Luck(3)) for _ in range(2))
    late = [one.changed_s(answer, 90 * HOUR) for answer in range(20)]
    for answer in reversed(range(20)):
        for hour in range(91):
            other.changed_s(answer, hour * HOUR)
    assert [other.changed_s(answer, 90 * HOUR) for answer in range(20)] == late
    assert len(set(late)) == 20
    assert Renewals(Exponential(HOUR), Luck(4)).changed_s(0, 90 * HOUR) != late[0]


def test_time_goes_on_where_an_answer_would_change_without_end():
    renewals = Renewals(Uniform(0.0, 1e-9), Luck(3))
    assert renewals.changed_s(1, 0.5) == pytest.approx(0.5, abs=2e-3)


def _world(**topics):
    world = World()
    world.meanings = Meanings(Topics(zipf=Zipf(unique=2), paraphrases=0.0, **topics), Luck(1))
    return world


def test_an_answer_from_before_a_change_is_outdated():
    world = _world()
    world.renewals = Renewals(Constant(HOUR), Luck(1))
    same = [index for index in range(50) if world.meanings(index).answer == 0]
    other = next(index for index in range(50) if world.meanings(index).answer == 1)
    asker, maker = f"{same[0]}/0/0", f"{same[1]}/0/0"
    change = world.changed_s(0, 2 * HOUR)
    assert HOUR < change <= 2 * HOUR
    assert world.mistake(asker, maker, change - 1, change + 1) == "outdated"
    assert world.differs(asker, maker, change - 1, change + 1)
    assert world.mistake(asker, maker, change + 1, change + 2) == ""
    assert world.mistake(asker, maker, change - 2, change - 1) == ""
    assert world.mistake(asker, maker, change, change + 1) == "", "made when it had just changed"
    assert world.mistake(asker, f"{other}/0/0", change - 1, change + 1) == "other", "it was never right"
    assert not world.differs(asker, maker, math.nan, change), "nobody knows when it was made"
    assert world.mistake(asker, f"{same[1]}/1/0", change - 1, change + 1) == "", "nor what a later step means"


def test_without_changes_an_answer_holds_for_ever():
    world = _world()
    assert world.changed_s(0, 1e9) == -math.inf
    assert world.mistake("0/0/0", "0/0/1", 0.0, 1e9) == "", "the same user again"
