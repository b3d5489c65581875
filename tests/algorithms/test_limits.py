"""Concurrency limits: inside their range whatever comes, and Netflix's arithmetic to the digit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms import Aimd, Gradient2, Vegas, WindowedLimit

SPECS = [
    Aimd(initial=5, min=2, max=30),
    Aimd(initial=20, min=20, max=20),
    Vegas(initial=5, min=2, max=30),
    Vegas(smoothing=0.3),
    Gradient2(initial=5, min=2, max=30),
    Gradient2(smoothing=1.0, queue=0),
]
samples = st.tuples(st.floats(1e-4, 1e3), st.integers(1, 2000), st.booleans())


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@given(samples=st.lists(samples, max_size=80))
def test_a_limit_stays_inside_its_range(spec, samples):
    limit = spec.start()
    assert limit.limit == spec.initial
    for rtt_s, in_flight, dropped in samples:
        limit.sample(rtt_s, in_flight, dropped=dropped)
        assert spec.min <= limit.limit <= spec.max
        assert isinstance(limit.limit, int)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@given(rtts=st.lists(st.floats(0.01, 10), min_size=1, max_size=40))
def test_a_limit_that_is_not_used_does_not_grow(spec, rtts):
    limit = spec.start()
    for rtt_s in rtts:
        before = limit.limit
        limit.sample(rtt_s, max(1, before // 2 - 1), dropped=False)
        assert limit.limit <= before or before // 2 - 1 < 1


def test_aimd_by_hand():
    limit, seen = Aimd(initial=20).start(), []
    for rtt_s, in_flight, dropped in [(1, 20, False), (1, 9, False), (1, 21, True), (5.1, 18, False), (5.0, 8, False)]:
        limit.sample(rtt_s, in_flight, dropped=dropped)
        seen.append(limit.limit)
    assert seen == [21, 21, 18, 16, 17]


def test_gradient2_by_hand():
    """Netflix's formulas, written out."""
    limit = Gradient2(initial=50, long_window=600).start()
    estimate, long_s, count = 50.0, 0.0, 0
    for rtt_s in [0.1] * 12 + [0.5] * 6 + [0.02] * 8:
        if count < 10:
            count += 1
            long_s = (long_s * (count - 1) + rtt_s) / count
        else:
            long_s = long_s * (1 - 2 / 601) + rtt_s * 2 / 601
        gradient = max(0.5, min(1.0, 1.5 * long_s / rtt_s))
        estimate = 0.8 * estimate + 0.2 * (estimate * gradient + 4)
        if long_s / rtt_s > 2:
            long_s *= 0.95
        limit.sample(rtt_s, 100, dropped=False)
        assert limit.limit == int(min(200, estimate))
        assert limit._estimate == pytest.approx(estimate, rel=1e-12)


@pytest.mark.parametrize(
    ("limit", "rtt_s", "after"),
    [
        (20, 0.1, 26),  # queue 0 ≤ 1: + beta
        (20, 0.105, 26),  # ceil(0.95) = 1
        (20, 0.11, 21),  # ceil(1.8) = 2 < alpha 3: + 1
        (20, 0.12, 20),  # ceil(3.33) = 4, between 3 and 6
        (20, 0.15, 19),  # ceil(6.67) = 7 > beta: - 1
        (200, 0.102, 202),  # ceil(3.92) = 4 < alpha 6: + 2
        (200, 0.101, 212),  # ceil(1.98) = 2 ≤ 2: + 12
        (200, 0.1075, 198),  # ceil(13.95) = 14 > 12: - 2
    ],
)
def test_vegas_by_hand(limit, rtt_s, after):
    vegas = Vegas(initial=limit).start()
    vegas.sample(0.1, limit, dropped=False)
    vegas.sample(rtt_s, limit, dropped=False)
    assert vegas.limit == after


def test_vegas_learns_the_fastest_time_anew():
    vegas = Vegas(initial=4, probe=10.0).start()
    vegas.sample(0.1, 1, dropped=False)
    for _ in range(math.ceil(0.75 * 10 * 4) - 2):
        vegas.sample(0.2, 1, dropped=False)
    assert vegas._fastest_s == 0.1
    vegas.sample(0.2, 1, dropped=False)
    assert vegas._fastest_s == 0.2


def test_a_refusal_is_no_fast_answer():
    vegas = Vegas(initial=20).start()
    vegas.sample(0.1, 20, dropped=False)
    vegas.sample(0.001, 20, dropped=True)
    assert (vegas.limit, vegas._fastest_s) == (19, 0.1)


class Noting:
    limit = 5

    def __init__(self):
        self.samples = []

    def sample(self, rtt_s, in_flight, *, dropped):
        self.samples.append((round(rtt_s, 9), in_flight, dropped))


def test_a_window_is_one_sample():
    inner = Noting()
    window = WindowedLimit(inner, window_s=1.0, samples=3)
    for now, rtt_s, in_flight, dropped in [
        (0.2, 0.1, 4, False),
        (0.6, 0.3, 7, False),
        (1.1, 0.03, 2, True),  # enough, and a second is over
        (1.4, 0.2, 1, False),
        (3.0, 0.2, 1, False),  # a second is over, but these are two
        (9.0, 0.5, 3, False),
    ]:
        window.sample(now, rtt_s, in_flight, dropped=dropped)
    assert inner.samples == [(0.2, 7, True), (0.3, 3, False)]


def test_a_window_of_drops_alone():
    inner = Noting()
    window = WindowedLimit(inner, window_s=1.0, samples=2)
    for now in (1.5, 1.6):
        window.sample(now, 0.04, 9, dropped=True)
    assert inner.samples == [(0.04, 9, True)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Aimd(initial=5, min=10), "initial 5 is outside of min 10"),
        (lambda: Vegas(max=10), "initial 20 is outside"),
        (lambda: Gradient2(min=0), "min 0 must be at least 1"),
        (lambda: Aimd(backoff=0.4), "at least 50%"),
        (lambda: Gradient2(tolerance=0.9), "write 1.5x"),
        (lambda: Vegas(smoothing=0.0), "above 0%"),
    ],
)
def test_what_makes_no_sense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
