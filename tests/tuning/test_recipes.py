"""Recipes: a space for the policies there are, that fits the schema."""

import pytest

import llmsim
from llmsim.scenario.load import load_scenario
from llmsim.tuning.recipes import RECIPES, recipe
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


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_fits_the_schema_and_says_what_it_is_about(name):
    scenario = load_scenario(FULL)
    space, about = recipe(name, scenario)
    assert parse_space(space, scenario).dimensions
    assert about.endswith(".")


def test_it_tunes_what_there_is():
    scenario = load_scenario(FULL)
    assert set(recipe("timeouts", scenario)[0]) == {
        "gateway.deadline.timeout",
        "upstream.timeout.ttft",
        "upstream.timeout.inter_token",
    }
    backoff = recipe("backoff", scenario)[0]
    assert "gateway.retry.budget" in backoff
    assert "gateway.sdk.max_attempts" in backoff
    assert "gateway.sdk.budget" not in backoff  # that would turn something on
    assert set(recipe("limits", scenario)[0]) >= {"upstream.concurrency_limit.limit", "gateway.bulkhead.at_once"}


@pytest.mark.parametrize("file", ["hacker-news-spike", "article-gateway"])
def test_shipped_scenarios_have_something_to_tune(file):
    scenario = llmsim.load(f"scenarios/{file}.yaml")
    for name in ("backoff", "timeouts"):
        parse_space(recipe(name, scenario)[0], scenario)
