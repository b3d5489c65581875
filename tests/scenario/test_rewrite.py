"""Values put into the text of a scenario: nothing else changes, and what cannot be put there is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsim.errors import ScenarioError
from llmsim.lab.controls import controls_of
from llmsim.lab.settings import Settings
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.rewrite import rewritten
from llmsim.scenario.values import to_values

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))

TEXT = """\
# what this is
traffic:
  base_rate: 4/s      # calm
  mix: [{route: 'a # b', weight: 80%}, {route: b, weight: 20%}]
gateway:
  policies:
    - cache
    # about retries
    - retry:
        max_attempts: 3   # botocore's
        backoff: {jitter: "full"}
    - deadline: {timeout: 30s}
  upstream: [circuit_breaker, {timeout: {ttft: 5s}}]

faults: []
"""


def changed(old: str, new: str) -> list[tuple[str, str]]:
    pairs = zip(old.splitlines(), new.splitlines(), strict=True)
    return [(before.strip(), after.strip()) for before, after in pairs if before != after]


@pytest.mark.parametrize(
    ("path", "value", "after"),
    [
        ("traffic.base_rate", "9/s", "base_rate: 9/s      # calm"),
        ("traffic.mix.a # b.weight", "70%", "mix: [{route: 'a # b', weight: 70%}, {route: b, weight: 20%}]"),
        ("gateway.retry.max_attempts", "5", "max_attempts: 5   # botocore's"),
        ("gateway.retry.backoff.jitter", "none", "backoff: {jitter: none}"),
        ("gateway.retry.backoff.initial", "1s", 'backoff: {initial: 1s, jitter: "full"}'),
        ("gateway.cache.ttl", "2h", "- {cache: {ttl: 2h}}"),
        ("upstream.timeout.ttft", "1500ms", "upstream: [circuit_breaker, {timeout: {ttft: 1500ms}}]"),
        ("upstream.circuit_breaker.failure_rate", "30%",
         "upstream: [{circuit_breaker: {failure_rate: 30%}}, {timeout: {ttft: 5s}}]"),
    ],
)  # fmt: skip
def test_one_line_changes(path: str, value: str, after: str) -> None:
    (pair,) = changed(TEXT, rewritten(TEXT, {path: value}))
    assert pair[1] == after


def test_a_key_that_is_not_there_comes_first() -> None:
    new = rewritten(TEXT, {"gateway.retry.budget": "20%"})
    assert "    - retry:\n        budget: 20%\n        max_attempts: 3   # botocore's\n" in new
    assert "seed: 3\n" in rewritten(TEXT, {"seed": "3"})


def test_policies_become_comments_or_go() -> None:
    new = rewritten(TEXT, {}, ["gateway.retry", "upstream.circuit_breaker"])
    assert (
        '    # - retry:\n    #     max_attempts: 3   # botocore\'s\n    #     backoff: {jitter: "full"}\n    - deadline'
        in new
    )
    assert "  upstream: [{timeout: {ttft: 5s}}]" in new
    new = rewritten(TEXT, {}, ["gateway.cache", "gateway.retry", "gateway.deadline", "upstream.timeout"])
    assert "  policies: []\n    # - cache\n    # about retries\n    # - retry:" in new


def test_line_ends_are_kept() -> None:
    text = TEXT.replace("\n", "\r\n")
    assert rewritten(text, {"traffic.base_rate": "9/s"}) == text.replace("4/s", "9/s")


def test_what_stands_behind_an_alias_is_refused() -> None:
    text = "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x}\n"
    with pytest.raises(ScenarioError, match="cannot be written in its place"):
        rewritten(text, {"b.p": "3"})


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_slider_of_every_scenario_can_be_written(path: Path) -> None:
    scenario = load_scenario(path)
    settings = Settings.of(scenario, controls_of(scenario))
    for one in settings.controls.values():
        if one.kind == "slider":
            settings.values[one.path] = one.options[len(one.options) // 2 + 1]
    if scenario.gateway.preset:
        return
    text = path.read_text(encoding="utf-8")
    new = rewritten(text, settings.changes, settings.out, str(path))
    assert new.count("#") == text.count("#")
    try:
        wanted = settings.scenario()
    except ScenarioError:
        return  # the middle of one slider does not go with that of another
    read = parse_scenario(new, str(path))
    ours, theirs = to_values(read), to_values(wanted)
    for values in (ours, theirs):  # files are named from elsewhere
        values["traffic"].pop("trace", None)
        values["traffic"].pop("topics", None)
    assert ours == theirs
