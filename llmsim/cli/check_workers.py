"""The worker processes of a check, and what becomes of the scenarios of those that end without a word."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from llmsim.cli.checking import Asked, check_one, died
from llmsim.parallel.processes import in_processes

__all__ = ["Task", "as_they_come"]

Task = tuple[int, Path, Asked, str]  #: number, file, how, and what its folder and page are called
Numbered = tuple[int, dict[str, Any]]


def as_they_come(tasks: Sequence[Task], workers: int, broke: Callable[[int], None]) -> Generator[Numbered]:
    """Pages, each with the number of its file.

    A pool whose worker ends (memory ran out, a crash in C code) takes down the scenarios of its neighbours, too, and
    does not say whose fault it was. So what is not done by then is begun again, each alone in a process of its own:
    what ends that one is named, and the others get the verdict they would have had.

    Parameters
    ----------
    tasks
        In the order in which they are begun.
    workers
        How many run at once.
    broke
        Called with the number of tasks that are begun again.
    """
    done: set[int] = set()
    try:
        for number, page in _pool(tasks, workers):
            done.add(number)
            yield number, page
    except BrokenProcessPool:
        left = [task for task in tasks if task[0] not in done]
        broke(len(left))
        for number, file, asked, name in left:
            try:
                yield from _pool([(number, file, asked, name)], 1)
            except BrokenProcessPool:
                yield number, died(file, asked)


def _pool(tasks: Sequence[Task], workers: int) -> Iterator[Numbered]:
    running = in_processes(_page, [task[1:] for task in tasks], workers)
    try:
        for place, page in running:
            yield tasks[place][0], page
    finally:
        running.close()


def _page(file: Path, asked: Asked, name: str) -> dict[str, Any]:
    return check_one(file, asked, name, alone=False)
