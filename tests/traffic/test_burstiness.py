"""Bursts, moods and drift: what they look like, that they add no load, and whose luck is whose."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, spearmanr
from traffic.measured import AZURE_CODE, AZURE_CONVERSATION, hourly, statistics, times_of

from llmsim.distributions import Constant, Exponential, Gamma, Lognormal
from llmsim.luck import Luck
from llmsim.traffic import arrivals as module
from llmsim.traffic.burstiness import Burstiness, Drift, Gaps, OnOff, State
from llmsim.traffic.gaps import WeibullGaps, first_gap
from llmsim.traffic.moods import moods
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Stage, Traffic
from llmsim.traffic.trace_stats import describe
from llmsim.traffic.traces import Trace

ON_OFF = Burstiness(on_off=OnOff(burst=Lognormal(15.5, 41.9), pause=Exponential(43.0), spread=0.6))
MMPP = Burstiness(mmpp=(State(rate=1, stay=60), State(rate=6, stay=20), State(rate=0, stay=10)))
DRIFT = Burstiness(drift=Drift(cv=0.5, memory=60.0))
KINDS = {
    "gamma": Burstiness(gamma=Gaps(cv=3.0)),
    "even gamma": Burstiness(gamma=Gaps(cv=0.3)),
    "weibull": Burstiness(weibull=Gaps(cv=3.0)),
    "on_off": ON_OFF,
    "mmpp": MMPP,
    "drift": DRIFT,
    "on_off and gamma": AZURE_CODE.arrivals,
    "drift and weibull": Burstiness(weibull=Gaps(cv=2.0), drift=Drift(cv=0.5, memory=60.0)),
}
kinds = pytest.mark.parametrize("arrivals", KINDS.values(), ids=KINDS)
#: For tests of many days: one of each sort by default.
SORTS = ("gamma", "on_off", "drift")
some_kinds = pytest.mark.parametrize(
    "arrivals",
    [pytest.param(kind, id=name, marks=() if name in SORTS else pytest.mark.slow) for name, kind in KINDS.items()],
)


# -- what they look like ---------------------------------------------------------------------------------------------

#: Measured on the 58 whole minutes of the trace, and as published with the last 22 s counted as a minute.
CONVERSATION = {
    "cv": 1.09,
    "idc_1": 1.39,
    "idc_10": 3.86,
    "idc_60": 16.1,
    "peak_to_mean": 1.54,
    "autocorrelation": 0.854,
}
CONVERSATION_PUBLISHED = {"rate": 5.53, "idc_10": 4.0, "idc_60": 20.6, "autocorrelation": 0.83}
#: Published of the code trace, which is not among the data.
CODE = {"rate": 2.57, "cv": 13.15, "idc_1": 13.2, "idc_10": 71.3, "idc_60": 160.5, "peak_to_mean": 4.16}


def _outside(told, published, low=2.5, high=97.5):
    """Which published figures are outside the band of the simulated hours."""
    bands = {name: np.percentile(told[name], [low, high]) for name in published}
    return {
        name: (value, *bands[name])
        for name, value in published.items()
        if not bands[name][0] <= value <= bands[name][1]
    }


@pytest.mark.slow
def test_azure_conversation_is_met_by_a_drifting_rate_over_200_hours():
    told = hourly(AZURE_CONVERSATION, 200)
    assert not _outside(told, CONVERSATION)
    assert not _outside(told, CONVERSATION_PUBLISHED)
    assert np.median(told["cv"]) < 1.1, "locally Poisson: the drift hardly shows in the gaps"
    assert np.median(told["idc_60"]) > 3 * np.median(told["idc_10"]) > 5 * np.median(told["idc_1"])


@pytest.mark.slow
def test_azure_code_is_met_by_bursts_over_200_hours():
    told = hourly(AZURE_CODE, 200)
    assert not _outside(told, CODE)
    assert np.median(told["cv"]) == pytest.approx(13, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arrivals", ["poisson", KINDS["gamma"], Burstiness(gamma=Gaps(cv=10.0))], ids=["poisson", "3", "10"]
)
def test_independent_gaps_meet_neither(arrivals):
    """The bands above can be missed: no spread of independent gaps gets there."""
    conversation = hourly(Traffic(base_rate=5.53, arrivals=arrivals), 100)
    assert "idc_60" in _outside(conversation, CONVERSATION, 0.5, 99.5)
    code = hourly(Traffic(base_rate=2.57, arrivals=arrivals), 100)
    assert {"cv", "idc_60"} & set(_outside(code, CODE, 0.5, 99.5))


def test_bursts_and_pauses_are_as_long_and_as_big_as_published():
    """58 bursts in 57 minutes; size p50/p90 114/328, length 15.5/26.8 s; pauses hold 71.7 % of the time."""
    found = describe(_trace(times_of(AZURE_CODE, 6 * 3600.0)))["on_off"]
    assert found["detected"]
    # The shortest pauses of an exponential are not seen as such, so bursts join: lengths and sizes come out longer.
    assert found["pause_share"] == pytest.approx(0.717, abs=0.06)
    assert 14 < found["burst_p50_s"] < 22
    assert 90 < found["size_p50"] < 190
    assert found["inside_rate_per_s"] == pytest.approx(8819 / (0.283 * 3436), rel=0.2)


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("family", ["gamma", "weibull"])
def test_gaps_have_the_cv_asked_for_and_are_independent(family, cv):
    times = times_of(Traffic(base_rate=5.0, arrivals=Burstiness(**{family: Gaps(cv=cv)})), 15_960.0)
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.04 if cv < 3 else 0.12)
    assert abs(spearmanr(gaps[1:], gaps[:-1]).statistic) * math.sqrt(len(gaps)) < 4
    assert statistics(times, 15_960.0)["idc_60"] == pytest.approx(cv**2, rel=0.35), "for a renewal process, cv²"


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_weibull_has_mean_1_and_its_cv(cv):
    family = WeibullGaps(cv)
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    values = family.quantile(u)
    assert values.mean() == pytest.approx(1.0, rel=0.01)
    exact = math.exp(math.lgamma(1 + 2 / family.shape) - 2 * math.lgamma(1 + 1 / family.shape)) - 1
    assert math.sqrt(exact) == pytest.approx(cv, rel=1e-9)


@pytest.mark.slow
def test_gamma_keeps_mean_1_at_every_cv_a_scenario_may_ask_for():
    u = (np.arange(2_000_000) + 0.5) / 2_000_000
    for cv in (0.02, 0.5, 3.0, 6.0, 10.0):
        assert Gamma(1.0, cv).quantile(u).mean() == pytest.approx(1.0, rel=2e-3)


def test_states_take_their_share_of_time_and_their_rate():
    pieces = [next(found) for found in [moods(MMPP, Luck(3))] for _ in range(40)]
    lengths = np.concatenate([one.lengths_s for one in pieces])
    rates = np.concatenate([one.multipliers for one in pieces])
    mean = (60 * 1 + 20 * 6 + 10 * 0) / 90
    for rate, stay in ((1, 60), (6, 20), (0, 10)):
        mine = np.isclose(rates, rate / mean)
        assert mine.mean() == pytest.approx(1 / 3, abs=0.02), "every state is entered equally often"
        assert kstest(lengths[mine][1:], "expon", args=(0, stay)).pvalue > 1e-3
    assert not np.any(rates[1:] == rates[:-1]), "it never goes from a state into itself"


@pytest.mark.slow
def test_a_drifting_rate_has_its_cv_and_its_memory():
    pieces = [next(found) for found in [moods(DRIFT, Luck(4))] for _ in range(200)]
    rates = np.concatenate([one.multipliers for one in pieces])
    step = pieces[0].lengths_s[0]
    logs = np.log(rates)
    # 51,200 steps are 1,600 memories: standard errors of some 3 %.
    assert rates.mean() == pytest.approx(1.0, abs=0.06)
    assert rates.std() / rates.mean() == pytest.approx(0.5, rel=0.12)
    lag = round(60.0 / step)
    assert np.corrcoef(logs[lag:], logs[:-lag])[0, 1] == pytest.approx(math.exp(-1), abs=0.1)


# -- they add no load ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@some_kinds
@pytest.mark.parametrize("until_s", [12.0, pytest.param(150.0, marks=pytest.mark.slow)])
def test_the_mean_rate_stays_from_the_first_second_on(arrivals, until_s):
    """Also in windows shorter than a burst: no run begins with more or with fewer bursts than any other moment has."""
    traffic = Traffic(base_rate=5.0, arrivals=arrivals)
    counts = np.array([len(times_of(traffic, until_s, seed)) for seed in range(200)], dtype=float)
    expected = 5.0 * until_s
    assert abs(counts.mean() - expected) < 4 * max(counts.std(), 0.1) / math.sqrt(len(counts)) + 1e-9
    assert counts.mean() == pytest.approx(expected, rel=0.5), "and the standard error is small enough to notice"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gamma", "weibull"])
def test_no_run_begins_with_a_burst(name):
    """Without its first gap a process of cv 3 would have 4 requests too many, which takes so many runs to see."""
    traffic, until_s = Traffic(base_rate=5.0, arrivals=KINDS[name]), 12.0
    counts = np.array([len(times_of(traffic, until_s, seed)) for seed in range(4000)], dtype=float)
    standard_error = counts.std() / math.sqrt(len(counts))
    assert standard_error < 0.5
    assert abs(counts.mean() - 5.0 * until_s) < 4 * standard_error


def test_without_the_first_gap_a_bursty_process_would_begin_with_a_burst():
    """(cv² − 1) / 2 = 4 requests too many: the test above would see it."""
    family = Gamma(1.0, 3.0)
    u = np.random.default_rng(1).uniform(size=(2000, 200))
    ordinary = np.cumsum(family.quantile(u), axis=1)
    assert (ordinary <= 60).sum(axis=1).mean() == pytest.approx(64, abs=1.5)
    first = np.array([first_gap(family, a, b) for a, b in u[:, :2]])
    stationary = first[:, None] + np.cumsum(family.quantile(u[:, 2:]), axis=1)
    assert (stationary <= 60).sum(axis=1).mean() + (first <= 60).mean() == pytest.approx(60, abs=1.5)


@kinds
def test_a_shape_and_moods_multiply(arrivals):
    traffic = Traffic(
        executor="ramping-arrival-rate",
        base_rate=5.0,
        arrivals=arrivals,
        stages=(Stage(duration=60, target=1), Stage(duration=60, target=5), Stage(duration=60, target=0)),
    )
    shape = RateShape.of(traffic, 0.0)
    counts = []
    for seed in range(60):
        times = np.concatenate([*module.Arrivals(traffic, shape, Luck(seed))])
        counts.append(np.histogram(times, [0, 60, 120, 180])[0])
        assert times.max(initial=0.0) <= 180
    mean, error = np.mean(counts, axis=0), np.std(counts, axis=0) / math.sqrt(60)
    assert np.all(np.abs(mean - [300, 900, 750]) < 4 * error)


# -- whose luck ------------------------------------------------------------------------------------------------------


@kinds
def test_the_same_seed_gives_the_same_arrivals_whatever_the_blocks(arrivals, monkeypatch):
    traffic = Traffic(base_rate=5.0, arrivals=arrivals)
    whole = times_of(traffic, 400.0)
    monkeypatch.setattr(module, "BLOCK", 64)
    assert np.array_equal(times_of(traffic, 400.0), whole) or times_of(traffic, 400.0) == pytest.approx(
        whole, rel=1e-12
    )
    assert not np.array_equal(times_of(traffic, 400.0, seed=2), whole)


@settings(max_examples=12, deadline=None)
@given(kind=st.sampled_from([*KINDS]), at=st.floats(10, 200), target=st.sampled_from([0.0, 2.0, 10.0]))
def test_a_spike_changes_nothing_before_it_and_no_gap_after_it(kind, at, target):
    """On the clock of its own mass, arrival i stands where its gaps put it, with the spike or without."""
    flat = Traffic(base_rate=5.0, arrivals=KINDS[kind])
    stages = (Stage(duration=at, target=1), Stage(duration=5, target=target), Stage(duration=5, target=1))
    spiky = Traffic(executor="ramping-arrival-rate", base_rate=5.0, arrivals=KINDS[kind], stages=stages)
    calm, spike = times_of(flat, 300.0), times_of(spiky, 300.0)
    before = int((calm < at).sum())
    assert spike[:before] == pytest.approx(calm[:before], abs=1e-6)
    own = [
        _own_mass(KINDS[kind], shape, times)
        for shape, times in ((RateShape.of(flat, 0.0), calm), (RateShape.of(spiky, 0.0), spike))
    ]
    count = min(len(one) for one in own)
    assert own[0][:count] == pytest.approx(own[1][:count], rel=1e-6, abs=1e-4)


def _own_mass(arrivals, shape, times):
    """∫ rate × mood up to each time, by a sum over pieces: the oracle knows nothing of inverse functions."""
    mood = moods(arrivals, Luck(1))
    if mood is None:
        return shape.masses(times)
    lengths, rates = [], []
    while sum(lengths) <= times[-1]:
        piece = next(mood)
        lengths += piece.lengths_s.tolist()
        rates += piece.multipliers.tolist()
    ends = np.cumsum(lengths)
    starts = ends - lengths
    edges = shape.masses(np.append(starts, ends[-1]))
    own = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)])
    piece = np.searchsorted(ends, times)
    return own[piece] + (shape.masses(times) - edges[piece]) * np.array(rates)[piece]


def test_bursts_come_at_the_same_times_under_any_load():
    silent = []
    for rate in (20.0, 200.0):
        times = times_of(Traffic(base_rate=rate, arrivals=ON_OFF), 1500.0)
        long = np.diff(times) > 8
        silent.append(np.column_stack([times[:-1][long], times[1:][long]]))
    assert len(silent[0]) == len(silent[1]) > 10
    assert np.abs(silent[0] - silent[1]).max() < 3.0, "the edges are as sharp as the gaps inside allow"


def test_gaps_and_moods_have_separate_luck():
    gaps = Luck(1).series("arrival", through=Exponential(1.0)).array(0, 400)
    times = times_of(Traffic(base_rate=5.0, arrivals=DRIFT), 60.0)
    shape = RateShape.of(Traffic(base_rate=5.0), 0.0)
    assert _own_mass(DRIFT, shape, times) == pytest.approx(np.cumsum(gaps)[: len(times)], rel=1e-6)


def test_bursts_without_pauses_are_no_bursts():
    always = Burstiness(on_off=OnOff(burst=Constant(10.0), pause=Constant(0.0)))
    assert times_of(Traffic(base_rate=5.0, arrivals=always), 200.0) == pytest.approx(
        times_of(Traffic(base_rate=5.0), 200.0), rel=1e-9
    )


def _trace(times):
    ones = np.ones(len(times), dtype=np.int64)
    return Trace.of(times, ones * 100, ones * 10)
