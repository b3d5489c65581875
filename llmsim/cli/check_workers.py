"""The worker processes of a check, and what becomes of the scenarios of those that end without a word."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from llmsim.cli.checking import Asked, check_one, died

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
    """Ctrl-C reaches all processes; workers are born deaf to it, for it can come at once."""
    from joblib import Parallel, delayed

    # With one worker joblib would run it all in this process.
    pool = Parallel(n_jobs=max(2, workers), return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    here = Path.cwd()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results: Generator[Numbered] = pool(delayed(_numbered)(here, *task) for task in tasks)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield from results
    except GeneratorExit:  # nobody wants the rest
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[0-9]+ tasks which were still being processed", UserWarning)
            results.close()
            del results
        raise


def _numbered(folder: Path, number: int, file: Path, asked: Asked, name: str) -> Numbered:
    os.chdir(folder)  # of whoever asks: a worker that was used before may have begun elsewhere
    return number, check_one(file, asked, name, alone=False)
