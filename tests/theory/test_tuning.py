"""Tuning lands where closed forms say the optimum is."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from theory.queueing import mean_wait

from llmsim import compare, run
from llmsim.scenario.load import load_scenario
from llmsim.tuning.standing import standing
from llmsim.tuning.tune import tune

SCENARIOS = Path(__file__).parents[2] / "scenarios"

#: Time to first token: lognormal, median 1 s, p99 60 s. Every attempt is cut off after T and made again after B.
MEDIAN_S, P99_S, BACKOFF_S = 1.0, 60.0, 0.2
SIGMA = math.log(P99_S / MEDIAN_S) / stats.norm.ppf(0.99)


def restarted(timeout_s):
    """Mean time to the first token: with F the law, (E min(X, T) + B (1 - F(T))) / F(T) (geometric restarts)."""
    law = stats.lognorm(SIGMA, scale=MEDIAN_S)
    done = law.cdf(timeout_s)
    # E[X; X <= T] of a lognormal.
    within = MEDIAN_S * math.exp(SIGMA**2 / 2) * stats.norm.cdf(math.log(timeout_s / MEDIAN_S) / SIGMA - SIGMA)
    return (within + (timeout_s + BACKOFF_S) * (1 - done)) / done


RESTARTS = {
    "version": 1,
    "name": "restarts",
    "replications": 8,
    "clock": {"duration": "200s", "drain": "600s"},
    "traffic": {"base_rate": "2/s", "mix": [{"input_tokens": 10, "output_tokens": 1}]},
    "providers": {"llm": {"ttft": {"lognormal": {"p50": "1s", "p99": "60s"}}}},
    "gateway": {
        "policies": [
            {
                "retry": {
                    "max_attempts": 200,
                    "backoff": {"initial": "200ms", "max": "200ms", "multiplier": 1, "jitter": "none"},
                    "on": ["timeout"],
                }
            }
        ],
        "upstream": [{"timeout": {"ttft": "20s"}}],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_best_timeout_under_restarts(seed):
    grid = np.geomspace(0.05, 60, 4000)
    optimum = min(restarted(one) for one in grid)
    assert restarted(20.0) > 1.5 * optimum  # what there is is bad
    found = tune(
        RESTARTS,
        {"upstream.timeout.ttft": ("50ms", "60s", "log")},
        minimize="ttft mean",
        subject_to=[],
        trials=20,
        seed=seed,
    )
    tuned = standing(found.scenario, "upstream.timeout.ttft")
    assert restarted(tuned) <= 1.05 * optimum
    assert found.verdict == "better"
    assert found.improves
    # What is held out is the law's value at that timeout: 4,800 requests, whose mean has an error of 3 % at the most.
    assert found.best.held_out[0] == pytest.approx(restarted(tuned), rel=0.1)


QUEUE = {
    "version": 1,
    "name": "queue",
    "replications": 10,
    "clock": {"warm_up": "100s", "duration": "1000s", "drain": "100s"},
    "traffic": {"base_rate": "1/s", "mix": [{"input_tokens": 10, "output_tokens": 1}]},
    "providers": {"llm": {"ttft": {"exponential": {"mean": "1s"}}, "concurrency": 4}},
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_most_that_a_queue_bears_within_a_limit(seed):
    # M/M/4: a mean time to the first token of 1.5 s is a mean wait of 0.5 s.
    edge = brentq(lambda rate: mean_wait(4, rate) - 0.5, 0.5, 3.99)
    found = tune(
        QUEUE,
        {"traffic.base_rate": ("1/s", "5/s")},
        maximize="goodput",
        subject_to=["ttft mean < 1.5s"],
        trials=24,
        seed=seed,
    )
    rate = load_scenario(QUEUE).with_values(found.settings).traffic.base_rate
    assert rate == pytest.approx(edge, rel=0.05)
    assert found.best.holds != "FAIL"
    assert found.binds == ["ttft mean < 1.5s"]


def _article():
    """The snippet's gateway on the traffic of hacker-news-spike, up to 30 s after the last fault."""
    return load_scenario(SCENARIOS / "article-gateway.yaml").with_values(
        {"clock.warm_up": "0s", "clock.duration": "270s"}
    )


@pytest.mark.long  # a minute; that what it finds is better is the next one's
@pytest.mark.slow
def test_it_beats_what_everybody_copies_on_the_front_page():
    """The snippet's gateway on the traffic of hacker-news-spike: cheaper good answers, on luck it has not seen.

    Its own bound of 1 % errors is out of reach of these dials (2 % are left), so it is 5 %.
    """
    found = tune(
        _article(),
        {
            "gateway.timeout.total": ["5s", "30s"],
            "gateway.retry.max_attempts": [1, 3],
            "gateway.sdk.max_attempts": [1, 3],
        },
        minimize="cost_per_ok",
        subject_to=["error_rate value < 5%"],
        trials=8,
        replications=6,
        held_out=6,
    )
    assert found.improves
    change = found.best.changes[0]
    assert change.interval[1] < 0
    assert change.relative < -0.05
    assert (found.current.holds, found.best.holds) == ("FAIL", "PASS")
    # All six attempts within 30 s would be cheaper still, and fail too often.
    assert found.binds == ["error_rate value < 5%"]
    # Both lucks are told: the promise was 7 % and it is kept.
    promised = found.best.tuning[0] / found.current.tuning[0] - 1
    assert change.relative == pytest.approx(promised, abs=0.03)


@pytest.mark.slow
def test_what_it_finds_beats_what_everybody_copies_on_the_front_page():
    """On luck of neither: cheaper good answers, by more than chance."""
    article = _article()
    tuned = article.with_values({"gateway.timeout.total": "30s", "gateway.retry.max_attempts": 1})
    before, after = (run(one, seed=814, replications=6) for one in (article, tuned))
    (change,) = [one for one in compare(before, after).differences if one.name == "cost_per_ok"]
    low, high = change.interval
    assert low < high < 0
    assert after.metrics["error_rate"] < 0.05 < before.metrics["error_rate"]
