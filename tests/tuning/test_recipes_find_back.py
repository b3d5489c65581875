"""Each recipe, on a shipped scenario whose setting somebody got wrong, finds back to what was shipped or better.

Better is told on held-out luck by the tuning itself, and against what was shipped on luck that neither has seen.
"""

import dataclasses
from pathlib import Path

import pytest

import llmsim
from llmsim.tuning.held_out import change_of
from llmsim.tuning.objective import centre
from llmsim.tuning.running import Measured

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LIMIT = "upstream.concurrency_limit.limit"
CACHE = "gateway.semantic_cache.threshold"


def against_shipped(found, file, replications):
    """The tuned setting against the shipped one, pair by pair, and the interval as shares of what was shipped."""
    luck = found.held_seed + 1
    both = [dataclasses.replace(one, seed=luck) for one in (llmsim.load(file), found.scenario)]
    goal = found.goals[0]
    before, after = (
        [goal.cost(Measured((goal.sum,))(one, number)[0]) for number in range(replications)] for one in both
    )  # fmt: skip
    was = centre(goal, before)
    change = change_of(before, after, was)
    print(f"{file.stem}: {goal.name} {goal.shown(was)} → {goal.shown(centre(goal, after))}, {change.relative:+.1%} "
          f"({change.interval[0] / was:+.1%} … {change.interval[1] / was:+.1%})")  # fmt: skip
    return change


LONG = pytest.mark.long  # half a minute to two minutes of CPU each


@pytest.mark.parametrize(
    ("recipe", "file", "wrong", "trials", "most"),
    [
        pytest.param("limits", "self-hosted-rush", f"{LIMIT}=1000", 8, 6, marks=pytest.mark.slow),
        pytest.param("limits", "self-hosted-rush", f"{LIMIT}=8", 24, 10, marks=LONG),
        pytest.param("timeouts", "slow-first-token", "upstream.timeout.ttft=30s", 32, 10, marks=LONG),
        pytest.param("breaker", "brown-out", "upstream.circuit_breaker.failure_rate=90%", 32, 10, marks=LONG),
        pytest.param("backoff", "thundering-herd", "gateway.retry.backoff.initial=0s", 32, 10, marks=LONG),
        pytest.param("cache-threshold", "semantic-cache", f"{CACHE}=0.7", 24, 10, marks=LONG),
    ],
)
def test_it_finds_back(recipe, file, wrong, trials, most):
    place = SCENARIOS / f"{file}.yaml"
    found = llmsim.tune(
        place,
        recipe=recipe,
        overrides=[wrong],
        trials=trials,
        replications=most,
        jobs=1,
        held_out=most if most < 10 else None,
    )
    print(f"{found.headline}\n{found.notes[0]}")
    assert found.improves
    assert found.current.holds == "FAIL"  # somebody got it wrong
    assert found.best.holds != "FAIL"
    change = against_shipped(found, place, most)
    assert change.verdict != "worse"
    assert change.relative < 0.02  # what a tuning may lose
    if recipe != "backoff":  # there not asking again is as good as asking later
        assert f"What to change: {wrong.partition('=')[0]} " in found.notes[0]
