"""What a message says to type in place of what is missing or unknown."""

from __future__ import annotations

import dataclasses

import pytest

from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.keys import _ELSEWHERE, dataclasses_below, example, keys_of, nearest
from llmsim.scenario.spec import Scenario

# Other tests register policies of their own.
OURS = [kind for kind in policy_kinds().values() if kind.__module__.startswith("llmsim.")]
SPECS = dataclasses_below(Scenario, *OURS)


def test_every_key_that_must_be_there_has_an_example() -> None:
    without = [
        f"{cls.__name__}.{field.name}"
        for cls in SPECS
        for field in dataclasses.fields(cls)
        if field.init and field.name in keys_of(cls)
        if field.default is field.default_factory is dataclasses.MISSING
        if example(field.name, keys_of(cls)[field.name]) == "…"
    ]
    assert without == []


def test_words_of_other_tools_lead_to_keys_that_there_are() -> None:
    known = {key for cls in SPECS for key in keys_of(cls)}
    assert {name for ways in _ELSEWHERE.values() for name, _ in ways} <= known


@pytest.mark.parametrize(
    ("word", "known", "says"),
    [
        ("max_retries", ["max_attempts", "max_retry_after"], "3 retries are max_attempts: 4"),
        ("rps", ["base_rate"], "Write base_rate: 80/s."),
        ("rps", ["requests"], "Write requests: 80/s."),
        ("max_steps", ["max_repeats", "max_calls"], "Write max_calls: 100."),
        ("recovery", ["provider", "at"], "Known: provider, at."),
        ("rety", ["retry"], "Did you mean 'retry'?"),
    ],
)
def test_what_was_meant(word: str, known: list[str], says: str) -> None:
    assert says in nearest(word, known)
