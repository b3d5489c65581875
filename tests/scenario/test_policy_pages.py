"""Every policy's page says what DESIGN asks of it, and the command shows it."""

import json
from typing import Annotated

import pytest
from command_line import invoke

from llmsim.gateway.policies import Retry
from llmsim.scenario.policy_pages import policy_page, policy_pages, written
from llmsim.units import DURATION, RATIO

PAGES = [page for page in policy_pages() if page.home.startswith("llmsim.")]


@pytest.mark.parametrize("page", PAGES, ids=[page.kind for page in PAGES])
def test_a_page_says_what_it_protects_from_what_it_costs_and_when_it_hurts(page):
    assert page.summary.endswith(".")
    for words in ("Protects from", "Costs", "Makes things worse"):
        assert words in page.text, words
    assert page.example.startswith(">>> ")


@pytest.mark.parametrize("page", PAGES, ids=[page.kind for page in PAGES])
def test_every_setting_is_explained(page):
    assert [setting.name for setting in page.settings if not setting.text] == []


def test_defaults_are_those_of_the_class_as_a_file_writes_them():
    settings = {setting.name: setting.default for setting in policy_page("retry").settings}
    assert settings["max_attempts"] == str(Retry().max_attempts)
    assert settings["max_retry_after"] == "1m"
    assert settings["backoff"].startswith("{initial: 1s, max: 20s")
    assert settings["budget"] == "null"


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (0.05, Annotated[float, RATIO], "5%"),
        (0.05, Annotated[float, RATIO] | None, "5%"),
        (90.0, Annotated[float, DURATION], "1m30s"),
        ({"chat": 1}, None, "{chat: 1}"),
        (2.5, None, "2.5"),
    ],
)
def test_values_are_written_with_their_unit(value, annotation, text):
    assert written(value, annotation) == text


def test_the_command_lists_shows_and_says_what_is_unknown():
    listed = invoke("policies").stdout
    assert {line.split()[0] for line in listed.splitlines() if line} >= {page.kind for page in PAGES}
    page = invoke("policies", "retry").stdout
    assert "max_attempts (default 3)" in page
    assert "In Python: llmsim.gateway.policies.Retry" in page
    assert json.loads(invoke("policies", "retry", "--json").stdout)[0]["kind"] == "retry"
    unknown = invoke("policies", "retyr")
    assert unknown.exit_code == 2
    assert "Did you mean 'retry'?" in unknown.stderr
