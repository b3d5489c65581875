"""The rate of AWS's adaptive mode, held to a transcription of botocore 1.44.5's arithmetic and to its own promises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.cubic import CubicRate

answers = st.lists(st.tuples(st.floats(0.001, 2.0), st.booleans()), min_size=1, max_size=200)


class Reference:
    """Limit and measured rate, from the formulas alone."""

    def __init__(self):
        self.measured = self.w = self.k = self.at = 0.0
        self.limit, self.count, self.last = None, 0, None

    def answered(self, now, throttled):
        if self.last is None:
            self.began, self.last = now, 0.0
        bucket = math.floor((now - self.began) * 2) / 2
        self.count += 1
        if bucket > self.last:
            self.measured = 0.8 * self.count / (bucket - self.last) + 0.2 * self.measured
            self.count, self.last = 0, bucket
        if throttled:
            self.w = self.measured if self.limit is None else min(self.measured, self.limit)
            self.k = (self.w * 0.3 / 0.4) ** (1 / 3)
            self.at = now
            rate = 0.7 * self.w
        elif self.limit is None:
            return
        else:
            rate = 0.4 * (now - self.at - self.k) ** 3 + self.w
        self.limit = max(min(rate, 2 * self.measured), 0.5)


@given(answers)
def test_the_limit_is_botocores(answers):
    rate, reference, now = CubicRate(), Reference(), 0.0
    for wait, throttled in answers:
        now += wait
        rate.answered(now, throttled=throttled)
        reference.answered(now, throttled)
        assert rate.measured_per_s == pytest.approx(reference.measured)
        assert rate.limit_per_s == pytest.approx(reference.limit or math.inf)


@given(answers)
def test_it_never_admits_more_than_its_rate_and_one_second_of_it(answers):
    rate, now, allowed, sent = CubicRate(), 0.0, 0.0, 0
    rate.answered(0.0, throttled=True)
    allowed = highest = max(rate.limit_per_s, 1.0)
    for wait, throttled in answers:
        allowed += wait * rate.limit_per_s
        now += wait
        while rate.wait_s(None, now) == 0.0:
            rate.take(None, now)
            sent += 1
        rate.answered(now, throttled=throttled)
        highest = max(highest, rate.limit_per_s, 1.0)
        assert sent <= allowed + 1e-6
        assert rate.limit_per_s >= 0.5
    assert highest >= 1.0


def test_after_a_throttle_it_comes_back_to_the_old_rate_and_past_it():
    rate = CubicRate()
    for number in range(200):
        rate.answered(number / 20, throttled=False)
    rate.answered(10.0, throttled=True)
    w = rate.measured_per_s
    assert w == pytest.approx(20.0, rel=0.1)
    assert rate.limit_per_s == pytest.approx(0.7 * w)
    k = (w * 0.3 / 0.4) ** (1 / 3)
    seen = {}
    for number in range(1, 200):
        now = 10.0 + number / 20
        rate.answered(now, throttled=False)
        seen[round(now - 10.0, 2)] = rate.limit_per_s
    assert seen[round(k * 20) / 20] == pytest.approx(w, rel=0.01)
    assert seen[9.9] > 1.2 * w


def test_nothing_is_limited_before_the_first_throttle():
    rate = CubicRate()
    for number in range(1000):
        rate.take(None, number / 1000)
        rate.answered(number / 1000, throttled=False)
    assert (rate.wait_s(None, 1.0), rate.limit_per_s) == (0.0, math.inf)
