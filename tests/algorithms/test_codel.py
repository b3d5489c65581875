"""CoDel against the pseudo-code of RFC 8289, where one packet after the other leaves a queue."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms import Codel

TARGET, INTERVAL = 1.0, 10.0


class Rfc8289:
    """Sections 5.5 and 5.6 for a router, one packet at a time; True from `packet` means dropped."""

    def __init__(self):
        self.first_above = 0.0
        self.dropping = False
        self.drop_next = 0.0
        self.count = self.last_count = 0

    def packet(self, now, sojourn):
        ok_to_drop = False
        if sojourn < TARGET:
            self.first_above = 0.0
        elif self.first_above == 0.0:
            self.first_above = now + INTERVAL
        elif now >= self.first_above:
            ok_to_drop = True
        if self.dropping:
            if not ok_to_drop:
                self.dropping = False
            elif now >= self.drop_next:
                self.count += 1
                self.drop_next += INTERVAL / math.sqrt(self.count)
                return True
        elif ok_to_drop:
            self.dropping = True
            delta = self.count - self.last_count
            self.count = delta if delta > 1 and now - self.drop_next < 16 * INTERVAL else 1
            self.drop_next = now + INTERVAL / math.sqrt(self.count)
            self.last_count = self.count
            return True
        return False


steps = st.lists(st.tuples(st.floats(0.01, 8.0), st.sampled_from([0.2, 1.5, 1.5, 1.5, 1.5, 3.0])), max_size=150)


@given(steps)
def test_it_sheds_when_the_router_drops(steps):
    codel, router, now = Codel(TARGET, INTERVAL), Rfc8289(), 1.0
    for gap, sojourn in steps:
        now += gap
        codel.delay(now, sojourn)
        assert codel.admit(now) is not router.packet(now, sojourn)


def test_the_pace_grows_with_the_root_of_what_was_shed():
    codel, shed = Codel(TARGET, INTERVAL), []
    for tick in range(10_000):
        now = tick / 100
        codel.delay(now, 2.0)
        if not codel.admit(now):
            shed.append(now)
    assert np.diff(shed)[:4] == pytest.approx([10 / math.sqrt(n) for n in (1, 2, 3, 4)], abs=0.011)


def test_an_idle_server_has_no_queue():
    codel = Codel(TARGET, INTERVAL)
    for now in (0.0, 11.0):
        codel.delay(now, 5.0)
    assert not codel.admit(11.0)
    codel.idle()
    assert not codel.shedding
    assert all(codel.admit(now) for now in (30.0, 60.0))
