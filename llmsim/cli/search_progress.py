"""How far a search is: a line that redraws itself on a terminal, a line now and then in a log."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmsim.cli.progress import LOG_EVERY_S
from llmsim.cli.terminal import put, redraws
from llmsim.report.figures import clock

if TYPE_CHECKING:
    from llmsim.chaos.search import SearchProgress

__all__ = ["progress", "sentence"]

_EVERY_S = 0.2


def sentence(at: SearchProgress) -> str:
    """``exploring: 120 of at most 500 runs, 9 of 80 schedules break something; worst so far …; at most 0:40 left``."""
    parts = [f"{at.stage}: {at.runs} of at most {at.budget} runs"]
    if at.tried:
        parts[0] += f", {at.breaking} of {at.tried} schedules break something"
    if at.worst:
        parts.append(f"{'smallest' if at.stage == 'shrinking' else 'worst'} so far: {at.worst}")
    if at.left_s is not None:
        parts.append(f"at most {clock(at.left_s)} left")
    return "; ".join(parts)


@contextmanager
def progress(*, wanted: bool) -> Iterator[Callable[[SearchProgress], None] | None]:
    """What `llmsim.search` reports to; nothing of it stays on a terminal."""
    if not wanted:
        yield None
        return
    terminal = redraws(sys.stderr)
    every_s, last_s = (_EVERY_S if terminal else LOG_EVERY_S), 0.0

    def report(at: SearchProgress) -> None:
        nonlocal last_s
        if at.wall_s - last_s < every_s:
            return
        last_s = at.wall_s
        if terminal:
            line = sentence(at)[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        else:
            put(sentence(at), "stderr")

    try:
        yield report
    finally:
        if terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
