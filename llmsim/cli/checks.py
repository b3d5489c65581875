"""Many scenarios at once: found, run in processes, shown in the order of their paths, written where CI looks."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from joblib import cpu_count

from llmsim.chaos.discovery import discover
from llmsim.cli.baseline import LEAST_EFFECT, Baseline
from llmsim.cli.check_progress import Progress
from llmsim.cli.check_workers import as_they_come
from llmsim.cli.checking import Asked, check_one, work_of
from llmsim.cli.failures import BAD_INPUT, INTERRUPTED, worst
from llmsim.cli.outputs import check_file, names_of
from llmsim.cli.terminal import put
from llmsim.processes import end_worker_processes
from llmsim.report.figures import clock
from llmsim.report.github import commands, summary
from llmsim.report.junit import to_junit
from llmsim.report.layout import MARKS
from llmsim.report.page_index import INDEX, write_index

__all__ = ["Checks"]

#: For people alone: not part of the JSON.
_FOR_PEOPLE = ("text", "markdown", "aborts")


_INTERRUPTED = "not run: interrupted"
_MARKS: dict[str, str] = {str(word): mark for word, mark in MARKS.items()} | {"NOT RUN": "·"}


class Checks:
    """One ``llmsim check``. `all` does everything and tells the exit code."""

    def __init__(
        self,
        asked: Asked,
        *,
        jobs: int | None = None,
        json_to: str | None = None,
        junit: Path | None = None,
        markdown: Path | None = None,
        github: bool = False,
        baseline: Path | None = None,
        least_effect: float = LEAST_EFFECT,
        quiet: bool = False,
        progress: bool = True,
    ) -> None:
        self._asked = asked if baseline is None else replace(asked, baseline=Baseline(baseline, least_effect))
        self._jobs = jobs
        self._json = json_to
        self._junit = junit
        self._markdown = markdown
        self._github = github
        self._quiet = quiet
        self._progress = progress
        for option, place in (("--json", json_to), ("--junit", junit), ("--markdown", markdown)):
            if place is not None and str(place) != "-":
                check_file(option, Path(place))
        #: Standard output belongs to the JSON if that was asked for.
        self._to: Literal["stdout", "stderr"] = "stderr" if json_to == "-" else "stdout"

    def all(self, paths: Sequence[Path]) -> int:
        """Run every scenario of these paths; the worst exit code."""
        found = discover(paths or [Path("scenarios")])
        if not found.files:
            named = ", ".join(map(str, paths)) or "scenarios/"
            put(f"no scenario in {named}; name a file, or a folder with some: llmsim check scenarios/", "stderr")
            return BAD_INPUT
        if found.skipped and not self._quiet:
            put(f"no scenarios, so left out: {', '.join(map(str, found.skipped))}", "stderr")
        self._asked = replace(self._asked, several=len(found.files) > 1)
        started = perf_counter()
        pages: list[dict[str, Any]] = []
        why, running = _INTERRUPTED, self._run(found.files)
        try:
            for page in running:
                pages.append(page)
                self._tell(page)
                if page.get("aborts"):
                    # What comes after it in order is not told, even if it ran meanwhile: --jobs must not show.
                    why = f"not run, since {page['file']} failed a line that says abort_on_fail"
                    break
        except KeyboardInterrupt:
            pass
        running.close()
        interrupted = why == _INTERRUPTED and len(pages) < len(found.files)
        interrupted |= any(page["exit_code"] == INTERRUPTED for page in pages)
        for file in found.files[len(pages) :]:
            pages.append(_not_run(str(file), why))
            self._tell(pages[-1])
        self._summary(pages, perf_counter() - started)
        codes = [page["exit_code"] for page in pages]
        try:
            self._write(pages)
        except OSError as error:
            put(f"cannot write {error.filename}: {error.strerror}", "stderr")
            codes.append(BAD_INPUT)
        return INTERRUPTED if interrupted else worst(codes)

    def _tell(self, page: dict[str, Any]) -> None:
        if not self._quiet:
            put(f"{page['text']}\n", self._to, painted=True)

    def _run(self, files: Sequence[Path]) -> Generator[dict[str, Any]]:
        """Pages in the order of `files`; fewer of them after an interrupt."""
        workers = min(self._jobs or cpu_count(), len(files))  # of this container, not of the machine around it
        names = names_of(files, taken=(Path(INDEX).stem,))
        if len(files) == 1 or self._jobs == 1:
            for number, file in enumerate(files):
                self._show(number, len(files), file)
                jobs = self._jobs or 1  # 1 unless there is but one file
                page = check_one(file, self._asked, names[number], alone=True, jobs=jobs, show=self._progress)
                yield page
                if page["exit_code"] == INTERRUPTED:
                    return
        else:
            yield from self._in_processes(files, names, workers)

    def _in_processes(self, files: Sequence[Path], names: Sequence[str], workers: int) -> Generator[dict[str, Any]]:
        # The longest first, so that none is left to run alone at the end.
        work = [work_of(file, self._asked) for file in files]
        order = sorted(range(len(files)), key=lambda number: -work[number])
        tasks = [(number, files[number], self._asked, names[number]) for number in order]
        done: dict[int, dict[str, Any]] = {}
        shown = 0
        line = Progress([str(file) for file in files], work, order, workers, wanted=self._progress)
        pages = as_they_come(tasks, workers, line.again)
        try:
            for number, page in pages:
                done[number] = page
                line.hide()
                while shown in done:
                    yield done[shown]
                    shown += 1
                line.done(number)
        except KeyboardInterrupt:
            if not done:
                return
            rest = [_not_run(str(file), _INTERRUPTED) | {"exit_code": INTERRUPTED} for file in files]
            yield from (done.get(number, rest[number]) for number in range(shown, max(done) + 1))
        finally:
            line.close()
            pages.close()
            if len(done) < len(files):
                end_worker_processes()

    def _show(self, number: int, count: int, file: Path) -> None:
        if self._progress:
            put(f"{number + 1}/{count} {file}", "stderr")

    def _summary(self, pages: Sequence[dict[str, Any]], wall_s: float) -> None:
        lines = [f"{_MARKS.get(page['verdict'], '✗')} {page['verdict']:<10}{page['file']}" for page in pages]
        words = ("PASS", "EXPECTED", "FAIL", "UNDECIDED", "ERROR", "NONE", "NOT RUN")
        counts = {word: sum(page["verdict"] == word for page in pages) for word in words}
        told = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        if self._quiet or len(pages) > 1:
            put("\n".join([*lines, f"{told} in {clock(wall_s)}"]), self._to, painted=True)

    def _write(self, pages: Sequence[dict[str, Any]]) -> None:
        plain = [{key: value for key, value in page.items() if key not in _FOR_PEOPLE} for page in pages]
        if self._json is not None:
            text = json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False)
            if self._json == "-":
                put(text)
            else:
                Path(self._json).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        if self._junit is not None:
            text = to_junit(plain, allow_undecided=self._asked.allow_undecided)
            self._junit.write_text(text, encoding="utf-8")
        if self._asked.html is not None and self._asked.several:
            put(f"all reports: {write_index(pages, self._asked.html)}", self._to)
        if self._markdown is not None:
            self._markdown.write_text(summary(pages), encoding="utf-8", errors="replace")
        if self._github:
            for command in commands(plain):
                put(command, self._to)
            place = os.environ.get("GITHUB_STEP_SUMMARY")
            if place:
                with Path(place).open("a", encoding="utf-8", errors="replace") as step_summary:
                    step_summary.write(summary(pages, used=step_summary.tell()))


def _not_run(file: str, reason: str) -> dict[str, Any]:
    text = f"· NOT RUN   {file}\n    {reason}"
    return {"file": file, "exit_code": 0, "verdict": "NOT RUN", "reason": reason, "text": text}
