"""Controls from the schema: ranges, units as in the file, what cannot be turned, and the default choice."""

from __future__ import annotations

from pathlib import Path

import pytest

import llmsim as ls
from llmsim.errors import ScenarioError
from llmsim.gateway.registry import policy_kinds
from llmsim.lab.controls import controls_of, default_paths
from llmsim.lab.settings import Settings, without

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))
SPIKE = Path(__file__).parents[2] / "scenarios" / "hacker-news-spike.yaml"


def scenario(**gateway: object) -> ls.Scenario:
    return ls.load({
        "version": 1,
        "traffic": {"base_rate": "300/min"},
        "providers": {"openai": {"ttft": "300ms", "price": {"input": "$0.15/Mtok"}}, "local": {"ttft": "1s"}},
        "gateway": gateway,
    })  # fmt: skip


def only(found: ls.Scenario, path: str, given: object = None):
    (control,) = controls_of(found, {path: given})
    return control


def test_what_the_spike_has() -> None:
    assert default_paths(ls.load(SPIKE)) == [
        "traffic.base_rate", "traffic.stages[1].target", "gateway.deadline.timeout", "gateway.retry.max_attempts",
        "gateway.retry.backoff.initial", "upstream.timeout.ttft", "faults.brown-out.abort.percentage",
        "faults.brown-out.duration", "gateway.cache", "gateway.deadline", "gateway.fallback", "gateway.retry",
        "upstream.circuit_breaker", "upstream.timeout",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_has_controls_whose_places_it_takes(path: Path) -> None:
    found = ls.load(path)
    for one in controls_of(found):
        if one.kind == "switch":
            assert one.value is True
            continue
        assert one.value in one.options, one
        assert 3 <= len(one.options) <= 70, one
        for place in (one.options[0], one.options[-1]):
            try:
                found.with_values(dict.fromkeys(one.paths, place))
            except ScenarioError as error:  # a place that only does not go with the rest is told when it is chosen
                assert "out of range" not in str(error) and "is not a" not in str(error)


def test_units_are_those_of_the_file() -> None:
    rate = only(scenario(), "traffic.base_rate")
    assert rate.value == "300/min"
    assert rate.options[0] == "62/min"  # a fifth is 60, and E24 has 6.2 above it
    assert rate.options[-1] == "1500/min"
    first = only(ls.load(SPIKE), "upstream.timeout.ttft")
    assert (first.options[0], first.value, first.options[-1]) == ("300ms", "1500ms", "7.5s")
    assert only(ls.load(SPIKE), "providers.openai.price.input").value == "$0.15/Mtok"
    assert only(ls.load(SPIKE), "faults.brown-out.abort.percentage").options[-1] == "60%"
    assert only(ls.load(SPIKE), "faults.brown-out.abort.percentage").value == "15%"


def test_a_threshold_goes_up_to_one_in_round_steps() -> None:
    control = only(scenario(policies=[{"semantic_cache": {"threshold": 0.92}}]), "gateway.semantic_cache.threshold")
    assert (control.options[0], control.value, control.options[-1]) == ("0.68", "0.92", "1")


def test_small_counts_go_one_by_one_and_defaults_count() -> None:
    found = scenario(policies=["retry"])
    control = only(found, "gateway.retry.max_attempts")
    assert control.value == "3"
    assert control.options == tuple(str(n) for n in range(1, 13))
    assert only(found, "gateway.retry.backoff.initial").value == "1s"


def test_ranges_and_choices_of_ones_own() -> None:
    found = scenario(policies=[{"retry": {"max_attempts": 3}}])
    assert only(found, "gateway.retry.max_attempts", (2, 5)).options == ("2", "3", "4", "5")
    assert only(found, "traffic.base_rate", ["100/min", "10/s"]).options == ("100/min", "300/min", "10/s")
    jitter = only(found, "gateway.retry.backoff.jitter")
    assert jitter.kind == "choice"
    assert {"full", "none", "equal"} <= set(jitter.options)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        controls_of(
            scenario(policies=["retry"]), ["gateway.retry.max_attemps", "traffic.users", "gateway.cash", "name"]
        )
    told = str(caught.value)
    assert "Did you mean 'max_attempts'?" in told
    assert "gateway.policies has no policy 'cash'" in told
    assert "give its choices" in told


def test_a_scenario_without_changes_is_the_scenario() -> None:
    found = ls.load(SPIKE)
    settings = Settings.of(found, controls_of(found))
    assert settings.scenario() is found
    settings.values |= {"traffic.stages[1].target": "20x", "gateway.retry": False, "upstream.timeout": False}
    changed = settings.scenario()
    assert [stage.target for stage in changed.traffic.stages] == [1, 20, 20, 1]
    assert [policy.kind for policy in changed.gateway.policies] == ["cache", "deadline", "fallback"]
    assert [policy.kind for policy in changed.gateway.upstream] == ["circuit_breaker"]
    assert settings.changes == {"traffic.stages[1].target": "20x", "traffic.stages[2].target": "20x"}
    assert settings.out == ["gateway.retry", "upstream.timeout"]


def test_policies_of_ones_own_and_of_presets_can_be_taken_out() -> None:
    @ls.policy
    async def mine(request, call_next):
        return await call_next(request)

    found = scenario().with_gateway([ls.Retry(), mine])
    assert default_paths(found)[-2:] == ["gateway.retry", "gateway.policies[1]"]
    assert without(found, "gateway.policies[1]").gateway.policies == (ls.Retry(),)
    preset = ls.load(SPIKE.with_name("article-gateway.yaml"))
    kinds = [policy.kind for policy in preset.gateway.policies]
    assert kinds[0] in policy_kinds()
    rest = without(preset, f"gateway.{kinds[0]}").gateway
    assert ([policy.kind for policy in rest.policies], rest.preset) == (kinds[1:], "")


def test_without_names_policies_only() -> None:
    with pytest.raises(ScenarioError, match="is no policy"):
        without(scenario(policies=["retry"]), "traffic.base_rate")
