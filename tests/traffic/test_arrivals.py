"""When requests come: the shape of the load, and the luck of each arrival in it."""

import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from llmsim.distributions import Exponential
from llmsim.luck import Luck
from llmsim.traffic.arrivals import arrival_times
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Stage, Traffic

SPIKE = (
    Stage(duration=120, target=1),
    Stage(duration=10, target=10),
    Stage(duration=60, target=10),
    Stage(duration=10, target=1),
)
FALL = (Stage(duration=50, target=0), Stage(duration=100, target=0), Stage(duration=50, target=3))


def _ramp(stages, rate=4.0, **more):
    return Traffic(executor="ramping-arrival-rate", base_rate=rate, stages=stages, **more)


def _rate(traffic, warm_up_s, time_s):
    """The rate at a time, worked out stage by stage: an oracle that knows nothing of knots and masses."""
    level, start = 1.0, warm_up_s
    for stage in traffic.stages:
        if time_s < start:
            break
        inside = min(time_s - start, stage.duration)
        before, level = level, level + (stage.target - level) * inside / stage.duration
        if time_s <= start + stage.duration:
            return traffic.base_rate * level
        level, start = stage.target, start + stage.duration
        del before
    return traffic.base_rate * level


def _mass(traffic, warm_up_s, until_s, steps=200_000):
    """Expected arrivals by then: the oracle, integrated."""
    times = (np.arange(steps) + 0.5) * until_s / steps
    return sum(_rate(traffic, warm_up_s, time) for time in times) * until_s / steps


def _times(traffic, warm_up_s=0.0, until_s=math.inf, seed=1, most=10**6):
    found = []
    for block in arrival_times(traffic, RateShape.of(traffic, warm_up_s), Luck(seed)):
        found += block
        if not block or block[-1] > until_s or len(found) > most:
            break
    return np.array([time for time in found if time <= until_s])


@pytest.mark.parametrize("stages", [SPIKE, FALL], ids=["spike", "fall"])
@pytest.mark.parametrize("until_s", [30.0, 110.0, 190.0, 230.0, 260.0])
def test_expected_numbers_are_the_integral_of_the_rate(stages, until_s):
    traffic = _ramp(stages)
    assert RateShape.of(traffic, 20.0).expected(until_s) == pytest.approx(
        _mass(traffic, 20.0, until_s, 20_000), rel=1e-4
    )


shapes = given(
    stages=st.lists(st.tuples(st.floats(0.5, 100), st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])), max_size=6),
    until=st.floats(0.01, 700),
)


def _there_and_back(stages, until):
    # At least one stage with load, or nothing ever comes after the warm-up.
    traffic = _ramp(tuple(Stage(duration=d, target=t) for d, t in (*stages, (10.0, 1.0))))
    shape = RateShape.of(traffic, 5.0)
    mass = shape.expected(until)
    back = float(shape.at(np.array([mass]))[0])
    # Where the rate is zero, many times have the same mass: going there and back must not change the mass.
    assert shape.expected(back) == pytest.approx(mass, rel=1e-9, abs=1e-9)
    assert np.all(np.diff(shape.at(np.linspace(0, mass, 50))) >= 0)


@settings(max_examples=examples(50), deadline=None)
@shapes
def test_at_inverts_expected(stages, until):
    _there_and_back(stages, until)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@shapes
def test_at_inverts_expected_in_many_cases(stages, until):
    _there_and_back(stages, until)


def test_nothing_comes_after_the_load_has_gone_to_zero_for_good():
    traffic = _ramp((Stage(duration=10, target=0),), rate=10.0)
    times = _times(traffic, most=10**4)
    assert 30 < len(times) < 75  # 50 expected
    assert times.max() <= 10.0
    assert RateShape.of(traffic, 0.0).at(np.array([50.0, 50.1])).tolist() == [10.0, math.inf]


@pytest.mark.parametrize("rate", [0.3, 4.0, 7.0, 1000.0])
def test_constant_spacing_is_exact(rate):
    times = _times(Traffic(base_rate=rate, arrivals="constant"), until_s=5000 / rate + 1e-9)
    assert len(times) == 5000
    assert times == pytest.approx(np.arange(1, 5001) / rate, rel=1e-12)


