"""What calls use never exceeds rate × time + burst, however reserving, settling and giving back interleave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.buckets import ReservingBucket, TokenBucket
from llmsim.algorithms.rate_limits import INSTANT_S, RateLimits

RATE, CAPACITY = 10.0, 100.0
#: (seconds that pass, what is wanted | which open call ends, share of the reserved that it used; 0: cancelled)
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.5, 3.0, 12.0]),
        st.sampled_from(["reserve", "reserve", "settle"]),
        st.sampled_from([1.0, 30.0, 60.0, 100.0]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    ),
    max_size=60,
)


class Naive(TokenBucket):
    """What is usual: what was not used is added, up to the capacity."""

    def reserve(self, amount, now):
        self.take(amount, now)
        return amount

    def settle(self, amount, used, now):
        self.level = min(self.refill(now) + amount - used, self.capacity)


class Played:
    """A bucket and everybody it let in: (admitted at, reserved, used or None while open)."""

    def __init__(self, bucket, program):
        self.bucket, self.calls, self.now = bucket, [], 0.0
        open_calls = []
        for passes, what, amount, which, share in program:
            self.now += passes
            if what == "settle" and open_calls:
                number, reservation = open_calls.pop(which % len(open_calls))
                used = self.calls[number][1] * share
                bucket.settle(reservation, used, self.now)
                self.calls[number] = (*self.calls[number][:2], used)
            elif what == "reserve" and not bucket.wait_s(amount, self.now):
                open_calls.append((len(self.calls), bucket.reserve(amount, self.now)))
                self.calls.append((self.now, amount, None))
            self.check_level()

    def check_level(self):
        pass

    @property
    def used(self):
        return [(at, reserved if used is None else used) for at, reserved, used in self.calls]

    def worst_excess(self):
        """The most by which any stretch of time let through more than it may."""
        used = self.used
        worst = 0.0
        for first in range(len(used)):
            total = 0.0
            for at, amount in used[first:]:
                total += amount
                worst = max(worst, total - CAPACITY - RATE * (at - used[first][0]))
        return worst


@given(steps)
def test_no_stretch_of_time_lets_through_more_than_rate_times_time_plus_burst(program):
    assert Played(ReservingBucket(RATE, CAPACITY), program).worst_excess() <= 1e-6


def test_adding_back_what_was_not_used_is_not_enough():
    """The example of the docstring; it is also what the property above would find."""
    program = [
        (0.0, "reserve", 100.0, 0, 0.0),
        (12.0, "reserve", 100.0, 0, 0.0),
        (0.0, "settle", 0.0, 0, 0.0),
        (0.0, "reserve", 100.0, 0, 0.0),
    ]
    assert Played(Naive(RATE, CAPACITY), program).worst_excess() == 100.0
    assert Played(ReservingBucket(RATE, CAPACITY), program).worst_excess() == 0.0


def test_what_came_back_to_one_cannot_come_back_to_another_as_well():
    """Two of 50 at 0 s; at 5 s it is half full, and that half is taken.

    Had the two not been, it would have been full at 5 s: 50 of their 100 would have been lost.
    """
    program = [
        (0.0, "reserve", 50.0, 0, 0.0),
        (0.0, "reserve", 50.0, 0, 0.0),
        (5.0, "reserve", 50.0, 0, 0.0),
        (0.0, "settle", 0.0, 0, 0.0),
        (0.0, "settle", 0.0, 0, 0.0),
        (0.0, "reserve", 50.0, 0, 0.0),
        (0.0, "reserve", 50.0, 0, 0.0),
    ]
    played = Played(ReservingBucket(RATE, CAPACITY), program)
    assert played.worst_excess() == 0.0
    assert len(played.calls) == 4


class Replayed(Played):
    """Beside the bucket, the level it would have had all calls reserved at once what they used in the end."""

    def check_level(self):
        level, at = CAPACITY, 0.0
        for when, amount in self.used:
            level, at = min(CAPACITY, level + RATE * (when - at)) - amount, when
        level = min(CAPACITY, level + RATE * (self.now - at))
        assert self.bucket.refill(self.now) <= level + 1e-6
        assert level >= -1e-6


@given(steps)
def test_it_stands_never_higher_than_with_perfect_foresight(program):
    Replayed(ReservingBucket(RATE, CAPACITY), program)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.0, 0.5, 1.0])), max_size=30))
def test_one_call_at_a_time_gets_back_exactly_what_foresight_would_leave(program):
    bucket, now, level = ReservingBucket(RATE, CAPACITY), 0.0, CAPACITY
    for lasts, share in program:
        if bucket.wait_s(60.0, now):
            now += 6.0
            level = min(CAPACITY, level + 60.0)
        call = bucket.reserve(60.0, now)
        now += lasts
        bucket.settle(call, 60.0 * share, now)
        level = min(CAPACITY, level - 60.0 * share + RATE * lasts)
        assert bucket.level == pytest.approx(level)
        assert (bucket.reserved, bucket._peaks) == (0.0, [])


def test_more_than_reserved_is_a_debt():
    bucket = ReservingBucket(RATE, CAPACITY)
    bucket.settle(bucket.reserve(10.0, 0.0), 150.0, 0.0)
    assert bucket.level == -50.0
    assert bucket.wait_s(10.0, 0.0) == 6.0


def test_many_open_calls_are_remembered_in_little_and_never_to_their_advantage():
    bucket = ReservingBucket(1.0, 1e6)
    calls = [bucket.reserve(1.0 + n % 3, n * 1e-3) for n in range(5000)]
    assert len(bucket._peaks) <= 257
    for call in calls[::2]:
        bucket.settle(call, 0.0, 6.0)
    given_back = sum(amount for _, amount in calls[::2])
    kept = sum(amount for _, amount in calls[1::2])
    assert 1e6 - kept - given_back <= bucket.level <= 1e6 - kept + 6.0


amounts = st.tuples(st.just(1.0), st.floats(1.0, 500.0))


@given(st.lists(st.tuples(amounts, st.floats(0.0, 3.0)), max_size=40))
def test_a_call_takes_from_all_or_none_and_the_wait_it_is_told_is_true(program):
    limits, now = RateLimits((2.0, 50.0), burst_s=10.0), 0.0
    for wanted, passes in program:
        now += passes
        before = [bucket.refill(now) for bucket in limits.buckets]
        wait_s = limits.wait_s(wanted, now)
        assert limits.expected_s(wanted, now) == pytest.approx(wait_s, abs=2 * INSTANT_S)
        assert limits.least_s(wanted, now) <= limits.expected_s(wanted, now)
        assert [bucket.level for bucket in limits.buckets] == before
        if wait_s:
            assert wait_s > INSTANT_S
            if wait_s > 0.01:
                assert limits.wait_s(wanted, now + wait_s - 0.005) > 0
            now += wait_s
        assert limits.wait_s(wanted, now) == 0.0
        limits.reserve(wanted, now)
        assert min(bucket.level for bucket in limits.buckets) >= -50.0 * INSTANT_S


def test_what_is_told_counts_those_who_wait_and_never_can_is_never():
    limits = RateLimits((10.0,), burst_s=10.0)
    call = limits.reserve((100.0,), 0.0)
    limits.queue((30.0,))
    assert limits.expected_s((20.0,), 0.0) == 5.0
    assert limits.least_s((20.0,), 0.0) == 0.0
    limits.queue((30.0,), -1)
    assert limits.expected_s((20.0,), 0.0) == 2.0
    assert limits.expected_s((101.0,), 0.0) == float("inf")
    assert not limits.is_full(0.0)
    limits.settle(call, (0.0,), 0.0)
    assert limits.is_full(0.0)
