import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmsim.algorithms.ejection import Ejections
from llmsim.algorithms.ramp import ramp_share

INTERVAL, BASE, MAX, ROW = 8.0, 16.0, 40.0, 3


class ConsecutiveErrorsAgainstTheirRules(RuleBasedStateMachine):
    """Calls end in any order; the model works out who is ejected, for how long, from what happened."""

    @initialize(count=st.integers(1, 6), share=st.sampled_from([0.1, 0.34, 0.5, 0.67, 1.0]))
    def begin(self, count, share):
        self.names = "abcdef"[:count]
        self.share = share
        self.core = Ejections(self.names, consecutive=ROW, interval_s=INTERVAL, base_s=BASE, max_s=MAX, max_share=share)
        self.now = 0.0
        self.row = dict.fromkeys(self.names, 0)
        self.until = dict.fromkeys(self.names, -math.inf)
        self.times = dict.fromkeys(self.names, 0)

    @rule(wait=st.sampled_from([0.0, 1.0, 8.0, 17.0, 50.0]))
    def wait(self, wait):
        self.now += wait

    @rule(which=st.integers(0, 5), failed=st.booleans())
    def end(self, which, failed):
        self.ended(self.names[which % len(self.names)], failed=failed)

    @rule(which=st.integers(0, 5))
    def fails_all_the_time(self, which):
        for _ in range(ROW):
            self.ended(self.names[which % len(self.names)], failed=True)

    def ended(self, name, *, failed):
        expected = {}
        if self.now >= self.until[name]:
            self.row[name] = self.row[name] + 1 if failed else 0
            ejected = sum(until > self.now for until in self.until.values())
            if self.row[name] >= ROW and (ejected + 1) / len(self.names) <= self.share + 1e-9:
                healthy = 0 if not self.times[name] else int((self.now - self.until[name]) / INTERVAL)
                self.times[name] = min(max(0, self.times[name] - healthy) + 1, 3)  # 3 × 16 s is beyond 40 s
                self.until[name] = self.now + min(MAX, BASE * self.times[name])
                self.row[name] = 0
                expected = {name: "consecutive_errors"}
        assert self.core.record(name, self.now, failed=failed) == expected

    @invariant()
    def never_more_than_the_share(self):
        if hasattr(self, "core"):
            assert self.core.ejected(self.now) <= self.share * len(self.names) + 1e-9
            assert {name: host.until_s for name, host in self.core.hosts.items()} == self.until


TestConsecutiveErrors = ConsecutiveErrorsAgainstTheirRules.TestCase
TestConsecutiveErrors.settings = settings(max_examples=examples(40), stateful_step_count=30)


@pytest.mark.slow
class TestConsecutiveErrorsInManyCases(TestConsecutiveErrors):
    settings = settings(max_examples=200, stateful_step_count=40)


calls = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.floats(0.0, 6.0)), max_size=200)


@settings(max_examples=examples(60))
@given(calls, st.sampled_from([0.2, 0.4, 0.6]), st.sampled_from([None, 2]))
def test_never_more_than_the_share_by_whatever_rule(events, share, consecutive):
    core = Ejections(
        "abcde",
        consecutive=consecutive,
        interval_s=INTERVAL,
        base_s=BASE,
        max_s=MAX,
        max_share=share,
        failure_rate=0.5,
        stdevs=1.0,
    )
    now = 0.0
    for which, failed, wait in events:
        now += wait
        core.record("abcde"[which], now, failed=failed)
        assert core.ejected(now) <= 5 * share + 1e-9


def interval(core, failures, of=20):
    """A first interval in which ``failures[name]`` of 20 calls fail; what the look after it ejects."""
    for name, failed in failures.items():
        for number in range(of):
            core.record(name, 0.0, failed=number < failed)
    return core.record("a", INTERVAL, failed=False)


def rates(names, **fields):
    return Ejections(names, interval_s=INTERVAL, base_s=BASE, max_s=MAX, minimum_calls=20, max_share=0.5, **fields)


