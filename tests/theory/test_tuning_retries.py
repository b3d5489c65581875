"""M/M/c with retries that cost time and a place in the queue: the best rate and attempts are known in closed form.

Three calls in ten fail as they end, and are made again after two seconds, at most as often as `max_attempts` says. Too
few attempts fail too often; each more makes answers later and the queue longer, so less traffic is borne in time.
"""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from theory.queueing import Estimate, Retried

from llmsim.luck import Luck
from llmsim.scenario.load import load_scenario
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import goals_of, limits_of
from llmsim.tuning.running import Measured
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages

FAILS, AGAIN_S, SERVERS = 0.3, 2.0, 4
NETWORK = Retried(SERVERS, FAILS, AGAIN_S)
answered_s = NETWORK.answered_s
LIMIT_S, FAILED, MOST = 2.7, 0.05, 6
SPACE = {"traffic.base_rate": ("0.5/s", "4/s"), "gateway.retry.max_attempts": list(range(1, MOST + 1))}
SUBJECT_TO = [f"ttft_ok mean < {LIMIT_S}s", f"error_rate < {FAILED:.0%}"]
TRIALS = 60

SCENARIO = load_scenario({
    "version": 1,
    "name": "retried",
    "replications": 10,
    "clock": {"warm_up": "60s", "duration": "600s", "drain": "100s"},
    "traffic": {"base_rate": "1/s", "mix": [{"input_tokens": 10, "output_tokens": 1}]},
    "providers": {
        "llm": {"ttft": {"exponential": {"mean": "1s"}}, "concurrency": SERVERS, "errors": {"in_stream": FAILS}}
    },
    "gateway": {
        "policies": [
            {
                "retry": {
                    "max_attempts": 2,
                    "backoff": {"initial": f"{AGAIN_S}s", "max": f"{AGAIN_S}s", "multiplier": 1, "jitter": "none"},
                    "on": ["server_error"],
                }
            }
        ]
    },
})  # fmt: skip


def borne(attempts):
    """The most requests a second within the time."""
    return brentq(lambda rate: answered_s(rate, attempts) - LIMIT_S, 0.01, NETWORK.most(attempts) * (1 - 1e-6))


BEST = max(borne(n) * (1 - FAILS**n) for n in range(1, MOST + 1) if FAILS**n < FAILED)


def of_best(scenario):
    """Answers a second of these settings, as a share of the best."""
    attempts, rate = scenario.gateway.policies[0].max_attempts, scenario.traffic.base_rate
    return rate * (1 - FAILS**attempts) / BEST, attempts


def test_each_attempt_more_costs_and_the_third_is_needed():
    costs = [borne(n) * (1 - FAILS**n) for n in range(1, MOST + 1)]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] == BEST
    assert costs[2] > 1.03 * costs[3]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "attempts"), [(1.9, 3), (1.9, 4)])
def test_the_simulation_is_that_network(rate, attempts):
    lines = tuple(limits_of(SCENARIO, SUBJECT_TO))
    settled = SCENARIO.with_values({"traffic.base_rate": rate, "gateway.retry.max_attempts": attempts})
    rows = np.array([Measured((), lines)(settled, number) for number in range(16)])
    for values, expected in zip(rows.T, (answered_s(rate, attempts), FAILS**attempts), strict=True):
        assert abs(Estimate.of(values).z(expected)) < 4, (Estimate.of(values), expected)


@pytest.mark.long
def test_the_search_lands_near_it():
    """The closed form itself in place of simulations, under the luck of a replication of 90 minutes or so.

    In ten minutes the luck of a mean wait is as much as 9 % of the rate, and what a limit says of ten of these decides,
    however well one searches. Without steps from the best, and with limits told by raw first replications, it was 8 of
    these 15 within 5 %, and 12 % at the most; it is 13.
    """

    def work(sums, lines, held):
        def one(scenario, number, progress=None):
            attempts, rate = scenario.gateway.policies[0].max_attempts, scenario.traffic.base_rate
            luck = Luck.of(scenario.seed, number)
            common = 0.03 * norm.ppf(luck.uniform("common"))
            own = 0.005 * norm.ppf(luck.uniform("own", "", rate, attempts))
            heavy = min(rate * math.exp(common + own), 0.97 * NETWORK.most(attempts))
            failed = FAILS**attempts
            return [
                rate * math.exp(common) * (1 - failed),
                answered_s(heavy, attempts),
                failed,
                *(() if held else (repr(scenario),)),
            ]

        return one

    found = []
    for seed in range(1, 16):
        runs = Runs(
            [SCENARIO], parse_space(SPACE, SCENARIO), Journal(None, "study", {}), jobs=1, tick=lambda: None, work=work
        )
        plan = Plan(goals_of(SCENARIO, (), "goodput"), (limits_of(SCENARIO, SUBJECT_TO),), None, seed, TRIALS, 10, 10)
        stages = Stages(plan, runs, None)
        stages.choose()
        assert stages.account().share <= 0.36
        found.append(of_best(runs.space.settled(SCENARIO, stages.winner.settings)))
    assert sum(abs(share - 1) <= 0.05 for share, _ in found) >= 12, found
    assert min(share for share, _ in found) >= 0.9, found
