"""What a breaker has besides the simplest one: a window of calls, slow calls, a growing wait, a ramp."""

import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmsim.algorithms.breaker import Breaker
from llmsim.algorithms.ramp import ramp_share

CALLS, MINIMUM, RATE, SLOW_RATE = 6, 4, 0.5, 0.75
WAIT, MULTIPLIER, MAX_WAIT, PERMITTED, RAMP = 8.0, 2.0, 20.0, 3, 16.0
LUCKS = [0.01, 0.09, 0.2, 0.5, 0.99]


def breaker(**changes):
    fields = {
        "failure_rate": RATE,
        "window_calls": CALLS,
        "minimum_calls": MINIMUM,
        "wait_in_open_s": WAIT,
        "wait_multiplier": MULTIPLIER,
        "max_wait_s": MAX_WAIT,
        "permitted_in_half_open": PERMITTED,
        "slow_rate": SLOW_RATE,
        "ramp_s": RAMP,
    }
    return Breaker(**{**fields, **changes})


class EverythingAtOnce(RuleBasedStateMachine):
    """Calls begin and end in any order; the model keeps every outcome and works each decision out from scratch."""

    def __init__(self):
        super().__init__()
        self.breaker = breaker()
        self.now = 0.0
        self.calls = []  # generations
        self.state, self.since = "closed", 0.0
        self.outcomes, self.probes = [], []  # (failed, slow)
        self.trips = 0  # openings since it was last closed

    def opens(self):
        self.state, self.since, self.outcomes = "open", self.now, []
        self.trips += 1

    def wait_s(self):
        return min(MAX_WAIT, WAIT * MULTIPLIER ** (self.trips - 1))

    def ramp_ends(self):
        if self.state == "ramping" and self.now >= self.since + RAMP:
            self.state, self.trips = "closed", 0

    @rule(wait=st.sampled_from([0.0, 0.5, 1.0, 4.0, 8.0, 16.0]))
    def wait(self, wait):
        self.now += wait

    @rule(luck=st.sampled_from(LUCKS))
    def begin(self, luck):
        self.admitted(luck)

    @precondition(lambda self: self.state in ("closed", "ramping"))
    @rule(wait=st.sampled_from([8.0, 16.0, 20.0]))
    def break_down_and_wait(self, wait):
        """Chance alone hardly ever gets there."""
        for _ in range(CALLS):
            if self.admitted(0.01):
                self.ended(self.calls.pop(), failed=True, slow=False)
        self.now += wait

    @precondition(lambda self: self.state in ("open", "half_open"))
    @rule(slow=st.lists(st.booleans(), min_size=PERMITTED, max_size=PERMITTED))
    def probe_without_failures(self, slow):
        self.now = max(self.now, self.since + self.wait_s()) if self.state == "open" else self.now
        for one in slow:
            if self.state in ("open", "half_open") and self.admitted(0.99):
                self.ended(self.calls.pop(), failed=False, slow=one)

    def admitted(self, luck):
        self.ramp_ends()
        if self.state == "open" and self.now >= self.since + self.wait_s():
            self.state, self.probes = "half_open", []
        allowed = {
            "closed": True,
            "open": False,
            "ramping": luck <= ramp_share(self.now - self.since, RAMP),
            "half_open": self.probing() + len(self.probes) < PERMITTED,
        }[self.state]
        generation = self.breaker.admit(self.now, luck)
        assert bool(generation) == allowed
        assert self.breaker.state == self.state
        if generation:
            self.calls.append(generation)
        return bool(generation)

    def probing(self):
        return sum(generation == self.breaker.generation for generation in self.calls)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), failed=st.booleans(), slow=st.booleans())
    def end(self, data, failed, slow):
        self.ended(self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1))), failed=failed, slow=slow)

    def ended(self, generation, *, failed, slow):
        current = generation == self.breaker.generation
        self.breaker.record(generation, self.now, failed=failed, slow=slow)
        if current and self.state in ("closed", "ramping"):
            self.ramp_ends()
            self.outcomes = [*self.outcomes, (failed, slow)][-CALLS:]
            if len(self.outcomes) >= MINIMUM and self.too_many(self.outcomes, len(self.outcomes)):
                self.opens()
        elif current and self.state == "half_open":
            self.probes.append((failed, slow))
            rest = [(True, True)] * (PERMITTED - len(self.probes))
            if self.too_many(self.probes, PERMITTED):
                self.opens()
            elif not self.too_many([*self.probes, *rest], PERMITTED):  # whatever the rest does
                self.state, self.since, self.outcomes = "ramping", self.now, []
        assert self.breaker.state == self.state

    @staticmethod
    def too_many(outcomes, of):
        failures, slow = (sum(column) for column in zip(*outcomes, strict=True))
        return failures / of >= RATE or slow / of >= SLOW_RATE

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data):
        self.breaker.release(self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1))))
        assert self.breaker.state == self.state

    @precondition(lambda self: self.state == "half_open")
    @rule()
    def everybody_goes_and_every_permit_is_back(self):
        while self.calls:
            self.breaker.release(self.calls.pop())
        given = sum(bool(self.breaker.admit(self.now)) for _ in range(PERMITTED + 2))
        assert given == PERMITTED - len(self.probes)
        self.calls = [self.breaker.generation] * given

    @invariant()
    def never_more_than_the_permitted_at_once(self):
        if self.breaker.state == "half_open":
            assert self.probing() + len(self.probes) <= PERMITTED

    @invariant()
    def says_how_long(self):
        remaining = self.breaker.remaining_s(self.now)
        assert remaining == (max(0.0, self.since + self.wait_s() - self.now) if self.state == "open" else None)


