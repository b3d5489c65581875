import math
from functools import cache

import pytest
from report.results import result, scenario, spike
from telemetry.recorded import attempt, numbered, replication, request

from llmsim.report.plots.bins import outcome_bins
from llmsim.report.recorded import Recorded
from llmsim.report.result import Result
from llmsim.report.slo import Judge, overall


@cache
def day(errors, number, *, requests=200):
    """A replication with this share of failures."""
    rows = [
        request(arrival_s=100.0 * n / requests, outcome="timeout" if n < errors * requests else "ok")
        for n in range(requests)
    ]
    return replication(numbered(rows), number=number)


def judged(shares, *, most=None, slo=None, **changes):
    given = scenario(slo=slo or {"error_rate": ["value < 10%"]}, **changes)
    runs = [day(share, number) for number, share in enumerate(shares)]
    return Result(given, runs, requested=most)


def test_pass_fail_and_undecided():
    assert judged([0.0] * 10).verdict == "PASS"
    assert judged([0.5] * 10).verdict == "FAIL"
    assert judged([0.0] * 5 + [0.5] * 5).verdict == "UNDECIDED"
    assert judged([0.0] * 9 + [0.5]).verdict == "PASS"


def test_exit_codes():
    assert [judged([share] * 10).exit_code() for share in (0.0, 0.5)] == [0, 1]
    mixed = judged([0.0] * 5 + [0.5] * 5)
    assert (mixed.exit_code(), mixed.exit_code(allow_undecided=True)) == (3, 0)
    assert judged([0.5] * 10).exit_code(allow_undecided=True) == 1


def test_one_failed_line_fails_and_one_undecided_line_withholds_the_pass():
    slo = {"error_rate": ["value < 10%", "value < 60%"], "requests": ["value > 100"]}
    assert [line.verdict for line in judged([0.5] * 10, slo=slo).slo] == ["FAIL", "PASS", "PASS"]
    assert judged([0.5] * 10, slo=slo).verdict == "FAIL"
    slo = {"error_rate": ["value < 60%"], "ttft": ["p(99.9) < 2s"]}
    one = judged([0.0] * 10, slo=slo)
    assert one.verdict == "UNDECIDED"
    assert (
        one.slo[1].reason
        == "could not be told in 10 of 10 replications: ttft p(99.9) needs 1000 requests that have one"
    )
    assert math.isnan(one.slo[1].measured)
    assert one.slo[1].shown == one.slo[1].shown_interval == "–"


def test_nothing_to_judge():
    one = Result(scenario(slo={}), [day(0.5, 0)])
    assert (one.verdict, one.exit_code(), one.slo) == ("NONE", 0, [])
    assert overall([]) == "NONE"


def test_too_few_replications_are_said():
    one = judged([0.0] * 5)
    assert one.verdict == "UNDECIDED"
    assert one.slo[0].reason == "a verdict needs at least 6 replications, this run has 5"
    assert one.slo[0].interval is None
    assert one.slo[0].measured == 0.0


def test_how_many_would_probably_decide_is_said():
    assert "replications would probably decide" in judged([0.0] * 7 + [0.5] * 3).slo[0].reason
    assert "too close to the bound" in judged([0.0] * 5 + [0.5] * 5).slo[0].reason


def test_measured_is_the_median_and_carries_its_interval():
    line = judged([n / 100 for n in range(1, 11)], slo={"error_rate": ["value < 50%"]}).slo[0]
    assert line.measured == pytest.approx(0.055)
    assert line.interval == pytest.approx((0.02, 0.09))  # the second smallest and largest of 10
    assert (line.shown, line.shown_interval) == ("5.5 %", "2 % … 9 %")


def test_a_run_that_stopped_between_looks_is_judged_by_the_latest_one():
    one = judged([0.0] * 9 + [0.5] * 6, most=40)  # after 10: PASS with 9 of 10
    assert one.slo[0].verdict == "PASS"
    early = judged([0.0] * 7, most=40)
    assert early.verdict == "UNDECIDED"
    assert early.slo[0].reason == "stopped after 7 of 40 replications, before the first look"


def test_interrupted_replications_decide_nothing():
    runs = [day(0.0, number) for number in range(6)]
    runs[5] = runs[5]._replace(partial=True, simulated_s=50.0)
    one = Result(scenario(slo={"error_rate": ["value < 10%"]}), runs, requested=6)
    assert (one.complete, one.partial, one.verdict) == (5, True, "UNDECIDED")


