"""Tasks in parallel: results in the order of the tasks, or as they come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from llmsim.errors import SimulationInterrupted
from llmsim.parallel import processes
from llmsim.parallel.kept import Failed, Kept, unwrapped
from llmsim.parallel.workers import Cluster, Workers
from llmsim.processes import end_worker_processes

__all__ = ["as_they_come", "in_order"]

T = TypeVar("T")


def as_they_come(
    call: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    workers: Workers,
    tick: Callable[[], object] = lambda: None,
) -> Generator[tuple[int, T]]:
    """``call(*task)`` for each of them, somewhere else.

    Parameters
    ----------
    call
        Something that can be pickled; where it runs nothing but its arguments is known.
    tasks
        Arguments, in the order in which they are begun.
    workers
        Who does it: at least two processes, or a cluster.
    tick
        Called now and then, in this thread: after each result, and ten times a second while a cluster is waited for.

    Returns
    -------
    iterator of (number of the task, result)
        Closing it early gives up what is left.

    Raises
    ------
    SimulationInterrupted
        By Ctrl-C.
    BrokenProcessPool
        A process of this machine ended without a word. A cluster begins again what its dead were at.
    LlmsimError
        There is no such cluster, it has other versions, or one task ended one worker after the other.
    Exception
        Whatever the first call raised that could not be done.
    """
    results: Generator[tuple[int, T]] | None = None
    try:
        if isinstance(workers, Cluster):
            from llmsim.parallel.cluster import on_cluster

            results = on_cluster(call, tasks, workers.scheduler, tick)
        else:
            results = processes.in_processes(call, tasks, workers)
        for numbered in results:
            yield numbered
            tick()
    except KeyboardInterrupt:
        if not isinstance(workers, Cluster):  # those of a cluster are not ours to end
            end_worker_processes()
        raise SimulationInterrupted("interrupted") from None
    finally:
        if results is not None:
            results.close()


def in_order(
    call: Callable[..., T],
    tasks: Sequence[tuple[Any, ...]],
    workers: Workers,
    tick: Callable[[], object] = lambda: None,
) -> Generator[T]:
    """As `as_they_come`, in the order of the tasks; a failed one counts when it is its turn, whoever fails first.

    So what is told does not depend on the speed of the workers.
    """
    done: dict[int, T | Failed] = {}
    shown = 0
    running = as_they_come(Kept(call), tasks, workers, tick)
    try:
        for number, result in running:
            done[number] = result
            while shown in done:
                yield unwrapped(done.pop(shown))
                shown += 1
    finally:
        running.close()
