"""How far a tuning is: a line that redraws itself on a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmsim.cli.line import Line
from llmsim.report.figures import clock

if TYPE_CHECKING:
    from llmsim.tuning.stages import TuneProgress

__all__ = ["progress", "sentence"]


def sentence(at: TuneProgress) -> str:
    """``trials: 24 of at most 200, 310 replications; best so far …; about 2:10 left``."""
    parts = [f"{at.stage}: {at.trial} of at most {at.trials} trials, {at.replications:,} replications"]
    if at.best:
        parts.append(f"best so far {at.best}")
    if at.left_s is not None:
        parts.append(f"about {clock(at.left_s)} left")
    return "; ".join(parts)


@contextmanager
def progress(*, wanted: bool) -> Iterator[Callable[[TuneProgress], None] | None]:
    """What `llmsim.tune` reports to; nothing of it stays on a terminal."""
    line = Line(wanted=wanted)
    try:
        yield (lambda at: line(sentence(at))) if wanted else None
    finally:
        line.clear()
