"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

# What a run loads cannot be loaded twice in a process, and pytester forgets modules that it sees come.
import llmsim.api
import llmsim.errors
import llmsim.report.advice
import llmsim.scenario.load

pytest_plugins = ["pytester"]

SCENARIO = """\
version: 1
name: {name}
seed: 3
replications: 6
clock: {{duration: 20s, drain: 20s}}
traffic: {{base_rate: 4/s}}
providers:
  openai: {{ttft: 300ms, errors: {{server_error: {errors}}}}}
slo:
  error_rate: ["value < 20%"]
  ttft_ok: ["p(50) < 1s"]
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nllmsim_scenarios = chaos\n")
    (pytester.path / "chaos").mkdir()
    return pytester.path


def write(path: Path, errors: str = "0%") -> None:
    path.write_text(SCENARIO.format(name=path.name.partition(".")[0], errors=errors), encoding="utf-8")


assert llmsim.api and llmsim.report.advice and llmsim.scenario.load


def test_one_test_a_line(folder: Path, pytester: pytest.Pytester) -> None:
    write(folder / "chaos" / "good.yaml")
    write(folder / "bad.scenario.yaml", "90%")
    write(folder / "elsewhere.yaml", "90%")  # neither the name nor the folder
    (folder / "chaos" / "compose.yaml").write_text("services: {}\n", encoding="utf-8")
    ran = pytester.runpytest_inprocess("-rA", "--junitxml=out.xml", "-o", "junit_family=xunit1")
    ran.assert_outcomes(passed=3, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*error_rate value < 20%: measured * % (* FAIL",
            "*of the failures were 500 from openai*",
            "The same again: llmsim run bad.scenario.yaml --seed 3 --replications 6",
            "FAILED bad.scenario.yaml::error_rate value < 20%*",
        ]
    )
    ran.stdout.no_fnmatch_line("*Traceback*")
    cases = {case.attrib["name"]: case for case in ET.parse(folder / "out.xml").iter("testcase")}
    told = {one.attrib["name"]: one.attrib["value"] for one in cases["error_rate value < 20%"].iter("property")}
    assert told.keys() == {"seed", "replications", "measured", "interval", "verdict"}


@pytest.mark.slow
def test_ones_own_gateway_and_options(folder: Path, pytester: pytest.Pytester) -> None:
    write(folder / "bad.scenario.yaml", "90%")
    pytester.makepyfile(
        gateway_of_the_plugins_test="""
        async def gateway(request, providers):
            for _ in range(60):
                try:
                    return await providers["openai"].send(request)
                except Exception as error:
                    failure = error
            raise failure
        """
    )
    pytester.syspathinsert()
    pytester.runpytest_inprocess("--llmsim-gateway", "gateway_of_the_plugins_test:gateway").assert_outcomes(passed=2)
    ran = pytester.runpytest_inprocess("--llmsim-replications", "2")
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(["*a verdict needs at least 6 replications*"])
    pytester.runpytest_inprocess("--llmsim-replications", "2", "--llmsim-allow-undecided").assert_outcomes(skipped=2)


@pytest.mark.slow
def test_a_broken_file_says_what_is_wrong(folder: Path, pytester: pytest.Pytester) -> None:
    (folder / "broken.scenario.yaml").write_text("version: 1\ntrafic: {}\n", encoding="utf-8")
    ran = pytester.runpytest_inprocess()
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*broken.scenario.yaml:2*trafic*"])


@pytest.mark.slow
def test_fixtures(folder: Path, pytester: pytest.Pytester) -> None:
    write(folder / "chaos" / "bad.yaml", "90%")
    pytester.makepyfile(
        """
        import pytest

        def test_run(llmsim_run):
            result = llmsim_run("chaos/bad.yaml", replications=6, overrides=["providers.openai.errors.server_error=0%"])
            assert result.verdict == "PASS"

        @pytest.mark.llmsim("chaos/bad.yaml", replications=6)
        def test_marked(llmsim_result):
            assert llmsim_result.verdict == "FAIL"

        def test_unmarked(llmsim_result):
            pass
        """
    )
    ran = pytester.runpytest_inprocess("--strict-markers", "-k", "run or marked")
    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["*llmsim_result needs @pytest.mark.llmsim*"])


@pytest.mark.slow
def test_under_xdist(folder: Path, pytester: pytest.Pytester) -> None:
    write(folder / "chaos" / "good.yaml")
    write(folder / "bad.scenario.yaml", "90%")
    pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=3, failed=1)


@pytest.mark.slow
def test_a_story_that_is_meant_to_fail(folder: Path, pytester: pytest.Pytester) -> None:
    for name, errors in (("sad", "90%"), ("calm", "0%")):
        path = folder / f"{name}.scenario.yaml"
        write(path, errors)
        path.write_text(path.read_text(encoding="utf-8") + "expect: {fail: [error_rate]}\n", encoding="utf-8")
    ran = pytester.runpytest_inprocess("-rA")
    ran.assert_outcomes(passed=3, failed=1)
    ran.stdout.fnmatch_lines(["*expected to break, and holds; error_rate value < 20%: measured 0 %*"])


def test_a_scenario_that_cannot_run_is_tried_once(
    folder: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "odd.scenario.yaml")
    tried = []

    def run(*_: object, **__: object) -> None:
        tried.append(1)
        raise llmsim.errors.LlmsimError("out of luck")

    monkeypatch.setattr(llmsim.api, "run", run)
    pytester.runpytest_inprocess().assert_outcomes(failed=2)
    assert len(tried) == 1
