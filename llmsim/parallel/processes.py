"""Processes of this machine, by joblib."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from llmsim.processes import begin_in_worker

__all__ = ["in_processes"]

T = TypeVar("T")


def in_processes(call: Callable[..., T], tasks: Sequence[tuple[Any, ...]], count: int) -> Generator[tuple[int, T]]:
    """Results with the numbers of their tasks, as they come."""
    from joblib import Parallel, delayed

    # With one job joblib would run it all in this process. One task at a time: joblib would put short ones together,
    # and a batch of a hundred is lost as a whole when it is killed.
    pool = Parallel(n_jobs=max(2, count), return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    here = Path.cwd()
    with _deaf():
        results: Generator[tuple[int, T]] = pool(
            delayed(_numbered)(here, call, number, task) for number, task in enumerate(tasks)
        )
    try:
        for one in results:  # noqa: UP028 - which would close them before the warning is caught
            yield one
    except GeneratorExit:  # nobody wants the rest
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[0-9]+ tasks (which were|have been)", UserWarning)
            results.close()
            del results
        raise


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches all processes, and can come at once: workers are born deaf to it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say so
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _numbered(folder: Path, call: Callable[..., T], number: int, task: tuple[Any, ...]) -> tuple[int, T]:
    begin_in_worker(folder)  # one that was born later, in place of one that died, is not deaf yet
    return number, call(*task)
