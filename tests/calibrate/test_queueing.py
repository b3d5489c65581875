"""Workers with one queue before them: how many they are, and that a scenario with them behaves alike."""

import heapq

import numpy as np
import pytest
from calibrate.made_calls import calls_from, hosted, lengths

import llmsim
from llmsim.calibrate.calls import calls_of
from llmsim.calibrate.failures import errors_word, queue_word
from llmsim.calibrate.models import Line, queue_model
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.queueing import Workers, waited, waits
from llmsim.calibrate.upstream import fit_upstream
from llmsim.errors import LlmsimError
from llmsim.scenario.profiles import read_profile_file

LINE = Line(0.3, 4e-4, 0.02)


def queued(n, seed, *, workers, rate, noise=0.0):
    """Poisson arrivals at workers that take what `LINE` says, more or less."""
    rng = np.random.default_rng(seed)
    inputs, outputs = lengths(rng, n)
    sent = np.cumsum(rng.exponential(1 / rate, n))
    own = LINE(calls_from(sent, np.ones(n), np.ones(n), inputs, outputs))
    factor = np.exp(rng.normal(0, noise, n))
    wait = waits(sent, own.e2e_s * factor, workers)
    return wait, calls_from(sent, wait + own.ttft_s * factor, wait + own.e2e_s * factor, inputs, outputs)


def every(calls):
    return np.ones(len(calls.sent_s), dtype=bool)


def test_waits_are_those_of_a_queue_that_is_played_event_by_event():
    rng = np.random.default_rng(1)
    sent, take = np.cumsum(rng.exponential(1, 200)), rng.exponential(2.5, 200)
    begun, line, idle, ends = {}, [], 3, []
    events = [(at, 1, number) for number, at in enumerate(sent)]
    while events or ends:
        if ends and (not events or ends[0] <= events[0][0]):
            now, idle = heapq.heappop(ends), idle + 1
        else:
            now, _, number = events.pop(0)
            line.append(number)
        while line and idle:
            first = line.pop(0)
            begun[first] = max(now, sent[first])
            heapq.heappush(ends, begun[first] + take[first])
            idle -= 1
    expected = np.array([begun[number] for number in range(200)]) - sent
    assert waits(sent, take, 3) == pytest.approx(expected, abs=1e-9)
    assert (expected > 0).sum() > 50


def test_ends_tell_how_long_each_waited():
    wait, calls = queued(300, 2, workers=3, rate=1.2, noise=0.3)
    assert waited(calls, 3) == pytest.approx(wait, abs=1e-9)
    assert (waited(calls, 4) <= wait + 1e-9).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_is_found_and_predicts_other_arrivals(workers):
    _, calls = queued(200, 3, workers=workers, rate=0.4 * workers, noise=0.2)
    found = queue_model(calls, every(calls))
    assert found.workers == Workers(workers, workers, workers)
    assert found.line.base_s == pytest.approx(0.3, rel=0.15)
    assert found.line.token_s == pytest.approx(4e-4, rel=0.15)
    assert found.held == pytest.approx(1.0, abs=0.1)
    _, other = queued(200, 4, workers=workers, rate=0.45 * workers)
    off = np.abs(found(other._replace(ttft_s=other.ttft_s * 9, e2e_s=other.e2e_s * 9)).e2e_s / other.e2e_s - 1)
    assert np.median(off) < 0.15


def test_who_never_waited_tells_no_number():
    _, calls = queued(60, 5, workers=90, rate=1.0, noise=0.2)
    with pytest.raises(LlmsimError, match="too few of them waited for another to end"):
        queue_model(calls, every(calls))
    assert queue_model(calls, every(calls), 90).workers.number == 90
    alone = hosted(30, 6)
    with pytest.raises(LlmsimError, match="up to 1 call at once"):
        queue_model(alone, every(alone))


def test_as_many_as_were_told_are_not_looked_for():
    _, calls = queued(100, 7, workers=3, rate=1.2)
    assert queue_model(calls, every(calls), 2).workers == Workers(2, 2, 2)


def with_room_for(limit, n, seed, *, workers, rate):
    """The same with a queue that is full at some length: whoever comes then is turned away."""
    rng = np.random.default_rng(seed)
    inputs, outputs = lengths(rng, n)
    sent = np.cumsum(rng.exponential(1 / rate, n))
    own = LINE(calls_from(sent, np.ones(n), np.ones(n), inputs, outputs))
    free, begins, ttft, e2e = [0.0] * workers, [], np.full(n, np.nan), np.full(n, 0.01)
    for number, now in enumerate(sent):
        if sum(begin > now for begin in begins) >= limit and free[0] > now:
            continue
        begins.append(max(now, free[0]))
        heapq.heapreplace(free, begins[-1] + own.e2e_s[number])
        ttft[number], e2e[number] = begins[-1] - now + own.ttft_s[number], begins[-1] - now + own.e2e_s[number]
    outcome = ["overloaded" if np.isnan(one) else "ok" for one in ttft]
    return calls_from(sent, ttft, e2e, inputs, outputs, outcome=outcome)


