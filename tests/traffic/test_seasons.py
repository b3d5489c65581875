"""Days, weeks and crowds: the rate at a moment, and that it is the base rate on average."""

import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.luck import Luck
from llmsim.traffic.arrivals import Arrivals
from llmsim.traffic.seasons import Diurnal, FlashCrowd, Weekly, seconds_of_week
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Stage, Traffic

H, D, W = 3600.0, 86400.0, 7 * 86400.0
OFFICE = (*[0.2] * 7, 0.5, 1, 2, 3, 3, 2, 3, 3, 2.5, 2, 1.5, 1, 0.8, 0.6, 0.5, 0.4, 0.3)


def shape(warm_up=0.0, start="monday 00:00", rate=10.0, **more):
    traffic = Traffic(
        base_rate=rate, executor="ramping-arrival-rate" if "stages" in more else "constant-arrival-rate", **more
    )
    return RateShape.of(traffic, warm_up, seconds_of_week(start))


def rate_at(of, at, width=2.0):
    """Arrivals a second around a moment."""
    return (of.expected(at + width / 2) - of.expected(at - width / 2)) / width


def test_a_day_is_a_wave_with_its_peak_where_it_was_asked_for():
    day = shape(diurnal=Diurnal(amplitude=0.5, peak=14.5 * H))
    for hour in (2, 8.5, 14.5, 20, 26.5 + 24 * 6):
        wave = 10 * (1 + 0.5 * math.cos((hour - 14.5) * 2 * math.pi / 24))
        assert rate_at(day, hour * H) == pytest.approx(wave, rel=2e-3)
    assert day.expected(D) == pytest.approx(10 * D, rel=1e-9)
    assert day.expected(5 * D) == pytest.approx(50 * D, rel=1e-9)


def test_hours_are_met_in_their_middle_and_scaled_to_the_mean():
    day = shape(diurnal=Diurnal(hours=OFFICE))
    mean = sum(OFFICE) / 24
    for hour in (0, 7, 10, 23):
        assert rate_at(day, (hour + 0.5) * H, 1e-3) == pytest.approx(10 * OFFICE[hour] / mean, rel=1e-3)
    assert rate_at(day, 8 * H) == pytest.approx(10 * (0.5 + 1) / 2 / mean, rel=1e-3)
    assert day.expected(D) == pytest.approx(10 * D, rel=1e-9)


def test_weekends_are_quieter_and_the_week_keeps_its_mean():
    week = shape(weekly=Weekly(weekend=0.4))
    workday = 10 * 7 / (5 + 2 * 0.4)
    assert rate_at(week, 2.5 * D) == pytest.approx(workday, rel=1e-6)
    assert rate_at(week, 5.5 * D) == pytest.approx(0.4 * workday, rel=1e-6)
    assert rate_at(week, 5 * D) == pytest.approx(0.7 * workday, rel=1e-3), "halfway, at midnight"
    assert week.expected(W) == pytest.approx(10 * W, rel=1e-9)


def test_days_and_weeks_multiply():
    both = shape(diurnal=Diurnal(hours=OFFICE), weekly=Weekly(days=(1, 1, 1, 1, 0.8, 0.3, 0.2)))
    assert both.expected(W) == pytest.approx(10 * W, rel=1e-9)
    monday, sunday = rate_at(both, 10.5 * H), rate_at(both, 6 * D + 10.5 * H)
    assert sunday / monday == pytest.approx(0.2, rel=1e-3)
    night = rate_at(both, 3.5 * H)
    assert monday / night == pytest.approx(OFFICE[10] / OFFICE[3], rel=1e-3)


@pytest.mark.parametrize("warm_up", [0.0, 600.0, 5 * H])
def test_the_clock_says_when_it_begins_and_warm_up_comes_before(warm_up):
    week = shape(diurnal=Diurnal(hours=OFFICE), weekly=Weekly(weekend=0.1))
    saturday = shape(warm_up, "saturday 09:30", diurnal=Diurnal(hours=OFFICE), weekly=Weekly(weekend=0.1))
    for at in (-warm_up + 1, 1.0, 3 * H, 40 * H, 300 * H):
        there = (5 * D + 9.5 * H + at) % W + W
        assert rate_at(saturday, warm_up + at) == pytest.approx(rate_at(week, there), rel=3e-4)


