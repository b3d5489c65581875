"""`llmsim check`: what it finds, what it says, and what it leaves for CI."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.cells import cell_len

from llmsim.cli.check_progress import Progress
from llmsim.report.github import MOST_ANNOTATIONS, commands, summary
from llmsim.report.junit import to_junit


@pytest.fixture
def three(scenario: Any, tmp_path: Path) -> Path:
    """A folder with a scenario that holds, one that does not, and files that are none."""
    folder = tmp_path / "chaos"
    (folder / "deep").mkdir(parents=True)
    scenario("good").rename(folder / "good.yaml")
    scenario("bad", error_rate="90%").rename(folder / "deep" / "bad.scenario.yaml")
    (folder / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    (folder / "readme.md").write_text("traffic:\nproviders:\n", encoding="utf-8")
    return folder


def test_finds_scenarios_and_tells_the_broken_ones_in_full(three: Path, ask: Any) -> None:
    ran = ask("check", "chaos", "--jobs", 1)
    assert ran.exit_code == 1
    bad, good, *_ = ran.stdout.split("\n\n")
    assert bad.startswith("✗ FAIL      chaos/deep/bad.scenario.yaml  (6 replications, seed 3)")
    row = next(line for line in bad.splitlines() if "error_rate" in line)
    assert "value < 10%" in row and row.endswith("line 14")
    assert "The same again: llmsim run chaos/deep/bad.scenario.yaml --seed 3" in bad
    assert "Why: " in bad
    assert good.startswith("✓ PASS      chaos/good.yaml")
    assert "1 PASS, 1 FAIL in" in ran.stdout
    assert "left out: chaos/compose.yaml" in ran.stderr


def test_nothing_to_check(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert ask("check").exit_code == 2
    ran = ask("check", "empty")
    assert ran.exit_code == 2
    assert "no scenario in empty" in ran.stderr
    ran = ask("check", "absent.yaml", "--jobs", 1)
    assert ran.exit_code == 2
    assert "there is no such file" in ran.stdout


def test_a_file_that_is_no_scenario_does_not_keep_the_others_from_running(three: Path, ask: Any) -> None:
    (three / "broken.scenario.yaml").write_text("version: 1\n", encoding="utf-8")
    ran = ask("check", "chaos", "--jobs", 1, "--quiet")
    assert ran.exit_code == 2
    assert [line.split()[1] for line in ran.stdout.splitlines()[:3]] == ["ERROR", "FAIL", "PASS"]


def _without_wall_times(text: str) -> str:
    return json.dumps([{k: v for k, v in page.items() if k != "wall_s"} for page in json.loads(text)])


@pytest.mark.slow
def test_the_number_of_processes_does_not_show(three: Path, ask: Any) -> None:
    one, two = (ask("check", "chaos", "--jobs", jobs, "--json", "-", "--quiet") for jobs in (1, 2))
    assert (one.exit_code, two.exit_code) == (1, 1)
    assert _without_wall_times(one.stdout) == _without_wall_times(two.stdout)


@pytest.mark.slow
def test_workers_look_where_the_one_who_asks_stands(
    three: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay for the next check, which may be asked from another folder."""
    for folder in ("one", "two"):
        shutil.copytree(three, tmp_path / folder / "chaos")
        monkeypatch.chdir(tmp_path / folder)
        assert ask("check", "chaos", "--jobs", 2, "--quiet").exit_code == 1
        shutil.rmtree(tmp_path / folder / "chaos")


