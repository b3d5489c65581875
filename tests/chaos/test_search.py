"""A search with runs that cost nothing: what it spends, what it calls found, and what it says of it."""

import dataclasses
import gc
import json
import math
import signal

import pytest
from chaos.spaces import CHECKOUT

from llmsim.chaos import runs as runs_module
from llmsim.chaos import searching
from llmsim.chaos.drawing import Drawing, Halt
from llmsim.chaos.search import search
from llmsim.chaos.workers import Broke, Interrupted, Measured
from llmsim.errors import LlmsimError, PolicyError, ScenarioError, SimulationInterrupted
from llmsim.scenario.load import load_scenario

#: Few places, so that few draws do.
FEW = {"budget": 220, "seed": 4, "kinds": ["stall", "rate_limit"]}
STALL, CUT = ("stall", "openai"), ("rate_limit", "anthropic")


def both(schedule):
    """Error rate of a gateway that only a strong stall together with a quota cut hurts: 1 % for 10 s of both."""
    spells = {one[:2]: one for one in schedule}
    if STALL not in spells or CUT not in spells or spells[STALL].level < 3:
        return 0.0
    stall, cut = spells[STALL], spells[CUT]
    return 0.015 * max(0, min(stall.at + stall.steps, cut.at + cut.steps) - max(stall.at, cut.at))


class Lab:
    """Stands in for the simulator: ``rate(schedule, replication)`` is the error rate, whose bound is 1 %."""

    def __init__(self, monkeypatch, rate, stop=None):
        self.rate, self.stop, self.ran = rate, stop or (lambda made: None), []
        monkeypatch.setattr(runs_module, "in_order", self.in_order)
        monkeypatch.setattr(runs_module, "samples", lambda scenario, done: done)
        monkeypatch.setattr(runs_module, "measure", lambda lines, row: row)
        monkeypatch.setattr(runs_module, "Judge", self.judge)
        monkeypatch.setattr(runs_module, "Result", FakeResult)

    def in_order(self, work, tasks, *, jobs, tick):
        for task in tasks:
            self.stop(len(self.ran))
            self.ran.append((task.schedule, task.number, isinstance(work, Measured)))
            yield (self.rate(task.schedule, task.number), 0.5)
            tick()

    def judge(self, scenario, most):
        return FakeJudge(most)


class FakeJudge:
    def __init__(self, most):
        self.most, self.done = most, 0

    def next_look(self):
        return None if self.done else 10

    def add(self, rows):
        self.done += len(rows)


class FakeResult:
    """The verdict of ten values a line, as there would be."""

    def __init__(self, scenario, rows, requested):
        from llmsim.report.slo import slo_results
        from llmsim.scenario.objectives import objectives_of

        self.slo = slo_results(scenario, objectives_of(scenario), rows, most=10)
        self.advice = ["Because."]


def always(rate):
    return lambda schedule, number: rate(schedule)


def test_two_faults_are_found_made_small_judged_and_told(monkeypatch):
    lab = Lab(monkeypatch, always(both))
    seen = []
    found = search(CHECKOUT, **FEW, progress=seen.append)
    assert found.found and found.shrunk and not found.partial
    assert [spell[:2] for spell in found.schedule] == [STALL, CUT]
    assert [spell[2:] for spell in found.schedule] == [(3, 2, 1), (0, 2, 1)], "weak, early and short"
    assert found.overlap == (20.0, 30.0)
    assert found.line.key == "error_rate"
    assert [(part.verdict, part.measured) for part in found.parts] == [("PASS", 0.0)] * 3
    assert [part.what for part in found.parts] == [*found.words, "one after the other"]
    # Every run is counted, none is made twice for a probe, and there are no more than there may be.
    assert found.runs == len(lab.ran) <= 220
    probes = [run for run in lab.ran if run[2]]
    assert len(set(probes)) == len(probes)
    assert seen[-1].runs == found.runs
    assert {at.stage for at in seen} >= {"exploring", "shrinking", "confirming", "parts"}
    text = repr(found)
    assert "checkout: 2 faults together break error_rate value < 1%: 1.5 %" in text
    assert "Each fault alone passes. " in found.description
    assert "They overlap from 0:20 to 0:30." in text
    assert "One after the other passes too (0 %)." in text
    page = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert page["line"] == {"metric": "error_rate", "expression": "value < 1%", "line": 17}
    assert page["runs"]["done"] == found.runs
    assert "<table" in found._repr_html_()