def test_what_the_interrupt_cut_off_is_no_failure_of_the_gateway():
    rows = numbered([request(arrival_s=1.0)] * 3 + [request(arrival_s=4.0, outcome="unfinished")] * 2)
    cut = replication(
        rows,
        [attempt(session=row["session"], arrival_s=row["arrival_s"]) for row in rows],
        simulated_s=5.0,
        partial=True,
    )
    one = Result(scenario(), [cut])
    assert one.metrics["error_rate"] == 0.0
    assert one.windows["error_rate"].to_list() == [0.0]
    assert one.windows["requests"].sum() == one.metrics["requests"] == 3
    for table in (one.requests, one.attempts):
        assert table["window"].to_list() == ["measured"] * 3 + ["cut_off"] * 2
    assert one.notes == ["2 requests had not ended when the run was interrupted: no failures, and in no rate"]
    assert not [line for line in one.advice if "had not ended" in line]
    assert list(outcome_bins(one).classes) == ["answered"]
    assert one.metrics["goodput_per_s"] == 3 / 5.0
    assert one.windows["end_s"].to_list() == [5.0]
    whole = Result(scenario(), [replication(rows)])
    assert whole.metrics["error_rate"] == 0.4
    assert whole.notes == []
    assert set(whole.requests["window"]) == {"measured"}


def test_rows_of_a_large_interrupted_run_do_not_have_all_of_it_read_for_each_piece(monkeypatch):
    rows = numbered([request(arrival_s=1.0), request(arrival_s=4.0, outcome="unfinished")] * 3)
    cut = Recorded(replication(rows, simulated_s=5.0, partial=True), "requests", 10.0)

    def all_of_it(*_):
        raise AssertionError

    monkeypatch.setattr("llmsim.report.tables.cut_off", all_of_it)
    assert cut.slice(1, 3).frame(["window"])["window"].to_list() == ["cut_off", "measured"]


class TestJudge:
    def run(self, shares, most, **changes):
        judge = Judge(scenario(slo={"error_rate": ["value < 10%"]}, **changes), most)
        looked = []
        while (upto := judge.next_look()) is not None:
            looked.append(upto)
            judge.add([day(shares[number], number, requests=40) for number in range(judge.done, upto)])
        return judge, looked

    def test_stops_at_the_first_look_that_decides(self):
        assert self.run([0.0] * 40, 40)[1] == [10]
        assert self.run([0.5] * 40, 40)[1] == [10]
        assert self.run([0.0, 0.5] * 20, 40)[1] == [10, 20, 40]

    def test_a_failed_line_ends_the_run_though_others_are_open(self):
        judge = Judge(scenario(slo={"error_rate": ["value < 10%"], "requests": ["value < 40"]}), 40)
        judge.add([day(share, number, requests=40) for number, share in enumerate([0.0, 0.5] * 5)])
        assert [line.verdict for line in judge.results] == ["UNDECIDED", "FAIL"]
        assert judge.results[0].reason == (
            "5 of 10 replications inside the bound, 9 needed; another line failed, so the run ended here"
        )
        assert judge.next_look() is None

    def test_says_what_the_result_says(self):
        shares = [0.0] * 7 + [0.5] * 5 + [0.0] * 8
        judge, _ = self.run(shares, 20)
        one = Result(judge.scenario, [day(share, n, requests=40) for n, share in enumerate(shares)], requested=20)
        assert one.slo == judge.results

    def test_without_slo_all_replications_are_made(self):
        judge = Judge(scenario(slo={}), 15)
        assert judge.next_look() == 15
        assert judge.add([day(0.0, number, requests=5) for number in range(15)]) == "NONE"
        assert judge.next_look() is None

    def test_few_replications_are_made_though_they_cannot_decide(self):
        assert self.run([0.0] * 3, 3)[1] == [3]
        assert Judge(scenario()).most == 20


def test_recovery_says_why_it_cannot_be_told():
    runs = [spike(number) for number in range(6)]
    slo = {"recovery_time": ["value < 60s"]}
    quiet = [day(0.0, number, requests=5) for number in range(6)]
    reasons = [
        Result(scenario(slo=slo, **changes), ran).slo[0].reason.partition(": ")[2]
        for changes, ran in (({"faults": []}, runs), ({}, quiet))
    ]
    assert reasons == [
        "no fault, or one that outlasts the measured time",
        "too little time or traffic after the last fault",
    ]
    assert Result(scenario(slo=slo), runs).slo[0].measured == 0.0


def test_lines_of_the_file_are_kept(tmp_path):
    from llmsim.scenario.load import load_scenario

    path = tmp_path / "s.yaml"
    path.write_text(
        "version: 1\ntraffic: {base_rate: 4/s}\nproviders: {openai: {}}\nslo:\n  ttft: ['p(90) < 2s']\n  error_rate:\n"
        "    - value < 1%\n"
    )
    one = Result(load_scenario(path), result(6).replications)
    assert [(line.objective.key, line.objective.line) for line in one.slo] == [("ttft", 5), ("error_rate", 7)]
    assert [row["line"] for row in one.to_dict()["slo"]] == [5, 7]
