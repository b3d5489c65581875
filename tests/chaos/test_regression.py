"""The file that is written: the scenario's own, byte by byte, but for what was found."""

import dataclasses

import pytest

from llmsim.chaos.found import Searched
from llmsim.chaos.kinds import spots_of
from llmsim.chaos.regression import FOUND_BY, regression
from llmsim.chaos.schedules import Space, Spell
from llmsim.errors import LlmsimError
from llmsim.scenario.load import load_scenario
from llmsim.scenario.objectives import objectives_of

TEXT = """\
# Ours.
version: 1
name: shop
description: A shop.
replications: 10
clock: {duration: 2m}
traffic: {base_rate: 1/s}      # quiet
providers:
  openai: {}
%s
# What holds.
slo:
  error_rate: ["value < 1%%"]   # of all
"""
BLOCK = """\
faults:
  # Every Monday.
  - name: slow
    provider: openai
    at: 30s
    duration: 20s
    latency: {multiplier: 2x}   # at least
"""
FLOW = "faults: [{name: slow, provider: openai, at: 30s, duration: 20s, latency: {multiplier: 2x}}]\n"
NEW = "{name: abort-openai, provider: openai, at: 60s, duration: 10s, abort: {status: 503, percentage: 75%}}"


def found(path, text, *, instead=False, seed=7, asked=("--budget", "500")):
    path.write_text(text, encoding="utf-8")
    base = dataclasses.replace(load_scenario(path), seed=seed)
    if instead:
        base = dataclasses.replace(base, faults=())
    space = Space(spots_of(base), base.clock, most=1, time_share=0.5, taken=[one.name for one in base.faults])
    schedule = (Spell("abort", "openai", 3, 6, 1),)
    return Searched(
        found=True, scenario=dataclasses.replace(base, faults=(*base.faults, *space.faults(schedule))),
        schedule=schedule, entries=tuple(space.entries(schedule)), words=("abort of openai (75%), 1:00 to 1:10",),
        line=objectives_of(base)[0], result=None, parts=(), overlap=None, shrunk=True, unheld=0, left_out=(),
        spent={}, budget=500, tried=1, breaking=1, source=path, asked=asked, instead=instead,
    )  # fmt: skip


def test_own_faults_and_every_comment_stay(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % BLOCK)
    text = one.save(tmp_path / "shop-found.yaml").read_text(encoding="utf-8")
    assert text.startswith(
        f"{FOUND_BY} in shop.yaml, as it can be again: llmsim search shop.yaml --budget 500\n# Ours.\n"
    )
    assert BLOCK + f"  - {NEW}\n" in text
    assert "traffic: {base_rate: 1/s}      # quiet\n" in text
    assert text.endswith((TEXT % "")[(TEXT % "").index("# What holds.") :])
    assert 'name: "shop-abort"\n' in text
    assert "mended.\nseed: 7\n" in text
    assert "This is to stay red until the gateway is mended." in " ".join(text.split())
    assert load_scenario(tmp_path / "shop-found.yaml").faults == one.scenario.faults


def test_faults_in_brackets_are_written_anew(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % FLOW)
    assert load_scenario(one.save(tmp_path / "found.yaml")).faults == one.scenario.faults


def test_instead_of_its_own(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % BLOCK, instead=True)
    text = regression(one)
    assert f"faults:\n  - {NEW}\n" in text
    assert "slow" not in text


def test_without_faults_and_with_an_expectation(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % "expect: {fail: [error_rate]}\n")
    scenario = load_scenario(one.save(tmp_path / "found.yaml"))
    assert scenario.expect.fail == ()
    assert [fault.name for fault in scenario.faults] == ["abort-openai"]


def test_whose_gateway_it_was(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % "", asked=("--budget", "500", "--gateway", "mine:gateway"))
    assert "# It was mine:gateway that broke; check it with --gateway.\n" in regression(one)


def test_what_cannot_be_written_is_said(tmp_path):
    one = found(tmp_path / "shop.yaml", TEXT % "")
    with pytest.raises(LlmsimError, match="did not come from a file"):
        regression(dataclasses.replace(one, source=None))
    with pytest.raises(LlmsimError, match="nothing was found"):
        regression(dataclasses.replace(one, schedule=()))
    with pytest.raises(LlmsimError, match="cannot be written"):
        one.save(tmp_path / "nowhere" / "found.yaml")