@settings(max_examples=examples(60), deadline=None)
@given(
    hours=st.lists(st.floats(0.0, 5.0), min_size=24, max_size=24).filter(lambda one: sum(one) > 1),
    weekend=st.floats(0.0, 3.0),
    start=st.floats(0, W - 1),
    at=st.floats(0, 3 * W),
    spike=st.floats(0.0, 20.0),
)
def test_at_inverts_expected_through_the_weeks(hours, weekend, start, at, spike):
    traffic = Traffic(
        executor="ramping-arrival-rate",
        base_rate=3.0,
        diurnal=Diurnal(hours=tuple(hours)),
        weekly=Weekly(weekend=weekend),
        stages=(Stage(duration=3600.0, target=spike), Stage(duration=600.0, target=1.0)),
    )
    found = RateShape.of(traffic, 100.0, start)
    mass = found.expected(at)
    assert found.expected(float(found.at(np.array([mass]))[0])) == pytest.approx(mass, rel=1e-9, abs=1e-6)
    after = max(at, 4300.0)
    assert found.expected(after + W) - found.expected(after) == pytest.approx(3 * W, rel=1e-3), "once around"
    grid = np.linspace(0, mass + 1, 60)
    assert np.all(np.diff(found.at(grid)) >= 0)


def test_a_crowd_comes_at_once_and_goes_slowly():
    crowd = FlashCrowd(at=120.0, rise=30.0, peak=10.0, hold=60.0, decay=100.0)
    found = shape(20.0, flash_crowds=(crowd,))
    zero = 20.0
    assert rate_at(found, zero + 60) == pytest.approx(10.0)
    assert rate_at(found, zero + 135) == pytest.approx(10 * 5.5, rel=1e-6)
    assert rate_at(found, zero + 180) == pytest.approx(100.0, rel=1e-6)
    assert rate_at(found, zero + 210 + 100) == pytest.approx(10 * (1 + 9 / math.e), rel=2e-3)
    assert rate_at(found, zero + 2000) == pytest.approx(10.0)
    more = found.expected(2000.0) - 10 * 2000.0
    assert more == pytest.approx(10 * 9 * (15 + 60 + 100), rel=2e-3)


def test_two_crowds_and_stages_multiply():
    stages = (Stage(duration=100.0, target=3.0), Stage(duration=500.0, target=3.0))
    crowds = (
        FlashCrowd(at=200.0, rise=0.0, peak=2.0, hold=300.0),
        FlashCrowd(at=250.0, rise=1.0, peak=5.0, hold=300.0),
    )
    found = shape(stages=stages, flash_crowds=crowds)
    assert rate_at(found, 230.0) == pytest.approx(10 * 3 * 2, rel=1e-4)
    assert rate_at(found, 300.0) == pytest.approx(10 * 3 * 2 * 5, rel=1e-4)


@pytest.mark.parametrize("warm_up", [0.0, 30.0])
def test_knots_between_two_moments_hold_the_expected_number(warm_up):
    crowd = FlashCrowd(at=40.0, rise=0.0, peak=3.0)
    for found in (shape(warm_up, "friday 23:00", weekly=Weekly(weekend=0.2), flash_crowds=(crowd,)), shape(warm_up)):
        for first, last in ((0.0, 90.0), (warm_up, 3 * H), (warm_up, 9 * D), (50.0, 200.0)):
            times, rates = found.between(first, last)
            assert (times[0], times[-1]) == (first, last)
            area = float(np.sum(np.diff(times) * (rates[1:] + rates[:-1]) / 2))
            assert area == pytest.approx(found.expected(last) - found.expected(first), rel=1e-9)


def test_knots_at_a_jump_belong_to_their_side():
    found = RateShape([0.0, 60.0, 60.0, 120.0, 120.0, 180.0], [1.0, 1.0, 5.0, 5.0, 2.0, 2.0])
    assert found.between(60.0, 120.0)[1].tolist() == [5.0, 5.0]


def test_arrivals_follow_the_day():
    traffic = Traffic(base_rate=0.2, diurnal=Diurnal(amplitude=0.9, peak=12 * H))
    counts = np.zeros(24)
    for seed in range(3):
        for block in Arrivals(traffic, RateShape.of(traffic, 0.0), Luck(seed)):
            counts += np.histogram(np.array(block)[np.array(block) < 4 * D] % D, np.arange(25) * H)[0]
            if block[-1] > 4 * D:
                break
    expected = 12 * 720 * (1 + 0.9 * np.cos((np.arange(24) + 0.5 - 12) * 2 * math.pi / 24) * np.sinc(1 / 24))
    assert np.all(np.abs(counts - expected) < 4.5 * np.sqrt(expected))


@pytest.mark.parametrize(
    ("text", "hours"),
    [("monday 08:00", 8), ("Tue 00:30", 24.5), ("sunday", 144), ("2026-11-23 08:00", 8), ("2026-11-29T23:00", 167)],
)
def test_moments_of_the_week(text, hours):
    assert seconds_of_week(text) == hours * H


@pytest.mark.parametrize("text", ["", "noon", "monday 25:00", "2026-13-01 08:00", "mo 08:00", "monday 8:0", "08:00"])
def test_no_moments_of_the_week(text):
    assert seconds_of_week(text) is None
