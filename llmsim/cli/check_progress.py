"""How far a check in several processes is: a line that redraws itself on a terminal, a line for each in a log."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from llmsim.cli.terminal import put
from llmsim.report.figures import clock

__all__ = ["Progress"]


class Progress:
    """What is done, what runs, and how long the rest will take.

    Parameters
    ----------
    files, work
        Their names, and about how many requests each takes.
    order
        In which they are begun.
    workers
        How many run at once.
    wanted
        Whether to say anything.
    """

    def __init__(
        self, files: Sequence[str], work: Sequence[float], order: Sequence[int], workers: int, *, wanted: bool
    ) -> None:
        self._files, self._work, self._workers = files, work, workers
        self._left = list(order)
        self._began = perf_counter()
        self._wanted = wanted
        self._terminal = wanted and sys.stderr.isatty()
        self._draw()

    def done(self, number: int) -> None:
        """One is done."""
        self._left.remove(number)
        self.clear()
        if self._terminal:
            self._draw()
        elif self._wanted and self._left:
            put(self.sentence(perf_counter() - self._began), "stderr")

    def again(self, count: int) -> None:
        """A worker has ended, and what was not done is begun again, one at a time."""
        self._workers = 1
        self.clear()
        if self._wanted:
            what = "one scenario is" if count == 1 else f"{count} scenarios are"
            put(f"a worker process ended without a word; {what} begun again, one at a time", "stderr")
        self._draw()

    def sentence(self, spent_s: float) -> str:
        """``3 of 10 done, about 0:40 left``."""
        total = sum(self._work)
        share = 1 - sum(self._work[number] for number in self._left) / total if total else 0.0
        left = f", about {clock(spent_s / share - spent_s)} left" if 0.02 < share < 1 else ""
        return f"{len(self._files) - len(self._left)} of {len(self._files)} done{left}"

    def running(self) -> list[str]:
        """Names of those that run now: work is handed out in its order."""
        return [Path(self._files[number]).name.partition(".")[0] for number in self._left[: self._workers]]

    def _draw(self) -> None:
        if self._terminal and self._left:
            line = f"{self.sentence(perf_counter() - self._began)}: {', '.join(self.running())}"
            print(line[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Nothing of it stays where something else is to be written."""
        if self._terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
