"""The luck of calls: the same whoever asks when, made once, and never more than a bounded part of it kept."""

import numpy as np
import pytest

from llmsim.distributions import Exponential
from llmsim.luck import Luck
from llmsim.providers.sim.draws import CallLuck
from llmsim.traffic.workload import Truth

COLUMNS = {"ttft": Exponential(1.0), "error": None}


class Counting(Luck):
    """Notes what is drawn."""

    drawn = 0

    def series(self, *address, **how):
        self.drawn += 1
        return super().series(*address, **how)


def _truth(index, step=0, retry=0):
    return Truth(index, 10, 1.0, step=step, retry=retry)


def test_a_row_is_that_of_its_address_whatever_was_asked_before():
    luck, calm = CallLuck(Luck(1), "p", COLUMNS), {}
    places = [
        (index, step, retry, call)
        for index in (0, 511, 512, 9999)
        for step in (0, 2)
        for retry in (0, 1)
        for call in (0, 3)
    ]
    for place in places:
        calm[place] = luck(_truth(*place[:3]), place[3])
    assert len(set(calm.values())) == len(places)
    busy = CallLuck(Luck(1), "p", {"another": None, **COLUMNS})
    for index in range(0, 400_000, 300):  # throws out what is kept, several times
        busy(_truth(index), 0)
        busy(_truth(index, step=index % 7), 1)
    for place in reversed(places):
        assert busy(_truth(*place[:3]), place[3])[1:] == calm[place]


@pytest.mark.slow
def test_virtual_users_that_drift_apart_find_what_was_drawn():
    """Indices are iteration × users + user; the slowest user is 100 iterations behind the fastest."""
    luck, users = Counting(1), 200
    draws = CallLuck(luck, "p", COLUMNS)
    speeds = np.linspace(0.9, 1.1, users)
    asked = [(number / speed, number * users + user) for user, speed in enumerate(speeds) for number in range(500)]
    for _, index in sorted(asked):
        draws(_truth(index), 0)
    blocks = luck.drawn / len(COLUMNS)
    assert blocks < 1.3 * (500 * users / 512), "a block for each change of user would be 100,000"


@pytest.mark.parametrize("first", [True, False], ids=["first calls", "others"])
def test_memory_is_bounded(first):
    """An agent that runs away makes a new address with every step."""
    draws = CallLuck(Luck(1), "p", COLUMNS)
    for number in range(3000):
        index = number * 512 % 1_000_003  # back and forth: nothing is found again
        draws(_truth(index) if first else _truth(index, step=number), 0)
    kept = sum(len(block) for block in [*draws._first.values(), *draws._others.values()]) // draws._size
    assert kept <= 256 * 512
