"""Sweeps: the same luck for all points, the same bytes however they came about, and errors before the first run."""

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
from tuning.sweeping import OVER, SMALL, kept, killed

import llmsim
from llmsim.errors import LlmsimError, PolicyError, ScenarioError, SimulationInterrupted
from llmsim.tuning import sweep_runs
from llmsim.tuning.asked import asked
from llmsim.tuning.sweep_kept import Row


@pytest.fixture
def arithmetic(monkeypatch):
    """Runs that take no time: errors fall with attempts, differ between replications, and are told to a list."""
    seen = []

    def one(task, metrics, keep, progress=None):
        seen.append((task.point, task.replication))
        attempts = next((getattr(one, "max_attempts", 1) for one in task.scenario.gateway.policies), 1)
        value = 0.2**attempts * (1 + task.replication / 10)
        return sweep_runs.Done(Row(task.point, task.replication, (value,) * len(metrics), (value,)), None)

    monkeypatch.setattr(sweep_runs, "_one", one)
    return seen


@pytest.mark.slow
def test_a_point_is_what_a_run_of_its_scenario_is():
    over = {"gateway.retry.max_attempts": [2, 3], "upstream.timeout.ttft": ["200ms"]}
    found = llmsim.sweep(SMALL, over, replications=2, metrics=["error_rate", "requests"])
    # Common luck: what no setting changes is the same at all points of a replication.
    assert (found.table.group_by("replication").agg(pl.col("requests").n_unique())["requests"] == 1).all()
    assert [one.settings for one in found.points] == [
        ("gateway.retry.max_attempts=2", "upstream.timeout.ttft=200ms"),
        ("gateway.retry.max_attempts=3", "upstream.timeout.ttft=200ms"),
    ]
    for point in found.points:
        result = llmsim.run(SMALL, replications=2, overrides=point.settings)
        assert found.scenarios[point.number].gateway == result.scenario.gateway
        row = found.summary.row(point.number, named=True)
        assert row["error_rate"] == result.metrics["error_rate"]
        assert row["upstream.timeout.ttft_s"] == 0.2
        assert row["error_rate_low"] is None, "two replications have no interval"


def test_the_table_has_a_row_for_each_run_and_the_summary_one_for_each_point(arithmetic):
    found = llmsim.sweep(SMALL, OVER, metrics=["error_rate"])
    assert arithmetic[:6] == [(point, 0) for point in range(6)], "all points once, then all again"
    assert found.table.height == 36
    assert found.table["seed"].unique().to_list() == [5]
    assert found.table.columns[:5] == ["point", "replication", "seed", *_columns()]
    row = found.summary.row(2, named=True)  # 2 attempts, 1 s
    values = [0.04 * (1 + number / 10) for number in range(6)]
    assert row["error_rate"] == pytest.approx((values[2] + values[3]) / 2)
    assert (row["error_rate_low"], row["error_rate_high"]) == pytest.approx((values[0], values[-1]))
    assert found.summary["verdict"].to_list() == ["FAIL", "FAIL", "UNDECIDED", "UNDECIDED", "PASS", "PASS"]
    assert found.own
    assert found.points[found.reference].settings == ("gateway.retry.max_attempts=2", "upstream.timeout.ttft=2s")


def _columns():
    return ["gateway.retry.max_attempts", "upstream.timeout.ttft_s"]


def test_differences_are_paired_and_their_error_is_kept_over_all(arithmetic):
    over = {"gateway.retry.max_attempts": [2, 1, 3]}
    found = llmsim.sweep(SMALL, over, metrics=["error_rate"], replications=7)
    first = found.differences.row(0, named=True)
    # 0.16 * (1 + r/10) more, r = 0 to 6. Seven signs alike: 2/128, twice that by Holm.
    assert first["change"] == pytest.approx(0.16 * 1.3)
    assert (first["low"], first["high"]) == pytest.approx((0.16, 0.16 * 1.6))
    assert (first["p"], first["verdict"]) == (pytest.approx(2 / 128 * 2), "worse")
    assert found.differences["verdict"].to_list() == ["worse", "better"]
    assert "✗" in str(found) and "✓" in str(found)
    few = llmsim.sweep(SMALL, over, metrics=["error_rate"])
    assert few.differences["verdict"].to_list() == ["same", "same"]
    assert "sure takes 7 replications" in str(few)