def test_a_full_queue_is_a_word_and_failures_by_chance_are_not():
    calls = with_room_for(4, 200, 8, workers=2, rate=2.0)
    word, why = queue_word(calls, 2)
    assert word is not None
    assert (word.value, why) == ({"limit": 4}, "")
    assert word.n == sum(one == "overloaded" for one in calls.outcome) > 10
    assert errors_word(calls, limited=False, full=True)[0] is None
    assert errors_word(calls, limited=False)[0] is not None
    answered = calls.only(calls.ok)
    assert queue_word(answered, 2) == (None, "no queue was full: up to 4 calls waited at once")
    chance = np.random.default_rng(9).random(len(answered.outcome)) < 0.2
    by_chance = answered._replace(outcome=tuple("overloaded" if one else "ok" for one in chance))
    word, why = queue_word(by_chance, 2)
    assert word is None
    assert why.startswith("no length of a queue explains which calls were refused")


def run(provider, seed, rate, seconds):
    mix = {
        "input_tokens": {"lognormal": {"p50": 400, "p99": 3000}},
        "output_tokens": {"uniform": {"low": 5, "high": 90}},
    }
    return llmsim.run(
        {
            "version": 1,
            "seed": seed,
            "clock": {"duration": f"{seconds}s", "drain": "120s"},
            "traffic": {"base_rate": f"{rate}/s", "mix": [mix]},
            "providers": {"local": provider},
        },
        replications=1,
    )


PROVIDER = {
    "network": "20ms",
    "ttft": {"lognormal": {"p50": "300ms", "p99": "700ms"}},
    "prefill": {"per_1k": "400ms"},
    "inter_token": "25ms",
    "pace": {"lognormal": {"p50": "1x", "p99": "1.6x"}},
    "concurrency": 4,
    "queue": {"limit": 6},
}


@pytest.mark.slow
def test_a_simulated_provider_of_four_workers_is_found_and_behaves_alike(tmp_path):
    found = fit_upstream(calls_of([run(PROVIDER, 3, 0.05, 1500), run(PROVIDER, 4, 1.9, 300)], "local"))
    assert found.chosen == "queue"
    errors = {one.name: one.error for one in found.candidates}
    assert errors["queue"] < 0.75 * min(errors["load"], errors["serving"], errors["line"])
    assert found.settings["concurrency"] == 4
    assert "every resampling of the calls gives 4" in found.words["concurrency"].note
    assert found.settings["queue"] == {"limit": 6}
    assert "overloaded" not in found.settings.get("errors", {})
    truth = {"ttft": 0.32, "prefill.per_1k": 0.4, "inter_token": 0.025}  # the network cannot be told from the first
    for name, value in truth.items():
        low, high = found.intervals[name]
        assert 0.95 * low <= value <= 1.05 * high, name
    path = write_profile(profile_document(found, name="local", date="2026-11-26", of="a test"), tmp_path / "local.yaml")
    text = path.read_text()
    assert "concurrency:" in text
    assert "limit: 6" in text
    assert read_profile_file(path).figures["concurrency"].value == 4
    # Another day, busier than any that was seen.
    real, made = (run(one, 11, 2.1, 600) for one in (PROVIDER, {"profile": str(path)}))
    for measure in ("ttft_s", "e2e_s"):
        for quantile in (0.5, 0.9):
            one, other = (side.requests[measure].quantile(quantile) for side in (real, made))
            assert other == pytest.approx(one, rel=0.12), measure
    refused = [float((side.requests["outcome"].cast(str) == "overloaded").mean()) for side in (real, made)]
    assert refused[1] == pytest.approx(refused[0], abs=0.03)


@pytest.mark.slow
def test_a_provider_that_gets_slower_is_not_taken_for_a_queue():
    points = [{"at": "1%", "ttft": "1x", "inter_token": "1x"}, {"at": "20%", "ttft": "6x", "inter_token": "3x"}]
    busy = {**PROVIDER, "concurrency": 100, "load": {"of": "slots", "points": points}}
    del busy["queue"]
    assert fit_upstream(calls_of([run(busy, 4, 1.9, 200)], "local")).chosen == "load"
