"""Single replications of many scenarios, here or in processes, with results in the order of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmsim import parallel
from llmsim.engine.driver import in_worker_thread
from llmsim.errors import EngineError, LlmsimError, PolicyError, SimulationInterrupted
from llmsim.parallel import Workers
from llmsim.processes import ENDED
from llmsim.report.samples import samples
from llmsim.report.slo import measure
from llmsim.scenario.objectives import Objective
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.scenario.sums import Sum
from llmsim.telemetry.recorder import event_hash
from llmsim.tuning.objective import shown_beside

__all__ = ["Measured", "Task", "in_order"]


@dataclass(frozen=True)
class Measured:
    """What is wanted of a replication: few numbers, to carry from process to process."""

    sums: tuple[Sum, ...]
    lines: tuple[Objective, ...] = ()
    compared: bool = False  #: also every number of `shown_beside`
    hashed: bool = False  #: also a hash of all that happened

    def __call__(self, scenario: Scenario, number: int, progress: Progress | None = None) -> list[Any]:
        """Run and measure."""
        replication = replicate(scenario, number, progress)
        sample = samples(scenario, [replication])[0]
        values: list[Any] = [one.of(sample) for one in self.sums]
        values += measure(self.lines, sample)
        if self.compared:
            values += [one.of(sample) for one in shown_beside(self.sums).values()]
        if self.hashed:
            values.append(event_hash([replication.tables]))
        return values


class Task(NamedTuple):
    """One replication."""

    scenario: Scenario
    number: int
    what: str  #: which setting, if it goes wrong


Work = Callable[..., list[Any]]


def in_order(work: Work, tasks: Sequence[Task], *, jobs: Workers, tick: Callable[[], None]) -> Iterator[list[Any]]:
    """What becomes of the tasks.

    Parameters
    ----------
    work
        Called with scenario, number and (in this process) a `Progress`.
    tasks
        The replications.
    jobs
        Processes, or a cluster; 1: this process.
    tick
        Called now and then.

    Raises
    ------
    SimulationInterrupted
        By Ctrl-C.
    LlmsimError
        If a worker process ends.
    PolicyError, EngineError
        By the first task that could not be done; the message says with which setting.
    """
    here = parallel.alone(jobs) or len(tasks) <= 1
    yield from _here(work, tasks, tick) if here else _elsewhere(work, tasks, jobs, tick)


def _here(work: Work, tasks: Sequence[Task], tick: Callable[[], None]) -> Iterator[list[Any]]:
    for task in tasks:
        try:
            found = _one(work, task, tick)
        except SimulationInterrupted:
            raise
        except (PolicyError, EngineError) as error:
            _say_where(error, task)
            raise
        yield found
        tick()


def _one(work: Work, task: Task, tick: Callable[[], None]) -> list[Any]:
    """In a thread of its own, so that it can be interrupted whatever it does."""
    progress = Progress()
    return in_worker_thread(lambda: work(task.scenario, task.number, progress), loops=lambda: progress.loop, tick=tick)


def _elsewhere(work: Work, tasks: Sequence[Task], jobs: Workers, tick: Callable[[], None]) -> Iterator[list[Any]]:
    done = 0
    try:
        for found in parallel.in_order(work, [(task.scenario, task.number) for task in tasks], jobs, tick):
            done += 1
            yield found
    except BrokenProcessPool:
        raise LlmsimError(ENDED) from None
    except (PolicyError, EngineError) as error:
        if not isinstance(error, SimulationInterrupted):
            _say_where(error, tasks[done])
        raise


def _say_where(error: Exception, task: Task) -> None:
    error.args = (f"{error} (with {task.what})",)