def test_the_best_meets_its_slos_and_names_who_it_is_not_told_from(arithmetic):
    found = llmsim.sweep(SMALL, OVER)
    best = found.best("error_rate")
    assert best.point.number == 4
    assert [one.number for one in best.rivals] == [5], "the timeout changes nothing in these runs"
    assert "Not told apart from it" in repr(best)
    assert "with another seed" in repr(best)
    highest = found.best("error_rate", goal="max")
    assert highest.point.number == 4, "3 attempts are all that pass"
    failing = llmsim.sweep(SMALL, {"gateway.retry.max_attempts": [1]})
    assert "No point meets its SLOs" in repr(failing.best("error_rate"))
    with pytest.raises(LlmsimError, match=r"'ttft p.42.' was not measured here; there are ttft p"):
        found.best("ttft p(42)")


def test_it_goes_on_where_it_was_and_ends_with_the_same_bytes(tmp_path, arithmetic):
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    llmsim.sweep(SMALL, OVER, out=whole)
    arithmetic.clear()

    def stop(at):
        if at.done == 17:
            raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted, match=r"17 of 36 runs.*goes on from there") as stopped:
        llmsim.sweep(SMALL, OVER, out=part, progress=stop)
    assert stopped.value.partial.table.height == 17
    assert stopped.value.partial.verdicts[0] == "UNDECIDED"
    told = repr(stopped.value.partial)
    assert "95 % interval" not in told, "of three"
    assert "takes 10 replications (sign test, 5 % over all by Holm); these are 3." in told
    assert not part.exists()
    before = kept(part)
    assert before == arithmetic
    # A line that was cut off, as by a kill in the middle of a write.
    journal = tmp_path / "part.parquet.journal"
    journal.write_bytes(journal.read_bytes() + b'["deadbeef","3|3",[[0.1')
    found = llmsim.sweep(SMALL, OVER, out=part)
    assert found.resumed == 17
    assert len(arithmetic) == len(set(arithmetic)) == 36, "nothing twice"
    assert part.read_bytes() == whole.read_bytes()
    assert not journal.exists()
    again = llmsim.sweep(SMALL, OVER, out=part)
    assert len(arithmetic) == 36
    assert again.table.equals(found.table)
    more = llmsim.sweep(SMALL, OVER, out=part, replications=8)
    assert (more.resumed, more.table.height, len(arithmetic)) == (36, 48, 48)
    fewer = llmsim.sweep(SMALL, OVER, out=part)
    assert fewer.table.equals(found.table)
    assert pl.read_parquet(part).height == 48, "what is there is not thrown away"
    assert pl.read_parquet(part).equals(more.table)


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_an_end_in_the_middle_of_the_end_is_made_up_for(tmp_path, arithmetic, monkeypatch, step):
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    llmsim.sweep(SMALL, OVER, out=whole)
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, lambda *_, **__: 1 / 0)  # before the file is in its place; before the journal goes
        with pytest.raises(ZeroDivisionError):
            llmsim.sweep(SMALL, OVER, out=part)
    assert part.exists() == (step == "unlink")
    arithmetic.clear()
    assert llmsim.sweep(SMALL, OVER, out=part).resumed == 36
    assert part.read_bytes() == whole.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["part.parquet", "whole.parquet"]
    assert not arithmetic


def test_a_line_that_does_not_check_is_not_there(tmp_path, arithmetic):
    out = tmp_path / "a.parquet"

    def stop(at):
        if at.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted):
        llmsim.sweep(SMALL, OVER, out=out, progress=stop)
    journal = tmp_path / "a.parquet.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"0.", b"1.", 1)
    journal.write_bytes(b"".join(lines))
    assert llmsim.sweep(SMALL, OVER, out=out).resumed == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scenario": {**SMALL, "traffic": {"base_rate": "6/s"}}}, "the scenario differs"),
        ({"seed": 6}, "the seed differs"),
        ({"over": {"gateway.retry.max_attempts": [1, 2]}}, "what varies differs"),
        ({"metrics": ["error_rate"]}, "what is measured differs"),
    ],
)
def test_the_file_of_another_sweep_is_refused(tmp_path, arithmetic, changed, said):
    out = tmp_path / "a.parquet"
    asked = {"scenario": SMALL, "over": OVER, "out": out}
    llmsim.sweep(**asked)
    before = out.read_bytes()
    with pytest.raises(LlmsimError, match=f"another sweep: {said}; name another file, or begin anew with: rm -f"):
        llmsim.sweep(**{**asked, **changed})
    assert out.read_bytes() == before
    renamed = {**SMALL, "description": "Said otherwise.", "replications": 3}
    assert llmsim.sweep(renamed, OVER, out=out).resumed == 36, "what changes no run is no reason"


