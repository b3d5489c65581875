"""What of a tuning is needed, and why nothing was gained, in words and by runs."""

import pytest
from tuning.spaces import pretended, shop
from tuning.told import BEST, CHEAP, DIAL, NOW, OTHER, SHOP, tuned

from llmsim.report.paired import COMPARED, paired
from llmsim.tuning.objective import goals_of
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.standing import standing
from llmsim.tuning.tuned import Change, Sensitive
from llmsim.tuning.undone import Alone, needed_note, no_gain_note, put_back


def of_one(held):
    """The same of the first goal alone."""
    return held._replace(tuning=held.tuning[:1], held_out=held.held_out[:1], changes=held.changes[:1])


ONE = {"goals": goals_of(SHOP, "cost_per_ok", ()), "now": {DIAL: "2", OTHER: "0.7"}, "front": (), "trials": (),
       "best": of_one(BEST), "current": of_one(NOW)}  # fmt: skip
HERE = ONE | {"best": of_one(NOW)}
WORSE, SAME = Change(0.001, (0.0005, 0.002), 0.3, 0.00002), Change(0.0, (0.0, 0.0), 0.0, 0.00002)
UNSURE = Change(0.001, (-0.001, 0.002), 0.3, 0.00002)
#: Surely dearer, but by less than half a percent; perhaps cheaper by much, and no dearer than that.
LITTLE, NO_WORSE = (Change(0.00001, (low, 0.000015), 0.0005, 0.00002) for low in (0.000005, -0.001))
LIMIT = "error_rate value < 20%"


@pytest.mark.parametrize(
    ("dial", "other", "says"),
    [
        ((WORSE, ()), (SAME, ()), f"What to change: {DIAL} 2 → 3. Can stay as it is: {OTHER}."),
        ((WORSE, ()), (SAME, (LIMIT,)), f"What to change: {DIAL} 2 → 3, {OTHER} 0.7 → 0.5."),
        ((WORSE, ()), (UNSURE, ()), f"What to change: {DIAL} 2 → 3. Not clear whether it takes 1 other: {OTHER}."),
        ((WORSE, ()), (LITTLE, ()), f"What to change: {DIAL} 2 → 3. Can stay as it is: {OTHER}."),
        ((WORSE, ()), (NO_WORSE, ()), f"What to change: {DIAL} 2 → 3. Can stay as it is: {OTHER}."),
        ((SAME, ()), (SAME, ()), "No single change is needed: put back any one of them alone, and nothing"),
        ((SAME, ()), (UNSURE, ()), f"Not clear whether it takes these: {OTHER}. Can stay as it is: {DIAL}."),
    ],
)  # fmt: skip
def test_what_to_change(dial, other, says):
    undone = (Sensitive(DIAL, None, *dial), Sensitive(OTHER, None, *other))
    found = tuned(**ONE, undone=undone)
    assert needed_note(found).startswith(says)
    assert needed_note(found) == found.notes[0]
    assert [one["path"] for one in found.to_dict()["undone"]] == [DIAL, OTHER]
    assert "put back to" in repr(found)


def test_what_is_needed_brings_so_much_without_the_rest():
    undone = (Sensitive(DIAL, None, WORSE, ()), Sensitive(OTHER, None, SAME, ()))
    change = Change(-0.001, (-0.002, -0.0005), -0.3)
    found = tuned(**ONE, undone=undone, alone=Alone({DIAL: 3}, 0.0021, change, ()))
    assert " 2 → 3. That alone makes cost_per_ok $0.0021, -30.0% (-60.0% … -15.0%). Can stay" in needed_note(found)
    assert found.to_dict()["alone"]["settings"] == {DIAL: 3}
    found = tuned(**ONE, undone=undone, alone=Alone({DIAL: 3}, 0.0021, change, (LIMIT,)))
    assert f"-15.0%), but breaks {LIMIT}. Can stay" in needed_note(found)


def test_what_fails_as_it_is_and_what_gets_worse_are_named():
    names = {"ttft p(95)": 0.5, "cost_per_ok": 0.003, "goodput": 5.0}
    before = {name: [value] * 10 for name, value in names.items()}
    after = {name: [value * 1.4] * 10 for name, value in names.items()}
    beside = {name: one for name, one in COMPARED.items() if name in names}
    found = tuned(**ONE, differences=tuple(paired(before, after, compared=beside)))
    assert found.headline.startswith(f"shop: holds what fails as it is ({LIMIT}); cost_per_ok $0.0022 instead of")
    (said,) = [note for note in found.notes if note.startswith("What gets worse by it")]
    assert (
        said == "What gets worse by it: ttft p(95) 700ms instead of 500ms, +200ms (+40.0%)."
    )  # not what was asked for
    assert not any("gets worse" in note for note in tuned(**HERE, differences=found.differences).notes)


