"""The highest load that passes: found where closed forms say it is, and a bracket where there is no saying."""

import json
import math

import pytest

import llmsim
from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.tuning import capacity as module
from llmsim.tuning.capacity import capacity

#: Everything is constant, so that a single bucket of tokens decides, and that by arithmetic.
BUCKET = {
    "version": 1,
    "name": "bucket",
    "replications": 6,
    "clock": {"duration": "100s", "drain": "10s"},
    "traffic": {
        "base_rate": "2/s",
        "arrivals": "constant",
        "mix": [{"input_tokens": 500, "output_tokens": 100, "max_tokens": 100}],
    },
    "providers": {
        "llm": {"ttft": "100ms", "inter_token": "1ms", "rate_limit": {"tokens": "120k/min", "window": "10s"}}
    },
    "slo": {"error_rate": ["value < 10%"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.2, 0.03])
def test_a_token_limit_binds_where_arithmetic_says(tolerance):
    found = capacity(BUCKET, tolerance=tolerance)
    # 2,000 tokens/s and a full bucket of 20,000: 220,000 in 100 s are 366.7 requests of 600. With 10 % refused these
    # are 90 % of those that come: 4.074/s. (A refused call takes nothing here; one request more or less is 0.3 %.)
    edge = (2000 * 100 + 20_000) / 600 / 0.9 / 100
    assert found.passes.load <= edge * 1.005
    assert found.fails.load >= edge * 0.995
    assert found.fails.load <= found.passes.load * (1 + tolerance) * 1.0001
    assert found.resolved
    assert found.breaks_first == ("error_rate value < 10%",)
    (binding,) = [one for one in found.limits if one.binds]
    assert (binding.provider, binding.limit) == ("llm", "tokens")
    assert binding.refused == pytest.approx(0.1, abs=max(tolerance, 0.03))  # at the lowest load that fails
    text = repr(found)
    assert "What breaks first: error_rate value < 10%." in text
    assert "What binds: llm's tokens" in text
    page = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert page["binds"] == ["llm tokens"]
    assert page["passes"]["verdict"] == "PASS"
    assert "What breaks first" in found._repr_html_()
    assert found._repr_markdown_().startswith("**bucket: holds up to ")


class _Slo:
    def __init__(self, verdict):
        self.verdict = verdict
        self.objective = type("O", (), {"key": "ttft", "text": "p(95) < 2s"})


def pretend(monkeypatch, answer):
    """Replace the runs: ``answer(load)`` is their verdict."""
    seen = []

    def run(scenario, **options):
        load = scenario.traffic.vus or scenario.traffic.base_rate
        seen.append((load, scenario.seed))
        word = answer(load)
        result = type("R", (), {"verdict": word, "slo": [_Slo(word)], "replications": [None] * 6, "advice": ["Why."]})
        result.load = load
        return result

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "pressures", lambda result: [])
    return seen


def test_undecided_is_a_bracket_and_not_a_guess(monkeypatch):
    seen = pretend(monkeypatch, lambda load: "PASS" if load < 3 else "FAIL" if load > 5 else "UNDECIDED")
    found = capacity(BUCKET, tolerance=0.1, seed=9)
    assert {seed for _, seed in seen} == {9}  # common luck
    assert found.passes.load < 3
    assert found.fails.load > 5
    assert not found.resolved
    assert found.unsure
    assert "what lies between is undecided" in found.headline
    assert "Undecided: ttft p(95) < 2s. More replications narrow it" in str(found)


def test_nothing_passes_or_nothing_fails(monkeypatch):
    pretend(monkeypatch, lambda load: "FAIL")
    found = capacity(BUCKET)
    assert found.passes is None
    # Of fewer than 50 requests a replication, no share or percentile could be told.
    assert found.headline == "bucket: no load passes; 0.5/s (0.25x) failed"
    pretend(monkeypatch, lambda load: "PASS")
    found = capacity(BUCKET)
    assert found.fails is None
    assert "the most that was tried" in found.headline
    assert found.breaks_first == ()


