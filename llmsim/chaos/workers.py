"""Many single runs, here or in processes, with results in the order of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from llmsim import parallel
from llmsim.chaos.drawing import Halt
from llmsim.chaos.schedules import Schedule
from llmsim.engine.driver import in_worker_thread
from llmsim.errors import SimulationInterrupted
from llmsim.parallel import Workers
from llmsim.report.samples import samples
from llmsim.report.slo import measure
from llmsim.scenario.objectives import Objective
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.recorder import Replication

__all__ = ["Broke", "Interrupted", "Measured", "Task", "Whole", "in_order"]

T = TypeVar("T")
Out_co = TypeVar("Out_co", covariant=True)


class Interrupted(Halt):
    """The user has seen enough."""

    def __init__(self, abandoned: str = "") -> None:
        super().__init__("interrupted")
        self.abandoned = abandoned


class Broke(Halt):
    """A run could not go on: a policy broke its contract, or the simulation came to a stop."""

    def __init__(self, error: Exception, schedule: Schedule) -> None:
        super().__init__(str(error))
        self.error, self.schedule = error, schedule


class Task(NamedTuple):
    """One run."""

    scenario: Scenario
    number: int  #: of the replication
    schedule: Schedule  #: what it stands for, if it goes wrong


class Work(Protocol[Out_co]):
    """What is wanted of a run."""

    def __call__(self, scenario: Scenario, number: int, progress: Progress | None = None) -> Out_co: ...


class Measured(NamedTuple):
    """The values of some lines."""

    lines: tuple[Objective, ...]

    def __call__(self, scenario: Scenario, number: int, progress: Progress | None = None) -> tuple[float, ...]:
        """Run and measure: few numbers to carry from process to process."""
        return measure(self.lines, samples(scenario, [replicate(scenario, number, progress)])[0])


class Whole(NamedTuple):
    """All that was recorded."""

    def __call__(self, scenario: Scenario, number: int, progress: Progress | None = None) -> Replication:
        """Run."""
        return replicate(scenario, number, progress)


def in_order(work: Work[T], tasks: Sequence[Task], *, jobs: Workers, tick: Callable[[], None]) -> Iterator[T]:
    """What becomes of the tasks.

    Parameters
    ----------
    work
        What is wanted of each.
    tasks
        The runs.
    jobs
        Processes, or a cluster; 1: this one.
    tick
        Called now and then.

    Raises
    ------
    Interrupted
        By Ctrl-C.
    Broke
        By the first task that could not be done.
    """
    if not parallel.alone(jobs) and len(tasks) > 1:
        yield from _elsewhere(work, tasks, jobs, tick)
        return
    for task in tasks:
        yield _here(work, task, tick)
        tick()


def _here(work: Work[T], task: Task, tick: Callable[[], None]) -> T:
    """In a thread of its own, so that it can be interrupted whatever it does."""
    progress = Progress()
    try:
        return in_worker_thread(
            lambda: work(task.scenario, task.number, progress), loops=lambda: progress.loop, tick=tick
        )
    except SimulationInterrupted as stop:
        raise Interrupted(stop.abandoned) from None
    except Exception as error:
        raise Broke(error, task.schedule) from error


def _elsewhere(work: Work[T], tasks: Sequence[Task], jobs: Workers, tick: Callable[[], None]) -> Iterator[T]:
    done = 0
    try:
        for result in parallel.in_order(work, [(task.scenario, task.number) for task in tasks], jobs, tick):
            done += 1
            yield result
    except SimulationInterrupted:
        raise Interrupted from None
    except Exception as error:
        raise Broke(error, tasks[done].schedule) from error