def test_junit(three: Path, ask: Any, tmp_path: Path) -> None:
    (three / "broken.scenario.yaml").write_text("version: 1\n", encoding="utf-8")
    ask("check", "chaos", "--jobs", 1, "--junit", "check.xml", "--quiet")
    root = ET.parse(tmp_path / "check.xml").getroot()
    assert root.tag == "testsuites"
    assert {key: root.attrib[key] for key in ("tests", "failures", "errors")} == {
        "tests": "3", "failures": "1", "errors": "1",
    }  # fmt: skip
    broken, bad, good = root
    assert broken.find("testcase/error") is not None
    case = bad.find("testcase")
    assert case is not None
    assert case.attrib == {"classname": "bad", "name": "error_rate value < 10%"}
    failure = case.find("failure")
    assert failure is not None and failure.attrib["type"] == "FAIL"
    assert "chaos/deep/bad.scenario.yaml:14" in str(failure.text)
    measured = {one.attrib["name"]: one.attrib["value"] for one in bad.iter("property")}
    assert 0.7 < float(measured["slo.1.measured"]) < 0.95
    assert [child.tag for child in good] == ["properties", "testcase"]
    assert good.find("testcase/failure") is None


def test_undecided_is_a_failure_unless_allowed(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("unsure", replications=2)
    for options, code, tag in (((), 3, "failure"), (("--allow-undecided",), 0, "skipped")):
        assert ask("check", "unsure.yaml", "--junit", "out.xml", *options).exit_code == code
        assert ET.parse(tmp_path / "out.xml").getroot().find(f"testsuite/testcase/{tag}") is not None


def test_pages_and_tables(three: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is on a page is the business of tests/report/test_page.py, and takes a second to draw.
    def drawn(result: Any, *_: object, **__: object) -> str:
        return f"{result.scenario.name}: {result.verdict}"

    monkeypatch.setattr("llmsim.report.page.to_page", drawn)
    ran = ask("check", "chaos", "--jobs", 1, "--html", "pages", "--out", "tables")
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {"bad.html", "good.html", "index.html"}
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"bad", "good"}
    assert "    report: pages/bad.html" in ran.stdout
    assert "all reports: pages/index.html" in ran.stdout
    listed = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert 'href="bad.html"' in listed and "✗ FAIL      chaos/deep/bad.scenario.yaml  (6 repl" in listed
    assert "bad: FAIL" in (tmp_path / "pages" / "bad.html").read_text(encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    ran = ask("check", "chaos", "--jobs", 1, "--html", "file")
    assert ran.exit_code == 2
    assert "--html file/bad.html" in ran.stdout and "name a directory" in ran.stdout


@pytest.mark.slow
def test_under_github_actions(three: Path, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place))
    ran = ask("check", "chaos", "--jobs", 1, "--quiet")
    found = [line for line in ran.stdout.splitlines() if line.startswith("::")]
    assert len(found) == 1
    assert found[0].startswith("::error file=chaos/deep/bad.scenario.yaml,line=14,")
    assert ",title=bad%3A error_rate value < 10%25::measured " in found[0]
    text = place.read_text(encoding="utf-8")
    assert "| ❌ FAIL | `chaos/deep/bad.scenario.yaml` |" in text
    assert "### ❌ FAIL `chaos/deep/bad.scenario.yaml`" in text and "### ✅" not in text and "### ✗" not in text
    assert "The same again: `llmsim run chaos/deep/bad.scenario.yaml --seed 3`" in text
    assert not [line for line in ask("check", "chaos", "--jobs", 1, "--no-github").stdout.splitlines() if "::" in line]


def _line(verdict: str, excess: float, metric: str = "ttft") -> dict[str, Any]:
    return {
        "metric": metric, "expression": "p(95) < 2s", "verdict": verdict, "excess": excess, "line": 4, "reason": "",
        "shown": "3s",
    }  # fmt: skip


def test_the_worst_come_first_within_what_github_shows() -> None:
    lines = [_line("FAIL", excess, f"m{excess}") for excess in range(15)] + [_line("UNDECIDED", 1.0)]
    page = {"file": "a.yaml", "scenario": "a", "verdict": "FAIL", "slo": lines, "advice": ["100 %\nof it: bad"]}
    told = commands([page])
    assert len(told) == MOST_ANNOTATIONS + 1
    assert "title=a%3A m14 " in told[0]
    assert told[-1].startswith("::warning ")
    assert "100 %25%0Aof it: bad" in told[0]


def test_a_summary_that_is_too_long_is_cut_at_a_scenario() -> None:
    page = {"file": "a.yaml", "scenario": "a", "verdict": "FAIL", "slo": [], "markdown": "x" * 700_000}
    text = summary([page, page])
    assert len(text) < 1024 * 1024
    assert text.endswith("(more than fits here)\n")


@pytest.mark.slow
def test_a_line_that_aborts(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("a", error_rate="90%", bound="10% abort_on_fail")
    scenario("b")
    ran = ask("check", "a.yaml", "b.yaml", "--jobs", 1, "--json", "out.json")
    assert ran.exit_code == 1
    pages = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [page["verdict"] for page in pages] == ["FAIL", "NOT RUN"]
    assert "since a.yaml failed a line that says abort_on_fail" in ran.stdout


@pytest.mark.slow
def test_ones_own_gateway(scenario: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario("bad", error_rate="30%", bound="19%", duration="60s")
    (tmp_path / "my_gateway_of_a_test.py").write_text(
        "async def gateway(request, providers):\n"
        "    try:\n"
        "        return await providers['openai'].send(request)\n"
        "    except Exception:\n"
        "        return await providers['openai'].send(request)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert ask("check", "bad.yaml", "--set", "gateway.retry.max_attempts=1").exit_code == 1
    ran = ask("check", "bad.yaml", "--gateway", "my_gateway_of_a_test:gateway")
    assert ran.exit_code == 0, ran.stdout
    ran = ask("check", "bad.yaml", "--gateway", "my_gateway_of_a_test:gatevay")
    assert ran.exit_code == 2
    assert "has no 'gatevay'; it has gateway" in ran.stdout
    assert "write it like my_app.gateway:gateway" in ask("check", "bad.yaml", "--gateway", "x").stdout


@pytest.mark.slow
def test_a_baseline(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("slow", replications=12, bound="60%")
    more = ("--replications", 12, "--jobs", 1)
    assert ask("check", "slow.yaml", "--json", "base.json", *more).exit_code == 0
    ran = ask("check", "slow.yaml", "--baseline", "base.json", *more)
    assert ran.exit_code == 0, "the same is no regression"
    # Twice the time to first token, and inside every SLO.
    ran = ask(
        "check",
        "slow.yaml",
        "--baseline",
        "base.json",
        "--set",
        "providers.openai.ttft=600ms",
        "--junit",
        "out.xml",
        "--html",
        "pages",
        "--markdown",
        "out.md",
        *more,
    )
    assert ran.exit_code == 1
    assert (
        "The same again: llmsim run slow.yaml --seed 3 --replications 12 --set providers.openai.ttft=600ms"
        in ran.stdout
    )
    summed = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "### ❌ FAIL `slow.yaml`" in summed and "slow: PASS" not in summed, "its own verdict is not the check's"
    assert summed.count("ttft p(95) not worse than the baseline") == 2, "in the table, and where it is told in full"
    page = (tmp_path / "pages" / "slow.html").read_text(encoding="utf-8")
    assert "slow: FAIL" in page and "300ms → 600ms" in page, "the page says what the terminal says"
    assert ran.stdout.startswith("✗ FAIL      slow.yaml")
    assert "ttft p(95)  not worse than the baseline: 300ms → 600ms, +300ms (+100.0%)" in ran.stdout
    names = [case.attrib["name"] for case in ET.parse(tmp_path / "out.xml").iter("testcase")]
    assert "ttft p(95) not worse than the baseline" in names
    assert ask("check", "slow.yaml", "--baseline", "base.json", "--least-effect", 1.5, "--set",
               "providers.openai.ttft=600ms", *more).exit_code == 0  # fmt: skip


@pytest.mark.slow
def test_a_saved_result_is_a_baseline_too(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("slow", replications=12, bound="60%")
    ask("check", "slow.yaml", "--jobs", 1, "--quiet", "--out", "before", "--replications", 12)
    more = ("--jobs", 1, "--replications", 12, "--set", "providers.openai.ttft=600ms", "--baseline")
    ran = ask("check", "slow.yaml", *more, "before/slow")
    assert ran.exit_code == 1
    assert "ttft p(95)  not worse than the baseline: 300ms → 600ms" in ran.stdout
    (tmp_path / "before" / "slow" / "events.parquet").unlink()
    ran = ask("check", "slow.yaml", *more, "before/slow/result.json")
    assert ran.exit_code == 2 and "events.parquet is missing" in ran.stderr


@pytest.mark.slow
def test_what_is_no_baseline(scenario: Any, ask: Any, tmp_path: Path) -> None:
    scenario("calm")
    ran = ask("check", "calm.yaml", "--baseline", "absent.json")
    assert ran.exit_code == 2
    assert "--baseline absent.json: No such file" in ran.stderr
    (tmp_path / "odd.json").write_text('["x"]', encoding="utf-8")
    ran = ask("check", "calm.yaml", "--baseline", "odd.json")
    assert ran.exit_code == 2
    assert "is not what `llmsim check --json FILE` writes" in ran.stderr
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    ran = ask("check", "calm.yaml", "--baseline", "empty.json")
    assert ran.exit_code == 0
    assert "Note: not compared with empty.json: calm.yaml is not in it" in ran.stdout
    ask("check", "calm.yaml", "--json", "base.json", "--quiet")
    more = ("--baseline", "base.json", "--set")
    assert "it takes 9" in ask("check", "calm.yaml", *more, "replications=6").stdout
    ran = ask("check", "calm.yaml", *more, "traffic.base_rate=5/s")
    assert "calm.yaml had other traffic or another clock there" in ran.stdout


EXPECTING = "expect: {fail: [error_rate]}\n"


@pytest.mark.slow
def test_a_story_that_is_meant_to_fail(scenario: Any, ask: Any, tmp_path: Path) -> None:
    path = scenario("sad", error_rate="90%")
    path.write_text(path.read_text(encoding="utf-8") + EXPECTING, encoding="utf-8")
    ran = ask("check", "sad.yaml", "--jobs", 1, "--json", "out.json", "--junit", "out.xml", "--github", "--html", "out")
    assert ran.exit_code == 0
    assert "sad: EXPECTED" in (tmp_path / "out" / "sad.html").read_text(encoding="utf-8")
    assert ran.stdout.startswith("✓ EXPECTED  sad.yaml") and "error_rate broke, as the scenario expects." in ran.stdout
    assert "::error" not in ran.stdout
    (page,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (page["verdict"], page["slo"][0]["verdict"]) == ("EXPECTED", "EXPECTED")
    assert ET.parse(tmp_path / "out.xml").getroot().attrib["failures"] == "0"
    assert ask("run", "sad.yaml", "--quiet").exit_code == 1, "a run says what is"
    ran = ask("check", "sad.yaml", "--jobs", 1, "--set", "providers.openai.errors.server_error=0%")
    assert ran.exit_code == 1, "it was to break, and holds"
    assert ran.stdout.startswith("✗ FAIL      sad.yaml") and "error_rate  is expected to break, and holds" in ran.stdout
    assert "The same again: llmsim run sad.yaml" in ran.stdout


@pytest.mark.slow
def test_what_breaks_beside_what_is_expected(scenario: Any, ask: Any) -> None:
    path = scenario("sad", error_rate="90%")
    text = path.read_text(encoding="utf-8") + '  goodput: ["value > 3/s"]\n' + EXPECTING
    path.write_text(text, encoding="utf-8")
    assert ask("check", "sad.yaml", "--jobs", 1).exit_code == 1
    path.write_text(text.replace("[error_rate]", "[error_rat]"), encoding="utf-8")
    ran = ask("check", "sad.yaml", "--jobs", 1)
    assert ran.exit_code == 2 and "slo has no 'error_rat' that could fail" in ran.stdout


@pytest.mark.parametrize("code", ["raise ValueError('no key')", "import sys; sys.exit(3)", "gateway = 5"])
def test_a_gateway_that_cannot_be_had_is_bad_input(
    scenario: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    scenario("calm")
    name = f"broken_gateway_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    ran = ask("check", "calm.yaml", "--gateway", f"{name}:gateway", "--jobs", 1)
    assert ran.exit_code == 2, ran.stdout
    assert f"gateway {name}:gateway: " in ran.stdout and "llmsim itself broke" not in ran.stdout


@pytest.mark.slow
def test_annotations_leave_standard_output_to_the_json(three: Path, ask: Any) -> None:
    ran = ask("check", "chaos", "--jobs", 1, "--json", "-", "--github", "--quiet")
    assert len(json.loads(ran.stdout)) == 2
    assert "::error file=" in ran.stderr


def test_places_to_write_to_are_looked_at_first(scenario: Any, ask: Any) -> None:
    scenario("calm")
    ran = ask("check", "calm.yaml", "--junit", "absent/out.xml")
    assert ran.exit_code == 2 and "PASS" not in ran.stdout
    assert "--junit absent/out.xml: there is no directory absent" in ran.stderr


def test_junit_has_only_what_xml_can_say_and_no_name_twice() -> None:
    page = {"scenario": "a\ud800\ufffe\x0b", "verdict": "NONE", "wall_s": 0.0}
    text = to_junit([{**page, "file": "one.yaml"}, {**page, "file": "two.yaml"}])
    names = [suite.attrib["name"] for suite in ET.fromstring(text.encode("utf-8"))]
    assert names == ["a\ufffd\ufffd\ufffd (one.yaml)", "a\ufffd\ufffd\ufffd (two.yaml)"]


def test_annotations_start_at_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    page = {"file": "a.yaml", "scenario": "a", "verdict": "FAIL", "slo": [_line("FAIL", 1.0)], "advice": []}
    assert commands([page])[0].startswith("::error file=deep/a.yaml,line=4,")


def test_a_line_of_progress_says_what_runs() -> None:
    line = Progress(["x/a.yaml", "b.scenario.yaml", "c.yaml"], [1.0, 2.0, 1.0], [1, 0, 2], 2, wanted=False)
    assert line.running() == ["b", "a"]
    line.done(1)
    assert line.sentence(10.0) == "1 of 3 done, about 0:10 left"
    assert line.running() == ["a", "c"]


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_a_line_of_progress_fits(width: int) -> None:
    names = [*(f"a-scenario-with-a-long-name-{number}.yaml" for number in range(3)), "überlast-日本-日本.yaml"]
    line = Progress(names, [1.0] * 4, [3, 0, 1, 2], 2, wanted=False)
    drawn = line.line(5.0, width)
    assert drawn.startswith("0:05  0 of 4 done")
    assert cell_len(drawn) <= width
    if width > 40:
        assert "überlast-日本" in drawn
    assert drawn.endswith({24: "done", 40: "…"}.get(width, "name-0"))  # room for a few letters of a name is none


def test_what_is_left_counts_down_between_scenarios() -> None:
    line = Progress(["a.yaml", "b.yaml"], [1.0, 3.0], [0, 1], 1, wanted=False)
    line.done(0)
    assert [line.sentence(10.0, since) for since in (0.0, 8.0, 40.0)] == [
        "1 of 2 done, about 0:30 left", "1 of 2 done, about 0:22 left", "1 of 2 done",
    ]  # fmt: skip


def test_the_line_stays_away_while_something_else_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmsim.cli.check_progress.redraws", lambda _: True)
    line = Progress(["a.yaml", "b.yaml"], [1.0, 3.0], [0, 1], 1, wanted=True)
    line.hide()
    assert capsys.readouterr().err.endswith("\r\x1b[2K")
    line._draw()  # as the clock does
    assert capsys.readouterr().err == ""
    line.done(0)
    assert "1 of 2 done" in capsys.readouterr().err
    line.close()
    assert capsys.readouterr().err == "\r\x1b[2K"