def test_what_stands_inside_of_a_policy_that_is_off_is_no_change():
    best = of_one(BEST)._replace(settings={"gateway.retry": False, DIAL: 3})
    undone = (Sensitive("gateway.retry", None, WORSE, ()),)
    found = tuned(**ONE | {"best": best, "now": {"gateway.retry": "on", DIAL: "2"},
                           "space": ("gateway.retry: on,off", f"{DIAL}: 1,2,3,4")}, undone=undone)  # fmt: skip
    assert needed_note(found) == "What to change: gateway.retry on → off."


def test_nothing_is_said_where_nothing_is_to_be_changed():
    undone = (Sensitive(DIAL, None, WORSE, ()), Sensitive(OTHER, None, SAME, ()))
    assert needed_note(tuned(undone=undone)) == ""  # of two goals it is known of one
    assert needed_note(tuned(**ONE, undone=undone, partial=True)) == ""
    assert needed_note(tuned(**HERE, undone=undone)) == ""
    assert needed_note(tuned(**ONE | {"best": of_one(BEST)._replace(changes=(WORSE,)), "current": of_one(CHEAP)})) == ""


def test_why_nothing_is_gained():
    around = (Sensitive(DIAL, 1, WORSE, ()), Sensitive(DIAL, 3, SAME, ()), Sensitive(OTHER, 0.6, WORSE, ()),
              Sensitive(OTHER, 0.8, Change(-0.1, (-0.2, -0.1), -0.3), (LIMIT,)))  # fmt: skip
    found = tuned(**HERE, sensitivity=(*around[:2], around[2]._replace(change=LITTLE), around[3]))
    assert "of 4 steps to either side of it, 1 is worse, 2 are no different (within" in no_gain_note(found)
    found = tuned(**HERE, sensitivity=around)
    assert no_gain_note(found) == (
        "Why nothing is gained: of 4 steps to either side of it, 2 are worse, 1 is no different "
        f"(within half a percent), 1 would break {LIMIT}."
    )
    assert found.notes[0] == no_gain_note(found)
    assert no_gain_note(tuned(**ONE)) == no_gain_note(tuned(**HERE, partial=True)) == ""
    assert "lies outside of the space" in no_gain_note(tuned(**HERE, sensitivity=()))


INITIAL, RATE = "gateway.retry.backoff.initial", "upstream.circuit_breaker.failure_rate"


def test_each_is_put_back_alone_where_it_says_something_else_and_fits():
    scenario = shop().with_values({"gateway.retry.backoff.max": "1s", RATE: 0.5})
    space = parse_space({INITIAL: ("10ms", "1s", "log"), RATE: (0.05, 0.95)}, scenario)
    settings = {INITIAL: "200ms", RATE: 0.3}
    assert dict(put_back(space, [scenario], settings)) == {INITIAL: {RATE: 0.3}, RATE: {INITIAL: "200ms"}}
    assert dict(put_back(space, [scenario], settings | {RATE: 0.5})) == {INITIAL: {RATE: 0.5}}
    assert list(put_back(space, [scenario], {INITIAL: "200ms"})) == []  # that is what there is


def test_the_parameter_that_does_nothing_can_stay():
    def cost(scenario):
        return 1.0 + (standing(scenario, INITIAL) - 0.02) ** 2

    dials = {INITIAL: ("10ms", "1s", "log"), RATE: (0.05, 0.95)}
    stages = pretended(shop().with_values({INITIAL: "900ms"}), dials, cost, noise=0.05, own=0.0, trials=8, most=4)
    stages.all()
    verdicts = {one.path: one.change.verdict for one in stages.undone}
    assert verdicts == {INITIAL: "worse", RATE: "same"}
    assert set(stages.alone.settings) == {INITIAL}
    assert stages.alone.change == stages.best().changes[0]  # nothing depends on the other
    assert stages.alone.held_out == stages.best().held_out[0]  # of as many replications, though a trial has four
