"""Many scenarios at once: found, run in processes, shown in the order of their paths, written where CI looks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from llmsim.chaos.discovery import discover
from llmsim.cli.baseline import LEAST_EFFECT, Baseline
from llmsim.cli.checking import Asked, check_one, work_of
from llmsim.cli.failures import BAD_INPUT, INTERRUPTED, worst
from llmsim.cli.outputs import names_of
from llmsim.cli.terminal import put
from llmsim.report.figures import clock
from llmsim.report.github import commands, summary
from llmsim.report.junit import to_junit
from llmsim.report.layout import MARKS

__all__ = ["Checks"]

#: For people alone: not part of the JSON.
_FOR_PEOPLE = ("text", "markdown", "aborts")


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
        self._asked = asked
        self._jobs = jobs
        self._json = json_to
        self._junit = junit
        self._markdown = markdown
        self._github = github
        self._baseline = Baseline(baseline, least_effect) if baseline is not None else None
        self._quiet = quiet
        self._progress = progress
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
        started, pages = perf_counter(), []
        aborted_by = ""
        for ran in self._run(found.files):
            # What comes after it in order is not told, even if it ran at the same time: --jobs must not show.
            why = f"not run, since {aborted_by} failed a line that says abort_on_fail"
            page = _not_run(ran["file"], why) if aborted_by else ran
            if self._baseline is not None:
                page = self._baseline.held_against(page)
            if page.get("aborts"):
                aborted_by = page["file"]
            pages.append(page)
            if not self._quiet:
                put(f"{page['text']}\n", self._to, painted=True)
        interrupted = len(pages) < len(found.files) or any(page["exit_code"] == INTERRUPTED for page in pages)
        pages += [_not_run(str(file), "not run: interrupted") for file in found.files[len(pages) :]]
        self._summary(pages, perf_counter() - started)
        codes = [page["exit_code"] for page in pages]
        try:
            self._write(pages)
        except OSError as error:
            put(f"cannot write {error.filename}: {error.strerror}", "stderr")
            codes.append(BAD_INPUT)
        return INTERRUPTED if interrupted else worst(codes)

    def _run(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Pages in the order of `files`; fewer of them after an interrupt."""
        workers = min(self._jobs or os.cpu_count() or 1, len(files))
        names = names_of(files)
        if workers == 1:
            for number, file in enumerate(files):
                self._show(number, len(files), file)
                page = check_one(file, self._asked, names[number], alone=True)
                yield page
                if page["exit_code"] == INTERRUPTED:
                    return
        else:
            yield from self._in_processes(files, names, workers)

    def _in_processes(self, files: Sequence[Path], names: Sequence[str], workers: int) -> Iterator[dict[str, Any]]:
        from joblib import Parallel, delayed

        # The longest first, so that none is left to run alone at the end.
        work = [work_of(file, self._asked) for file in files]
        order = sorted(range(len(files)), key=lambda number: -work[number])
        done: dict[int, dict[str, Any]] = {}
        shown, began = 0, perf_counter()
        pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        try:
            tasks = (delayed(_numbered)(number, files[number], self._asked, names[number]) for number in order)
            for number, page in pool(tasks):
                done[number] = page
                self._tell(sum(work[n] for n in done) / (sum(work) or 1.0), len(done), len(files), began)
                while shown in done:
                    yield done[shown]
                    shown += 1
        except KeyboardInterrupt:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=False, kill_workers=True)

    def _show(self, number: int, count: int, file: Path) -> None:
        if self._progress:
            put(f"{number + 1}/{count} {file}", "stderr")

    def _tell(self, share: float, done: int, count: int, began: float) -> None:
        if self._progress and done < count:
            spent_s = perf_counter() - began
            left = f", about {clock(spent_s / share - spent_s)} left" if 0.02 < share < 1 else ""
            put(f"{done} of {count} done{left}", "stderr")

    def _summary(self, pages: Sequence[dict[str, Any]], wall_s: float) -> None:
        lines = [f"{MARKS.get(page['verdict'], '✗')} {page['verdict']:<10}{page['file']}" for page in pages]
        words = ("PASS", "FAIL", "UNDECIDED", "ERROR", "NONE", "NOT RUN")
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
                Path(self._json).write_text(text + "\n", encoding="utf-8")
        if self._junit is not None:
            text = to_junit(plain, allow_undecided=self._asked.allow_undecided)
            self._junit.write_text(text, encoding="utf-8")
        if self._markdown is not None:
            self._markdown.write_text(summary(pages), encoding="utf-8")
        if self._github:
            for command in commands(plain):
                put(command)
            place = os.environ.get("GITHUB_STEP_SUMMARY")
            if place:
                with Path(place).open("a", encoding="utf-8") as step_summary:
                    step_summary.write(summary(pages))


def _numbered(number: int, file: Path, asked: Asked, name: str) -> tuple[int, dict[str, Any]]:
    return number, check_one(file, asked, name, alone=False)


def _not_run(file: str, reason: str) -> dict[str, Any]:
    text = f"· NOT RUN   {file}\n    {reason}"
    return {"file": file, "exit_code": 0, "verdict": "NOT RUN", "reason": reason, "text": text}
