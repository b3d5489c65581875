"""The same scenario in less time, or with fewer requests."""

import pytest

from llmsim.errors import ScenarioError
from llmsim.scenario.load import parse_scenario
from llmsim.scenario.scaled import scaled

TEXT = """
version: 1
clock: {warm_up: 60s, duration: 8m, drain: 30s}
traffic:
  executor: ramping-arrival-rate
  base_rate: 4/s
  stages: [{duration: 2m, target: 1x}, {duration: 10s, target: 10x}]
  patience: 20s
providers: {a: {ttft: 1s}}
gateway: {policies: [{deadline: {timeout: 30s}}]}
faults: [{name: f, provider: a, at: 150s, duration: 60s, abort: {status: 503}}]
"""


def test_the_course_is_shortened_and_requests_are_not() -> None:
    before = parse_scenario(TEXT)
    after = scaled(before, time=0.1, rate=0.5)
    assert (after.clock.warm_up, after.clock.duration, after.clock.drain) == (6, 48, 30)
    assert [stage.duration for stage in after.traffic.stages] == [12, 1]
    assert [stage.target for stage in after.traffic.stages] == [1, 10]
    assert after.traffic.base_rate == 2
    assert (after.faults[0].at, after.faults[0].duration, after.faults[0].end_s) == (15, 6, 21)
    assert (after.traffic.patience, after.providers, after.gateway) == (
        before.traffic.patience,
        before.providers,
        before.gateway,
    )
    assert scaled(before) is before


def test_a_fault_that_grows_and_fades_is_shortened_ramps_and_all() -> None:
    given = parse_scenario(TEXT.replace("duration: 60s, abort", "ramp_up: 20s, duration: 60s, ramp_down: 40s, abort"))
    (fault,) = scaled(given, time=0.1).faults
    assert (fault.at, fault.full_from_s, fault.full_until_s, fault.end_s) == (15, 17, 23, 27)


@pytest.mark.parametrize(
    ("change", "scale", "says"),
    [
        ("", {"time": 0}, "time-scale is 0"),
        ("", {"rate": float("nan")}, "rate-scale is nan"),
        ("diurnal: {amplitude: 0.5}", {"time": 0.5}, "their own length"),
    ],
)
def test_what_cannot_be_scaled(change: str, scale: dict, says: str) -> None:
    given = parse_scenario(TEXT.replace("patience: 20s", change or "patience: 20s"))
    with pytest.raises(ScenarioError, match=says):
        scaled(given, **scale)
