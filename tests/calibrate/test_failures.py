"""Shares of calls that fail, how sure they are, and how long refusals take."""

from __future__ import annotations

import numpy as np
import pytest
from calibrate.made_calls import calls_from, hosted

import llmsim
from llmsim.calibrate.calls import calls_of
from llmsim.calibrate.failures import answer_time_word, errors_word
from llmsim.calibrate.upstream import fit_upstream
from llmsim.luck import Luck
from llmsim.report.rates import share_of


def with_outcomes(outcome, **more):
    n = len(outcome)
    return calls_from(np.arange(float(n)), [1] * n, [2] * n, [100] * n, [20] * n, outcome=outcome)._replace(**more)


def interval(word):
    """Ends of the first share's interval, out of its note."""
    ends = word.note.partition("(95 %: ")[2].partition(")")[0].replace(" %", "").split(" to ")
    return tuple(float(one) / 100 for one in ends)


def bursts(rng, n, length):
    """A fifth of the time in bursts of about so many calls, in which nearly all fail."""
    found, bad = [], False
    for _ in range(n):
        bad = rng.random() > 1 / length if bad else rng.random() < 0.25 / length
        found.append("server_error" if bad and rng.random() < 0.9 else "ok")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("length", "at_least"), [(1, 0.93), (8, 0.85)])
def test_intervals_know_of_clusters(length, at_least):
    """Of 400 draws, 97 % hold the share of independent failures, 92 % that in bursts; plain intervals 96 and 46 %."""
    held, plain = [], []
    for seed in range(100):
        rng = np.random.default_rng([seed, length])
        outcome = bursts(rng, 400, length) if length > 1 else np.where(rng.random(400) < 0.18, "server_error", "ok")
        word, _ = errors_word(with_outcomes(list(map(str, outcome))), limited=False)
        low, high = interval(word)
        held.append(low - 1e-4 <= 0.18 <= high + 1e-4)
        one = share_of([list(outcome).count("server_error")], [400])
        plain.append(one.low <= 0.18 <= one.high)
    assert np.mean(held) >= at_least
    if length > 1:
        assert np.mean(plain) < 0.7


def test_the_shares_of_a_simulated_provider_are_found():
    scenario = {
        "version": 1,
        "seed": 3,
        "clock": {"duration": "400s"},
        "traffic": {"base_rate": "3/s"},
        "providers": {"local": {"errors": {"server_error": "5%", "overloaded": "2%", "in_stream": "3%"},
                                "network": "50ms", "answer_time": "120ms"}},
    }  # fmt: skip
    calls = calls_of([llmsim.run(scenario, replications=1)], "local")
    word, _ = errors_word(calls, limited=False)
    assert word.value == pytest.approx({"overloaded": 0.02, "in_stream": 0.03, "server_error": 0.05}, abs=0.015)
    assert "status 500 (" in word.note
    took, _ = answer_time_word(calls, 0.05, Luck(0))
    assert took.value["empirical"]["p50"] == pytest.approx(0.12, abs=1e-6)


def test_a_limit_hides_streams_that_would_have_broken():
    outcome = ["stream_broken"] * 5 + ["rate_limited"] * 50 + ["ok"] * 45
    word, _ = errors_word(with_outcomes(outcome), limited=True)
    assert word.value == {"in_stream": 0.1}  # of the fifty that had a stream
    word, _ = errors_word(with_outcomes(outcome), limited=False)
    assert word.value == {"in_stream": 0.1, "slow_down": 0.5}


def test_what_providers_have_no_word_for_is_named():
    word, why = errors_word(with_outcomes(["ttft_timeout", "connection_failed", *["ok"] * 98]), limited=False)
    assert word is None
    assert why.endswith("providers have no word for it: 1 connection_failed, 1 ttft_timeout")


@pytest.mark.slow
def test_refusals_take_their_time():
    n = 60
    outcome = ["rate_limited" if i % 3 == 0 else "ok" for i in range(n)]
    calls = hosted(n, 1)._replace(outcome=tuple(outcome))
    out = np.array([word != "ok" for word in outcome])
    calls = calls._replace(ttft_s=np.where(out, np.nan, calls.ttft_s), e2e_s=np.where(out, 0.03, calls.e2e_s))
    found = fit_upstream(calls)
    assert found.settings["answer_time"] == pytest.approx(0.03)
    word, _ = answer_time_word(calls, 0.0, Luck(0))
    assert word.n == 20
    assert answer_time_word(hosted(20, 1), 0.0, Luck(0)) == (None, "")
