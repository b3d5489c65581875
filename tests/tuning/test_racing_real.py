"""Racing on real simulations: at most 35 % of the plain grid's replications, and a winner as good as the grid's.

Each asks twenty tunings, each with luck of its own, for the best of a finite space. What the best is worth is known
from luck that none of them meets. How much a winner loses against it depends on the question, too: where luck is wide,
or the best is near a bound, few replications of everything mistake the best as well. So racing is judged beside the
plain grid under the same luck: it is to lose next to nothing beyond it, and no more than 2 % where the grid does not.
"""

from functools import cache
from pathlib import Path

import pytest
from tuning.recorded import Recorded, told

from llmsim.scenario.load import load_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SEEDS, SHARE, REGRET = 20, 0.35, 0.02

#: M/M/4 at 65 %; one attempt in ten fails, and what is cut off comes back: retries rescue requests and make the queue.
QUEUE = {
    "version": 1,
    "name": "queue",
    "seed": 11,
    "clock": {"warm_up": "30s", "duration": "200s", "drain": "100s"},
    "traffic": {"base_rate": "2.6/s", "mix": [{"input_tokens": 100, "output_tokens": 1}]},
    "providers": {
        "llm": {"ttft": {"exponential": {"mean": "1s"}}, "concurrency": 4, "errors": {"server_error": "10%"}}
    },
    "gateway": {
        "policies": [
            {
                "retry": {
                    "max_attempts": 3,
                    "backoff": {"initial": "100ms", "jitter": "none"},
                    "on": ["timeout", "server_error"],
                }
            }
        ],
        "upstream": [{"timeout": {"ttft": "15s"}}],
    },
}


def queue(duration_s=200):
    return load_scenario({**QUEUE, "clock": {**QUEUE["clock"], "duration": f"{duration_s}s"}})


def spike():
    """The front page in a hundred seconds: 10x for twenty of them, a brown-out and a cut of the quota."""
    stages = [("30s", "1x"), ("3s", "10x"), ("20s", "10x"), ("3s", "1x")]
    return load_scenario(SCENARIOS / "hacker-news-spike.yaml").with_values({
        "clock.warm_up": "10s", "clock.duration": "100s", "clock.drain": "40s", "seed": 11,
        "traffic.stages": [{"duration": duration, "target": target} for duration, target in stages],
        "faults[0].at": "38s", "faults[0].duration": "20s", "faults[1].at": "45s", "faults[1].duration": "20s",
    })  # fmt: skip


def semantic():
    return load_scenario(SCENARIOS / "semantic-cache.yaml").with_values({
        "clock.warm_up": "60s", "clock.duration": "120s", "seed": 11
    })  # fmt: skip


TIMEOUT, ATTEMPTS = "upstream.timeout.ttft", "gateway.retry.max_attempts"
QUESTIONS = {
    "queue": (
        queue,
        {
            TIMEOUT: ["400ms", "600ms", "900ms", "1.3s", "2s", "3s", "4.5s", "6.5s", "10s", "15s"],
            ATTEMPTS: [1, 2, 3, 4, 5, 7],
        },
        "ttft_ok mean",
        ["error_rate < 1%"],
    ),
    "hacker-news-spike": (
        spike,
        {
            TIMEOUT: ["300ms", "500ms", "800ms", "1100ms", "1500ms", "2500ms"],
            ATTEMPTS: [1, 2, 3],
            "upstream.circuit_breaker.failure_rate": [0.1, 0.3, 0.6],
        },
        "cost_per_ok",
        ["error_rate < 1%", "ttft p(95) < 2s"],
    ),
    "semantic-cache": (
        semantic,
        {
            "gateway.semantic_cache.threshold": [0.80, 0.84, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98],
            "gateway.semantic_cache.ttl": ["20s", "40s", "1m", "2m", "1h"],
        },
        "cost_per_ok",
        ["false_hit_rate < 0.6%"],
    ),
}


#: Replications of the pool that tunings draw theirs from, and of the luck that tells what a winner is worth.
POOLS = {"queue": (50, 100), "hacker-news-spike": (24, 30), "semantic-cache": (30, 40)}


@cache
def recorded(name):
    make, *asked = QUESTIONS[name]
    replications, fresh = POOLS[name]
    return Recorded(make(), *asked, replications=replications, fresh=fresh)


def both(name, recorded, *, trials, most):
    """Twenty tunings, twenty plain grids under the same luck, and their figures."""
    raced = [recorded.race(seed, trials=trials, most=most) for seed in range(SEEDS)]
    grid = [recorded.grid(seed, most=most) for seed in range(SEEDS)]
    lost = sorted((1 + one.regret) / (1 + other.regret) - 1 for one, other in zip(raced, grid, strict=True))
    text = (
        f"{name}, {most} replications, racing: {told(raced)}\n{name}, plain grid: {told(grid)}\n{name}: beyond the "
        f"grid > 2 % in {sum(one > REGRET for one in lost)}, median {lost[SEEDS // 2]:.2%}, most {lost[-1]:.2%}"
    )
    print(text)
    assert max(one.share for one in raced) <= SHARE, text
    return raced, grid, lost, text


def near(found):
    """How many winners hold their limits on fresh luck, and lose no more than 2 % there against the best."""
    return sum(one.regret <= REGRET and one.outside == 0 for one in found)


@pytest.mark.long
@pytest.mark.parametrize("name", QUESTIONS)
def test_ten_replications_lose_little_beyond_the_grid(name):
    raced, grid, lost, text = both(name, recorded(name), trials=60, most=10)
    assert sum(one <= REGRET for one in lost) >= SEEDS - 1, text
    assert sum(one.outside > 0 for one in raced) <= 1 + sum(one.outside > 0 for one in grid), text


@pytest.mark.long
@pytest.mark.parametrize("most", [10, 20])
def test_where_the_grid_finds_the_best_so_does_racing(most):
    """On the queue: within 2 % of the best under every luck, with a fifth to a third of the grid's replications.

    Not so on the semantic cache: of two minutes the share of false hits is so wide that neither tells which threshold
    holds a bound. With one of .6 % and ten replications the grid loses more than 2 % under 8 of 20 lucks, and racing
    under the same 8; of a pool of 24 instead of 30, under 3 and 4.
    """
    raced, grid, _, text = both("queue", recorded("queue"), trials=60, most=most)
    assert near(grid) >= SEEDS - 1, text
    assert near(raced) >= SEEDS - 1, text


@pytest.mark.long
def test_racing_spends_little_and_loses_little_on_a_short_queue():
    space = {TIMEOUT: ["400ms", "900ms", "2s", "4s", "8s", "15s"], ATTEMPTS: [1, 2, 3, 5]}
    short = Recorded(queue(60), space, "ttft_ok mean", ["error_rate < 9%"], replications=24, fresh=16)
    raced, grid, _, text = both("short queue", short, trials=24, most=12)
    assert near(grid) >= SEEDS - 1, text
    assert near(raced) >= SEEDS - 1, text
