import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmsim.algorithms.breaker import Breaker

WINDOW, WAIT, MINIMUM, PERMITTED, RATE = 16.0, 8.0, 4, 3, 0.5


def breaker(**changes):
    fields = {
        "failure_rate": RATE,
        "window_s": WINDOW,
        "minimum_calls": MINIMUM,
        "wait_in_open_s": WAIT,
        "permitted_in_half_open": PERMITTED,
    }
    return Breaker(**{**fields, **changes})


class BreakerAgainstItsRules(RuleBasedStateMachine):
    """Calls begin and end in any order; the model keeps all outcomes and recomputes every decision from scratch."""

    def __init__(self):
        super().__init__()
        self.breaker = breaker()
        self.now = 0.0
        self.calls = []  # (generation, admitted in state)
        self.outcomes = []  # of this closed period: (time, failed)
        self.probes = []  # of this half-open period: failed
        self.opened_at = -math.inf

    def share(self):
        bucket = WINDOW / 10
        newest = int(self.now / bucket)
        kept = [failed for at, failed in self.outcomes if newest - 10 < int(at / bucket) <= newest]
        return len(kept), sum(kept)

    def opens(self):
        self.opened_at = self.now
        self.outcomes, self.probes = [], []
        return "open"

    @rule(wait=st.sampled_from([0.0, 0.5, 1.0, 4.0, 8.0]))
    def wait(self, wait):
        self.now += wait

    @rule()
    def begin(self):
        before = self.breaker.state
        running = sum(generation == self.breaker.generation for generation, _ in self.calls)
        generation = self.breaker.admit(self.now)
        if before == "open" and self.now < self.opened_at + WAIT:
            assert generation == 0
        elif before == "closed":
            assert generation
        elif before == "open":
            assert self.breaker.state == "half_open"
            assert generation
        else:
            assert bool(generation) == (running + len(self.probes) < PERMITTED)
        if generation:
            self.calls.append((generation, self.breaker.state))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), failed=st.booleans())
    def end(self, data, failed):
        generation, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before, current = self.breaker.state, self.breaker.generation
        self.breaker.record(generation, self.now, failed=failed)
        expected = before
        if generation == current and before == "closed":
            self.outcomes.append((self.now, failed))
            total, failures = self.share()
            if failures and total >= MINIMUM and failures / total >= RATE:
                expected = self.opens()
                assert self.breaker.failure_rate == failures / total
        elif generation == current and before == "half_open":
            self.probes.append(failed)
            failures, left = sum(self.probes), PERMITTED - len(self.probes)
            if failures / PERMITTED >= RATE:
                expected = self.opens()
            elif (failures + left) / PERMITTED < RATE:  # whatever the rest does
                expected, self.outcomes, self.probes = "closed", [], []
        assert self.breaker.state == expected

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data):
        generation, _ = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker.state
        self.breaker.release(generation)
        assert self.breaker.state == before

    @invariant()
    def never_more_than_the_permitted_at_once(self):
        if self.breaker.state == "half_open":
            running = sum(generation == self.breaker.generation for generation, _ in self.calls)
            assert running + len(self.probes) <= PERMITTED

    @invariant()
    def says_how_long(self):
        remaining = self.breaker.remaining_s(self.now)
        assert (remaining is None) == (self.breaker.state != "open")
        assert remaining is None or 0 <= remaining <= WAIT


TestBreakerAgainstItsRules = BreakerAgainstItsRules.TestCase
TestBreakerAgainstItsRules.settings = settings(max_examples=examples(80), stateful_step_count=40)


@pytest.mark.slow
class TestBreakerAgainstItsRulesInManyCases(TestBreakerAgainstItsRules):
    settings = settings(max_examples=250, stateful_step_count=40)


@given(st.integers(1, 60), st.floats(0.01, 1.0), st.lists(st.booleans(), max_size=120))
def test_opens_exactly_at_the_failure_rate(minimum, rate, outcomes):
    core = breaker(minimum_calls=minimum, failure_rate=rate, window_s=1000.0)
    failures = 0
    for count, failed in enumerate(outcomes, start=1):
        core.record(core.admit(0.0), now=0.0, failed=failed)
        failures += failed
        should = bool(failures) and count >= minimum and failures / count >= rate
        assert (core.state == "open") == should
        if should:
            break


@given(st.integers(1, 20), st.floats(0.01, 1.0), st.lists(st.booleans(), min_size=20, max_size=20))
def test_the_early_verdict_of_half_open_is_the_verdict_of_all_probes(permitted, rate, outcomes):
    core = breaker(permitted_in_half_open=permitted, failure_rate=rate, minimum_calls=1)
    core.record(core.admit(0.0), now=0.0, failed=True)
    assert core.state == "open"
    probes = [core.admit(WAIT) for _ in range(permitted + 5)]
    assert sum(map(bool, probes)) == permitted
    for generation, failed in zip(probes[:permitted], outcomes, strict=False):
        core.record(generation, WAIT, failed=failed)
    failed_share = sum(outcomes[:permitted]) / permitted
    assert core.state == ("open" if failed_share >= rate else "closed")


def test_old_failures_are_forgotten():
    core = breaker()
    for _ in range(MINIMUM - 1):
        core.record(core.admit(0.0), now=0.0, failed=True)
    core.record(core.admit(WINDOW), now=WINDOW, failed=True)
    assert core.state == "closed"


def test_calls_from_before_it_opened_say_nothing_about_recovery():
    core = breaker(minimum_calls=1, permitted_in_half_open=1)
    straggler, trigger = core.admit(0.0), core.admit(0.0)
    core.record(trigger, now=1.0, failed=True)
    probe = core.admit(1.0 + WAIT)
    core.record(straggler, now=10.0, failed=False)
    assert core.state == "half_open"
    core.record(probe, now=10.5, failed=True)
    assert core.state == "open"


def test_a_cancelled_probe_gives_its_permit_back():
    core = breaker(minimum_calls=1, permitted_in_half_open=1)
    core.record(core.admit(0.0), now=0.0, failed=True)
    probe = core.admit(WAIT)
    assert not core.admit(WAIT)
    core.release(probe)
    assert core.admit(WAIT) == probe


def test_a_success_can_complete_the_minimum():
    core = breaker(minimum_calls=4)
    for failed in (True, True, True, False):
        core.record(core.admit(0.0), now=0.0, failed=failed)
    assert core.state == "open"
