"""Incidents by chance: their published laws, what they add up to, who shares them, and the faults they become."""

import dataclasses
import math

import numpy as np
import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Lognormal
from llmsim.luck import Luck
from llmsim.providers.faults import Fault
from llmsim.providers.sim.conditions import Conditions
from llmsim.providers.sim.incident_laws import ERROR_RATES, PRESETS, tilted
from llmsim.providers.sim.incidents import IncidentProcess, incident_faults
from llmsim.providers.sim.incidents_spec import Incidents, Maintenance
from llmsim.providers.sim.spec import SimProvider

DAY = 86400.0
YEAR = 365.25 * DAY
YEARS = 200
#: The paper's weighted availability; that of September 2026 is assumed to be the one of the years before.
PUBLISHED = {
    "openai-api-2021-2024": 0.9982,
    "chatgpt-2021-2024": 0.9966,
    "anthropic-api-2021-2024": 0.9992,
    "claude-ai-2021-2024": 0.9984,
    "openai-2026-09": 0.9982,
}
#: One that was measured over years and the one with the shortest gaps by default.
presets = pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=() if name in ("anthropic-api-2021-2024", "openai-2026-09") else pytest.mark.slow)
        for name in PUBLISHED
    ],
)


def _process(preset, seed=7, group="vendor", **spec):
    return IncidentProcess(Incidents(preset=preset, **spec), Luck(seed), group, week_s=0.0)


def _run(spec, provider="p", group="vendor", seed=1, begin_s=-60.0, duration_s=600.0, **more):
    end_s = duration_s + 60.0
    return incident_faults(
        spec, provider, group, Luck(seed), begin_s=begin_s, duration_s=duration_s, end_s=end_s, **more
    )


def _distance(values, cdf):
    values = np.sort(values)
    steps = np.arange(len(values) + 1) / len(values)
    return max(np.abs(cdf(values) - steps[1:]).max(), np.abs(cdf(values) - steps[:-1]).max())


# -- the published laws ------------------------------------------------------------------------------------------------


@presets
def test_2000_durations_and_gaps_are_those_of_the_published_laws(preset):
    """The published figures once more, not those of the preset. Gaps are wall-clock ones, with hours and weekends."""
    (shape, scale_s), (sigma, median_s) = {
        "openai-api-2021-2024": ((0.653, 4.04 * DAY), (1.165, 1.259 * 3600)),
        "chatgpt-2021-2024": ((0.810, 3.59 * DAY), (1.270, 1.395 * 3600)),
        "anthropic-api-2021-2024": ((0.654, 3.90 * DAY), (1.388, 0.838 * 3600)),
        "claude-ai-2021-2024": ((0.597, 3.22 * DAY), (1.460, 0.878 * 3600)),
        "openai-2026-09": ((1.075, 11.83 * 3600), (1.22, 1.81 * 3600)),
    }[preset]
    incidents = _process(preset).overlapping(0.0, 2100 * 8 * DAY)
    starts = np.array([one.start_s for one in incidents if one.start_s > 0])[:2001]
    assert len(starts) == 2001
    assert _distance(np.diff(starts), lambda x: 1 - np.exp(-((x / scale_s) ** shape))) < 0.05
    from scipy.special import ndtr

    durations = np.array([one.duration_s for one in incidents])[:2000] / PRESETS[preset].felt
    assert _distance(durations, lambda x: ndtr(np.log(x / median_s) / sigma)) < 0.05


