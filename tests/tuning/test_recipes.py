"""Recipes: a space for the policies there are, that fits the schema."""

import pytest
from tuning.spaces import SHOP, shop

import llmsim
from llmsim.errors import LlmsimError, ScenarioError, SimulationInterrupted
from llmsim.scenario.load import load_scenario
from llmsim.tuning.objective import goals_of, limits_of
from llmsim.tuning.recipes import RECIPES, check_bounded, recipe
from llmsim.tuning.space_words import parse_space

FULL = {
    "version": 1,
    "traffic": {"base_rate": "4/s", "topics": {"zipf": {"s": 1.0, "unique": 50}, "paraphrases": "30%"}},
    "providers": {"a": {}, "b": {}},
    "gateway": {
        "policies": [
            {"semantic_cache": {"threshold": 0.92, "ttl": "1h"}},
            {"deadline": {"timeout": "30s"}},
            {"bulkhead": {"at_once": 20, "per": "user"}},
            {"adaptive_admission": {}},
            {"fallback": {"order": ["a", "b"]}},
            {"retry": {"max_attempts": 3, "budget": "20%"}},
            {"retry": {"name": "sdk", "max_attempts": 2}},
        ],
        "upstream": [
            {"timeout": {"ttft": "5s", "inter_token": "2s"}},
            {"circuit_breaker": {}},
            {"concurrency_limit": {"limit": 20}},
        ],
    },
}
BOTH = {"ttft": "5s", "inter_token": "2s"}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_fits_the_schema_and_says_what_it_is_about(name):
    scenario = load_scenario(FULL)
    found = recipe(name, scenario)
    assert parse_space(found.space, scenario).dimensions
    assert found.about.endswith(".")
    assert goals_of(scenario, found.minimize, ())
    assert found.reason.startswith(found.minimize)


def test_it_tunes_what_there_is():
    scenario = load_scenario(FULL)
    assert set(recipe("timeouts", scenario).space) == {
        "gateway.deadline.timeout",
        "upstream.timeout.ttft",
        "upstream.timeout.inter_token",
    }
    backoff = recipe("backoff", scenario).space
    assert "gateway.retry.budget" in backoff
    assert "gateway.sdk.max_attempts" in backoff
    assert "gateway.sdk.budget" not in backoff  # that would turn something on
    assert set(recipe("limits", scenario).space) >= {"upstream.concurrency_limit.limit", "gateway.bulkhead.at_once"}


@pytest.mark.parametrize(("longest", "first"), [("10s", "50ms..4000ms"), ("2s", "50ms..2000ms"), ("40ms", "4ms..40ms")])
def test_a_first_sleep_is_no_longer_than_the_longest(longest, first):
    retry = {"retry": {"max_attempts": 2, "backoff": {"initial": "5ms", "max": longest}}}
    scenario = shop(gateway={"policies": [retry]})
    tried = [str(one) for one in parse_space(recipe("backoff", scenario).space, scenario).dimensions]
    assert f"gateway.retry.backoff.initial: {first} log" in tried


@pytest.mark.parametrize("file", ["hacker-news-spike", "article-gateway"])
def test_shipped_scenarios_have_something_to_tune(file):
    scenario = llmsim.load(f"scenarios/{file}.yaml")
    for name in ("backoff", "timeouts"):
        parse_space(recipe(name, scenario).space, scenario)


@pytest.mark.parametrize(
    ("minimize", "subject_to", "says"),
    [
        ((), [], "nothing here keeps the answers right"),
        ("cost_per_ok", ["error_rate < 1%"], 'Bound the wrong ones, --subject-to "false_hit_rate < 0.5%"'),
        ("ttft p(95)", [], "or say what one costs you in dollars"),
        ("cost_per_ok", ["false_hit_rate < 1%"], None),
        ("cost_per_ok", ["false_hits_per_hit < 1%"], None),
        ("cost_per_ok + 0.02*false_hit_rate", [], None),
    ],
)
def test_a_threshold_is_not_searched_without_anything_against_wrong_answers(minimize, subject_to, says):
    scenario = load_scenario(FULL)
    asked = minimize or recipe("cache-threshold", scenario).minimize
    limits = limits_of(scenario, subject_to)
    if says is None:
        check_bounded("cache-threshold", goals_of(scenario, asked, ()), [limits])
        if subject_to:  # in every scenario, not in one of them
            with pytest.raises(LlmsimError, match="keeps the answers right"):
                check_bounded("cache-threshold", goals_of(scenario, asked, ()), [limits, ()])
    else:
        with pytest.raises(LlmsimError, match=says):
            llmsim.tune(scenario, recipe="cache-threshold", minimize=minimize, subject_to=subject_to)
    check_bounded("backoff", goals_of(scenario, "e2e p(95)", ()), [()])


def test_a_recipe_knows_what_it_is_for():
    def stop(progress):
        raise KeyboardInterrupt

    def begun(**asked):
        with pytest.raises(SimulationInterrupted) as stopped:
            llmsim.tune(shop(), recipe="breaker", progress=stop, jobs=1, **asked)
        return stopped.value.partial

    found, told = begun(), "e2e p(95) was made small, as nothing else was asked for"
    assert [goal.name for goal in found.goals] == ["e2e p(95)"]
    assert any(told in note for note in found.notes)
    found = begun(maximize="goodput")
    assert [goal.name for goal in found.goals] == ["goodput"]
    assert not any(told in note for note in found.notes)


@pytest.mark.slow
def test_what_of_a_recipe_has_no_effect_is_left_out_and_said():
    """No stream stalls here, so nothing depends on the limit between tokens; who names it is told, and no more."""
    shop = load_scenario({**SHOP, "gateway": {**SHOP["gateway"], "upstream": [{"timeout": BOTH}]}, "replications": 2})
    asked = {"minimize": "ttft_ok p(95)", "subject_to": [], "trials": 2, "held_out": 6}
    found = llmsim.tune(shop, recipe="timeouts", **asked)
    assert found.idle == ("upstream.timeout.inter_token",)
    assert set(found.trials[0].settings) == {"upstream.timeout.ttft"}
    assert "Left out, as nothing that happens here depends on it: upstream.timeout.inter_token." in found.notes
    named = {"upstream.timeout.inter_token": ("500ms", "10s", "log")}
    with pytest.raises(ScenarioError, match="inter_token: has no effect"):
        llmsim.tune(shop, named, recipe="timeouts", **asked)
