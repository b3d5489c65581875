"""`llmsim run`: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("changes", "options", "code", "verdict"),
    [
        ({}, (), 0, "PASS"),
        ({"error_rate": "90%"}, (), 1, "FAIL"),
        ({"replications": 2}, (), 3, "UNDECIDED"),
        ({"replications": 2}, ("--allow-undecided",), 0, "UNDECIDED"),
    ],
)
def test_exit_codes_of_verdicts(
    scenario: Any, ask: Any, changes: dict[str, Any], options: tuple[str, ...], code: int, verdict: str
) -> None:
    ran = ask("run", scenario("one", **changes), *options)
    assert ran.exit_code == code
    assert f"one: {verdict}" in ran.stdout
    assert "openai (first choice) slots" in ran.stderr  # the preflight
    assert "The same again: llmsim run" in ran.stdout


@pytest.mark.slow
def test_several_files_count_as_the_worst(scenario: Any, ask: Any, tmp_path: Path) -> None:
    good, bad, unsure = scenario("good"), scenario("bad", error_rate="90%"), scenario("unsure", replications=2)
    assert ask("run", good, unsure).exit_code == 3
    ran = ask("run", good, bad, unsure)
    assert ran.exit_code == 1
    last = ran.stdout.rstrip().splitlines()[-3:]
    assert [line.split()[1] for line in last] == ["PASS", "FAIL", "UNDECIDED"]
    (tmp_path / "broken.yaml").write_text("version: 1\n", encoding="utf-8")
    ran = ask("run", "broken.yaml", bad)
    assert ran.exit_code == 2
    assert "bad: FAIL" in ran.stdout, "a file that cannot be read must not keep the others from running"


def test_one_file_is_one_object_on_stdout(scenario: Any, ask: Any) -> None:
    ran = ask("run", scenario("calm"), "--json", "-")
    page = json.loads(ran.stdout)
    assert page["verdict"] == "PASS"
    assert page["exit_code"] == ran.exit_code == 0
    assert {
        "scenario", "seed", "replications", "verdict", "simulated_s", "wall_s", "event_hash", "metrics", "slo"
    } <= page.keys()  # fmt: skip
    assert page["seed"] == 3
    assert page["replay"].endswith("--seed 3")
    assert "calm: PASS" in ran.stderr


def test_several_files_are_an_array(scenario: Any, ask: Any, tmp_path: Path) -> None:
    ran = ask("run", scenario("one"), "absent.yaml", "--json", "all.json", "--quiet")
    assert ran.exit_code == 2
    pages = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [page["exit_code"] for page in pages] == [0, 2]
    assert pages[1]["problems"][0]["message"] == "there is no such file"
    assert ran.stdout.splitlines()[0] == "✓ one: PASS"


@pytest.mark.slow
def test_the_replay_command_gives_the_same(scenario: Any, ask: Any) -> None:
    scenario("calm", error_rate="20%")
    first = json.loads(
        ask(
            "run", "calm.yaml", "--seed", 9, "--set", "traffic.base_rate=5/s", "--replications", 7, "--json", "-"
        ).stdout
    )
    words = first["replay"].split()
    assert words[:2] == ["llmsim", "run"]
    again = json.loads(ask(*words[1:], "--json", "-").stdout)
    assert again["event_hash"] == first["event_hash"]
    other = json.loads(ask("run", "calm.yaml", "--json", "-").stdout)
    assert other["event_hash"] != first["event_hash"]


@pytest.mark.slow
def test_saved_results_can_be_explained(scenario: Any, ask: Any, tmp_path: Path) -> None:
    ran = ask("run", scenario("sick", error_rate="90%"), "--out", "out")
    assert "Saved in out; a failed request's story: llmsim explain out" in ran.stdout
    words = ran.stdout.split("story: llmsim ")[1].splitlines()[0].split()
    told = ask(*words)
    assert told.exit_code == 0
    assert "server_error" in told.stdout
    listed = ask("explain", "out")
    assert listed.exit_code == 0
    assert "llmsim explain out" in listed.stdout
    missed = ask("explain", "out", "999999/0/0")
    assert missed.exit_code == 2
    assert "there is no request" in missed.stderr
    assert (tmp_path / "out" / "requests.parquet").exists()


def test_several_files_are_saved_side_by_side(scenario: Any, ask: Any, tmp_path: Path) -> None:
    one = scenario("one", replications=1)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.yaml").write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
    ask("run", one, "more/one.yaml", "--out", "out", "--quiet")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "one-2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "Name a scenario file: llmsim run calm.yaml"),
        (("run", "cal.yaml"), "Did you mean calm.yaml?"),
        (("run", "calm"), "Did you mean calm.yaml?"),
        (("run", "."), "directory"),
        (("run", "calm.yaml", "--set", "gateway.rety.max_attempts=1"), "Did you mean 'retry'?"),
        (("run", "calm.yaml", "--set", "gateway.retry.max_attempts"), "path=value"),
        (("run", "calm.yaml", "--jobs", "0"), "--jobs"),
        (("run", "calm.yaml", "--replications", "0"), "--replications"),
        (("run", "calm.yaml", "--seed", "x"), "--seed"),
        (("run", "calm.yaml", "--json", "no/where.json"), "there is no directory no"),
        (("run", "calm.yaml", "--json", "."), "directory"),
        (("run", "calm.yaml", "--out", "calm.yaml"), "name a directory"),
        (("run", "calm.yaml", "--otlp", "no/where.jsonl"), "--otlp no/where.jsonl: there is no directory no"),
        (("run", "calm.yaml", "--prometheus", "."), "name a file"),
        (("run", "calm.yaml", "--html", "no/where.html"), "--html no/where.html: there is no directory no"),
        (("explain", "nowhere"), "llmsim run FILE --out DIR"),
        (("explain", "calm.yaml"), "name the directory"),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_words_say_what_to_type(scenario: Any, ask: Any, words: tuple[str, ...], said: str) -> None:
    scenario("calm", replications=1)
    ran = ask(*words)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.output


@pytest.mark.slow
def test_exports_and_the_bill(scenario: Any, ask: Any, tmp_path: Path) -> None:
    one = scenario("calm")
    ran = ask("run", one, "--otlp", "run.jsonl", "--prometheus", "run.prom", "--costs")
    assert ran.exit_code == 0
    assert "Exported to run.metrics.jsonl, run.traces.jsonl, run.prom" in ran.stdout
    assert "calm: cost of a replication" in ran.stdout
    assert "calm: a month" in ran.stdout
    for name in ("run.metrics.jsonl", "run.traces.jsonl", "run.prom"):
        assert (tmp_path / name).stat().st_size > 1000
    ask("run", one, scenario("other"), "--otlp", "all.jsonl", "--quiet")
    assert {path.name for path in tmp_path.glob("all-*.traces.jsonl")} == {
        "all-calm.traces.jsonl",
        "all-other.traces.jsonl",
    }


def test_a_page(scenario: Any, ask: Any, tmp_path: Path) -> None:
    ran = ask(
        "run", scenario("calm", replications=1), scenario("other", replications=1), "--html", "page.html", "--quiet"
    )
    assert ran.exit_code in (0, 3)
    for name in ("calm", "other"):
        page = (tmp_path / f"page-{name}.html").read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>") and f"{name}.yaml --seed" in page


def test_no_file_and_none_around(ask: Any) -> None:
    ran = ask("run")
    assert ran.exit_code == 2
    assert "llmsim run FILE.yaml" in ran.stderr


def test_a_bad_file_names_every_problem_with_its_place(scenario: Any, ask: Any) -> None:
    path = scenario("bad", error_rate="90")
    path.write_text(path.read_text(encoding="utf-8").replace("replications", "repetitions"), encoding="utf-8")
    ran = ask("run", "bad.yaml")
    assert ran.exit_code == 2
    assert "bad.yaml:5:1: repetitions: unknown key 'repetitions'" in ran.stderr
    assert "bad.yaml:9:" in ran.stderr


def test_a_fault_of_llmsim_is_4_and_says_how_to_report(
    scenario: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmsim.report.result

    def broken(result: object) -> str:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(llmsim.report.result.Result, "__repr__", broken)
    path = scenario("calm", replications=1)
    ran = ask("run", path)
    assert ran.exit_code == 4
    assert "llmsim itself broke" in ran.stderr
    assert "ZeroDivisionError: a bug" in ran.stderr
    assert "--traceback" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Traceback (most recent call last)" in ask("run", path, "--traceback").stderr
    assert ask("run", path, "absent.yaml").exit_code == 4


def test_what_cannot_be_saved_is_said_beside_the_result(
    scenario: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llmsim.report.result

    def full(result: object, directory: object) -> Path:
        raise OSError(28, "No space left on device", f"{directory}/requests.parquet")

    monkeypatch.setattr(llmsim.report.result.Result, "save", full)
    ran = ask("run", scenario("calm"), "--out", "out")
    assert ran.exit_code == 2
    assert "cannot write out/requests.parquet: No space left on device" in ran.stderr
    assert "calm: PASS" in ran.stdout


def test_quiet_is_one_line(scenario: Any, ask: Any) -> None:
    ran = ask("run", scenario("calm"), "--quiet")
    assert ran.stdout == "✓ calm: PASS\n"
    assert ran.stderr == ""


def test_help_shows_examples_and_exit_codes(ask: Any) -> None:
    for command in ("run", "explain", "schema"):
        ran = ask(command, "--help")
        assert ran.exit_code == 0
        assert "Examples:\n" in ran.stdout
        assert f"llmsim {command}" in ran.stdout
    assert "130  interrupted" in ask("run", "--help").stdout


@pytest.mark.slow
def test_version_and_schema(ask: Any) -> None:
    import llmsim

    assert ask("--version").stdout == f"llmsim {llmsim.__version__}\n"
    assert json.loads(ask("schema").stdout)["title"] == "llmsim scenario"
    page = ask("schema", "faults")
    assert "latency …\n  capacity …\n  rate_limit …\n      Multipliers of TTFT" in page.stdout
    assert "llmsim schema faults.latency" in page.stdout
    assert ask("schema", "fault").exit_code == 2


def test_where_the_time_went(scenario: Any, ask: Any) -> None:
    ran = ask("run", scenario("one", replications=1), "--profile", "--allow-undecided")
    assert ran.exit_code == 0
    assert "of wall time went" in ran.stdout
    for wrong in (("--jobs", "2"), ("--live", "live.yaml", "--budget", "1")):
        refused = ask("run", scenario("one"), "--profile", *wrong)
        assert refused.exit_code == 2
        assert "leave one out" in refused.stderr


@pytest.mark.slow
def test_a_streamed_run_is_told_where_and_goes_on(scenario: Any, ask: Any, tmp_path: Path) -> None:
    first = ask("run", scenario("one"), "--stream", tmp_path / "day")
    assert first.exit_code == 0
    assert f"Saved in {tmp_path / 'day'}" in first.stdout
    written = (tmp_path / "day" / "replication-0000" / "done.json").stat().st_mtime_ns
    again = ask("run", scenario("one"), "--stream", tmp_path / "day", "--json", "-")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["event_hash"][:12] in first.stdout
    assert (tmp_path / "day" / "replication-0000" / "done.json").stat().st_mtime_ns == written
    other = ask("run", scenario("one"), "--seed", 99, "--stream", tmp_path / "day")
    assert other.exit_code == 2
    assert "holds another run" in other.stderr
