"""Words of a semantic cache: written in a file, and refused where they would change nothing."""

import dataclasses

import pytest
from schema import validator

from llmsim.errors import ScenarioError
from llmsim.gateway.policies import Pace, SemanticCache
from llmsim.scenario.load import load_scenario

JUDGED = {"store": {"judge": {"accept_right": "95%", "accept_wrong": "10%"}}}


def _load(settings, mix=({"route": "chat"}, {"route": "refunds", "expects": "json"})):
    return load_scenario({
        "version": 1,
        "traffic": {"base_rate": "4/s", "mix": list(mix)},
        "providers": {"a": {"ttft": "100ms"}},
        "gateway": {"policies": [{"semantic_cache": settings} if isinstance(settings, dict) else settings]},
        **(JUDGED if isinstance(settings, dict) and settings.get("verify_below") else {}),
    })  # fmt: skip


def test_every_word_can_be_written():
    written = {
        "threshold": "90%", "thresholds": {"refunds": 0.97}, "verify_below": 0.98, "verifier_timeout": "500ms",
        "ttl": "10m", "ttl_from": "used", "stale_while_revalidate": "5m", "capacity": "10k", "capacity_bytes": "500MB",
        "eviction": "cost", "backend": "redis", "scope": "user", "per": ["route"], "compare": "last_message",
        "cacheable": "all", "tools": True, "json": False, "generation": "2026-11", "on_new_model": "serve",
        "negative_ttl": "1m", "negative_on": ["content_filtered"], "single_flight": True, "replay": {"tokens": "200/s"},
        "store_timeout": "1s", "store_cooldown": "0s", "shared": True, "name": "answers",
    }  # fmt: skip
    spec = SemanticCache(
        threshold=0.9, thresholds={"refunds": 0.97}, verify_below=0.98, verifier_timeout=0.5, ttl=600.0,
        ttl_from="used", stale_while_revalidate=300.0, capacity=10_000, capacity_bytes=5e8, eviction="cost",
        backend="redis", scope="user", per=("route",), compare="last_message", cacheable="all", tools=True, json=False,
        generation="2026-11", on_new_model="serve", negative_ttl=60.0, negative_on=("content_filtered",),
        single_flight=True, replay=Pace(tokens=200.0), store_timeout=1.0, store_cooldown=0.0, shared=True,
        name="answers",
    )  # fmt: skip
    [loaded] = _load(written).gateway.policies
    assert loaded == spec
    assert hash(loaded) == hash(spec)
    assert {*written, "verifier"} == {field.name for field in dataclasses.fields(SemanticCache)}, (
        "a word that is not tested"
    )
    assert all(getattr(loaded, word) != getattr(SemanticCache(), word) for word in written)


@pytest.mark.parametrize(
    ("settings", "path", "message", "hint"),
    [
        ({"thresholds": {"refund": 0.9}}, "thresholds.refund", "there is no route 'refund'", "Did you mean 'refunds'?"),
        ({"backend": "exact", "threshold": 0.8}, "threshold", "compares no meanings", "backend: memory"),
        ({"backend": "exact", "verify_below": 0.95}, "verify_below", "compares no meanings", "backend: memory"),
        ({"backend": "exact", "compare": "last_message"}, "compare", "compares no meanings", "backend: memory"),
        ({"negative_on": ["content_filtered"]}, "negative_on", "without negative_ttl", "negative_ttl: 1m"),
        ({"verifier_timeout": "1s"}, "verifier_timeout", "without verify_below", "verify_below: 97%"),
        ({"per": ["tenant"]}, "per[0]", "keeps each tenant's answers apart already", "scope: global"),
        ({"per": ["tenant"], "scope": "global"}, "per[0]", "all requests have the same tenant", "a tenant, or remove"),
        ({"per": ["feature"]}, "per[0]", "all requests have the same feature", "a feature, or remove it"),
        ({"verify_below": 0.9}, "", "it verifies nothing", "0.97"),
        ({"verifier": "gpt"}, "verifier", "unknown key", ""),
        ({"negative_on": ["rate_limited"], "negative_ttl": "1m"}, "negative_on[0]", "bad_request", ""),
        ({"replay": {"tokens": 200}}, "replay.tokens", "not a rate", "40/s"),
    ],
)
def test_idle_words_say_what_to_write(settings, path, message, hint):
    with pytest.raises(ScenarioError) as raised:
        _load(settings)
    place = f"gateway.policies[0].semantic_cache{'.' if path else ''}{path}"
    [problem] = [one for one in raised.value.problems if one.path == place]
    assert message in f"{problem.message}"
    assert hint in f"{problem.message} {problem.hint}"


def test_json_without_routes_that_expect_it():
    with pytest.raises(ScenarioError, match="no route expects JSON"):
        _load({"json": False}, mix=[{"route": "chat"}])


@pytest.mark.parametrize(
    "settings",
    [
        SemanticCache(),
        SemanticCache(backend="exact"),
        {},
        {"backend": "exact", "ttl": "1h"},
        {"scope": "global", "per": ["route", "session", "user"]},
        {"thresholds": {"chat": 0.9, "refunds": 0.99}},
        {"negative_on": ["content_filtered"], "negative_ttl": "1m"},
    ],
)
def test_what_has_an_effect_is_accepted(settings):
    assert _load(settings).gateway.policies


@pytest.mark.slow
def test_editors_are_not_told_of_what_a_file_cannot_have():
    text = str(validator().schema)
    assert "verify_below" in text
    assert "'verifier'" not in text
