"""Steps from the best, and what is expected of them."""

import math

import numpy as np
import pytest

from llmsim.luck import Luck
from llmsim.tuning.guessed import Guess
from llmsim.tuning.nearby import STEPS, nearby
from llmsim.tuning.proposing import Answer, Everything, Sampled
from llmsim.tuning.space import Dimension, Space

WAIT = Dimension("wait", "range", 10.0, 1000.0, log=True, unit=("", "ms"))
TRIES = Dimension("tries", "choice", choices=(1, 2, 3, 4))
JITTER = Dimension("jitter", "choice", choices=("none", "full"))
COUNT = Dimension("count", "range", 1, 9, whole=True)
SPACE = Space((WAIT, TRIES, JITTER, COUNT))
HERE = {"wait": "100ms", "tries": 2, "jitter": "none", "count": 5}


def test_steps_have_several_sizes_on_the_scale_of_the_range():
    found = [nearby(SPACE, HERE, Luck(3), number) for number in range(2000)]
    for n, step in enumerate(STEPS):
        moved = [WAIT.place(one["wait"]) - 0.5 for one in found[n :: len(STEPS)] if one["wait"] != "100ms"]
        assert np.mean(moved) == pytest.approx(0, abs=4 * step / math.sqrt(len(moved)))
        assert np.std(moved) == pytest.approx(step, rel=0.15)
    assert {one["tries"] for one in found} == {1, 2, 3}
    assert {one["jitter"] for one in found} == {"none", "full"}
    assert all(1 <= one["count"] <= 9 for one in found)
    assert min(abs(one["count"] - 5) for one in found if one["count"] != 5) == 1
    assert found == [nearby(SPACE, HERE, Luck(3), number) for number in range(2000)]


def cost(one):
    return 1 + (WAIT.place(one["wait"]) - 0.7) ** 2 + 0.1 * abs(one["tries"] - 3) + 0.2 * (one["jitter"] == "none")


def limit(one):
    return WAIT.place(one["wait"]) - 0.6


def test_what_lies_between_answers_is_guessed_with_its_limits():
    luck = Luck(5)
    tried = [HERE, *(nearby(SPACE, HERE, luck, 4 * number) for number in range(40))]
    guess = Guess(SPACE, HERE, [(one, cost(one), [limit(one)]) for one in tried])
    new = [nearby(SPACE, HERE, luck, 4 * number + 1) for number in range(200)]
    expected = guess.of(new)
    errors = expected - [[cost(one) / cost(HERE) - 1, limit(one)] for one in new]
    spread = np.std([cost(one) / cost(HERE) for one in new])
    assert np.sqrt(np.mean(errors[:, 0] ** 2)) < spread / 2
    assert np.sqrt(np.mean(errors[:, 1] ** 2)) < 0.05


def test_once_something_is_learnt_half_of_what_is_proposed_is_near_the_best():
    proposer = Sampled(Space((WAIT, TRIES)), 1, 7)
    for _ in range(5):
        told = [Answer(one, (cost({**HERE, **one}),), (limit(one),)) for one in proposer.ask(8, HERE)]
        proposer.tell(told)
    asked = proposer.ask(8, {"wait": "240ms", "tries": 3})
    # The best within the limit is at .6 of the range: what should be cheapest is there, or a little beyond.
    assert all(one["tries"] == 3 and abs(WAIT.place(one["wait"]) - 0.6) < 0.08 for one in asked[:3]), asked


SWITCHED = Space(
    (Dimension("retry", "policy", choices=(True, False)), Dimension("retry.tries", "choice", choices=(1, 2, 3)))
)


def test_what_stands_inside_of_a_policy_that_is_off_is_no_other_setting():
    assert SWITCHED.meant({"retry": False, "retry.tries": 2}) == {"retry": False}
    assert len(Everything(SWITCHED, 7).ask(8)) == 4, "three with it, and one without"
    several = Space((*SWITCHED.dimensions, WAIT))
    found, proposer, best = [], Sampled(several, 1, 7), {"retry": False, "retry.tries": 1, "wait": "100ms"}
    for _ in range(8):
        asked = proposer.ask(8, best)
        proposer.tell([Answer(one, (cost({**HERE, "wait": one["wait"]}) + one["retry"],), ()) for one in asked])
        found += asked
    assert len({str(several.meant(one)) for one in found}) == len(found) == 64
    assert sum(one["retry"] is False for one in found) > 16
