"""Traffic in scenario files: what the words become, what is wrong with them, and what a preflight makes of them."""

import pytest
from schema import validator

from llmsim.errors import ScenarioError
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.preflight import preflight
from llmsim.scenario.values import from_values, to_values

HEAD = "version: 1\nproviders: {a: {ttft: 1s, concurrency: 10}}\n"

WHOLE = """version: 1
clock: {warm_up: 30s, duration: 10m, start: "2026-11-23 08:00"}
traffic:
  base_rate: 4/s
  arrivals:
    on_off: {burst: {lognormal: {p50: 15s, p99: 42s}}, pause: {exponential: 43s}, spread: 0.6}
    gamma: {cv: 2.2}
  diurnal: {amplitude: 50%, peak: 14:30}
  weekly: {weekend: 0.4x}
  flash_crowds: [{at: 1m, rise: 10s, peak: 5x, decay: 30s}]
  clients:
    count: 20
    zipf: 1.2
    named:
      - client: nightly
        share: 25%
        arrivals: {mmpp: [{rate: 1x, stay: 5m}, {rate: 6x, stay: 20s}]}
        tenant: batch
        mix: [{route: rag, input_tokens: 8000, output_tokens: 50}]
  mix: [{route: chat, input_tokens: 1000, output_tokens: 100}]
providers: {a: {}}
slo:
  "error_rate{tenant:batch}": ["value < 1%"]
  "error_rate{route:rag}": ["value < 1%"]
"""


def test_every_word_is_read_and_survives_the_way_through_values():
    scenario = parse_scenario(WHOLE)
    traffic = scenario.traffic
    assert traffic.arrivals.gamma.cv == 2.2
    assert traffic.arrivals.on_off.pause.mean == 43.0
    assert traffic.diurnal.peak == 14.5 * 3600
    assert traffic.clients.named[0].arrivals.mmpp[1].stay == 20.0
    assert scenario.clock.start_s == 8 * 3600.0
    assert from_values(to_values(scenario)) == scenario


def test_a_preflight_sees_the_day_the_crowd_and_the_clients_lengths():
    found = preflight(parse_scenario(WHOLE))
    assert found.base_per_s == 4.0
    assert found.input_tokens == pytest.approx(0.75 * 1000 + 0.25 * 8000)
    assert found.output_tokens == pytest.approx(0.75 * 100 + 0.25 * 50)
    # Monday at 8:01:10: a working day, the wave 6.5 h before its peak, five times as many.
    workday, wave = 7 / 5.8, 1 + 0.5 * -0.122
    assert found.peak_per_s == pytest.approx(4 * workday * wave * 5, rel=0.01)


def test_paths_go_by_the_names_of_clients():
    scenario = parse_scenario(WHOLE, overrides=["traffic.clients.named.nightly.share=50%"])
    assert scenario.traffic.clients.named[0].share == 0.5


WRONG = {
    "arrivals: gama": "unknown arrivals 'gama'. Write poisson, constant, or a mapping",
    "arrivals: poison": "Did you mean 'poisson'?",
    "arrivals: gamma": "need to know how bursty. Write {gamma: {cv: 2}}",
    "arrivals: on-off": "Write {on_off: {burst: 15s, pause: 45s}}",
    "arrivals: {}": "nothing is said about the arrivals",
    "arrivals: {gama: {cv: 2}}": "Did you mean 'gamma'?",
    "arrivals: {gamma: {cv: 20}}": "arrivals.gamma.cv: 20 is out of range",
    "arrivals: {gamma: {cv: 2}, weibull: {cv: 2}}": "gaps have one family",
    "arrivals: {drift: {cv: 0.2, memory: 7m}, mmpp: [{rate: 1x, stay: 1m}, {rate: 2x, stay: 1m}]}": "has one mood",
    "arrivals: {mmpp: [{rate: 1x, stay: 1m}]}": "mmpp needs two states",
    "arrivals: {mmpp: [{rate: 0x, stay: 1m}, {rate: 0x, stay: 1m}]}": "one of them with a rate",
    "arrivals: {on_off: {burst: 0s, pause: 3s}}": "a burst must last",
    "arrivals: 3": "needs a mapping, not 3",
    "diurnal: {}": "nothing is said about the day",
    "diurnal: {hours: [1, 2]}": "a day has 24 hours, here are 2",
    "diurnal: {amplitude: 150%}": "A ratio must be at least 0 and at most 1",
    "diurnal: {amplitude: 50%, peak: 25h}": "out of range",
    "weekly: {weekend: 0.4x, days: [1, 1, 1, 1, 1, 0, 0]}": "the week is one of weekend and days",
    "flash_crowds: [{at: 1m}]": "'peak' is missing",
    "clients: {}": "there are no clients",
    "clients: {named: [{client: a, share: 30%}]}": "add up to 0.3",
    "executor: trace": "executor trace needs a file",
    "trace: {file: x.csv}": "replays nothing",
}


