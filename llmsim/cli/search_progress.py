"""How far a search is: a line that redraws itself on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmsim.cli.line import Line
from llmsim.report.figures import clock

if TYPE_CHECKING:
    from llmsim.chaos.search import SearchProgress

__all__ = ["progress", "sentence"]


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
    line = Line(wanted=wanted)
    try:
        yield (lambda at: line(sentence(at))) if wanted else None
    finally:
        line.clear()
