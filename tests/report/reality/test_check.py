"""A reality check where the truth is known: a simulation against a provider changed by a known amount."""

from __future__ import annotations

import pytest

import llmsim as ls
from llmsim.errors import LlmsimError
from llmsim.report.reality.check import RealityCheck
from llmsim.scenario.load import parse_scenario

TEXT = """
version: 1
seed: 5
clock: {warm_up: 5s, duration: 60s}
traffic:
  base_rate: 5/s
  mix: [{input_tokens: {uniform: {low: 50, high: 150}}, output_tokens: {uniform: {low: 10, high: 60}}}]
providers:
  a: {ttft: {lognormal: {p50: 300ms, p99: 1s}}, inter_token: 20ms, price: {input: $1/Mtok, output: $2/Mtok}}
  b: {ttft: {lognormal: {p50: 300ms, p99: 1s}}, inter_token: 20ms, price: {input: $1/Mtok, output: $2/Mtok}}
gateway: {policies: [{fallback: {order: [a, b]}}]}
"""


def as_if_live(changes: dict[str, str] | None = None, seed: int = 5) -> ls.Result:
    """A run that says it is live: the truth that a simulation is to find."""
    overrides = [f"providers.a.{key}={value}" for key, value in (changes or {}).items()]
    result = ls.run(parse_scenario(TEXT, overrides=overrides), seed=seed, replications=1)
    one = result.replications[0]
    return ls.Result(result.scenario, [one._replace(counters={**one.counters, "live": 1.0, "spent_usd": 0.1})])


@pytest.fixture(scope="module")
def sim() -> ls.Result:
    return ls.run(parse_scenario(TEXT), replications=1)


def line(check: RealityCheck, name: str):
    return next(one for one in check.lines if one.name == name)


def test_the_same_is_good(sim: ls.Result) -> None:
    check = ls.compare(sim, as_if_live())
    assert isinstance(check, RealityCheck)
    assert check.pairs.table.height > 250
    assert {one.error for one in check.lines} == {0.0}
    assert check.verdict == "good"
    assert check.same_path == 1
    assert check.errors["e2e"].mdape == 0
    assert check.errors["ttft"].correlation == pytest.approx(1)
    assert "within every tolerance" in str(check)


def test_a_slower_provider_is_found_and_called_worse(sim: ls.Result) -> None:
    check = ls.compare(sim, as_if_live({"ttft": "{lognormal: {p50: 375ms, p99: 1.25s}}"}))
    ttft = line(check, "ttft p(50)")
    assert ttft.error == pytest.approx(1 / 1.25 - 1, abs=0.03)
    assert ttft.interval[0] < 1 / 1.25 - 1 < ttft.interval[1] + 0.02
    assert (ttft.verdict, line(check, "cost").verdict, check.verdict) == ("off", "good", "off")
    assert check.errors["ttft"].bias == pytest.approx(-0.2, abs=1e-6)  # the same luck, request by request
    assert "live is worse than assumed: ttft p(50)" in str(check)
    assert any("model of the provider" in note for note in check.notes)


def test_errors_and_fallbacks_are_compared_in_points(sim: ls.Result) -> None:
    check = ls.compare(sim, as_if_live({"errors": "{server_error: 20%}"}))
    fallback = line(check, "fallback_rate")
    assert fallback.live == pytest.approx(0.2, abs=0.07)
    assert fallback.error == pytest.approx(-fallback.live)
    assert fallback.verdict == "off"
    assert line(check, "retry_amplification").verdict == "off"
    assert check.same_path == pytest.approx(1 - fallback.live, abs=0.01)


def test_a_server_at_its_limit_is_told_from_a_wrong_model(sim: ls.Result) -> None:
    check = ls.compare(sim, as_if_live({"concurrency": "4"}))
    assert any(note.startswith("Server saturated") for note in check.notes)
    assert not any("model of the provider" in note for note in check.notes)


def test_a_late_client_is_told_from_a_wrong_model(sim: ls.Result) -> None:
    live = as_if_live()
    one = live.replications[0]
    requests = one.tables["requests"]
    late = requests["arrival_s"]._replace(values=requests["arrival_s"].values + 0.2)
    tables = {**one.tables, "requests": {**requests, "arrival_s": late}}
    check = ls.compare(sim, ls.Result(live.scenario, [one._replace(tables=tables)]))
    assert any(note.startswith("Client overloaded: requests were sent 200ms after") for note in check.notes)


def test_what_the_machine_repeats_stands_beside_it(sim: ls.Result) -> None:
    check = ls.compare(sim, as_if_live({"inter_token": "25ms"}), again=as_if_live({"inter_token": "26ms"}))
    assert check.errors["tpot"].mdape == pytest.approx(0.2, abs=0.001)
    assert check.repeated["tpot"].mdape == pytest.approx(0.04, abs=0.001)
    assert "the live run repeated: 4 %" in str(check)


def test_what_cannot_be_compared(sim: ls.Result) -> None:
    with pytest.raises(LlmsimError, match="differ in seed"):
        ls.compare(sim, as_if_live(seed=6))
    with pytest.raises(LlmsimError, match="the simulation comes first"):
        ls.compare(as_if_live(), sim)
    with pytest.raises(LlmsimError, match="no tolerance for 'ttfb'"):
        ls.compare(sim, as_if_live(), tolerances={"ttfb": 0.1})


@pytest.mark.slow
def test_tolerances_are_the_users(sim: ls.Result) -> None:
    live = as_if_live({"inter_token": "25ms"})
    assert line(ls.compare(sim, live), "tpot p(50)").verdict == "off"
    assert line(ls.compare(sim, live, tolerances={"tpot p(50)": 0.25}), "tpot p(50)").verdict == "good"


@pytest.mark.slow
def test_as_plain_values(sim: ls.Result) -> None:
    import json

    page = json.loads(json.dumps(ls.compare(sim, as_if_live()).to_dict(), allow_nan=False))
    assert (page["verdict"], page["pairs"]) == ("good", ls.compare(sim, as_if_live()).pairs.table.height)
    assert {one["name"] for one in page["metrics"]} >= {"ttft p(50)", "cost", "fallback_rate"}
