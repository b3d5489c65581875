"""What one types: load a scenario, run it, look at the result."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.processes import begin_in_worker, end_worker_processes
from llmsim.report.live_display import notebook_progress
from llmsim.report.result import Result
from llmsim.report.slo import Judge
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.scenario.vectors import vectors_of
from llmsim.telemetry.recorder import Replication

if TYPE_CHECKING:
    from llmsim.engine.sampler import Sampler

__all__ = ["RunProgress", "load", "run"]

_SAY_EVERY_S = 5.0


class RunProgress(NamedTuple):
    """Where a run is, for whoever draws it."""

    replications: int  #: finished
    most: int  #: the most there can be
    simulated_s: float  #: virtual seconds of the current replication
    total_s: float  #: virtual seconds a replication takes
    requests: int  #: requests ended, all replications
    wall_s: float  #: seconds since the start

    @property
    def share(self) -> float:
        """How much is done, 0 to 1, if all replications are needed."""
        current = min(self.simulated_s / self.total_s, 1.0) if self.total_s else 0.0
        return min((self.replications + current) / self.most, 1.0)


def run(
    scenario: ScenarioLike,
    *,
    seed: int | None = None,
    replications: int | None = None,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    progress: Callable[[RunProgress], object] | None = None,
    profile: bool = False,
) -> Result:
    """Simulate a scenario until its verdict is clear, or its replications are used up.

    Works the same in a script, under pytest, inside a running event loop and in a notebook cell.

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`.
    seed, replications
        Override the scenario's.
    jobs
        Processes to use; -1: one per core. The result does not depend on it.
    overrides
        ``path=value`` texts, checked against the schema.
    progress
        Called about ten times a second with a `RunProgress`. None: a notebook gets a line under the cell that is
        gone when the run is over, everything else nothing.
    profile
        Look at where the wall time goes: ``result.time_spent``. In this process only.

    Raises
    ------
    ScenarioError
        The scenario is wrong.
    PolicyError
        A policy broke its contract; names the policy and the line.
    EngineError
        The simulation could not go on (deadlock, real time or sockets inside it, too many events).
    SimulationInterrupted
        Ctrl-C or Kernel → Interrupt; ``.partial`` is the `Result` so far.

    Examples
    --------
    >>> result = run(
    ...     {
    ...         "version": 1,
    ...         "replications": 1,
    ...         "clock": {"duration": "20s"},
    ...         "traffic": {"base_rate": "5/s"},
    ...         "providers": {"openai": {"ttft": "300ms"}},
    ...     }
    ... )
    >>> result.metrics["error_rate"]
    0.0
    """
    scenario = load(scenario, overrides)
    changes = {"seed": seed, "replications": replications}
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        scenario = dataclasses.replace(scenario, **given)  # type: ignore[arg-type]
    display = notebook_progress() if progress is None else None
    session = _Session(scenario, progress or display)
    workers = _workers(jobs, scenario.replications)
    if profile:
        if workers > 1:
            raise ScenarioError(f"profile looks at this process, and jobs is {jobs}; leave jobs at 1", "run")
        session.look_where_time_goes()
    try:
        _embed(scenario, told=progress is not None)
        if workers == 1:
            session.in_this_process()
        else:
            session.in_processes(workers)
    except SimulationInterrupted as stop:
        partial = session.result(partial=True)
        if progress is None:  # whoever draws the progress shows what came of it, too
            _show(partial)
        raise SimulationInterrupted(_farewell(partial, stop), abandoned=stop.abandoned, partial=partial) from None
    finally:
        if display is not None:
            display.close()
    return session.result()


def _embed(scenario: Scenario, *, told: bool) -> None:
    """Make the vectors of real prompts, where they will be compared, before virtual time begins."""
    try:
        vectors_of(scenario, _EmbeddingSaid() if told else None)
    except KeyboardInterrupt:
        raise SimulationInterrupted("interrupted; prompts that were embedded are kept") from None


class _EmbeddingSaid:
    """A line now and then about vectors that are made before the run."""

    def __init__(self) -> None:
        self._last_s = perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if perf_counter() - self._last_s >= _SAY_EVERY_S:
            self._last_s = perf_counter()
            print(f"embedding prompts: {done:,} of {total:,}", file=sys.stderr, flush=True)


def _workers(jobs: int, replications: int) -> int:
    if replications < 1:
        raise ScenarioError(f"replications is {replications}; use 1 or more", "run")
    if jobs == 0 or jobs < -1:
        raise ScenarioError(f"jobs is {jobs}; use 1 or more, or -1 for one per core", "run")
    if jobs == -1:
        from joblib import cpu_count

        jobs = cpu_count()
    return max(1, min(jobs, replications))


class _Session:
    """One call of `run`: what has been done, and what is to be done next."""

    def __init__(self, scenario: Scenario, report: Callable[[RunProgress], object] | None) -> None:
        self.scenario = scenario
        self.done: list[Replication] = []
        self._report = report
        self._judge = Judge(scenario)
        self._progress = Progress()
        self._requests = 0
        self._sampler: Sampler | None = None
        self._started = perf_counter()

    def look_where_time_goes(self) -> None:
        """Have the simulation's thread watched."""
        from llmsim.engine.sampler import Sampler
        from llmsim.report.time_spent import owner

        self._sampler = Sampler(owner)

    def result(self, *, partial: bool = False) -> Result:
        wall_s = perf_counter() - self._started
        result = Result(self.scenario, self.done, wall_s=wall_s, requested=self.scenario.replications, partial=partial)
        if self._sampler is not None:
            from llmsim.report.time_spent import TimeSpent

            result.time_spent = TimeSpent.of(self._sampler.stacks, wall_s)
        return result

    def _batches(self) -> Iterator[range]:
        """Numbers of the replications up to each look of the verdict."""
        while (upto := self._judge.next_look()) is not None:
            first = self._judge.done
            yield range(first, upto)
            self._judge.add(self.done[first:upto])

    def _add(self, replication: Replication) -> None:
        self.done.append(replication)
        self._requests += len(replication.tables["requests"]["session"].values)

    def _tick(self) -> None:
        if self._report is None:
            return
        here, live = self._progress, self._progress.number >= len(self.done)
        self._report(
            RunProgress(
                len(self.done),
                self.scenario.replications,
                here.simulated_s if live else 0.0,
                here.total_s,
                self._requests + (here.requests if live else 0),
                perf_counter() - self._started,
            )
        )

    # -- one process -------------------------------------------------------------------------------------------

    def in_this_process(self) -> None:
        """All replications in a worker thread, so that this one can draw progress and be interrupted."""
        from llmsim.engine.driver import in_worker_thread

        try:
            in_worker_thread(self._all, loops=lambda: self._progress.loop, tick=self._tick)
        except SimulationInterrupted as stop:
            self._rescue(stop)
            raise
        self._tick()

    def _all(self) -> None:
        with self._sampler or nullcontext():
            for batch in self._batches():
                for number in batch:
                    replication = replicate(self.scenario, number, self._progress)
                    self._add(replication)
                    if replication.partial:
                        raise SimulationInterrupted("interrupted")

    def _rescue(self, stop: SimulationInterrupted) -> None:
        """Keep what an abandoned replication had recorded: its thread spins, but no longer records."""
        lab = self._progress.lab
        if stop.abandoned and lab is not None and lab.number == len(self.done) and lab.users is not None:
            lab.interrupted = True
            self.done.append(lab.finish(perf_counter() - self._started))

    # -- several processes -------------------------------------------------------------------------------------

    def in_processes(self, workers: int) -> None:
        """Replications in worker processes; results arrive in order, so stopping does not depend on speed."""
        from joblib import Parallel, delayed

        self._progress.number, here = -1, Path.cwd()
        try:
            for batch in self._batches():
                # As many as ever, even for the last one: with n_jobs=1 joblib would run it in this process.
                parallel = Parallel(n_jobs=workers, return_as="generator")
                for replication in parallel(
                    delayed(_replicate_in_worker)(here, self.scenario, number) for number in batch
                ):
                    self._add(replication)
                    self._tick()
        except KeyboardInterrupt:
            end_worker_processes()
            raise SimulationInterrupted("interrupted") from None


def _replicate_in_worker(folder: Path, scenario: Scenario, number: int) -> Replication:
    begin_in_worker(folder)
    return replicate(scenario, number)


def _show(partial: Result) -> None:
    """In a notebook the exception would hide the result: show it first."""
    from llmsim.report.notebook import in_notebook

    if in_notebook():
        from IPython.display import display

        display(partial)  # type: ignore[no-untyped-call]


def _farewell(partial: Result, stop: SimulationInterrupted) -> str:
    whole = sum(not replication.partial for replication in partial.replications)
    text = f"stopped after {whole} whole replication(s); the result so far is in .partial of this error"
    return f"{text}. {stop.abandoned}" if stop.abandoned else text
