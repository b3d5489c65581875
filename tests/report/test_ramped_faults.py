"""A fault that grows and fades, from a scenario file to what is said of it: its ramps are parts of it."""

import json
import math
from functools import cache

import numpy as np
import polars as pl
import pytest

import llmsim as ls
from llmsim.lab.controls import controls_of
from llmsim.report.plots.levels import levels_of
from llmsim.report.samples import samples
from llmsim.scenario.load import parse_scenario

TEXT = """
version: 1
clock: {warm_up: 5s, duration: 200s, drain: 5s}
traffic: {base_rate: 4/s, arrivals: constant}
providers: {a: {ttft: 100ms, inter_token: 0ms, rate_limit: {requests: 600/min, window: 1s}}}
faults:
  - name: slow-recovery
    provider: a
    at: 40s
    ramp_up: 20s
    duration: 20s
    ramp_down: 80s
    abort: {status: 529, percentage: 50%}
    rate_limit: {multiplier: 0.5x}
steady_state: {error_rate: ["value < 1%"]}
slo:
  error_rate: ["value < 40% during slow-recovery", "value < 1% after slow-recovery"]
  recovery_time: ["value < 30s"]
"""


@cache
def result():
    return ls.run(parse_scenario(TEXT), replications=1)


def test_during_and_after_count_the_ramps_in_and_recovery_begins_at_the_very_end():
    (sample,) = samples(result().scenario, result().replications)
    assert [(one.start_s, one.end_s) for one in sample.faults] == [(40.0, 160.0)]
    assert sample.last_fault_end_s == 160.0
    measured = {line.objective.text: line.measured for line in result().slo}
    # 4/s in 120 s, half of them at the full strength of 20 s, a quarter on average on the ramps of 100 s.
    share = (20 * 0.5 + 100 * 0.25) / 120
    spread = math.sqrt(480 * share * (1 - share)) / 480
    assert measured["value < 40% during slow-recovery"] == pytest.approx(share, abs=4 * spread)
    assert measured["value < 1% after slow-recovery"] == 0
    assert result().metrics["recovery_time_s"] == 0.0


def test_its_four_moments_are_events():
    rows = result().events.filter(pl.col("kind") == "fault")
    states = [(at, json.loads(told)["state"]) for at, told in rows.select("time_s", "detail").rows()]
    assert states == [(40.0, "begins"), (60.0, "full"), (80.0, "fades"), (160.0, "ends")]


def test_one_request_is_told_how_strong_it_was_then():
    refused = result().requests.filter(pl.col("outcome") == "overloaded", pl.col("arrival_s").is_between(90, 150))
    request_id, arrival_s = refused.select("request_id", "arrival_s").row(0)
    assert f"slow-recovery of a (rate_limit, abort), at {(160 - arrival_s) / 80:.0%} of its strength" in str(
        result().explain(request_id)
    )


def test_what_its_limits_had_left_follows_the_line():
    found = levels_of(result(), ["a"], np.arange(0.0, 201.0, 10.0))
    # A bucket of a second's worth, which was full, less one call: lowest where the cut is deepest in the bin.
    least = {0: 1.0, 4: 0.75, 6: 0.5, 8: 0.5, 9: 0.5625, 12: 0.75, 15: 0.9375, 17: 1.0}
    assert {place: found.least[0][place] for place in least} == pytest.approx(
        {place: level - 0.1 for place, level in least.items()}, abs=0.013
    )


def test_sliders_and_overrides_reach_the_ramps():
    paths = [control.path for control in controls_of(result().scenario)]
    assert {"faults.slow-recovery.ramp_up", "faults.slow-recovery.ramp_down"} <= set(paths)
    changed = result().scenario.with_values({"faults.slow-recovery.ramp_down": "10s"})
    assert changed.faults[0].end_s == 90.0