def test_constant_arrivals_follow_a_ramp_to_within_one():
    traffic = _ramp(SPIKE, arrivals="constant")
    times = _times(traffic, 20.0, 260.0)
    for until in (10, 70, 140, 145, 151, 200, 215, 255):
        assert abs((times <= until).sum() - _mass(traffic, 20.0, until, 20_000)) <= 1.01


@pytest.mark.parametrize("stages", [(), SPIKE, FALL], ids=["constant", "spike", "fall"])
def test_poisson_counts_have_mean_and_variance_of_the_mass(stages):
    traffic = _ramp(stages) if stages else Traffic(base_rate=4.0)
    seeds = 200
    edges = [0.0, 20.0, 60.0, 140.0, 150.0, 155.0, 210.0, 260.0]
    counts = np.array(
        [np.histogram(_times(traffic, 20.0, 260.0, seed=seed), bins=edges)[0] for seed in range(seeds)], dtype=float
    )
    masses = np.maximum(0.0, np.diff([_mass(traffic, 20.0, edge, 20_000) if edge else 0.0 for edge in edges]))
    for count, mass in zip(counts.T, masses, strict=True):
        assert abs(count.mean() - mass) <= 4 * math.sqrt(mass / seeds) + 1e-9
        if mass > 1:  # variance of a variance of Poisson counts: (2 + 1/mass)/n relative
            assert abs(count.var(ddof=1) / mass - 1) <= 4 * math.sqrt((2 + 1 / mass) / seeds)
    correlations = np.corrcoef(counts[:, masses > 1].T) - np.eye((masses > 1).sum())
    assert np.abs(correlations).max() * math.sqrt(seeds) < 4.2, "windows are independent"


@pytest.mark.parametrize("stages", [(), SPIKE, FALL], ids=["constant", "spike", "fall"])
def test_on_the_clock_of_the_expected_mass_gaps_are_unit_exponentials(stages):
    """The time change: if Λ is the oracle's mass, Λ(t₁), Λ(t₂) − Λ(t₁), … are independent exponentials of mean 1."""
    traffic = _ramp(stages) if stages else Traffic(base_rate=4.0)
    times = _times(traffic, 20.0, 400.0, seed=5)
    grid = np.linspace(0, 400, 40_001)
    rates = np.array([_rate(traffic, 20.0, time) for time in grid])
    masses = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(grid))])
    gaps = np.diff(np.interp(times, grid, masses), prepend=0.0)
    assert len(gaps) > 500
    assert kstest(gaps, "expon").pvalue > 1e-4
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) * math.sqrt(len(gaps)) < 4


def test_an_arrival_comes_when_its_own_gaps_and_those_before_it_have_passed():
    """Thousands of them, to the digit: blocks of rows leave no trace."""
    times = _times(Traffic(base_rate=4.0), most=5000)[:5000]
    assert times == pytest.approx(np.cumsum(Luck(1).series("arrival", through=Exponential(1.0)).array(0, 5000)) / 4.0)


def test_each_arrival_keeps_its_luck_whatever_the_shape():
    plain, spike = _times(Traffic(base_rate=4.0), 20.0, 300.0), _times(_ramp(SPIKE), 20.0, 300.0)
    before = (plain < 100).sum()
    assert plain[:before] == pytest.approx(spike[:before], abs=1e-9), "the same until the spike begins"
    shape = RateShape.of(_ramp(SPIKE), 20.0)
    # Arrival i comes when the mass has reached the sum of its own gaps, in both.
    mass = plain * 4.0
    assert shape.at(mass) == pytest.approx(spike[: len(mass)], abs=1e-6)


def test_warm_up_runs_at_1x():
    traffic = _ramp((Stage(duration=1, target=50),), rate=10.0)
    times = _times(traffic, 300.0, 300.0)
    assert abs(len(times) - 3000) < 4 * math.sqrt(3000)


def test_another_seed_is_another_day():
    assert not np.array_equal(
        _times(Traffic(base_rate=4.0), until_s=50.0), _times(Traffic(base_rate=4.0), until_s=50.0, seed=2)
    )
