"""Single replications of many scenarios, here or in processes, with results in the order of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmsim.engine.driver import in_worker_thread
from llmsim.errors import EngineError, LlmsimError, PolicyError, SimulationInterrupted
from llmsim.processes import ENDED, begin_in_worker, end_worker_processes
from llmsim.report.paired import COMPARED
from llmsim.report.samples import samples
from llmsim.report.slo import measure
from llmsim.scenario.objectives import Objective
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.metrics import evaluate
from llmsim.telemetry.recorder import event_hash

__all__ = ["Measured", "Task", "in_order"]


@dataclass(frozen=True)
class Measured:
    """What is wanted of a replication: few numbers, to carry from process to process."""

    lines: tuple[Objective, ...]
    compared: bool = False  #: also every number of `llmsim.report.paired.COMPARED`
    hashed: bool = False  #: also a hash of all that happened

    def __call__(self, scenario: Scenario, number: int, progress: Progress | None = None) -> list[Any]:
        """Run and measure."""
        replication = replicate(scenario, number, progress)
        sample = samples(scenario, [replication])[0]
        values: list[Any] = list(measure(self.lines, sample))
        if self.compared:
            values += [evaluate(sample, one.metric, one.aggregate, one.percent) for one in COMPARED.values()]
        if self.hashed:
            values.append(event_hash([replication.tables]))
        return values


class Task(NamedTuple):
    """One replication."""

    scenario: Scenario
    number: int
    what: str  #: which setting, if it goes wrong


Work = Callable[..., list[Any]]


def in_order(work: Work, tasks: Sequence[Task], *, jobs: int, tick: Callable[[], None]) -> Iterator[list[Any]]:
    """What becomes of the tasks.

    Parameters
    ----------
    work
        Called with scenario, number and (in this process) a `Progress`.
    tasks
        The replications.
    jobs
        Processes; 1: this one.
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
    here = jobs <= 1 or len(tasks) <= 1
    yield from _here(work, tasks, tick) if here else _in_processes(work, tasks, jobs, tick)


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


def _in_processes(work: Work, tasks: Sequence[Task], jobs: int, tick: Callable[[], None]) -> Iterator[list[Any]]:
    from joblib import Parallel, delayed

    call, here, done = delayed(_in_worker), Path.cwd(), 0
    try:
        # One at a time: joblib would put short ones together, and a batch of 100 is lost as a whole in a kill.
        parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")
        for found in parallel(call(here, work, task.scenario, task.number) for task in tasks):
            done += 1
            yield found
            tick()
    except KeyboardInterrupt:
        end_worker_processes()
        raise SimulationInterrupted("interrupted") from None
    except BrokenProcessPool:
        raise LlmsimError(ENDED) from None
    except (PolicyError, EngineError) as error:
        _say_where(error, tasks[done])
        raise


def _in_worker(folder: Path, work: Work, scenario: Scenario, number: int) -> list[Any]:
    begin_in_worker(folder)
    return work(scenario, number)


def _say_where(error: Exception, task: Task) -> None:
    error.args = (f"{error} (with {task.what})",)