@pytest.mark.slow
def test_the_same_seed_and_budget_give_the_same(monkeypatch):
    Lab(monkeypatch, always(both))
    one, other = (search(CHECKOUT, **{**FEW, "budget": 80}).to_dict() for _ in range(2))
    assert {**one, "wall_s": 0} == {**other, "wall_s": 0}


@pytest.mark.slow
def test_what_does_not_hold_up_is_not_found(monkeypatch):
    """Broken in the two replications that a search looks at, and in half of those of a verdict."""
    lab = Lab(monkeypatch, lambda schedule, number: both(schedule) if number < 2 or number % 2 else 0.0)
    found = search(CHECKOUT, **FEW)
    assert not found.found
    assert not found.schedule
    assert found.unheld > 0
    assert "no verdict held up" in found.headline
    assert found.runs == len(lab.ran) <= 220


@pytest.mark.slow
def test_a_larger_one_is_taken_where_the_smallest_does_not_hold_up(monkeypatch):
    """Two steps together break it every time, one only by chance."""
    Lab(monkeypatch, lambda schedule, number: both(schedule) if number < 2 or both(schedule) > 0.02 else 0.0)
    found = search(CHECKOUT, **FEW)
    assert found.found and found.unheld > 0
    assert [spell[:2] for spell in found.schedule] == [STALL, CUT]
    assert found.overlap is not None and found.overlap[1] - found.overlap[0] >= 20.0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [50, *(pytest.param(more, marks=pytest.mark.slow) for more in (61, 120))])
def test_no_budget_is_overdrawn(monkeypatch, budget):
    lab = Lab(monkeypatch, lambda schedule, number: 0.05 if schedule else 0.0)
    found = search(CHECKOUT, budget=budget)
    assert len(lab.ran) == found.runs <= budget
    assert found.found
    assert len(found.schedule) == 1


