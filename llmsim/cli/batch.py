"""Run scenario files one after the other: load, preflight, simulate, show, save, judge."""

from __future__ import annotations

import dataclasses
import os
import signal
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from llmsim.api import load
from llmsim.api import run as simulate
from llmsim.chaos.named import with_named_gateway
from llmsim.cli.failures import INTERRUPTED, block, page_of, worst
from llmsim.cli.live import LiveOptions, run_for_money
from llmsim.cli.outputs import Outputs
from llmsim.cli.progress import progress
from llmsim.cli.replay import program, replay
from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError, SimulationInterrupted
from llmsim.parallel import workers_of
from llmsim.report.layout import MARKS, headline
from llmsim.report.result import Result
from llmsim.scenario.missing import missing_file
from llmsim.scenario.preflight import Preflight, preflight
from llmsim.scenario.spec import Scenario

__all__ = ["Batch", "Options"]

_WIDTH = 100  # of running text

# Worker processes take seconds to start; one process simulates some 5,000 to 10,000 requests a second.
_REQUESTS_WORTH_PROCESSES = 150_000


@dataclass(frozen=True)
class Options:
    """What was typed."""

    files: tuple[Path, ...]
    seed: int | None = None
    replications: int | None = None
    jobs: int | None = None  #: None: one per core, where that is quicker
    backend: str | None = None
    scheduler: str | None = None  #: address of a Dask cluster's, in place of processes here
    overrides: tuple[str, ...] = ()
    gateway: str = ""  #: ``module:name`` of one to put in place of the scenario's
    json: str | None = None  #: a file name, or ``-``
    out: Path | None = None
    html: Path | None = None  #: a page
    stream: Path | None = None  #: tables are written there while it runs
    otlp: Path | None = None
    prometheus: Path | None = None
    costs: bool = False  #: show the bill and a month of it
    profile: bool = False  #: show where the wall time went
    progress: bool = True
    quiet: bool = False
    allow_undecided: bool = False
    traceback: bool = False
    live: LiveOptions | None = None  #: None: simulate


