"""Imported sections in an existing scenario: the rest of the file stays as it is, byte for byte."""

from __future__ import annotations

from functools import cache

import pytest

from llmsim.errors import ScenarioError
from llmsim.scenario.imports import Imported, import_gateway
from llmsim.scenario.load import parse_scenario

ROUTER = (
    "model_list: [{model_name: chat, litellm_params: {model: gpt-4o-mini}, frob: 1}]\nrouter_settings: {num_retries: 3}"
)
BEFORE = """\
# yaml-language-server: $schema=./scenario.schema.json
version: 1
name:   oddly-spaced    # and said so

# About the traffic.
traffic: {base_rate: 4/s,
          users: 20}

# About the providers.
providers:
  # One of them.
  openai: {ttft: 300ms}
# Also about what comes next.

gateway:
  policies: [retry]   # all by default

"""
AFTER = """\
# At the end.
slo:
  error_rate: ["value < 1%"]
"""


@cache
def imported() -> Imported:
    """Made by the first who asks: it reads all profiles."""
    return import_gateway(ROUTER)


def test_only_the_two_sections_change() -> None:
    new = imported().into(BEFORE + AFTER)
    head, rest = BEFORE.split("providers:\n", 1)
    assert new.startswith(head + "providers:\n  openai-gpt-4o-mini:\n")
    assert "One of them" not in new
    assert "# Also about what comes next.\n\ngateway:  # from config.yaml" in new
    assert new.endswith("\n\n" + AFTER)
    assert rest
    scenario = parse_scenario(new)
    assert list(scenario.providers) == ["openai-gpt-4o-mini"]
    assert scenario.gateway.policies[0].max_attempts == 4
    assert scenario.traffic == parse_scenario(BEFORE + AFTER).traffic


def test_what_is_lost_is_said_in_the_gateway() -> None:
    assert "  # ! line 1 model_list[0].frob: unknown key" in imported().into(BEFORE + AFTER)


def test_twice_is_once() -> None:
    once = imported().into(BEFORE + AFTER)
    assert imported().into(once) == once


def test_sections_that_are_missing_are_added() -> None:
    new = imported().into("version: 1\ntraffic: {base_rate: 1/s}\nproviders: {a: {}}")
    assert parse_scenario(new).gateway.policies[0].max_attempts == 4


def test_a_scenario_that_names_an_old_provider_is_refused_with_its_own_lines() -> None:
    fault = "faults: [{name: f, provider: openai, at: 0s, duration: 9s, abort: {status: 503, percentage: 15%}}]\n"
    text = BEFORE + AFTER + fault
    line = text.splitlines().index(fault.rstrip()) + 1
    with pytest.raises(ScenarioError) as caught:
        imported().into(text, "mine.yaml")
    assert f"mine.yaml:{line}:30: faults[0].provider: there is no provider 'openai'" in caught.value.render()
    assert "Nothing was written" in caught.value.render()


@pytest.mark.parametrize("text", ["{version: 1, traffic: {}, providers: {}}", "version: [", "version: 1\nversion: 1\n"])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError):
        imported().into(text)


def test_line_ends_are_those_of_the_scenario() -> None:
    new = imported().into((BEFORE + AFTER).replace("\n", "\r\n"))
    assert new.count("\n") == new.count("\r\n")
    assert new.replace("\r\n", "\n") == imported().into(BEFORE + AFTER)