def test_the_worst_goes_first_when_not_all_can():
    core = rates("abcd", failure_rate=0.5)
    failures = {"b": 12, "c": 20, "d": 15}
    assert interval(core, failures) == {"c": "failure_rate", "d": "failure_rate"}


def test_below_the_failure_rate_or_with_too_few_calls_nobody_goes():
    assert interval(rates("abcd", failure_rate=0.5), {"b": 9}) == {}
    assert interval(rates("abcd", failure_rate=0.5), {"b": 10}) == {"b": "failure_rate"}
    assert interval(rates("abcd", failure_rate=0.5), {"b": 19}, of=19) == {}


@pytest.mark.parametrize(
    ("names", "expected"),
    [("abcd", {}), ("abcde", {"b": "success_rate"})],
)
def test_one_of_four_cannot_be_1_9_deviations_below_the_mean_and_one_of_five_can(names, expected):
    assert interval(rates(names, stdevs=1.9), {name: 20 * (name == "b") for name in names}) == expected


@given(st.integers(2, 9), st.integers(0, 20))
def test_equals_do_not_stick_out(count, failed):
    names = "abcdefghi"[:count]
    assert interval(rates(names, stdevs=0.1), dict.fromkeys(names, failed)) == {}


def test_calls_from_before_the_ejection_do_not_count():
    core = Ejections("ab", consecutive=ROW, base_s=BASE)
    for _ in range(ROW):
        core.record("a", 0.0, failed=True)
    for _ in range(10):
        assert core.record("a", 10.0, failed=True) == {}
    assert core.opens_s("a") == BASE
    assert core.record("a", 17.0, failed=True) == {}
    assert core.hosts["a"].in_a_row == 1


@given(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True), st.floats(0.0, 60.0))
def test_after_an_ejection_the_share_grows(luck, later):
    core = Ejections("ab", consecutive=1, base_s=BASE, ramp_s=30.0)
    core.record("a", 0.0, failed=True)
    core.settle("a", later)
    share = ramp_share(later - BASE, 30.0)
    if abs(luck - share) > 1e-6:
        assert (later >= core.opens_s("a", luck)) == (luck < share)
    assert core.hosts["a"].active == (share < 1.0)


def test_every_interval_counts_for_itself():
    core = rates("abcd", failure_rate=0.5)
    assert interval(core, {"b": 9}) == {}
    for _ in range(20):  # 29 of 41 since the beginning, 20 of 20 now
        core.record("b", INTERVAL + 1.0, failed=True)
    assert core.record("a", 2 * INTERVAL, failed=False) == {"b": "failure_rate"}
    assert core.record("a", 3 * INTERVAL, failed=False) == {}
    core = rates("abcd", failure_rate=0.5)
    assert interval(core, {"b": 9}) == {}
    for number in range(20):  # 19 of 40 since the beginning, half of those now
        core.record("b", INTERVAL + 1.0, failed=number < 10)
    assert core.record("a", 2 * INTERVAL, failed=False) == {"b": "failure_rate"}


def test_who_is_ejected_is_not_compared():
    core = rates("abcdefgh", failure_rate=0.5, consecutive=1)
    core.record("b", 0.0, failed=True)
    for _ in range(40):
        core.record("b", 1.0, failed=True)
    core.hosts["b"].total = core.hosts["b"].failed = 40  # had they been counted all the same
    assert core.record("a", INTERVAL, failed=False) == {}
    assert core.hosts["b"].until_s == BASE


def test_a_share_of_many_is_not_lost_to_rounding():
    names = [str(number) for number in range(100)]
    core = Ejections(names, consecutive=1, max_share=0.29)
    for name in names:
        core.record(name, 0.0, failed=True)
    assert core.ejected(0.0) == 29


@pytest.mark.parametrize(("count", "ejected"), [(1, 0), (3, 1), (30, 3)])
def test_one_in_any_case_unless_it_is_the_only_one(count, ejected):
    names = [str(number) for number in range(count)]
    for always, expected in ((True, ejected), (False, ejected if count >= 10 else 0)):
        core = Ejections(names, consecutive=1, max_share=0.1, always_one=always)
        for name in names:
            core.record(name, 0.0, failed=True)
        assert core.ejected(1.0) == expected
