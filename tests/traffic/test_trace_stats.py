"""Fits find the parameters that data was made with, and a description suggests what it was made by."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from traffic.measured import AZURE_CODE, times_of

from llmsim.traffic.burstiness import Burstiness, Drift, Gaps
from llmsim.traffic.fits import best_mixture, exponential_fit, gamma_fit, lognormal_fit, mixture_fit, weibull_fit
from llmsim.traffic.spec import Clients, Traffic
from llmsim.traffic.trace_stats import describe, index_of_dispersion
from llmsim.traffic.traces import Trace

RNG = np.random.default_rng(11)


def made(times, **more):
    count = len(times)
    tokens = [np.exp(RNG.normal(6, 1, count)).astype(np.int64) + 1 for _ in range(2)]
    return Trace.of(np.asarray(times, dtype=float), *tokens, **more)


@pytest.mark.parametrize(
    ("fit", "family", "x"),
    [
        (exponential_fit, lambda p: stats.expon(scale=p["mean"]), RNG.exponential(3.0, 5000)),
        (gamma_fit, lambda p: stats.gamma(p["shape"], scale=p["mean"] / p["shape"]), RNG.gamma(0.4, 2.0, 5000)),
        (gamma_fit, lambda p: stats.gamma(p["shape"], scale=p["mean"] / p["shape"]), RNG.gamma(30.0, 2.0, 5000)),
        (weibull_fit, lambda p: stats.weibull_min(p["shape"], scale=p["scale"]), 5 * RNG.weibull(0.5, 5000)),
        (lognormal_fit, lambda p: stats.lognorm(p["sigma"], scale=math.exp(p["mu"])), RNG.lognormal(2.0, 1.3, 5000)),
        (lognormal_fit, lambda p: stats.lognorm(p["sigma"], scale=math.exp(p["mu"])), np.repeat([1.0, 2.0, 9.0], 50)),
    ],
    ids=["exponential", "gamma", "even gamma", "weibull", "lognormal", "ties"],
)
def test_fits_are_the_likeliest_and_their_distance_is_scipys(fit, family, x):
    found = fit(x)
    frozen = family(found.parameters)
    assert found.ks == pytest.approx(stats.kstest(x, frozen.cdf).statistic, abs=1e-12)
    best = frozen.logpdf(x).sum()
    for name, value in found.parameters.items():
        for factor in (0.97, 1.03):
            if name != "cv":
                other = {**found.parameters, name: value * factor}
                assert family(other).logpdf(x).sum() < best + 1e-9, f"{name} × {factor} would be likelier"


def test_a_mixture_is_found_again():
    x = np.concatenate([RNG.lognormal(2.4, 0.4, 13_200), RNG.lognormal(6.0, 0.05, 6_800)])
    found = mixture_fit(x, 2)
    weights, mus, sigmas = zip(*(part.values() for part in found.parameters["components"]), strict=True)
    assert weights == pytest.approx([0.66, 0.34], abs=0.01)
    assert mus == pytest.approx([2.4, 6.0], abs=0.02)
    assert sigmas == pytest.approx([0.4, 0.05], rel=0.05)
    assert found.ks < 0.02 < 0.2 < mixture_fit(x, 1).ks


def test_one_lognormal_stays_one():
    assert best_mixture(RNG.lognormal(5.0, 1.0, 20_000)).family == "lognormal mixture of 1"


def test_a_spike_does_not_collapse():
    x = np.concatenate([np.full(5000, 4090.0), RNG.lognormal(6.0, 1.0, 5000)])
    parts = mixture_fit(x, 3).parameters["components"]
    assert min(part["sigma"] for part in parts) >= 0.02
    assert sum(part["weight"] for part in parts) == pytest.approx(1)


def test_dispersion_counts_whole_windows_only():
    assert index_of_dispersion(np.arange(0.5, 100), 100.0, 1.0) == 0.0
    assert index_of_dispersion(np.arange(0.5, 100), 100.7, 10.0) == 0.0, "the last 0.7 s are no window"
    assert index_of_dispersion(np.repeat(np.arange(0.5, 100, 2), 2), 100.0, 1.0) == pytest.approx(1.0)
    assert index_of_dispersion(np.arange(5.0), 5.0, 1.0) is None, "of five windows a variance says nothing"


@pytest.mark.parametrize(
    ("traffic", "hours", "says"),
    [
        (Traffic(base_rate=5.0), 1, "poisson"),
        (Traffic(base_rate=5.0, arrivals=Burstiness(gamma=Gaps(cv=2.0))), 1, "{gamma: {cv: 2"),
        pytest.param(
            Traffic(base_rate=5.0, arrivals=Burstiness(weibull=Gaps(cv=2.0))),
            1,
            "{weibull: {cv: 2",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Traffic(base_rate=5.0, arrivals=Burstiness(drift=Drift(cv=0.4, memory=400.0))),
            3,
            "{drift: {cv: 0.",
            marks=pytest.mark.slow,
        ),
        (AZURE_CODE, 1, "{on_off: {burst: {lognormal: {p50: "),
    ],
    ids=["poisson", "gamma", "weibull", "drift", "on_off"],
)
def test_the_suggestion_is_what_it_was_made_by(traffic, hours, says):
    found = describe(made(times_of(traffic, hours * 3600.0)))
    assert found["suggestion"].startswith(says)


@pytest.mark.slow
def test_a_suggested_drift_has_the_size_it_was_made_with():
    made_by = Traffic(base_rate=20.0, arrivals=Burstiness(drift=Drift(cv=0.3, memory=300.0)))
    told = [describe(made(times_of(made_by, 4 * 3600.0, seed)))["suggestion"] for seed in range(6)]
    cvs = [float(text.split("cv: ")[1].split(",")[0]) for text in told]
    assert np.mean(cvs) == pytest.approx(0.3, rel=0.2)


@pytest.mark.slow
def test_a_suggestion_can_be_read_by_a_scenario():
    from llmsim.scenario.load import parse_scenario

    for traffic in (
        AZURE_CODE,
        Traffic(base_rate=5.0),
        Traffic(base_rate=5.0, arrivals=Burstiness(gamma=Gaps(cv=3.0))),
    ):
        says = describe(made(times_of(traffic, 3600.0)))["suggestion"]
        text = f"version: 1\ntraffic: {{base_rate: 4/s, arrivals: {says}}}\nproviders: {{a: {{}}}}\n"
        assert parse_scenario(text).traffic.base_rate == 4.0


@pytest.mark.slow
def test_hours_of_the_day_are_seen_from_two_days_on():
    from llmsim.traffic.seasons import Diurnal

    traffic = Traffic(base_rate=0.02, diurnal=Diurnal(amplitude=0.8, peak=15 * 3600.0))
    found = describe(made(times_of(traffic, 5 * 86400.0)))
    assert found["hours"]["amplitude"] == pytest.approx(0.8, abs=0.06)
    assert found["hours"]["peak_hour"] == pytest.approx(15, abs=0.5)
    assert describe(made(times_of(traffic, 86400.0)))["hours"] is None


def test_rank_correlation_is_spearmans():
    trace = made(np.arange(300.0))
    trace.input_tokens[:100] = 50  # ties
    expected = stats.spearmanr(trace.input_tokens, trace.output_tokens).statistic
    assert describe(trace)["token_rank_correlation"] == pytest.approx(expected)


def test_clients_sessions_routes_and_failures_are_counted():
    times = np.arange(100.0)
    trace = made(
        times,
        failed=np.arange(100) < 7,
        client=np.repeat([0, 1, 2, 3], [50, 30, 15, 5]).astype(np.int64),
        clients=("a", "b", "c", "d"),
        session=np.arange(100) // 4,
        route=np.repeat([0, -1], [60, 40]).astype(np.int64),
        routes=("chat",),
    )
    found = describe(trace)
    assert found["failed_ratio"] == 0.07
    assert found["clients"] == {
        "number": 4, "top_1_share": 0.5, "top_5_share": 1.0, "top_10_share": 1.0, "for_80_percent": 2,
    }  # fmt: skip
    assert found["sessions"] == {"number": 25, "requests_mean": 4.0, "requests_max": 4}
    assert found["routes"] == {"chat": 0.6}
    assert found["gaps"]["cv"] == 0.0


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_few_requests_are_described_without_what_they_cannot_tell(count):
    for times in (np.arange(count) * 1.5, np.zeros(count)):
        found = describe(made(times))
        assert json.loads(json.dumps(found, allow_nan=False))["requests"] == count
        assert found["minutes"] is None


def test_no_lengths_are_no_lengths():
    zeros = np.zeros(50, dtype=np.int64)
    found = describe(Trace.of(np.arange(50.0), zeros, zeros))
    assert (found["input_tokens"], found["output_tokens"], found["token_rank_correlation"]) == (None, None, None)
    assert any("not told for 100.0%" in note for note in found["notes"])


@pytest.mark.slow
def test_a_population_of_clients_needs_no_words_of_its_own():
    traffic = Traffic(base_rate=5.0, clients=Clients(count=50))
    assert describe(made(times_of(traffic, 1800.0)))["suggestion"] == "poisson"
