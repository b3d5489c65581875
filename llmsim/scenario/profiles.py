"""Profiles in scenarios: their figures are defaults that the keys beside ``profile:`` override."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from llmsim.errors import Problem
from llmsim.providers.profiles import Profile, profile_from, profile_names, profile_text
from llmsim.providers.sim.spec import OWN_TIMING, SimProvider
from llmsim.scenario.document import Document
from llmsim.scenario.keys import nearest

__all__ = ["MERGED", "defaults_of", "read_profile", "with_profiles"]

#: Keys whose own keys override those of the profile one by one. All others are replaced whole: half a distribution, or
#: a price of two sources, means nothing.
MERGED = frozenset({"prompt_cache", "output", "errors", "prefill"})


@cache
def read_profile(name: str) -> Profile:
    """A profile by its name.

    Raises
    ------
    KeyError
        If there is none.

    Examples
    --------
    >>> read_profile("groq-llama-3-70b").figures["ttft"].source.date
    '2024-04-22 to 2024-04-27'
    """
    from llmsim.scenario.load import read_document  # which imports validate, and that this module

    if name not in profile_names():
        raise KeyError(name)
    document, problems = read_document(profile_text(name), f"profile {name}")
    assert not problems, problems
    return profile_from(document.data)


@cache
def defaults_of(profile: str, tier: str) -> SimProvider:
    """What a provider with this profile and tier, and nothing else, is like."""
    values = {**read_profile(profile).settings(tier), "profile": profile, "tier": tier}
    found: SimProvider = TypeAdapter(SimProvider).validate_python(values)
    return found


def with_profiles(document: Document) -> tuple[Any, list[Problem]]:
    """The document's data with the figures of profiles filled in below the keys given, and what is wrong with them."""
    providers = document.get(("providers",))
    if not isinstance(providers, dict):
        return document.data, []
    problems: list[Problem] = []
    filled = {name: _filled(document, name, given, problems) for name, given in providers.items()}
    return {**document.data, "providers": filled}, problems


def _filled(document: Document, name: str, given: Any, problems: list[Problem]) -> Any:
    """A provider's keys over those of its profile; as they are where that cannot be."""
    if not isinstance(given, Mapping):
        return given
    profile, tier, path = given.get("profile", ""), given.get("tier", ""), ("providers", name)
    if not isinstance(profile, str) or not isinstance(tier, str):
        return given  # the schema says so
    if not profile:
        if tier:
            hint = "Add a profile:, or remove tier:."
            problems.append(document.problem((*path, "tier"), "a tier is one of a profile's", hint))
        return given
    if profile not in profile_names():
        hint = nearest(profile, profile_names())
        problems.append(document.problem((*path, "profile"), f"there is no profile {profile!r}", hint))
        return given
    found = read_profile(profile)
    if tier and tier not in found.tiers:
        hint = nearest(tier, found.tiers) if found.tiers else "It has none; write rate_limit: {requests: 500/min}."
        problems.append(document.problem((*path, "tier"), f"profile {profile} has no tier {tier!r}", hint))
        return given
    settings = found.settings(tier)
    if given.get("serving") is not None:  # its steps take the place of what was measured of another server
        settings = {key: value for key, value in settings.items() if key not in OWN_TIMING}
    merged = {
        key: {**settings[key], **given[key]}
        for key in MERGED & settings.keys() & given.keys()
        if isinstance(given[key], Mapping)
    }
    return {**settings, **given, **merged}
