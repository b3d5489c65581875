"""What Hypothesis draws is the same every time, and shrinks to what a person calls minimal."""

import os
from itertools import combinations

import pytest
from chaos.spaces import SHOP

from llmsim.chaos.drawing import Drawing, Halt
from llmsim.chaos.promising import promising
from llmsim.chaos.schedules import Spell


def breaks(schedule):
    """Only a strong stall of one while the quota of the other is cut deeply: for 20 s."""
    spells = {(one.kind, one.target): one for one in schedule}
    stall, cut = spells.get(("stall", "openai")), spells.get(("rate_limit", "anthropic"))
    if stall is None or cut is None or stall.level < 3 or cut.level < 1:
        return False
    return min(stall.at + stall.steps, cut.at + cut.steps) - max(stall.at, cut.at) >= 2


def shrunk(seed, condition, most=300):
    drawing, held = Drawing(SHOP, seed), []

    def still(schedule):
        if condition(schedule):
            held.append(schedule)
            return True
        return False

    worst = next(one for one in drawing.drawn(most) if condition(one))
    drawing.shrink(worst, most, still, badness=None, fresh=lambda: 0)
    return held[-1]


def test_the_same_seed_draws_the_same():
    first = Drawing(SHOP, 3).drawn(40)
    assert Drawing(SHOP, 3).drawn(40) == first
    assert Drawing(SHOP, 4).drawn(40) != first
    assert len(set(first)) == len(first) > 30


@pytest.mark.slow
def test_two_faults_shrink_to_the_two_of_them_short_weak_together_and_early():
    first, two = SHOP.grid.first, 2
    assert shrunk(1, breaks) == (
        Spell("stall", "openai", 3, first, two),
        Spell("rate_limit", "anthropic", 1, first, two),
    )


def test_one_fault_is_enough_where_one_is():
    def down(schedule):
        return any(one.target == "anthropic" and one.steps >= 3 for one in schedule)

    (fault,) = shrunk(2, down, most=40)
    assert fault == Spell("latency", "anthropic", 0, SHOP.grid.first, 3)


@pytest.mark.slow
def test_the_first_that_is_wanted_ends_the_climb_and_can_be_made_small_again():
    def height(schedule):
        return sum(one.steps for one in schedule if one.target == "openai") / 10

    def climbed():
        seen = []

        def wanted(schedule):
            seen.append(schedule)
            return height(schedule) >= 0.5

        return Drawing(SHOP, 5).climb(60, height, wanted), [*dict.fromkeys(seen)]

    found, seen = climbed()
    assert found
    assert [height(one) >= 0.5 for one in seen[:-1]] == [False] * (len(seen) - 1)
    assert climbed() == (found, seen)
    smaller = []
    Drawing(SHOP, 5).shrink(
        seen[-1], 60, lambda one: height(one) >= 0.5 and not smaller.append(one), badness=height, fresh=lambda: 0
    )
    assert sum(one.steps for one in smaller[-1]) == 5
    assert not Drawing(SHOP, 5).climb(30, height, lambda one: False)


def test_it_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYPOTHESIS_STORAGE_DIRECTORY", raising=False)
    Drawing(SHOP, 1).drawn(50)
    assert list(tmp_path.iterdir()) == []
    assert "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ


def test_it_can_be_left_at_any_time():
    def leave(schedule):
        raise Halt

    with pytest.raises(Halt):
        Drawing(SHOP, 1).climb(50, lambda one: 0.0, leave)


@pytest.mark.slow
def test_pairs_meet_before_any_meets_again():
    pool = Drawing(SHOP, 1).drawn(200)
    chosen = promising(pool, SHOP, 40)
    assert len(set(chosen)) == 40

    def met(schedules):
        return {
            tuple(sorted((one[:2], other[:2])))
            for schedule in schedules
            for one, other in combinations(schedule, 2)
            if max(one.at, other.at) < min(one.at + one.steps, other.at + other.steps)
        }

    # As many in 40 as the draws themselves have in many more: in their own order 40 of them put fewer together.
    assert len(met(chosen)) > 1.5 * len(met(pool[:40]))
    assert promising(pool, SHOP, 1000) and set(promising(pool, SHOP, 1000)) == set(pool)
