"""Profiles of models."""

from __future__ import annotations

import pytest

from llmsim.providers.profiles import profile_names
from llmsim.scenario.imports.models import model_of, provider_name, simulated
from llmsim.scenario.profiles import read_profile


@pytest.mark.matrix
@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_found_by_its_own_model(name: str) -> None:
    profile = read_profile(name)
    vendor = {"azure": "azure", "google": "gemini", "together": "together_ai", "fireworks": "fireworks_ai"}
    prefix = name.partition("-")[0]
    found = simulated(model_of(f"{vendor.get(prefix, prefix)}/{profile.figures['model'].value}"))
    assert found.settings["profile"].value == name
    assert not found.loss


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("azure/gpt-4o-eastus", "openai-gpt-4o"),  # the model is worth more than the vendor
        ("gpt-3.5-turbo-16k", "openai-gpt-3.5-turbo"),
        ("gpt-4.1-mini", "openai-gpt-4o-mini"),
        ("claude-3-5-sonnet-20241022", "anthropic-claude-3-sonnet"),
        ("groq/llama-3.1-8b-instant", "groq-llama-3-8b"),  # but who runs an open model decides how fast it is
        ("openrouter/gpt-4o", "openai-gpt-4o"),
    ],
)
def test_the_nearest_profile_is_called_that(model: str, profile: str) -> None:
    found = simulated(model_of(model))
    assert found.settings["profile"].value == profile
    assert found.loss


@pytest.mark.parametrize("model", ["mistral/mistral-large", "openai/*", "openai/my-fake-model", ""])
def test_no_profile_is_better_than_any(model: str) -> None:
    found = simulated(model_of(model))
    assert "profile" not in found.settings
    assert "set them" in found.loss


def test_names_are_names_of_providers() -> None:
    taken: set[str] = set()
    names = [
        provider_name(model_of(model), taken, "Group One") for model in ("gpt-4o", "gpt-4o", "openai/*", "cache", "")
    ]
    assert names == ["openai-gpt-4o", "openai-gpt-4o-2", "openai-group-one", "cache-model", "group-one"]
