"""A best value at an end of its range is said to be there, if going on would be allowed and would pay."""

import pytest
from tuning.spaces import pretended, shop

from llmsim.tuning.standing import standing

SHOP = shop()
INITIAL, RATE, ATTEMPTS = (
    "gateway.retry.backoff.initial",
    "upstream.circuit_breaker.failure_rate",
    "gateway.retry.max_attempts",
)


def found(space, true, settings):
    stages = pretended(SHOP, space, true, noise=0.02, own=0.1)
    stages.tuning.ensure([stages.current], stages.plan.most)
    stages.winner = stages.tuning.entry(settings)
    stages.tuning.ensure([stages.winner], stages.plan.most)
    stages._hold_out()
    stages._look_around()
    return [(edge.path, edge.upper) for edge in stages.edges]


def short(scenario):
    return 1 + standing(scenario, INITIAL)


def often(scenario):
    return 1 / standing(scenario, ATTEMPTS)


@pytest.mark.parametrize(
    ("space", "true", "settings", "expected"),
    [
        ({INITIAL: ("50ms", "4s", "log")}, short, {INITIAL: "51ms"}, [(INITIAL, False)]),
        ({INITIAL: ("50ms", "4s", "log")}, short, {INITIAL: "200ms"}, []),
        # Flat: the end is as good as anything.
        ({INITIAL: ("50ms", "4s", "log")}, lambda _: 1.0, {INITIAL: "50ms"}, []),
        ({ATTEMPTS: [1, 2, 3]}, often, {ATTEMPTS: 3}, [(ATTEMPTS, True)]),
        # Fewer than one attempt is not allowed.
        ({ATTEMPTS: [1, 2, 3]}, lambda scenario: -often(scenario) + 2, {ATTEMPTS: 1}, []),
        ({RATE: (0.5, 1.0)}, lambda scenario: 2 - standing(scenario, RATE), {RATE: 1.0}, []),
        ({RATE: (0.5, 0.9)}, lambda scenario: 2 - standing(scenario, RATE), {RATE: 0.9}, [(RATE, True)]),
    ],
)
def test_edges(space, true, settings, expected):
    assert found(space, true, settings) == expected
