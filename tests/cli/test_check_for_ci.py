"""What a check leaves for CI, of every kind of scenario: JUnit that readers accept, annotations within limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from llmsim.cli import checking
from llmsim.cli.baseline import Baseline
from llmsim.cli.checking import Asked, died
from llmsim.errors import SimulationInterrupted
from llmsim.report.github import LARGEST_SUMMARY, MOST_ANNOTATIONS, commands, summary
from llmsim.report.junit import to_junit

#: What Jenkins's schema allows (xunit plugin, junit-10.xsd): attributes (! required), and elements inside.
SCHEMA = {
    "testsuites": ("name time tests failures errors", {"testsuite"}),
    "testsuite": (
        "name! tests! failures! errors! group time skipped timestamp hostname id package file log url",
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": ("", {"property"}),
    "property": ("name! value!", set()),
    "testcase": ("name! time classname group", {"skipped", "error", "failure", "system-out", "system-err"}),
    "failure": ("type message", set()),
    "error": ("type message", set()),
    "skipped": ("type message", set()),
    "system-out": ("", set()),
}
#: SUREFIRE_TIME there.
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def validated(text: str) -> ET.Element:
    """The root, if the schema allows it, its names are unique and its counts are what they say."""
    root = ET.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    for element in root.iter():
        words, inside = SCHEMA[element.tag]
        allowed = {word.rstrip("!") for word in words.split()}
        assert set(element.attrib) <= allowed, element.tag
        assert {word[:-1] for word in words.split() if word.endswith("!")} <= set(element.attrib), element.tag
        assert {child.tag for child in element} <= inside, element.tag
        assert TIME.fullmatch(element.attrib.get("time", "0"))
    counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
    for suite in root:
        for name, path in {**counts, "skipped": "testcase/skipped"}.items():
            assert suite.attrib[name] == str(len(suite.findall(path))), (suite.attrib["name"], name)
    for name, path in counts.items():
        assert root.attrib[name] == str(len(root.findall(f"testsuite/{path}")))
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(set(cases)) == len(cases), "readers take test cases of one name for the same one"
    return root


@pytest.mark.slow
@pytest.mark.parametrize("allow", [(), pytest.param(("--allow-undecided",), marks=pytest.mark.slow)])
def test_junit_of_every_kind(
    scenario: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allow: tuple[str, ...]
) -> None:
    scenario("a-holds")
    sad = scenario("b-expected", error_rate="90%")
    sad.write_text(sad.read_text(encoding="utf-8") + "expect: {fail: [error_rate]}\n", encoding="utf-8")
    scenario("c-fails", error_rate="90%")
    scenario("d-undecided", replications=2)
    (tmp_path / "e-error.yaml").write_text("version: 1\ntrafic: {}\nproviders: {a: {ttft: \x01}}\n", encoding="utf-8")
    scenario("f-died")
    scenario("g-interrupted")
    scenario("h-not-run")
    simulate, check_one = checking.simulate, checking.check_one

    def interrupted(given: Any, **options: Any) -> Any:
        if given.name == "g-interrupted":
            partial = simulate(given, **{**options, "replications": 1})
            raise SimulationInterrupted("interrupted", partial=partial)
        return simulate(given, **options)

    def mortal(file: Path, asked: Asked, *rest: Any, **options: Any) -> Any:
        return died(file, asked) if file.stem == "f-died" else check_one(file, asked, *rest, **options)

    monkeypatch.setattr(checking, "simulate", interrupted)
    monkeypatch.setattr("llmsim.cli.checks.check_one", mortal)
    ran = ask("check", *sorted(tmp_path.glob("*.yaml")), "--jobs", 1, "--junit", "out.xml", "--github", *allow)
    assert ran.exit_code == 130
    root = validated((tmp_path / "out.xml").read_text(encoding="utf-8"))
    told = {}
    for suite in root:
        (case,) = suite.findall("testcase")
        told[Path(suite.attrib["file"]).stem[0]] = [child.tag for child in case if child.tag != "system-out"]
    undecided = ["skipped"] if allow else ["failure"]
    assert told == {
        "a": [], "b": [], "c": ["failure"], "d": undecided, "e": ["error"], "f": ["error"], "g": undecided,
        "h": ["skipped"],
    }  # fmt: skip


@pytest.mark.slow
def test_lines_that_say_the_same_have_names_of_their_own(scenario: Any, ask: Any, tmp_path: Path) -> None:
    path = scenario("twice")
    text = path.read_text(encoding="utf-8").replace('["value < 10%"]', '["value < 10%", "value < 10%"]')
    path.write_text(text, encoding="utf-8")
    ask("check", "twice.yaml", "--junit", "out.xml")
    validated((tmp_path / "out.xml").read_text(encoding="utf-8"))


def _failing(number: int, verdict: str = "FAIL", markdown: str = "") -> dict[str, Any]:
    line = {
        "metric": "ttft", "expression": "p(95) < 2s", "verdict": verdict, "excess": (number * 7) % 30, "line": 4,
        "reason": "", "shown": "3s", "measured": 3.0, "interval": [2.5, None],
    }  # fmt: skip
    return {
        "file": f"s{number}.yaml", "scenario": f"s{number}", "verdict": verdict, "slo": [line], "advice": ["So it is."],
        "markdown": markdown or f"### s{number}\n", "wall_s": 1e-5,
    }  # fmt: skip


def test_thirty_failing_scenarios_at_github() -> None:
    """10 errors and 10 warnings of a step are shown, and 50 of a job (docs.github.com), so the worst come first."""
    pages = [_failing(number) for number in range(30)] + [_failing(number, "UNDECIDED") for number in range(30)]
    pages.append(dict(died(Path("gone.yaml"), Asked())))
    told = commands(pages)
    errors, warnings = ([line for line in told if line.startswith(f"::{kind} ")] for kind in ("error", "warning"))
    assert len(errors) == len(warnings) == MOST_ANNOTATIONS == 10
    assert len(told) == 20
    assert "gone.yaml" in errors[0] and "WorkerDied" in errors[0]
    worst = sorted(range(30), key=lambda number: -((number * 7) % 30))
    assert [re.findall(r"file=s(\d+)", line)[0] for line in errors[1:]] == [str(number) for number in worst[:9]]
    assert all("\n" not in line for line in told)
    validated(to_junit([{**page, "file": f"{n}.yaml"} for n, page in enumerate(pages[:30])]))


def test_a_summary_has_the_worst_in_full_as_far_as_it_fits() -> None:
    pages = [_failing(number, markdown=f"### s{number}\n" + "é" * 40_000) for number in range(30)]
    text = summary(pages)
    assert len(text.encode()) <= LARGEST_SUMMARY == 1024**2
    shown = [int(number) for number in re.findall(r"^### ❌ FAIL `s(\d+)\.yaml`$", text, re.MULTILINE)]
    assert shown == sorted(range(30), key=lambda number: -((number * 7) % 30))[: len(shown)]
    assert 5 < len(shown) < 30 and text.count("| ❌ FAIL |") == 30
    # A second check of the same step has what the first one left.
    assert len(summary(pages, used=1_000_000).encode()) <= LARGEST_SUMMARY - 1_000_000
    assert len(summary(pages, used=LARGEST_SUMMARY - 100)) <= 100


@pytest.mark.slow
def test_a_baseline_from_another_folder_is_told_by_its_name_and_the_scenarios(
    scenario: Any, ask: Any, tmp_path: Path
) -> None:
    scenario("slow", replications=12, bound="60%")
    ask("check", "slow.yaml", "--jobs", 1, "--quiet", "--json", "base.json", "--replications", 12)
    (tmp_path / "inner").mkdir()
    (tmp_path / "slow.yaml").rename(tmp_path / "inner" / "slow.yaml")
    more = ("--jobs", 1, "--replications", 12, "--set", "providers.openai.ttft=600ms", "--baseline", "base.json")
    ran = ask("check", "inner", *more)
    assert ran.exit_code == 1, "a green build that compared nothing would be worse than a red one"
    assert "ttft p(95)  not worse than the baseline: 300ms → 600ms" in ran.stdout
    (page,) = json.loads((tmp_path / "base.json").read_text(encoding="utf-8"))
    twice = [page, {**page, "file": "other/slow.yaml"}]
    (tmp_path / "base.json").write_text(json.dumps(twice), encoding="utf-8")
    assert "inner/slow.yaml is not in it" in ask("check", "inner", *more).stdout  # which of the two, nobody knows


def test_a_copy_with_another_gateway_is_not_held_against_what_it_was_copied_from(tmp_path: Path) -> None:
    page = {
        "file": "a.yaml", "scenario": "scenario", "seed": 0, "traffic": "t", "values": {"ttft p(95)": [0.3] * 12},
        "slo": [], "verdict": "PASS", "exit_code": 0, "text": "? PASS      ", "notes": [],
    }  # fmt: skip
    (tmp_path / "base.json").write_text(json.dumps([page]), encoding="utf-8")
    baseline = Baseline(tmp_path / "base.json")
    slower = {**page, "values": {"ttft p(95)": [0.6] * 12}}
    assert baseline.held_against(slower)["verdict"] == "FAIL"
    assert baseline.held_against({**slower, "file": "there/a.yaml"})["verdict"] == "FAIL"
    copy = baseline.held_against({**slower, "file": "b.yaml"})
    assert (copy["verdict"], copy["notes"]) == (
        "PASS",
        [f"not compared with {tmp_path / 'base.json'}: b.yaml is not in it"],
    )