def test_what_is_no_sweep_is_not_written_over(tmp_path, arithmetic):
    other = tmp_path / "mine.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(other)
    for place, said in (
        (other, "is no sweep"),
        (tmp_path / "a.csv", "ends with .parquet"),
        (tmp_path / "x/a.parquet", "no folder"),
    ):
        with pytest.raises(LlmsimError, match=said):
            llmsim.sweep(SMALL, OVER, out=place)
    assert not arithmetic


def test_two_at_once_do_not_share_a_file(tmp_path, arithmetic):
    out = tmp_path / "a.parquet"

    def another(at):
        if at.done == 3:
            with pytest.raises(LlmsimError, match="in use by another process"):
                llmsim.sweep(SMALL, OVER, out=out)

    assert llmsim.sweep(SMALL, OVER, out=out, progress=another).table.height == 36


def test_code_of_ones_own_is_known_by_its_text(tmp_path):
    async def one(request, call_next):
        return await call_next(request)

    async def two(request, call_next):
        return await call_next(request.to("spare"))

    base = llmsim.load(SMALL)
    digests = set()
    for handle in (one, two):
        gateway = llmsim.Gateway(policies=(llmsim.policy(handle),))
        digests.add(asked([base.with_gateway(gateway)], "", ())["scenario"])
    assert len(digests) == 2
    twice = [base.with_gateway(llmsim.Gateway(policies=(Refuses(),))) for _ in range(2)]
    assert asked(twice[:1], "", ()) == asked(twice[1:], "", ())


def test_values_that_go_by_the_same_text_are_told(arithmetic):
    with pytest.raises(ScenarioError, match=r"two values are both called .Refuses."):
        llmsim.sweep(SMALL, {"gateway.policies": [[Refuses()], [Refuses()]]})


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"gateway.retry.max_attempts": [1, 0]}, "gateway.retry.max_attempts"),
        ({"gateway.retry.max_attemps": [1]}, "Did you mean 'max_attempts'"),
        ({"gateway.hedge.after": ["1s"]}, "no policy 'hedge'"),
        ({"upstream.timeout.ttft": "500,1000"}, "500 is not a duration"),
        ({"upstream.timeout.ttft": "5s..1s in 3"}, "lower end first"),
        ({"upstream.timeout.ttft": ("1s", "5s")}, "needs values, not a range"),
        ({"upstream.timeout.ttft": "1x..5x"}, "'1x' is not a duration"),
        ({"seed": [1, 2]}, "same for all settings"),
        ({"gateway.retry.max_attempts": []}, "there is no value"),
        ({"gateway.retry.max_attempts": (1, 2, 3)}, "is no range"),
        ({}, "nothing varies"),
    ],
)
def test_all_points_are_checked_before_the_first_run(arithmetic, over, said):
    with pytest.raises(ScenarioError) as wrong:
        llmsim.sweep(SMALL, over)
    assert said in str(wrong.value)
    assert not arithmetic


def test_a_value_that_does_not_fit_is_told_with_the_point_it_is_at(arithmetic):
    over = {"gateway.retry.max_attempts": [1, 2, -3, -4], "upstream.timeout.ttft": ["1s", "2s"]}
    with pytest.raises(ScenarioError) as wrong:
        llmsim.sweep(SMALL, over)
    assert len(wrong.value.problems) == 2, "each once, not at every point"
    assert "(at gateway.retry.max_attempts=-3, upstream.timeout.ttft=1s)" in str(wrong.value)


def test_policies_on_and_off_whole_and_by_preset(arithmetic):
    found = llmsim.sweep(SMALL, {"gateway.retry": ["on", "off", {"max_attempts": 5}], "upstream.timeout": "on,off"})
    gateways = [one.gateway for one in found.scenarios]
    assert [[p.kind for p in g.policies] for g in gateways] == [["retry"]] * 2 + [[]] * 2 + [["retry"]] * 2
    assert [len(g.upstream) for g in gateways] == [1, 0] * 3
    assert gateways[4].policies[0].max_attempts == 5
    assert found.reference == 0 and found.own
    assert found.summary["gateway.retry"].to_list()[::2] == ["on", "off", "{max_attempts: 5}"]
    presets = llmsim.sweep(SMALL, {"gateway.preset": ["envoy", "article-snippet"]})
    assert [one.gateway.preset for one in presets.scenarios] == ["envoy", "article-snippet"]


