"""pytest: scenario files are tests, one an SLO line; and a fixture to run scenarios in tests of one's own.

Collected are files named ``*.scenario.yaml``, and YAML files with the sections ``traffic`` and ``providers`` in the
folders of the setting ``llmsim_scenarios``::

    [tool.pytest.ini_options]
    llmsim_scenarios = ["scenarios"]
    llmsim_gateway = "my_app.gateway:gateway"  # in place of the scenarios' gateways

A scenario is run once for all of its lines (once a worker under xdist, where ``--dist loadfile`` keeps them together).
Nothing heavy is imported before the first scenario is collected.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmsim.report.result import Result
    from llmsim.report.slo import SloResult
    from llmsim.scenario.spec import Scenario

__all__ = ["ScenarioFile", "SloBroken", "SloItem", "SloUndecided", "llmsim_result", "llmsim_run"]


class SloBroken(AssertionError):
    """A line of a scenario's SLOs does not hold."""


class SloUndecided(SloBroken):
    """Replications ran out before a line was decided."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Settings and options, all of which begin with llmsim."""
    parser.addini("llmsim_scenarios", "Folders whose scenario files are tests.", type="paths", default=[])
    parser.addini("llmsim_gateway", "module:name of the gateway to put into every scenario.", default="")
    group = parser.getgroup("llmsim", "rehearsals of LLM gateways")
    group.addoption("--llmsim-gateway", metavar="MODULE:NAME", help="The gateway to put into every scenario.")
    group.addoption("--llmsim-replications", metavar="N", type=int, help="The most replications of a scenario.")
    group.addoption("--llmsim-allow-undecided", action="store_true", help="Skip, not fail, lines left undecided.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "llmsim(scenario, gateway=None, **options): what the fixture llmsim_result runs, as llmsim.run does"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Take what is a scenario."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    if not file_path.name.endswith((".scenario.yaml", ".scenario.yml")):
        folders: list[Path] = parent.config.getini("llmsim_scenarios")
        if not any(file_path.is_relative_to(folder) for folder in folders):
            return None
        from llmsim.chaos.discovery import looks_like_one

        if not looks_like_one(file_path):
            return None
    return ScenarioFile.from_parent(parent, path=file_path)


class ScenarioFile(pytest.File):
    """A scenario; its tests are the lines of its SLOs."""

    _result: Result | Exception | None = None
    _scenario: Scenario | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """One item a line, or one for all that says the scenario runs."""
        from llmsim.scenario.objectives import rehearsed

        lines = rehearsed(self.scenario())
        for number, line in enumerate(lines):
            yield SloItem.from_parent(self, name=f"{line.key} {line.text}", number=number)
        if not lines:
            yield SloItem.from_parent(self, name="runs", number=None)

    def scenario(self) -> Scenario:
        """With the gateway that was asked for in place of its own."""
        from llmsim.api import load
        from llmsim.chaos.named import with_named_gateway

        if self._scenario is None:
            named: str = self.config.getoption("--llmsim-gateway") or self.config.getini("llmsim_gateway")
            # As for conftest.py, what counts is where the project is, not where pytest was started.
            self._scenario = with_named_gateway(load(self.path), named, self.config.rootpath)
        return self._scenario

    def result(self) -> Result:
        """Run it, once, also where that fails."""
        if self._result is None:
            from llmsim.api import run
            from llmsim.errors import SimulationInterrupted

            most: int | None = self.config.getoption("--llmsim-replications")
            try:
                self._result = run(self.scenario(), replications=most, progress=_quiet)
            except SimulationInterrupted as stop:  # Ctrl-C is for all of pytest, not for one test of it
                raise KeyboardInterrupt from stop
            except Exception as error:
                self._result = error
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is wrong with the file, not where llmsim noticed."""
        from llmsim.errors import LlmsimError

        return str(excinfo.value) if isinstance(excinfo.value, LlmsimError) else super().repr_failure(excinfo)


class SloItem(pytest.Item):
    """One line of a scenario's SLOs."""

    def __init__(self, *, number: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._number = number

    def _file(self) -> ScenarioFile:
        assert isinstance(self.parent, ScenarioFile)
        return self.parent

    def _line(self) -> SloResult | None:
        return None if self._number is None else self._file().result().slo[self._number]

    def runtest(self) -> None:
        """Judge the line.

        Raises
        ------
        SloBroken
            It does not hold.
        """
        result, line = self._file().result(), self._line()
        self.user_properties += [("seed", result.seed), ("replications", len(result.replications))]
        if line is None:
            return
        self.user_properties += [
            ("measured", line.shown), ("interval", line.shown_interval), ("verdict", line.verdict)
        ]  # fmt: skip
        if line.objective.key in result.scenario.expect.fail:
            of_key = {one.verdict for one in result.slo if one.objective.key == line.objective.key}
            if "FAIL" in of_key:
                return
            if of_key == {"PASS"}:
                raise SloBroken(f"expected to break, and holds; {self._told(line)}")
        if line.verdict == "FAIL":
            raise SloBroken(self._told(line))
        if line.verdict == "UNDECIDED":
            if self.config.getoption("--llmsim-allow-undecided"):
                pytest.skip(f"undecided: {line.reason}")
            raise SloUndecided(self._told(line))

    def _told(self, line: SloResult) -> str:
        result = self._file().result()
        text = f"{self.name}: measured {line.shown} ({line.shown_interval}), {line.verdict}"
        reason = [line.reason] if line.reason else []
        most = len(result.replications)
        here = self.config.invocation_params.dir
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        again = f"llmsim run {shlex.quote(str(path))} --seed {result.seed} --replications {most}"
        return "\n".join([text, *reason, *result.advice, f"The same again: {again}"])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was measured and why, without a traceback through llmsim."""
        from llmsim.errors import LlmsimError

        if isinstance(excinfo.value, SloBroken | LlmsimError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the line stands."""
        from llmsim.scenario.objectives import rehearsed

        lines = rehearsed(self._file().scenario())
        at = None if self._number is None else lines[self._number].line
        return self.path, None if at is None else at - 1, self.name


@pytest.fixture
def llmsim_run(record_property: Callable[[str, object], None]) -> Callable[..., Result]:
    """Run a scenario: ``llmsim_run("scenarios/spike.yaml", gateway=mine, replications=10)`` gives its `Result`.

    Takes what `llmsim.run` takes, and `gateway` in place of the scenario's. What was measured becomes properties of
    the test in JUnit XML.
    """

    def run(scenario: Any, *, gateway: Any = None, **options: Any) -> Result:
        from llmsim import api

        loaded = api.load(scenario, options.pop("overrides", ()))
        if gateway is not None:
            loaded = loaded.with_gateway(gateway)
        result = api.run(loaded, **{"progress": _quiet, **options})
        record_property("scenario", result.scenario.name)
        record_property("seed", result.seed)
        record_property("verdict", result.verdict)
        for line in result.slo:
            record_property(f"{line.objective.key} {line.objective.text}", f"{line.shown} ({line.shown_interval})")
        return result

    return run


@pytest.fixture
def llmsim_result(request: pytest.FixtureRequest, llmsim_run: Callable[..., Result]) -> Result:
    """The result of the scenario in ``@pytest.mark.llmsim(scenario, …)``, with the options that stand there.

    A relative path is looked for from where the test's file is, then from pytest's root folder.
    """
    marker = request.node.get_closest_marker("llmsim")
    if marker is None or len(marker.args) != 1:
        pytest.fail('llmsim_result needs @pytest.mark.llmsim("scenarios/spike.yaml") at the test', pytrace=False)
    (scenario,) = marker.args
    if isinstance(scenario, str) and not Path(scenario).is_absolute():
        beside = request.path.parent / scenario
        scenario = beside if beside.exists() else request.config.rootpath / scenario
    return llmsim_run(scenario, **marker.kwargs)


def _quiet(at: object) -> None:
    """No progress: pytest shows its own."""