class Batch:
    """The files of one command. `all` does everything and tells the exit code."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.interrupted = False
        self.abandoned = False  #: a policy that would not stop still runs in its thread
        #: Where a person reads the result: standard output belongs to the JSON if that was asked for.
        self._to: Literal["stdout", "stderr"] = "stderr" if options.json == "-" else "stdout"

    def all(self) -> int:
        """Run every file; the worst exit code.

        A file that cannot be read does not keep the others from running; an interrupt does.
        """
        options = self.options
        try:
            outputs = Outputs(
                options.files,
                options.json,
                options.out,
                {"--otlp": options.otlp, "--prometheus": options.prometheus, "--html": options.html},
                options.stream,
            )
        except LlmsimError as error:
            return self._complain(error, "")["exit_code"]  # type: ignore[no-any-return]
        # All files are read before the first is run: a typing error should not come to light after minutes.
        read = [self._read(file) for file in options.files]
        pages: list[dict[str, Any]] = []
        for number, (file, scenario) in enumerate(zip(options.files, read, strict=True)):
            pages.append(scenario if isinstance(scenario, dict) else self._run(number, file, scenario, outputs))
            if pages[-1]["exit_code"] == INTERRUPTED:
                break
        codes = [page["exit_code"] for page in pages]
        if len(options.files) > 1:
            self._summary(pages)
        try:
            outputs.write(pages)
        except LlmsimError as error:
            codes.append(self._complain(error, "")["exit_code"])
        return worst(codes)

    def _read(self, file: Path) -> Scenario | dict[str, Any]:
        """The scenario, or what the JSON says in its place."""
        try:
            missing = missing_file(file)
            if missing is not None:
                raise missing
            return with_named_gateway(load(file, self.options.overrides), self.options.gateway)
        except Exception as error:
            return self._complain(error, str(file))

    def _run(self, number: int, file: Path, scenario: Scenario, outputs: Outputs) -> dict[str, Any]:
        try:
            result, stopped = self._simulate(scenario, outputs.streams[number])
            with self._in_peace():
                page = self._report(number, file, result, stopped, outputs)
        except Exception as error:
            page = self._complain(error, str(file))
        return {**page, "exit_code": INTERRUPTED} if self.interrupted else page

    def _simulate(self, scenario: Scenario, stream: Path | None) -> tuple[Result, SimulationInterrupted | None]:
        options = self.options
        try:
            if options.live is not None:
                if options.backend or options.scheduler:
                    raise LlmsimError(
                        "--backend and --scheduler are for simulations, and --live makes none; leave one out"
                    )
                if options.profile:
                    raise LlmsimError("--profile looks at simulations, and --live makes none; leave one out")
                if stream is not None:
                    raise LlmsimError("--stream is for simulations of millions, and --live calls few; leave one out")
                shown = options.progress
                return run_for_money(
                    scenario, options.live, seed=options.seed, quiet=options.quiet, progress=shown
                ), None
            return self._virtually(scenario, stream), None
        except SimulationInterrupted as stop:
            self.interrupted = True
            self.abandoned = bool(stop.abandoned)
            return stop.partial, stop

    def _virtually(self, scenario: Scenario, stream: Path | None) -> Result:
        options = self.options
        asked = preflight(scenario)
        if not options.quiet:
            put(_introduction(scenario, asked), "stderr")
        most = options.replications or scenario.replications
        if options.profile:
            if options.jobs not in (None, 1):
                raise LlmsimError(f"--profile looks at one process, and --jobs is {options.jobs}; leave one out")
            options = dataclasses.replace(options, jobs=1)
        cluster = workers_of(options.backend, options.scheduler, options.jobs)
        many = asked.expected_requests * most > _REQUESTS_WORTH_PROCESSES
        jobs = options.jobs or (-1 if many and not cluster else 1)
        with progress(scenario.name, wanted=options.progress) as report:
            return simulate(
                scenario,
                seed=options.seed,
                replications=options.replications,
                jobs=jobs,
                progress=report,
                profile=options.profile,
                stream=stream,
                backend=options.backend,
                scheduler=options.scheduler,
            )

    def _report(
        self, number: int, file: Path, result: Result, stopped: SimulationInterrupted | None, outputs: Outputs
    ) -> dict[str, Any]:
        """Show it, save it; what the JSON says of it."""
        options = self.options
        code = result.exit_code(allow_undecided=options.allow_undecided)
        again = self._again(file, result.seed)
        saved, exported = None, []
        try:
            saved = outputs.save(number, result) or outputs.streams[number]
            exported = outputs.export(number, result, again)
        except LlmsimError as error:  # the result is there all the same
            code = worst([code, self._complain(error, str(file))["exit_code"]])
        self._show(result, saved, exported, again)
        if stopped:
            put(_interrupted(result, stopped), "stderr")
        return {"file": str(file), "exit_code": code, "replay": again, **result.to_dict()}

    @contextmanager
    def _in_peace(self) -> Iterator[None]:
        """Ctrl-C while a result is shown and saved lets that happen; the second one ends everything at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may, and need, handle signals
            return

        def remember(*_: object) -> None:
            if self.interrupted:
                os._exit(INTERRUPTED)
            self.interrupted = True

        before = signal.signal(signal.SIGINT, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _show(self, result: Result, saved: Path | None, exported: Sequence[Path], again: str) -> None:
        if self.options.quiet:
            put(headline(result), self._to, painted=True)
            return
        lines = [repr(result), ""]
        if self.options.costs and result.metrics["requests"] > 0:
            bills = (str(result.bill), str(result.monthly()))
            lines += [textwrap.indent(f"{bill}\n", "  ") for bill in bills]
        if result.time_spent is not None:
            lines.append(textwrap.indent(f"{result.time_spent}\n", "  "))
        if saved is not None:
            lines.append(f"  Saved in {saved}{_story(result, saved)}")
        if exported:
            lines.append(f"  Exported to {', '.join(map(str, exported))}")
        lines.append(f"  The same again: {again}")
        put("\n".join(lines) + "\n", self._to, painted=True)

    def _summary(self, pages: Sequence[dict[str, Any]]) -> None:
        lines = [
            f"{MARKS.get(page['verdict'], '✗')} {page['verdict']:<10} {page['file']}"
            + (" (interrupted)" if page["exit_code"] == INTERRUPTED else "")
            for page in pages
        ]
        lines += [f"· not run    {file}" for file in self.options.files[len(pages) :]]
        put("\n".join(lines), self._to, painted=True)

    def _complain(self, error: Exception, file: str) -> dict[str, Any]:
        """Say what went wrong; what the JSON says in place of a result."""
        put(block(error, file, self._again(file, self.options.seed), whole=self.options.traceback), "stderr")
        return page_of(error, file)

    def _again(self, file: Path | str, seed: int | None) -> str:
        """What to type for the same again."""
        options = self.options
        live = options.live.words() if options.live is not None else ()
        return replay(file, seed, options.replications, options.overrides, gateway=options.gateway, live=live)


def _introduction(scenario: Scenario, load: Preflight) -> str:
    """What is about to happen, and how much it asks of each provider."""
    told = textwrap.wrap(scenario.description, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    table = textwrap.indent(str(load), "  ")
    return "\n".join([scenario.name, *told, "", table, ""])


def _story(result: Result, saved: Path) -> str:
    """What to type to see one request; best one that failed."""
    if result.large:  # it takes all of them in memory to find one
        return ""
    requests = result.requests
    failed = requests.filter((pl.col("outcome") != "ok") & (pl.col("window") == "measured"))
    one = (failed if failed.height else requests).head(1)
    if one.is_empty():
        return ""
    number = one["replication"][0]
    which = f" --replication {number}" if number else ""
    what = "a failed request's story" if failed.height else "one request's story"
    return f"; {what}: {program()} explain {saved} {one['request_id'][0]}{which}"


def _interrupted(result: Result, stop: SimulationInterrupted) -> str:
    whole = result.complete
    text = f"interrupted after {whole} whole replication{'' if whole == 1 else 's'}; what is shown is partial"
    return f"{text}. {stop.abandoned}" if stop.abandoned else text
