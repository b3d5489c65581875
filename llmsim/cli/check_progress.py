"""How far a check in several processes is: a line that redraws itself on a terminal, a line for each in a log."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from llmsim.cli.terminal import put, redraws
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
        self._told_s = 0.0  # when the last was done
        self._wanted = wanted
        self._terminal = wanted and redraws(sys.stderr)
        self._hidden = not self._terminal  # a line that is not there is not drawn anew
        self._lock = threading.Lock()
        self._over = threading.Event()
        if self._terminal:
            threading.Thread(target=self._tick, daemon=True).start()
        self.show()

    def done(self, number: int) -> None:
        """One is done."""
        with self._lock:
            self._left.remove(number)
            self._told_s = perf_counter() - self._began
        if self._wanted and not self._terminal and self._left:
            put(self.sentence(self._told_s), "stderr")
        self.show()

    def again(self, count: int) -> None:
        """A worker has ended, and what was not done is begun again, one at a time."""
        self._workers = 1
        self.hide()
        if self._wanted:
            what = "one scenario is" if count == 1 else f"{count} scenarios are"
            put(f"a worker process ended without a word; {what} begun again, one at a time", "stderr")
        self.show()

    def sentence(self, spent_s: float, since_s: float = 0.0) -> str:
        """``3 of 10 done, about 0:40 left``, by what the done ones took; that was so long ago."""
        total = sum(self._work)
        share = 1 - sum(self._work[number] for number in self._left) / total if total else 0.0
        left_s = spent_s / share - spent_s - since_s if 0.02 < share < 1 else 0.0
        left = f", about {clock(left_s)} left" if left_s > 0 else ""
        return f"{len(self._files) - len(self._left)} of {len(self._files)} done{left}"

    def running(self) -> list[str]:
        """Names of those that run now: work is handed out in its order."""
        return [Path(self._files[number]).name.partition(".")[0] for number in self._left[: self._workers]]

    def line(self, now_s: float, width: int) -> str:
        """How long it took so far, what is done and what runs, in so many cells of a terminal."""
        from rich.cells import cell_len, set_cell_size

        told = self.sentence(self._told_s, now_s - self._told_s)
        text = f"{clock(now_s)}  {told}: {', '.join(self.running())}"
        if cell_len(text) <= width:
            return text
        cut = set_cell_size(text, width - 1).rstrip() + "…"
        return cut if cell_len(cut) > len(f"{clock(now_s)}  {told}: ") + _LEAST_NAME else f"{clock(now_s)}  {told}"

    def show(self) -> None:
        """Draw the line, on a terminal, until `hide`."""
        with self._lock:
            self._hidden = not (self._terminal and self._left)
            self._draw()

    def hide(self) -> None:
        """Nothing of it stays where something else is to be written."""
        with self._lock:
            if not self._hidden:
                self._hidden = True
                self._write(_ERASE)

    def close(self) -> None:
        """No more of it."""
        self._over.set()
        self.hide()

    def _tick(self) -> None:
        while not self._over.wait(1.0):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if not self._hidden:
            width = shutil.get_terminal_size().columns - 1  # in the last column a terminal may begin a new line
            self._write(_ERASE + self.line(perf_counter() - self._began, width))

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that went away
            print(text, end="", file=sys.stderr, flush=True)


_LEAST_NAME = 6  #: cells of a name that says something
_ERASE = "\r\x1b[2K"  #: to the beginning of the line, and all of it (ECMA-48: CR, EL 2)
