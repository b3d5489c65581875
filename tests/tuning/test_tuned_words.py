"""What is said of a tuning: of several goals nothing is the best, and what there is is not called tuned."""

import pytest
from tuning.told import BEST, CHEAP, DIAL, NOTHING, NOW, OTHER, held, tuned

from llmsim.tuning.objective import goals_of
from llmsim.tuning.tuned import Change
from llmsim.tuning.tuned_figures import moved
from llmsim.tuning.tuned_front import place_of

HERE = NOW._replace(limits=(NOW.limits[0]._replace(verdict="PASS"),))
BETTER, WORSE = Change(-0.001, (-0.002, -0.0005), -0.3, 0.00002), Change(0.1, (0.05, 0.2), 0.4, 0.001)
SAME, UNSURE = Change(0.0, (-0.0001, 0.0001), 0.0, 0.001), Change(-0.001, (-0.01, 0.002), -0.1, 0.00002)


def beside(*changes, verdict="PASS"):
    """A setting of the front with these changes against what there is."""
    return held({DIAL: 5, OTHER: 0.7}, (0.002, 0.3), (0.0021, 0.31), changes, verdict)


def as_it_is(*others):
    """What there is won, beside others of a front."""
    return tuned(best=HERE, current=HERE, front=(HERE, *others))


@pytest.mark.parametrize(
    ("other", "surely", "maybe"),
    [
        (beside(BETTER, BETTER), 1, 0),
        (beside(BETTER, SAME), 1, 0),
        (beside(BETTER, WORSE), 0, 0),
        (beside(UNSURE, WORSE), 0, 0),
        (beside(SAME, SAME), 0, 0),
        (beside(UNSURE, SAME), 0, 1),
        (beside(BETTER, UNSURE), 0, 1),
        (beside(BETTER, BETTER, verdict="UNDECIDED"), 0, 1),
        (beside(BETTER, BETTER, verdict="FAIL"), 0, 0),
    ],
)
def test_what_beats_what_there_is(other, surely, maybe):
    place = place_of((HERE, other), HERE)
    assert (len(place.beaten_by), len(place.maybe_by), place.others) == (surely, maybe, 1)


def test_what_there_is_lies_on_the_front_or_is_beaten_with_the_paired_intervals():
    found = as_it_is(beside(BETTER, WORSE), beside(UNSURE, WORSE))
    assert "what you have lies on the front of 6 settings: cost_per_ok $0.0032, error_rate 22 %" in found.headline
    assert any("What you have is beaten by none of the 2 others on the front" in note for note in found.notes)
    assert "the best" not in found.headline

    found = as_it_is(beside(BETTER, WORSE), beside(BETTER, SAME))
    assert "what you have is beaten by 1 of the 2 others on the front" in found.headline
    (note,) = [note for note in found.notes if note.startswith("What you have")]
    assert "cost_per_ok -30.0% (-60.0% … -15.0%), error_rate ±0" in note
    assert found.to_dict()["as_it_is"]["beaten_by"] == [{DIAL: 5, OTHER: 0.7}]

    found = as_it_is(beside(UNSURE, SAME))
    assert "lies on the front of 6 settings, as far as held-out luck tells" in found.headline
    assert any("may be beaten by 1 of the 1 other on the front" in note for note in found.notes)

    assert "the best of 6 settings, no other is better in any goal" in as_it_is().headline


def test_a_winner_is_told_in_every_goal_and_what_there_is_beside_it():
    found = tuned()
    assert "cost_per_ok $0.0022 instead of $0.0032" in found.headline
    assert "error_rate 12 % instead of 22 %" in found.headline
    assert any("What you have is beaten by 1 of the 2 settings on the front" in note for note in found.notes)
    first_worse = tuned(best=BEST._replace(changes=(WORSE, BETTER)), current=HERE)
    assert "no better than what you have in cost_per_ok, but in another goal" in first_worse.headline
    assert any(note.startswith("Better in one goal and not in another") for note in first_worse.notes)
    fails = BEST._replace(limits=(BEST.limits[0]._replace(verdict="FAIL"),))
    assert any(note.startswith("Keep what you have") for note in tuned(best=fails, current=HERE).notes)
    both_worse = tuned(best=BEST._replace(changes=(WORSE, WORSE)), current=HERE)
    assert any(note.startswith("Keep what you have") for note in both_worse.notes)


def test_one_goal_has_a_best():
    here = HERE._replace(tuning=HERE.tuning[:1], held_out=HERE.held_out[:1], changes=HERE.changes[:1])
    one = tuned(goals=tuned().goals[:1], best=here, current=here, front=(), trials=())
    assert "what you have is the best of 6 settings: cost_per_ok $0.0032" in one.headline
    assert one.to_dict()["as_it_is"] is None


def test_what_there_is_is_not_called_tuned():
    text = str(as_it_is())
    assert "around what you have" in text and "tuned" not in text
    assert "now, held out" in text
    text = str(tuned())
    assert "around what was tuned" in text and "tuned, held out" in text


def test_the_front_has_the_paired_change_of_every_point():
    text = str(tuned(front=(CHEAP, BEST)))
    assert "against now (95 %)" in text
    assert "-62.0% (-68.2% … -55.8%)" in text


def test_more_of_what_is_to_be_large_is_a_plus():
    (goal,) = goals_of(tuned().scenarios[0], (), "goodput")
    assert moved(goal, Change(-1.0, (-1.5, -0.5), -0.25)) == "+25.0% (+12.5% … +37.5%)"
    assert moved(goal, NOTHING) == "±0"


def test_what_the_figures_of_a_sum_mean_is_said():
    shop = tuned().scenarios[0]
    goals = goals_of(shop, ["cost_per_ok + 0.02*false_hit_rate", "2*error_rate + 0.1*ttft p(95)"], ())
    notes = tuned(goals=goals).notes
    assert any(
        "shown in the unit of cost_per_ok; a weight is what its metric counts for in that unit" in n for n in notes
    )
    assert any("2*error_rate + 0.1*ttft p(95) is a number without a unit" in note for note in notes)
    assert "minimize cost_per_ok + 0.02*false_hit_rate" in str(tuned(goals=goals))
    assert not any("unit" in note for note in tuned().notes)


def test_a_share_keeps_its_sign():
    """Over several scenarios a cost is a share of what it is now, and a sum can be below 0."""
    (low,) = goals_of(tuned().scenarios[0], "cost_per_ok - saved", ())
    (high,) = goals_of(tuned().scenarios[0], (), "goodput")
    assert (low.shown(-1.3, share=True), high.shown(-1.3, share=True)) == ("-1.300x", "1.300x")
