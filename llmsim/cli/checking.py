"""One scenario of a check: run, judged and told, in whatever process it is."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import textwrap
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsim.api import load
from llmsim.api import run as simulate
from llmsim.chaos.named import with_named_gateway
from llmsim.cli.baseline import Baseline, comparable
from llmsim.cli.expected import as_expected
from llmsim.cli.failures import BROKEN, INTERRUPTED, block, page_of, worst
from llmsim.cli.progress import progress
from llmsim.cli.replay import replay
from llmsim.errors import LlmsimError, Problem, SimulationInterrupted
from llmsim.report.layout import MARKS, common_reason
from llmsim.report.markdown import to_markdown
from llmsim.report.result import Result
from llmsim.scenario.missing import missing_file
from llmsim.scenario.preflight import preflight
from llmsim.scenario.spec import Scenario
from llmsim.units import counted

__all__ = ["Asked", "check_one", "died", "work_of"]

_WIDTH = 100


@dataclass(frozen=True)
class Asked:
    """What a check does with every scenario."""

    seed: int | None = None
    replications: int | None = None
    overrides: tuple[str, ...] = ()
    gateway: str = ""  #: ``module:name`` of one to put in place of the scenario's
    out: Path | None = None  #: where tables go, a folder a scenario
    html: Path | None = None  #: where pages go, a file a scenario
    several: bool = False  #: whether there are others, so that pages name the one that lists them
    backend: str | None = None
    scheduler: str | None = None  #: address of a Dask cluster's, for the replications
    baseline: Baseline | None = None  #: what each is held against
    allow_undecided: bool = False
    traceback: bool = False
    program: str = "llmsim"  #: what starts the command that gives the same again

    def again(self, file: Path, seed: int | None) -> str:
        """That command."""
        named = {"gateway": self.gateway, "started_as": self.program}
        return replay(file, seed, self.replications, self.overrides, **named)


def check_one(file: Path, asked: Asked, name: str, *, alone: bool, jobs: int = 1, show: bool = False) -> dict[str, Any]:
    """Run one scenario.

    Parameters
    ----------
    file, asked
        Which, and how.
    name
        What its folder and its page are called.
    alone
        Whether this process does nothing else that an interrupt is for.
    jobs
        Processes for its replications.
    show
        Whether to show how far it is.

    Returns
    -------
    dict
        What the JSON says of it, and ``text`` and ``markdown`` for people.
    """
    if not alone:  # Ctrl-C reaches the whole process group; only the parent decides what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not faulthandler.is_enabled():
        with contextlib.suppress(ValueError, OSError, AttributeError, RuntimeError):  # a stderr that is no file
            faulthandler.enable()  # a crash in C code ends the process; at least it says where it was
    again = asked.again(file, asked.seed)
    try:
        scenario = _read(file, asked)
        with progress(str(file), wanted=show) as report:
            result = simulate(
                scenario,
                seed=asked.seed,
                replications=asked.replications,
                jobs=jobs,
                progress=report or (lambda _: None),
                backend=asked.backend,
                scheduler=asked.scheduler,
            )
    except BrokenProcessPool:  # of its replications'
        return died(file, asked)
    except SimulationInterrupted as stop:
        page = _told(file, stop.partial, asked)
        return {**page, "exit_code": INTERRUPTED}
    except Exception as error:
        told = block(error, str(file), again, whole=asked.traceback)
        text = f"✗ ERROR     {file}\n{textwrap.indent(told, '    ')}"
        return {**page_of(error, str(file)), "replay": again, "text": text}
    page = _told(file, result, asked)
    try:
        saved = _saved(result, asked, name, page)
    except LlmsimError as error:  # the result is there all the same
        code = worst([page["exit_code"], page_of(error, str(file))["exit_code"]])
        return {**page, "exit_code": code, "text": f"{page['text']}\n    {error}"}
    return {**page, **saved, "text": "\n".join([page["text"], *(f"    {what}: {at}" for what, at in saved.items())])}


def _saved(result: Result, asked: Asked, name: str, page: Mapping[str, Any]) -> dict[str, str]:
    """Write what was asked for; where it is."""
    saved = {}
    if asked.out is not None:
        try:
            saved["tables"] = str(result.save(asked.out / name))
        except OSError as error:
            raise LlmsimError(f"--out {asked.out / name}: {error.strerror or error}; name a directory") from error
    if asked.html is not None:
        from llmsim.report.page import to_page
        from llmsim.report.page_index import INDEX

        place = asked.html / f"{name}.html"
        try:
            asked.html.mkdir(parents=True, exist_ok=True)
            text = to_page(result, page["replay"], checked=page, index=INDEX if asked.several else "")
            place.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise LlmsimError(f"--html {place}: {error.strerror or error}; name a directory") from error
        saved["report"] = str(place)
    return saved


def _read(file: Path, asked: Asked) -> Scenario:
    missing = missing_file(file)
    if missing is not None:
        raise missing
    return with_named_gateway(load(file, asked.overrides), asked.gateway)


def work_of(file: Path, asked: Asked) -> float:
    """About how many requests it will simulate: what progress and the order of work go by; 0 if it cannot be read."""
    try:
        scenario = load(file, asked.overrides)
        return preflight(scenario).expected_requests * (asked.replications or scenario.replications)
    except Exception:
        return 0.0


def _told(file: Path, result: Result, asked: Asked) -> dict[str, Any]:
    again = asked.again(file, result.seed)
    page = {
        "file": str(file),
        "exit_code": result.exit_code(allow_undecided=asked.allow_undecided),
        "replay": again,
        **result.to_dict(),
        **comparable(result),
        "text": _block(file, result, again),
        "markdown": to_markdown(result),
        "aborts": any(line.objective.abort_on_fail and line.verdict == "FAIL" for line in result.slo),
    }
    page = as_expected(page, result, allow_undecided=asked.allow_undecided)
    page = page if asked.baseline is None else asked.baseline.held_against(page)
    last = f"    The same again: {again}"
    # What is red by a baseline or by what was expected can be green by itself.
    return page if not page["exit_code"] or last in page["text"] else {**page, "text": f"{page['text']}\n{last}"}


def died(file: Path, asked: Asked) -> dict[str, Any]:
    """The page of a scenario whose process ended without a word, when it had that to itself."""
    again = asked.again(file, asked.seed)
    problem = Problem("the process that ran it was ended from outside, as when memory runs out or C code crashes")
    hint = f"See it happen: {again} --jobs 1"
    text = f"✗ ERROR     {file}\n    {problem.message}\n    {hint}"
    found = {"verdict": "ERROR", "error": "WorkerDied", "problems": [problem._replace(hint=hint)._asdict()]}
    return {"file": str(file), "exit_code": BROKEN, **found, "replay": again, "text": text}


def _block(file: Path, result: Result, again: str) -> str:
    """What a person needs to know of a scenario: all of what is not well, and little of what is."""
    made, most = len(result.replications), result.requested
    runs = f"{made} of {most} replications" if most > made else counted(made, "replication")
    lines = [f"{MARKS[result.verdict]} {result.verdict:<10}{file}  ({runs}, seed {result.seed})"]
    broken = [line for line in result.slo if line.verdict != "PASS"]
    if broken:
        rows = [
            (
                f"{MARKS[line.verdict]} {line.objective.key}  {line.objective.text}",
                line.shown,
                line.shown_interval,
                f"line {line.objective.line}" if line.objective.line else "",
                "" if common_reason(result) else line.reason,
            )
            for line in broken
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for slo, shown, interval, where, reason in rows:
            cells = (f"{slo:<{widths[0]}}", f"{shown:>{widths[1]}}", f"{interval:>{widths[2]}}", where)
            lines.append(f"    {'  '.join(cells)}".rstrip())
            if reason:
                lines.append(f"        {reason}")
        if common_reason(result):
            lines.append(f"    {common_reason(result)}")
        held = len(result.slo) - len(broken)
        lines += [f"    {held} other line{' holds' if held == 1 else 's hold'}"] if held else []
        told = " ".join(result.advice)
        lines += textwrap.wrap(told, _WIDTH, initial_indent="    Why: ", subsequent_indent=" " * 9)
        lines.append(f"    The same again: {again}")
    else:
        lines += [f"    {advice}" for advice in result.advice[:1]]
    lines += [f"    Note: {note}" for note in result.notes]
    return "\n".join(lines)