TestEverythingAtOnce = EverythingAtOnce.TestCase
TestEverythingAtOnce.settings = settings(max_examples=examples(40), stateful_step_count=30)


@pytest.mark.slow
class TestEverythingAtOnceInManyCases(TestEverythingAtOnce):
    settings = settings(max_examples=200, stateful_step_count=50)


def trip(core, now, times=MINIMUM):
    for _ in range(times):
        core.record(core.admit(now), now, failed=True)


def test_the_wait_grows_while_it_does_not_recover_and_starts_anew_once_it_has():
    core, now, waits = breaker(), 0.0, []
    trip(core, now)
    for _ in range(4):
        waits.append(core.remaining_s(now))
        now += waits[-1]
        core.record(core.admit(now), now, failed=True)  # one of three is below 50 %, two are not
        core.record(core.admit(now), now, failed=True)
    assert waits == [8.0, 16.0, 20.0, 20.0]
    now += core.remaining_s(now)
    for _ in range(2):
        core.record(core.admit(now), now, failed=False)
    assert core.state == "ramping"
    core.admit(now + RAMP)
    trip(core, now + RAMP)
    assert core.remaining_s(now + RAMP) == 8.0


def test_opening_again_in_the_ramp_is_no_recovery():
    core = breaker()
    trip(core, 0.0)
    for _ in range(2):
        core.record(core.admit(8.0), 8.0, failed=False)
    assert core.state == "ramping"
    for _ in range(MINIMUM):
        core.record(core.admit(9.0, luck=0.01), 9.0, failed=True)
    assert (core.state, core.remaining_s(9.0)) == ("open", 16.0)


def test_calls_admitted_in_the_ramp_count_after_it():
    """A stream of half a minute ends when the ramp is over: its end must not be lost."""
    core = breaker()
    trip(core, 0.0)
    for _ in range(2):
        core.record(core.admit(8.0), 8.0, failed=False)
    calls = [core.admit(9.0, luck=0.01) for _ in range(MINIMUM)]
    assert core.admit(8.0 + RAMP)
    assert core.state == "closed"
    for generation in calls:
        core.record(generation, 40.0, failed=True)
    assert core.state == "open"


@given(st.integers(4, 30), st.lists(st.booleans(), max_size=80))
def test_slow_calls_open_it_whether_they_failed_or_not(size, slows):
    core = breaker(window_calls=size, failure_rate=1.0)
    for count, slow in enumerate(slows, start=1):
        core.record(core.admit(0.0), 0.0, failed=False, slow=slow)
        kept = slows[max(0, count - size) : count]
        if len(kept) >= MINIMUM and sum(kept) / len(kept) >= SLOW_RATE:
            assert (core.state, core.slow_rate) == ("open", sum(kept) / len(kept))
            return
        assert core.state == "closed"


def test_without_a_slow_rate_slow_calls_are_no_matter():
    core = breaker(slow_rate=None)
    for _ in range(50):
        core.record(core.admit(0.0), 0.0, failed=False, slow=True)
    assert core.state == "closed"


def test_a_window_of_calls_does_not_forget_by_itself():
    core = breaker()
    for hour in range(MINIMUM):
        core.record(core.admit(hour * 3600.0), hour * 3600.0, failed=True)
    assert core.state == "open"


def test_the_wait_never_shrinks_below_its_beginning():
    core = breaker(max_wait_s=1.0)
    trip(core, 0.0)
    assert core.remaining_s(0.0) == WAIT
    assert not math.isinf(core.open_until_s)


def test_the_ramp_ends_by_the_clock_whoever_notices():
    core = breaker()
    trip(core, 0.0)
    for _ in range(2):
        core.record(core.admit(8.0), 8.0, failed=False)
    for generation in [core.admit(9.0, luck=0.01) for _ in range(MINIMUM)]:
        core.record(generation, 8.0 + RAMP, failed=True)
    assert core.remaining_s(8.0 + RAMP) == WAIT  # it had recovered: a first trip, not a second
