"""What can have no end or no verdict is refused before it runs, at its line."""

import pytest

from llmsim.api import load
from llmsim.errors import ScenarioError
from llmsim.scenario.load import parse_scenario
from llmsim.scenario.reach import MAX_REQUESTS

FILE = """\
version: 1
clock: {{duration: {duration}}}
traffic: {traffic}
providers: {{openai: {openai}}}
gateway: {{replicas: {replicas}}}
faults:
  - {{name: outage, provider: openai, at: {at}, duration: {lasts}, abort: {{status: 503}}}}
steady_state: {{error_rate: ["value < 5%"]}}
slo:
  {key}: ["{line}"]
"""
SANE = {
    "duration": "5m", "traffic": "{base_rate: 4/s}", "openai": "{}", "replicas": 2, "at": "1m", "lasts": "1m",
    "key": "error_rate", "line": "value < 1%",
}  # fmt: skip


def problem(**changes):
    """The one problem of a file: its line, and what it says."""
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(FILE.format(**{**SANE, **changes}))
    (one,) = caught.value.problems
    assert one.hint
    return one.line, one.message


def test_a_sane_one_is_left_alone():
    assert parse_scenario(FILE.format(**SANE)).replications == 10


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        ({"traffic": "{base_rate: 1e12/s}"}, 3, "3e+14 requests"),
        ({"traffic": "{base_rate: 1e300/s, flash_crowds: [{peak: 1e300x, at: 1s}]}"}, 3, "requests"),
        (
            {"traffic": "{executor: ramping-arrival-rate, base_rate: 4/s, stages: [{duration: 1s, target: 1e6x}]}"},
            3, "requests",
        ),
        ({"traffic": "{base_rate: 4/s, mix: [{session: {turns: 10000}}]}"}, 3, "1.2e+07 requests"),
        ({"duration": "1e9d"}, 2, "1e+09 days"),
        ({"replicas": "1e9"}, 5, "replicas"),
        ({"traffic": "{executor: constant-vus, vus: 1e12}"}, 3, "virtual users"),
        (
            {"traffic": "{executor: constant-vus, vus: 5, think_time: 0s}", "openai": "{ttft: 1us, inter_token: 0s}"},
            3, "5 users that ask every",
        ),
        ({"openai": "{congestion: {preset: openai-2024-04, memory: 1us}}"}, 4, "what changes every"),
        ({"openai": "{incidents: {preset: openai-api-2021-2024, scale: 1e9x}}"}, 4, "what changes every"),
        ({"traffic": "{base_rate: 4/s, users: 1e18}"}, 3, "users"),
        ({"traffic": "{base_rate: 4/s, mix: [{system_tokens: 1e18}]}"}, 3, "no prompt"),
        ({"traffic": "{base_rate: 4/s, arrivals: {mmpp: [{rate: 2x, stay: 1us}, {rate: 1x, stay: 1h}]}}"}, 3, "change"),
        ({"traffic": "{base_rate: 4/s, topics: {zipf: {s: 1, unique: 1e12}, paraphrases: 3%}}"}, 3, "topics"),
    ],
)  # fmt: skip
def test_what_no_machine_can_hold(changes, line, says):
    found = problem(**changes)
    assert found[0] == line
    assert says in found[1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"line": "value < 1% before fault", "at": "0s"}, "no time before fault"),
        ({"line": "value < 1% after outage", "lasts": "4m"}, "no time after outage in the run of 5m"),
        ({"line": "value < 1% after fault window 10s", "lasts": "1h"}, "no time after fault"),
        ({"key": "recovery_time", "line": "value < 60s", "lasts": "3m40s"}, "20s after the last fault"),
        ({"line": "burn(99%, 10m, 30s) < 2x"}, "a window of 10m does not fit into the 5m"),
        ({"line": "burn(99%, 2m, 30s) < 2x during fault"}, "does not fit into the 1m"),
    ],
)
def test_what_can_never_be_told(changes, says):
    line, message = problem(**changes)
    assert line == 10
    assert says in message


def test_the_last_moment_that_can_be_told():
    parse_scenario(FILE.format(**{**SANE, "line": "value < 1% after outage", "lasts": "3m59s"}))
    parse_scenario(FILE.format(**{**SANE, "key": "recovery_time", "line": "value < 60s", "lasts": "3m30s"}))


def test_a_change_can_go_too_far():
    scenario = parse_scenario(FILE.format(**{**SANE, "line": "value < 1% after outage"}))
    with pytest.raises(ScenarioError, match="no time after outage"):
        load(scenario, ["clock.duration=2m"])
    rate = MAX_REQUESTS / 300
    load(scenario, [f"traffic.base_rate={rate}/s"])
    with pytest.raises(ScenarioError, match="requests a replication"):
        load(scenario, [f"traffic.base_rate={rate * 1.01}/s"])
