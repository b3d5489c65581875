"""Profiles in scenarios: their figures are defaults that the keys beside ``profile:`` override.

A profile is a shipped one, by its name, or a file of the same form, which ``llmsim calibrate`` writes: ``profile:
local.yaml``, relative to the scenario. The figures of a file become the scenario's own at once: a result that was
saved, or a scenario that was sent to another process, does not change when the file does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmsim.errors import Problem, ScenarioError
from llmsim.providers.profiles import Profile, profile_from, profile_names, profile_text
from llmsim.providers.sim.spec import OWN_TIMING, SimProvider
from llmsim.scenario.document import Document
from llmsim.scenario.keys import nearest
from llmsim.scenario.messages import problems_of

__all__ = ["MERGED", "defaults_of", "is_file", "read_profile", "read_profile_file", "with_profiles"]

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


def is_file(profile: str) -> bool:
    """Whether this names a file, and not a shipped profile.

    Examples
    --------
    >>> is_file("profiles/local.yaml"), is_file("groq-llama-3-70b"), is_file("google-gemini-1.5-pro")
    (True, False, False)
    """
    return profile.endswith((".yaml", ".yml"))


def read_profile_file(path: str | Path) -> Profile:
    """A profile from a file.

    Raises
    ------
    ScenarioError
        It cannot be read, or is no profile; with all problems.
    """
    from llmsim.scenario.load import read_document

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise ScenarioError(
            [Problem(reason, hint="A profile's file is relative to the scenario.")], str(path)
        ) from None
    document, problems = read_document(content, str(path))
    if isinstance(document.data, Mapping) and "figures" not in document.data:
        what = "a scenario" if "traffic" in document.data else "no profile"
        raise ScenarioError([Problem(f"this is {what}; a profile has figures:, each with its source")], str(path))
    try:
        found = profile_from(document.data)
    except ValidationError as error:
        raise ScenarioError([*problems, *problems_of(error, document, Profile)], str(path)) from None
    if problems:
        raise ScenarioError(problems, str(path))
    return found


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
    found = _profile(document, profile, path, problems)
    if found is None:
        return given
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
    if is_file(profile):
        given = {key: value for key, value in given.items() if key not in ("profile", "tier")}
    return {**settings, **given, **merged}


def _profile(document: Document, profile: str, path: tuple[str, str], problems: list[Problem]) -> Profile | None:
    if is_file(profile):
        beside = Path(document.source).parent / profile
        try:
            return read_profile_file(beside if beside.exists() else profile)
        except ScenarioError as error:
            told = "; ".join(problem.message for problem in error.problems[:3])
            hint = error.problems[0].hint or "llmsim calibrate writes such files."
            problems.append(document.problem((*path, "profile"), f"{error.source}: {told}", hint))
            return None
    if profile not in profile_names():
        hint = nearest(profile, profile_names())
        problems.append(document.problem((*path, "profile"), f"there is no profile {profile!r}", hint))
        return None
    return read_profile(profile)
