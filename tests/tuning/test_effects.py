"""What has no effect is found, and nothing else: a parameter counts if it does something wherever the others may be."""

import pytest
from tuning.spaces import shop

from llmsim.errors import ScenarioError
from llmsim.tuning.effects import idle, without
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import goals_of
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.standing import Absent, standing

ATTEMPTS, INITIAL, RATE = (
    "gateway.retry.max_attempts",
    "gateway.retry.backoff.initial",
    "upstream.circuit_breaker.failure_rate",
)
GROWTH = "gateway.retry.backoff.multiplier"
SPACE = {ATTEMPTS: [1, 2, 3], INITIAL: ("50ms", "4s", "log"), RATE: (0.1, 0.8)}


def idle_of(space, attempts, happens):
    """Paths without effect where `happens` says all that depends on the settings, and what was run for it."""
    scenario = shop().with_values({ATTEMPTS: attempts})
    parsed, run = parse_space(space, scenario), []

    def work(sums, lines, held):
        def one(scenario, number, progress=None):
            run.append(scenario)
            return [1.0, repr((number, happens(scenario)))]

        return one

    runs = Runs([scenario], parsed, Journal(None, "study", {}), jobs=1, tick=lambda: None, work=work)
    luck = runs.luck("tuning", [3], 4, goals_of(scenario, ["cost_per_ok"], ()), [()])
    return [one.path for one in idle(parsed, luck)], len(run)


def pauses(scenario):
    """Only what is tried again waits."""
    attempts = standing(scenario, ATTEMPTS)
    return attempts if attempts in (1, Absent) else (attempts, standing(scenario, INITIAL))


def test_what_another_parameter_hides_as_it_stands_has_an_effect():
    assert idle_of(SPACE, 1, pauses)[0] == [RATE]
    assert idle_of(SPACE, 2, pauses)[0] == [RATE]
    assert idle_of({ATTEMPTS: [1, 2], INITIAL: SPACE[INITIAL], "gateway.retry": [False, True]}, 1, pauses)[0] == []
    assert idle_of({INITIAL: SPACE[INITIAL]}, 1, pauses)[0] == [INITIAL]


def test_what_the_ends_hide_has_an_effect_between_them():
    def grows(scenario):
        """How pauses grow matters below the longest one only, and the first one may be none at all."""
        initial = standing(scenario, INITIAL)
        return (initial, standing(scenario, GROWTH)) if 0.06 < initial < 4.0 else initial

    space = {INITIAL: ("50ms", "4s", "log"), GROWTH: (1.5, 4.0)}
    assert idle_of(space, 3, grows)[0] == []
    scenario = shop().with_values({INITIAL: "0s"})  # as it stands it is hidden, too
    parsed = parse_space(space, scenario)
    assert parsed.settled(scenario, {GROWTH: 4.0}) != parsed.settled(scenario, {GROWTH: 1.5})


def test_a_recipe_without_anything_to_do_says_so():
    parsed = parse_space({INITIAL: SPACE[INITIAL], RATE: SPACE[RATE]}, shop())
    both = parsed.dimensions
    with pytest.raises(
        ScenarioError, match=r"the recipe finds nothing .*initial \(50ms to 4000ms\) or .*rate \(0.1 to 0.8\)"
    ):
        without(parsed, both, frozenset(one.path for one in both))
    with pytest.raises(ScenarioError, match="failure_rate: has no effect"):
        without(parsed, both, frozenset({INITIAL}))


def test_it_takes_no_more_than_the_ends_where_they_tell():
    assert idle_of({ATTEMPTS: [1, 2, 3], INITIAL: SPACE[INITIAL]}, 2, pauses) == ([], 4)
    # Where it is alike as things are: six there, twice both ends at the low corner (one attempt), and once at the high.
    assert idle_of({ATTEMPTS: [1, 2, 3], INITIAL: SPACE[INITIAL]}, 1, pauses) == ([], 6 + 4 + 2)