@pytest.mark.parametrize("replications", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_smallest_budget_makes_sure_of_what_looks_broken(monkeypatch, replications):
    """All but the strongest look broken at first, which takes up what there is, and are not."""
    Lab(monkeypatch, lambda schedule, number: 0.05 if schedule and (number < 1 or grave(schedule)) else 0.0)
    found = search(CHECKOUT, budget=50, max_faults=1, replications=replications)
    assert found.found


def grave(schedule):
    return any(one.kind in ("outage", "abort", "throttle", "stall") for one in schedule)


@pytest.mark.slow
def test_a_recovery_for_which_there_is_no_time_is_no_finding(monkeypatch):
    """Whatever ends too late has not recovered within 40 s of a run that ends before; what ends early enough may."""
    shop = dataclasses.replace(
        load_scenario(CHECKOUT), slo={"recovery_time": ("value < 40s",)}, steady_state={"error_rate": ("value < 1%",)}
    )
    late, early = set(), set()

    def rate(schedule, number):
        if not schedule:
            return float("nan")
        ends_s = max(one.at + one.steps for one in schedule) * 10
        (late if ends_s > 120 - 40 - 30 else early).add(schedule)
        return float("inf") if ends_s > 50 else 5.0

    Lab(monkeypatch, rate)
    found = search(shop, budget=100, max_faults=1)
    assert late and early
    assert not found.found and found.breaking == 0


def test_nothing_is_found_where_nothing_is(monkeypatch):
    lab = Lab(monkeypatch, lambda schedule, number: 0.0)
    found = search(CHECKOUT, budget=100, max_faults=1, kinds=["outage"])
    assert not found.found
    assert all(one.kind == "outage" for schedule, _, _ in lab.ran for one in schedule)
    assert all(len(schedule) <= 1 for schedule, _, _ in lab.ran)
    assert found.headline.startswith("checkout: nothing found that breaks it in ")


def test_what_is_red_anyway_is_no_place_to_search(monkeypatch):
    Lab(monkeypatch, lambda schedule, number: 0.02)
    with pytest.raises(LlmsimError, match=r"fails without any searched fault.*error_rate value < 1%"):
        search(CHECKOUT, budget=100)
    assert not search(CHECKOUT, budget=60, slo=["ttft"]).found, "the other line holds"


@pytest.mark.slow
def test_lines_that_are_undecided_anyway_do_not_count(monkeypatch):
    Lab(monkeypatch, lambda schedule, number: 0.02 if schedule or number % 2 else 0.0)
    found = search(CHECKOUT, budget=60)
    assert not found.found
    assert found.left_out == ("error_rate value < 1%",)
    assert "Not counted, since undecided without any fault: error_rate value < 1%." in found.notes


@pytest.mark.slow
def test_what_cannot_be_told_without_faults_is_no_reason_to_leave_it_out(monkeypatch):
    Lab(monkeypatch, lambda schedule, number: 0.05 if schedule else math.nan)
    assert search(CHECKOUT, budget=60).found


@pytest.mark.slow
def test_an_interrupt_keeps_what_there_is(monkeypatch, tmp_path):
    def stop(made):
        if made == 60:
            raise Interrupted

    Lab(monkeypatch, always(both), stop)
    with pytest.raises(SimulationInterrupted) as stopped:
        search(CHECKOUT, **FEW)
    found = stopped.value.partial
    assert found.partial and not found.found
    assert {STALL, CUT} <= {spell[:2] for spell in found.schedule}
    assert "interrupted; " in found.headline and "as far as a few runs can tell" in found.headline
    text = found.save(tmp_path / "found.yaml").read_text(encoding="utf-8")
    assert (
        ", and interrupted: llmsim search checkout.yaml --budget 220 --seed 4 --kinds stall --kinds rate_limit\n"
        in text
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_is_heard_where_python_forgets_it(monkeypatch):
    def lost(phase, info):
        if phase == "stop" and laboratory.ran and not lost.sent:
            lost.sent = True
            signal.raise_signal(signal.SIGINT)

    lost.sent = False

    def stop(made):
        if made == 20:
            gc.collect()
        assert made < 30, "the search goes on"

    laboratory = Lab(monkeypatch, always(both), stop)
    before = signal.getsignal(signal.SIGINT)
    gc.callbacks.append(lost)
    try:
        with pytest.raises(SimulationInterrupted) as stopped:
            search(CHECKOUT, **FEW)
    finally:
        gc.callbacks.remove(lost)
    assert lost.sent
    assert stopped.value.partial.partial
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_is_heard_before_anything_that_was_drawn_is_run(monkeypatch):
    drawn = 0

    def lost(phase, info):
        signal.raise_signal(signal.SIGINT)

    def went_on(*_):
        raise AssertionError("the search goes on")

    def draws(self, condition):
        def counted(schedule):
            nonlocal drawn
            drawn += 1
            if drawn == 5:
                gc.callbacks.append(lost)
                gc.collect()
                gc.callbacks.remove(lost)
            return plain(self, condition)(schedule)

        return counted

    plain = Drawing._hearing
    monkeypatch.setattr(Drawing, "_hearing", draws)
    monkeypatch.setattr(searching, "promising", went_on)
    Lab(monkeypatch, always(both), lambda made: None)
    with pytest.raises(SimulationInterrupted) as stopped:
        search(CHECKOUT, **FEW)
    assert stopped.value.partial.partial
    assert drawn == 5


@pytest.mark.slow
def test_an_error_under_faults_says_which(monkeypatch):
    def stop(made):
        if made == 20:
            raise Broke(PolicyError("returned None", where="mine.py:3"), ())

    Lab(monkeypatch, always(both), stop)
    with pytest.raises(PolicyError, match=r"returned None \(mine.py:3\) \(under its own faults alone\)") as error:
        search(CHECKOUT, budget=100)
    assert error.value.where == "mine.py:3"
    assert not isinstance(error.value, Halt)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"budget": 10}, "use 50 or more"),
        ({"max_faults": 0}, "use 1 to 10"),
        ({"max_fault_time": 2.0}, "at most 1"),
        ({"replications": 9}, "use 1 to 6"),
        ({"jobs": 0}, "use 1 or more"),
        ({"slo": ["latency"]}, "there is no SLO 'latency'; it has error_rate, ttft"),
        ({"kinds": ["flood"]}, "there is no kind 'flood'; use latency, "),
        ({"providers": ["gemini"]}, "there is no provider or store 'gemini'; it has openai, anthropic"),
        ({"kinds": ["lose_state"]}, "none of these providers can have a lose_state"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options, told):
    with pytest.raises(ScenarioError, match=told):
        search(CHECKOUT, **options)