@pytest.mark.slow
@presets
def test_incident_minutes_add_up_to_the_published_availability(preset):
    """Within 3 standard errors over 200 years, by the weights of status pages and by the error rates that come out."""
    process = _process(preset)
    lost = np.zeros((2, YEARS))
    for one in process.overlapping(0.0, YEARS * YEAR):
        if process.hits(one, "p") and 0 <= one.start_s < YEARS * YEAR:
            weights = {"outage": (1.0, 1.0), "partial": (0.3, one.error_rate), "slow": (0.0, 0.0)}[one.kind]
            lost[:, int(one.start_s // YEAR)] += np.array(weights) * one.duration_s / YEAR
    for years in lost:
        error = years.std(ddof=1) / math.sqrt(YEARS)
        assert error < 2e-4
        assert 1 - years.mean() == pytest.approx(PUBLISHED[preset], abs=3 * error)


@pytest.mark.parametrize(
    ("preset", "outage_days", "phi"),
    [
        ("openai-api-2021-2024", 0.073, (0.42, 0.48)),
        pytest.param("chatgpt-2021-2024", 0.112, (0.42, 0.48), marks=pytest.mark.slow),
        ("anthropic-api-2021-2024", 0.060, (0.83, 0.92)),
        pytest.param("claude-ai-2021-2024", 0.069, (0.83, 0.92), marks=pytest.mark.slow),
    ],
)
def test_outage_days_and_who_shares_them(preset, outage_days, phi):
    """Days with an outage were not fitted: they come out at .067, .083, .050 and .075."""
    down = {}
    for group, provider in [("vendor", "a"), ("vendor", "b"), ("other", "c")]:
        process = _process(preset, group=group)
        days = down[provider] = np.zeros(YEARS * 365, dtype=bool)
        for one in process.overlapping(0.0, len(days) * DAY):
            if one.kind != "slow" and process.hits(one, provider):
                days[max(int(one.start_s // DAY), 0) : int(one.end_s // DAY) + 1] = True
    assert 0.7 * outage_days < down["a"].mean() < 1.2 * outage_days
    within = np.corrcoef(down["a"], down["b"])[0, 1]
    assert phi[0] - 0.02 < within < phi[1] + 0.02
    # Another vendor's have only the weekends in common: about .016 of that, and a standard error of .004.
    assert abs(np.corrcoef(down["a"], down["c"])[0, 1]) < 0.035
    assert np.corrcoef(down["a"][1:], down["a"][:-1])[0, 1] > 0.05, "they come in clusters"


@pytest.mark.parametrize(
    ("preset", "hours", "share", "weekend"),
    [("openai-api-2021-2024", range(16, 20), 0.33, 0.068), ("anthropic-api-2021-2024", range(16, 18), 0.20, 0.064)],
)
def test_hours_and_weekends(preset, hours, share, weekend):
    starts = np.array([one.start_s for one in _process(preset).overlapping(0.0, YEARS * YEAR)])
    assert np.isin(starts // 3600 % 24, hours).mean() == pytest.approx(share, abs=0.015)
    assert (starts // DAY % 7 >= 5).mean() == pytest.approx(weekend, abs=0.01)
    # The same law, seen from a scenario that begins on a Thursday at noon.
    thursday = IncidentProcess(Incidents(preset=preset), Luck(7), "vendor", week_s=3.5 * DAY)
    starts = np.array([one.start_s for one in thursday.overlapping(0.0, YEARS * YEAR)]) + 3.5 * DAY
    assert np.isin(starts // 3600 % 24, hours).mean() == pytest.approx(share, abs=0.015)
    assert (starts // DAY % 7 >= 5).mean() == pytest.approx(weekend, abs=0.01)


@pytest.mark.slow
def test_the_run_begins_anywhere_in_the_process():
    """The first incident is as far away as of a process that has always been going on: mean E[g²]/2E[g]."""
    law = PRESETS["openai-api-2021-2024"]
    spec = Incidents(preset="openai-api-2021-2024")
    first = []
    for seed in range(600):
        process = IncidentProcess(spec, Luck(seed), "vendor")
        first.append(next(one.start_s for one in process.overlapping(0.0, 100 * DAY) if one.start_s > 0))
    k = law.gap_shape
    expected = law.gap_scale_s * math.gamma(1 + 2 / k) / (2 * math.gamma(1 + 1 / k))
    assert np.mean(first) == pytest.approx(expected, abs=4 * np.std(first) / math.sqrt(600))
    assert expected > 1.5 * law.mean_gap_s, "which is not the mean gap"


def test_error_rates_are_the_quoted_ones_and_30_percent_on_average():
    weights = tilted(ERROR_RATES, 0.3)
    assert sum(w * r for w, r in zip(weights, ERROR_RATES, strict=True)) == pytest.approx(0.3)
    assert min(weights) > 0.03
    incidents = _process("openai-api-2021-2024").overlapping(0.0, YEARS * YEAR)
    rates = [one.error_rate for one in incidents if one.kind == "partial"]
    assert set(rates) == set(ERROR_RATES)
    assert np.mean(rates) == pytest.approx(0.3, abs=0.02)
    slow = np.array([one.latency for one in incidents if one.kind == "slow"])
    assert (slow.min() >= 2, slow.max()) == (True, 10.0)
    assert (slow > 5).mean() == pytest.approx(0.0135 / 0.073, abs=0.05)


# -- addressed ---------------------------------------------------------------------------------------------------------


def test_looking_further_or_at_another_provider_changes_nothing():
    short = _process("openai-api-2021-2024").overlapping(0.0, YEAR)
    long = _process("openai-api-2021-2024")
    assert long.overlapping(5 * YEAR, 6 * YEAR)
    assert [one for one in long.overlapping(0.0, 6 * YEAR) if one.start_s < YEAR] == short
    assert short != _process("openai-api-2021-2024", seed=8).overlapping(0.0, YEAR)
    assert short != _process("openai-api-2021-2024", group="another").overlapping(0.0, YEAR)


def test_providers_of_a_group_share_times_and_severity():
    spec = Incidents(preset="openai-api-2021-2024")
    one, other = (_run(spec, name, duration_s=5 * YEAR) for name in ("large", "small"))
    when = {(fault.at, fault.duration, fault.outage, fault.abort, fault.latency) for fault in one}
    shared = [f for f in other if (f.at, f.duration, f.outage, f.abort, f.latency) in when]
    assert 0.3 < len(shared) / len(other) < 0.7
    assert not {fault.name for fault in one} & {fault.name for fault in other}
    alone = _run(spec, "large", "another", duration_s=5 * YEAR)
    assert not {fault.at for fault in alone} & {fault.at for fault in one}


def test_more_of_them():
    spec = Incidents(preset="anthropic-api-2021-2024")
    often = dataclasses.replace(spec, scale=10.0)
    assert len(_run(often, duration_s=10 * YEAR)) == pytest.approx(10 * len(_run(spec, duration_s=10 * YEAR)), rel=0.25)
    assert often.law.unavailability == pytest.approx(10 * spec.law.unavailability)


@pytest.mark.parametrize(
    ("preset", "availability"),
    [("openai-api-2021-2024", 0.9982), ("chatgpt-2021-2024", 0.9966), ("claude-ai-2021-2024", 0.9984)],
)
def test_a_law_says_the_published_availability(preset, availability):
    assert PRESETS[preset].unavailability == pytest.approx(1 - availability)


def test_a_duration_of_ones_own_is_felt_from_end_to_end():
    """The published ones last until the incident is closed, and callers feel less than half of that."""
    spec = Incidents(
        preset="openai-api-2021-2024",
        duration=Constant(600.0),
        scale=50.0,
        outage=1.0,
        partial=0.0,
        slow=0.0,
        spread=1.0,
    )
    faults = _run(spec, duration_s=0.5 * YEAR)
    assert len(faults) > 100
    assert {round(fault.duration, 3) for fault in faults[1:]} == {600.0}


# -- faults ------------------------------------------------------------------------------------------------------------


def test_faults_are_what_they_are_called_and_lie_in_the_run():
    faults = _run(Incidents(preset="chatgpt-2021-2024"), duration_s=20 * YEAR)
    assert list(faults) == sorted(faults, key=lambda fault: fault.at)
    assert len({fault.name for fault in faults}) == len(faults) > 400
    for fault in faults:
        assert fault.provider == "p"
        assert -60.0 <= fault.at < 20 * YEAR + 60
        word = fault.name.removeprefix("p ").rpartition(" ")[0]
        assert fault.effects == {"outage": ("outage",), "partial outage": ("abort",), "slow spell": ("latency",)}[word]


def test_what_began_before_the_run_is_cut_to_it():
    spec = Incidents(every=100.0, duration=Constant(1000.0), partial=1.0)
    faults = _run(spec, begin_s=-5.0)
    early = [fault for fault in faults if fault.at == -5.0]
    assert len(early) > 3
    assert all(0 < fault.duration < 1000 for fault in early)
    assert min(fault.end_s for fault in early) > -5.0
    assert all(fault.duration == pytest.approx(1000.0) for fault in faults if fault.at > -5.0)


@pytest.mark.slow
def test_at_least_one_begins_at_a_random_moment_of_the_run():
    spec = Incidents(preset="openai-api-2021-2024", at_least_one=True)
    kinds, times = [], []
    for seed in range(300):
        inside = [fault for fault in _run(spec, seed=seed) if 0 <= fault.at < 600]
        assert inside
        if inside[0].name.endswith("by arrangement"):
            kinds.append(inside[0].effects[0])
            times.append(inside[0].at)
    assert len(times) > 290, "ten minutes seldom have one by themselves"
    assert np.mean(times) == pytest.approx(300, abs=4 * 600 / math.sqrt(12 * 300))
    law = spec.law
    felt = law.outage + law.partial + law.slow
    for kind, share in [("outage", law.outage), ("abort", law.partial), ("latency", law.slow)]:
        p = share / felt
        assert kinds.count(kind) / len(kinds) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / len(kinds)))


def test_at_least_one_hits_the_whole_group_at_once_and_only_where_there_was_none():
    spec = Incidents(preset="openai-api-2021-2024", at_least_one=True)
    one, other = _run(spec, "a"), _run(spec, "b")
    assert [(f.at, f.duration) for f in one] == [(f.at, f.duration) for f in other]
    busy = dataclasses.replace(spec, scale=20_000.0)
    assert not [fault for fault in _run(busy) if fault.name.endswith("by arrangement")]


def test_they_do_to_a_provider_what_scripted_faults_do():
    spec = Incidents(every=30.0, duration=Constant(8.0), outage=0.5, partial=0.5, error_rate=1.0, status=529)
    faults = _run(spec, duration_s=600.0)
    down = Conditions(faults, 60.0).phases
    assert sum(phase.outage for phase in down) > 3

    def script(bench):
        for number in range(600):
            bench.go(number, at=60.0 + number)

    words = {visit.word for visit in play(SimProvider(ttft=Constant(0.1)), script, faults, zero_s=60.0)}
    assert words == {"ok", "connection_failed", "overloaded"}


def test_scripted_sequences_are_not_disturbed():
    scripted = Fault(name="script", provider="p", sequence=(429, 429, "ok"))
    quiet = _run(Incidents(preset="openai-api-2021-2024"), seed=1)
    assert not quiet

    def script(bench):
        for number in range(4):
            bench.go(number, at=float(number))

    seen = play(SimProvider(ttft=Constant(0.1)), script, (scripted, *quiet))
    assert [visit.word for visit in seen] == ["rate_limited", "rate_limited", "ok", "ok"]


# -- maintenance -------------------------------------------------------------------------------------------------------


def test_maintenance_comes_again_and_again():
    weekly = Maintenance(first=100.0, duration=50.0, every=200.0, effect="slow", latency=3.0)
    once = Maintenance(first=120.0, duration=10.0)
    faults = _run(Incidents(maintenance=(weekly, once)), duration_s=500.0, begin_s=-80.0)
    assert [(f.at, f.end_s, f.effects) for f in faults] == [
        (-80.0, -50.0, ("latency",)),
        (100.0, 150.0, ("latency",)),
        (120.0, 130.0, ("outage",)),
        (300.0, 350.0, ("latency",)),
        (500.0, 550.0, ("latency",)),
    ]
    assert len({fault.name for fault in faults}) == 5
    reduced = _run(Incidents(maintenance=(Maintenance(duration=60.0, effect="reduced", capacity=0.25),)))
    assert [(f.at, f.effects, f.capacity.multiplier) for f in reduced] == [(0.0, ("capacity",), 0.25)]


# -- words -------------------------------------------------------------------------------------------------------------


def test_words():
    from pydantic import TypeAdapter

    adapter = TypeAdapter(Incidents)
    read = adapter.validate_python({"preset": "openai-api-2021-2024", "scale": "10x", "at_least_one": True})
    assert read == Incidents(preset="openai-api-2021-2024", scale=10.0, at_least_one=True)
    own = {"every": "12h", "shape": 0.65, "duration": {"lognormal": {"p50": "5m", "p99": "1h"}}, "partial": "100%"}
    read = adapter.validate_python({**own, "maintenance": [{"first": "1d", "every": "7d", "duration": "30m"}]})
    assert read.duration == Lognormal(p50=300.0, p99=3600.0)
    assert read.law.mean_gap_s == pytest.approx(12 * 3600)
    assert read.law.gap_shape == 0.65
    assert adapter.json_schema()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "write preset: openai-api-2021-2024"),
        ({"at_least_one": True, "maintenance": (Maintenance(duration=9.0),)}, "write preset: openai-api-2021-2024"),
        ({"every": 3600.0}, "one of outage, partial, slow"),
        ({"every": 3600.0, "duration": Constant(60.0)}, "one of outage, partial, slow"),
        ({"preset": "openai-api-2021-2024", "slow": 0.9}, "at most 100%"),
        ({"preset": "openai-api-2021-2024", "spread": 0.2}, "write spread: 42% or more"),
    ],
)
def test_incidents_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Incidents(**values)


def test_maintenance_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="longer than `duration`"):
        Maintenance(duration=100.0, every=50.0)
