"""How far a run is: a line that redraws itself on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmsim.cli.terminal import put, redraws
from llmsim.report.figures import clock
from llmsim.report.live_display import left_s, sentence

if TYPE_CHECKING:
    from llmsim.api import RunProgress

__all__ = ["LOG_EVERY_S", "progress"]

LOG_EVERY_S = 10.0

Report = Callable[["RunProgress"], None]


@contextmanager
def progress(name: str, *, wanted: bool) -> Iterator[Report | None]:
    """What `llmsim.run` reports to while `name` runs; nothing of it stays on a terminal."""
    if not wanted:
        yield None
    elif redraws(sys.stderr):
        with _redrawn(name) as report:
            yield report
    else:
        yield _logged(name)


def _logged(name: str) -> Report:
    last_s = 0.0

    def report(at: RunProgress) -> None:
        nonlocal last_s
        if at.wall_s - last_s >= LOG_EVERY_S:
            last_s = at.wall_s
            put(f"{name}: {sentence(at)}, {at.wall_s:.0f}s", "stderr")

    return report


@contextmanager
def _redrawn(name: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

    console = Console(stderr=True, highlight=False)
    words = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
    # What does not fit is left out as a whole: a line of cut-off words says nothing.
    columns: tuple[ProgressColumn, ...] = words
    if console.width >= 80 + len(name):
        columns = (TextColumn(escape(name), style="bold"), *columns)
    if console.width >= 100 + len(name):
        columns = (*columns[:-2], BarColumn(bar_width=16), *words)
    with Progress(*columns, console=console, transient=True, refresh_per_second=5) as bars:
        task = bars.add_task("starting", total=1.0, left="")

        def report(at: RunProgress) -> None:
            left = left_s(at)
            bars.update(
                task,
                completed=at.share,
                description=sentence(at),
                left="" if left is None else f"at most {clock(left)} left",
            )

        yield report
