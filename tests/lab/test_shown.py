"""What an explorer offers to take away says what its settings are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llmsim.errors import ScenarioError
from llmsim.lab.controls import controls_of
from llmsim.lab.settings import Settings
from llmsim.lab.shown import as_yaml
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.values import to_values

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_slider_of_every_scenario_can_be_written(path: Path) -> None:
    scenario = load_scenario(path)
    settings = Settings.of(scenario, controls_of(scenario))
    for one in settings.controls.values():
        if one.kind == "slider":
            before = settings.values[one.path]
            settings.values[one.path] = one.options[len(one.options) // 2 + 1]
            try:
                settings.scenario()
            except ScenarioError:  # it does not go with those that were moved before
                settings.values[one.path] = before
    assert settings.changes
    wanted = settings.scenario()
    text = path.read_text(encoding="utf-8")
    new = as_yaml(scenario, settings.changes, settings.out)
    assert new.count("#") >= text.count("#") or scenario.gateway.preset
    # The policies of a preset are written out.
    ours, theirs = (
        to_values(replace(one, gateway=replace(one.gateway, preset="")))
        for one in (parse_scenario(new, str(path)), wanted)
    )
    for values in (ours, theirs):
        values["traffic"].pop("trace", None)  # files are named from elsewhere
        values["traffic"].pop("topics", None)
    assert ours == theirs