@pytest.mark.matrix
@pytest.mark.parametrize(("line", "says"), WRONG.items(), ids=WRONG)
def test_a_slip_is_told_with_its_place_and_what_to_write(line, says):
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(f"{HEAD}traffic:\n  base_rate: 4/s\n  {line}\n")
    problems = caught.value.problems
    assert says in str(caught.value)
    assert all(problem.line is not None and problem.line >= 3 for problem in problems)


@pytest.mark.parametrize("start", ["noonish", "8", "2026-02-30 08:00", "monday 24:00"])
def test_a_clock_that_cannot_be_read(start):
    with pytest.raises(ScenarioError, match=r"clock.start: .* is no date and hour"):
        parse_scenario(f'{HEAD}clock: {{start: "{start}"}}\ntraffic: {{base_rate: 4/s}}\n')


def test_the_schema_for_editors_knows_them():
    definitions = validator().schema["$defs"]
    assert definitions["Traffic"]["properties"]["arrivals"]["anyOf"][0] == {"enum": ["poisson", "constant"]}
    assert {"Burstiness", "Clients", "Diurnal", "FlashCrowd", "TraceReplay"} <= set(definitions)
    assert {"Session", "Agent", "Documents", "Window"} <= set(definitions)
    assert {"enum": ["grow", "none"]} in definitions["Session"]["properties"]["context"]["anyOf"]
    assert {"from", "to", "then"} <= set(definitions["TraceReplay"]["properties"])


# -- traces ----------------------------------------------------------------------------------------------------------

TRACE = "version: 1\nclock: {duration: 2m}\ntraffic: {executor: trace, trace: {file: data/t.csv}}\nproviders: {a: {}}\n"


@pytest.fixture
def scenario(tmp_path):
    (tmp_path / "data").mkdir()
    rows = "".join(f"{number * 0.5},100,{number % 2 * 10}\n" for number in range(200))
    (tmp_path / "data" / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    path = tmp_path / "s.yaml"
    path.write_text(TRACE)
    return path


def test_the_name_of_a_trace_is_relative_to_the_scenario(scenario, tmp_path):
    found = load_scenario(scenario)
    assert found.traffic.trace.file == str(tmp_path / "data" / "t.csv")
    asked = preflight(found)
    assert asked.expected_requests == pytest.approx(200)
    assert asked.input_tokens == 100
    assert asked.output_tokens == pytest.approx(55), "half have 10; the others draw from the mix, 100 on average"
    assert asked.base_per_s == pytest.approx(200 / 120)
    again = found.with_values({"clock.duration": 60.0})
    assert again.traffic.trace == found.traffic.trace, "and is not made relative a second time"


def test_a_trace_that_is_not_there_is_told_in_the_scenario(scenario):
    scenario.write_text(TRACE.replace("t.csv", "tt.csv"))
    with pytest.raises(ScenarioError, match=r"s.yaml:3:42: traffic.trace.file: there is no .*tt.csv. Did you mean"):
        load_scenario(scenario)


def test_a_trace_that_is_broken_is_told_in_the_trace(scenario, tmp_path):
    (tmp_path / "data" / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,x,1\n")
    with pytest.raises(ScenarioError, match=r"t.csv:2:1: input_tokens is 'x'"):
        load_scenario(scenario)