def test_a_fault_can_be_off(arithmetic):
    fault = {"name": "blip", "provider": "openai", "at": "2s", "duration": "5s", "latency": {"multiplier": "3x"}}
    found = llmsim.sweep({**SMALL, "faults": [fault]}, {"faults.blip": ["on", "off"]})
    assert [len(one.faults) for one in found.scenarios] == [1, 0]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("ttft p(99)", "ttft_p99_s"),
        ("ttft{provider:openai} mean", "ttft_mean_s{provider:openai}"),
        ("retry_amplification max", "retry_amplification_max"),
        ("cost_per_ok", "cost_per_ok_usd"),
        ("goodput value", "goodput_per_s"),
    ],
)
def test_metrics_are_written_as_in_slo_lines(arithmetic, name, column):
    assert column in llmsim.sweep(SMALL, OVER, metrics=name).table.columns


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ttft", "say which number of it: ttft p"),
        ("eror_rate", "Did you mean 'error_rate'"),
        ("ttft{provider:opnai} p(95)", "Did you mean 'openai'"),
        ("ttft p95", r"Write p\(95\)"),
    ],
)
def test_what_is_no_metric_is_told(arithmetic, name, said):
    with pytest.raises(LlmsimError, match=said):
        llmsim.sweep(SMALL, OVER, metrics=[name])


def test_an_error_of_a_run_says_at_which_point():
    base = llmsim.load(SMALL).with_gateway(llmsim.Gateway(policies=(Refuses(),)))
    with pytest.raises(PolicyError) as wrong:
        llmsim.sweep(base, {"providers.openai.ttft": ["1s"]})
    assert wrong.value.__notes__ == ["at providers.openai.ttft=1s, replication 0"]


@pytest.mark.slow
def test_an_error_in_a_worker_says_so_too():
    over = {"gateway.policies": [[{"retry": {"max_attempts": 1}}], [Refuses()]]}
    with pytest.raises(PolicyError) as wrong:
        llmsim.sweep(SMALL, over, jobs=2)
    assert wrong.value.__notes__[0].startswith("at gateway.policies=[Refuses], replication ")


class Refuses:
    """A policy that breaks its contract."""

    kind = "refuses"

    def start(self, run):
        async def handle(request, call_next):
            raise RuntimeError("no")

        return handle


def test_everything_recorded_is_kept_where_that_is_asked_for():
    found = llmsim.sweep(SMALL, {"gateway.retry.max_attempts": [1]}, replications=2, keep=True)
    assert found.results[0].metrics["error_rate"] == found.summary["error_rate"][0]
    with pytest.raises(LlmsimError, match="take one of the two"):
        llmsim.sweep(SMALL, OVER, keep=True, out="a.parquet")


def test_it_shows_itself_everywhere(arithmetic):
    found = llmsim.sweep(SMALL, OVER)
    text = repr(found)
    assert text.startswith("small: 6 points, 6 replications each, seed 5\n")
    assert "→  2                   2s" in text
    assert "<table" in found._repr_html_()
    assert found._repr_markdown_().startswith("**small: 6 points")
    page = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert page["points"][4]["settings"] == ["gateway.retry.max_attempts=3", "upstream.timeout.ttft=1s"]
    assert page["points"][4]["verdict"] == "PASS"


def test_an_interrupt_after_the_first_run_claims_nothing(arithmetic):
    def stop(at):
        if at.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted) as stopped:
        llmsim.sweep(SMALL, OVER, progress=stop, replications=20)
    assert "There is nothing yet to compare it with." in repr(stopped.value.partial)
    assert "✓ better" not in repr(stopped.value.partial)


@pytest.mark.slow
def test_processes_change_nothing(tmp_path):
    files = []
    for jobs in (1, 2):
        files.append(tmp_path / f"{jobs}.parquet")
        llmsim.sweep(SMALL, OVER, out=files[-1], jobs=jobs, replications=2)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert pl.read_parquet(files[0]).height == 12


@pytest.mark.slow
@pytest.mark.clock
def test_a_kill_loses_nothing_and_repeats_nothing(tmp_path):
    whole, part = tmp_path / "whole.parquet", tmp_path / "part.parquet"
    llmsim.sweep(SMALL, OVER, out=whole)
    told = killed(part, kills=3, jobs=(1, 2, 1), replications=6, seed=1)
    assert told["runs"] == 36
    assert part.read_bytes() == whole.read_bytes()


def test_a_scenario_is_not_changed_by_being_swept(arithmetic):
    base = llmsim.load(SMALL)
    before = dataclasses.replace(base)
    llmsim.sweep(base, {"gateway.retry": ["off"]})
    assert base == before
