"""Averages stay among what was observed; the peak-sensitive one sees a peak at once and forgets it slowly."""

import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.algorithms.ewma import Ewma, PeakEwma
from llmsim.algorithms.quantile import RecentQuantile

observations = st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 60)), min_size=1, max_size=30)

few = settings(max_examples=examples(40))  # each is a sequence of steps


def played(average, steps):
    now = 0.0
    for pause, sample in steps:
        now += pause
        average.observe(sample, now)
    return now


@few
@given(observations, st.floats(0.1, 100))
def test_an_average_lies_among_its_samples(steps, decay_s):
    average = Ewma(decay_s)
    played(average, steps)
    samples = [sample for _, sample in steps]
    assert min(samples) * (1 - 1e-9) <= average.value <= max(samples) * (1 + 1e-9)


@few
@given(observations, st.floats(0.1, 100))
def test_a_peak_average_lies_between_the_last_sample_and_the_highest(steps, decay_s):
    average = PeakEwma(decay_s)
    now = played(average, steps)
    samples = [sample for _, sample in steps]
    assert samples[-1] * (1 - 1e-9) <= average.latency_s(now) <= max(samples) * (1 + 1e-9)


@few
@given(observations, st.floats(0.1, 100), st.floats(1.0, 10.0))
def test_a_peak_counts_at_once(steps, decay_s, factor):
    average = PeakEwma(decay_s)
    now = played(average, steps)
    peak = max(sample for _, sample in steps) * factor + 1e-6
    average.observe(peak, now)
    assert average.latency_s(now) == peak


@few
@given(observations, st.floats(0.1, 100), st.floats(0, 100))
def test_it_decays_by_itself(steps, decay_s, idle_s):
    average = PeakEwma(decay_s)
    now = played(average, steps)
    assert average.latency_s(now + idle_s) == pytest.approx(
        average.latency_s(now) * math.exp(-((now + idle_s) - now) / decay_s)
    )


@few
@given(observations, st.floats(0.001, 60))
def test_a_call_that_is_not_over_only_ever_raises_it(steps, elapsed_s):
    average = PeakEwma(10.0)
    now = played(average, steps)
    before = average.latency_s(now)
    average.at_least(elapsed_s, now)
    assert average.latency_s(now) == max(before, elapsed_s)


@few
@given(observations, st.integers(0, 20))
def test_the_score_grows_with_the_calls_under_way(steps, in_flight):
    average = PeakEwma(10.0)
    now = played(average, steps)
    assert average.score(now, in_flight) == pytest.approx(average.latency_s(now) * (in_flight + 1))


def test_an_unknown_place_gets_one_call_and_then_waits_for_it():
    unknown, known = PeakEwma(10.0), PeakEwma(10.0)
    known.observe(30.0, 0.0)
    assert unknown.score(0.0, 0) < known.score(0.0, 0)
    assert unknown.score(0.0, 1) > known.score(0.0, 20)
    assert unknown.score(0.0, 2) > unknown.score(0.0, 1)


@few
@given(observations, st.floats(0.01, 0.99), st.floats(1, 50), st.integers(1, 8))
def test_a_recent_quantile_is_that_of_what_is_kept(steps, quantile, window_s, most):
    recent, kept, now = RecentQuantile(quantile, window_s, most), [], 0.0
    for pause, sample in steps:
        now += pause
        recent.observe(sample, now)
        kept = [*((when, what) for when, what in kept if when > now - window_s), (now, sample)][-most:]
        ordered = sorted(what for _, what in kept)
        assert recent.value(now) == ordered[max(math.ceil(quantile * len(ordered) - 1e-9), 1) - 1]
    assert math.isnan(recent.value(now + window_s * 1.001))