def test_a_closed_loop_is_loaded_by_users(monkeypatch):
    seen = pretend(monkeypatch, lambda load: "PASS" if load <= 37 else "FAIL")
    closed = {**BUCKET, "traffic": {"executor": "constant-vus", "vus": 20, "think_time": "1s"}}
    found = capacity(closed, tolerance=1e-6)
    assert (found.passes.load, found.fails.load) == (37, 38)
    assert all(load == int(load) for load, _ in seen)
    assert "37 users (1.85x)" in found.headline


def test_the_first_load_can_be_chosen_and_each_is_told(monkeypatch):
    seen = pretend(monkeypatch, lambda load: "PASS" if load < 7 else "FAIL")
    told = []
    capacity(BUCKET, start=5.5, probed=told.append)
    assert seen[0][0] == 5.5
    assert [probe.load for probe in told] == [load for load, _ in seen]


def test_an_interrupt_keeps_what_is_known(monkeypatch):
    pretend(monkeypatch, lambda load: "PASS" if load < 3 else "FAIL")
    before, count = module.run, []

    def interrupted(scenario, **options):
        count.append(1)
        if len(count) > 3:
            raise SimulationInterrupted("stopped")
        return before(scenario, **options)

    monkeypatch.setattr(module, "run", interrupted)
    with pytest.raises(SimulationInterrupted, match=r"after 3 load\(s\)") as caught:
        capacity(BUCKET)
    partial = caught.value.partial
    assert partial.partial
    assert len(partial.probes) == 3
    assert partial.passes.load < 3 <= partial.fails.load


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"slo": {}}, {}, "there is no SLO"),
        ({}, {"tolerance": 0}, "tolerance is 0"),
        ({}, {"start": -1.0}, "start is -1"),
        ({"traffic": {"base_rate": "0/s"}}, {}, "base_rate"),
    ],
)
def test_wrong_words(changes, options, says):
    with pytest.raises(ScenarioError, match=says):
        capacity({**BUCKET, **changes}, **options)


def test_a_trace_has_no_load_to_search_for(tmp_path):
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n1,1,1\n")
    replay = {"executor": "trace", "trace": {"file": str(tmp_path / "t.csv")}}
    with pytest.raises(ScenarioError, match=r"a trace sets its own pace.*write executor: constant-arrival-rate"):
        capacity({**BUCKET, "traffic": replay})


def test_it_is_a_public_name():
    assert llmsim.capacity is capacity


@pytest.mark.long
@pytest.mark.slow
def test_mm1_with_an_slo_on_its_sojourn():
    """p95 of the time in an M/M/1 queue is ln 20 / (μ − λ): below 1 s as long as λ < μ − ln 20."""
    mu = 8.0
    edge = mu - math.log(20)  # 5.004/s
    found = capacity(
        {
            "version": 1,
            "name": "mm1",
            "seed": 3,
            "replications": 20,
            "clock": {"warm_up": "60s", "duration": "40m", "drain": "60s"},
            "traffic": {"base_rate": "4/s", "mix": [{"output_tokens": 1}]},
            "providers": {"llm": {"ttft": {"exponential": {"mean": "125ms"}}, "concurrency": 1}},
            "slo": {"ttft": ["p(95) < 1s"]},
        },
        tolerance=0.02,
    )
    # Stated tolerance: 3 % of the load, of which 2 % is the bracket that was asked for.
    assert found.passes.load == pytest.approx(edge, rel=0.03)
    assert found.fails.load == pytest.approx(edge, rel=0.03)
    assert found.passes.load <= edge * 1.01
    assert found.fails.load >= edge * 0.99
    (slots,) = found.limits
    assert slots.used == pytest.approx(edge / mu, abs=0.12)  # busiest 10 s of many: above the mean utilisation
