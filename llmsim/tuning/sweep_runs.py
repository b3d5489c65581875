"""The runs of a sweep, here or in worker processes: each comes back as a few numbers as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, NamedTuple

from llmsim import parallel
from llmsim.errors import LlmsimError, SimulationInterrupted
from llmsim.parallel import Workers
from llmsim.processes import ENDED
from llmsim.report.samples import samples
from llmsim.report.slo import measure
from llmsim.scenario.objectives import rehearsed
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.recorder import Replication
from llmsim.tuning.sweep_kept import Row
from llmsim.tuning.sweep_metrics import Measured

__all__ = ["Done", "Task", "as_they_come"]


class Task(NamedTuple):
    """One run."""

    point: int
    replication: int
    scenario: Scenario
    name: str  #: of the point, for messages


class Done(NamedTuple):
    """What came of it."""

    row: Row
    kept: Replication | None  #: all that was recorded, if that is wanted


def as_they_come(
    tasks: Sequence[Task],
    metrics: Sequence[Measured],
    *,
    workers: Workers,
    keep: bool = False,
    tick: Callable[[Progress], object] = lambda _: None,
) -> Generator[Done]:
    """Run all of them; with several workers in whatever order they get done.

    Parameters
    ----------
    tasks
        In the order in which they are begun.
    metrics
        What is measured.
    workers
        Processes, or a cluster; 1: this process.
    keep
        Whether all that was recorded comes back, too.
    tick
        Called now and then while a run goes on in this process, with how far it is.

    Raises
    ------
    SimulationInterrupted
        By Ctrl-C.
    LlmsimError
        If a policy breaks its contract, the simulation cannot go on, or a worker process ends.
    """
    yield from (_here if parallel.alone(workers) else _elsewhere)(tasks, tuple(metrics), workers, keep, tick)


def _one(task: Task, metrics: Sequence[Measured], keep: bool, progress: Progress | None = None) -> Done | None:  # noqa: FBT001
    """A run measured; None if it was interrupted."""
    try:
        replication = replicate(task.scenario, task.replication, progress)
    except LlmsimError as error:
        error.add_note(f"at {task.name}, replication {task.replication}")
        raise
    if replication.partial:
        return None
    sample = samples(task.scenario, [replication])[0]
    values = tuple(one.sum.of(sample) for one in metrics)
    row = Row(task.point, task.replication, values, measure(rehearsed(task.scenario), sample))
    return Done(row, replication if keep else None)


def _here(
    tasks: Sequence[Task],
    metrics: Sequence[Measured],
    workers: Workers,
    keep: bool,  # noqa: FBT001
    tick: Callable[[Progress], object],
) -> Generator[Done]:
    """In a thread of their own, so that this one can draw progress and be interrupted."""
    from llmsim.engine.driver import in_worker_thread

    for task in tasks:
        progress = Progress()
        done = in_worker_thread(
            partial(_one, task, metrics, keep, progress),
            loops=partial(_loop, progress),
            tick=partial(_ticked, tick, progress),
        )
        if done is None:
            raise SimulationInterrupted("interrupted")
        yield done


def _loop(progress: Progress) -> Any:
    return progress.loop


def _ticked(tick: Callable[[Progress], object], progress: Progress) -> None:
    tick(progress)


def _elsewhere(
    tasks: Sequence[Task],
    metrics: Sequence[Measured],
    workers: Workers,
    keep: bool,  # noqa: FBT001
    tick: Callable[[Progress], object],
) -> Generator[Done]:
    running = parallel.as_they_come(_in_worker, [(task, metrics, keep) for task in tasks], workers)
    try:
        for _, done in running:
            yield done
    except BrokenProcessPool:
        raise LlmsimError(ENDED) from None
    finally:
        running.close()


def _in_worker(task: Task, metrics: Sequence[Measured], keep: bool) -> Done:  # noqa: FBT001
    done = _one(task, metrics, keep)
    assert done is not None, "nobody interrupts a worker"
    return done
