"""What one types: load a scenario, run it, look at the result."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from llmsim.constructors import whole_given
from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.parallel import Workers, alone, in_order, workers_of
from llmsim.report.live_display import notebook_progress
from llmsim.report.result import Result
from llmsim.report.slo import Judge
from llmsim.report.stream_folder import StreamFolder, replicated
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.replicate import Progress
from llmsim.scenario.spec import Scenario
from llmsim.scenario.vectors import vectors_of
from llmsim.telemetry.recorder import Replication, rows_of
from llmsim.units import counted

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
    stream: str | Path | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
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
    stream
        A directory that the tables are written into while it runs, and read from a column at a time: for runs of
        millions of requests, in bounded memory, with the same numbers. Called again after it was killed, it keeps the
        replications that were finished. The one that was not is simulated from its seed again, to the same bytes
        (coroutines cannot be saved). `load_result` reads the directory.
    backend, scheduler
        ``"dask"`` and the address of its scheduler, ``"tcp://127.0.0.1:8786"``: replications run on that cluster, in
        place of processes here. The result is the same, bit for bit; what is sent says `llmsim.parallel`.

    Raises
    ------
    ScenarioError
        The scenario is wrong.
    PolicyError
        A policy broke its contract; names the policy and the line.
    EngineError
        The simulation could not go on (deadlock, real time or sockets inside it, too many events).
    LlmsimError
        There is no such cluster, or it has other versions than are here.
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
    whole_given("run", seed=seed, replications=replications, jobs=jobs)
    scenario = load(scenario, overrides)
    changes = {"seed": seed, "replications": replications}
    given = {name: value for name, value in changes.items() if value is not None}
    if given:
        scenario = dataclasses.replace(scenario, **given)  # type: ignore[arg-type]
    display = notebook_progress() if progress is None else None
    folder = None if stream is None else StreamFolder.open(stream, scenario)
    session = _Session(scenario, progress or display, folder)
    cluster = workers_of(backend, scheduler, jobs)
    workers: Workers = cluster or _workers(jobs, scenario.replications)
    if cluster and folder is not None:
        raise ScenarioError("stream writes where the run is, and a cluster is elsewhere; leave one out", "run")
    if profile:
        if not alone(workers):
            given_too = "there is a cluster" if cluster else f"jobs is {jobs}"
            raise ScenarioError(f"profile looks at this process, and {given_too}; leave one out", "run")
        session.look_where_time_goes()
    try:
        _embed(scenario, told=progress is not None)
        if alone(workers):
            session.in_this_process()
        else:
            session.elsewhere(workers)
    except SimulationInterrupted as stop:
        partial = session.result(partial=True)
        if session.folder is not None:
            session.folder.close(partial)
        if progress is None:  # whoever draws the progress shows what came of it, too
            _show(partial)
        raise SimulationInterrupted(_farewell(partial, stop), abandoned=stop.abandoned, partial=partial) from None
    finally:
        if display is not None:
            display.close()
    result = session.result()
    if session.folder is not None:
        session.folder.close(result)
    if result.large:
        repr(result)  # computes what showing it takes, so that it is then shown as quickly as a small one
    return result


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

    def __init__(
        self,
        scenario: Scenario,
        report: Callable[[RunProgress], object] | None,
        folder: StreamFolder | None = None,
    ) -> None:
        self.scenario = scenario
        self.folder = folder
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
        self._requests += rows_of(replication.tables["requests"])

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
                    replication = replicated(self.scenario, number, self.folder, self._progress)
                    self._add(replication)
                    if replication.partial:
                        raise SimulationInterrupted("interrupted")

    def _rescue(self, stop: SimulationInterrupted) -> None:
        """Keep what an abandoned replication had recorded: its thread spins, but no longer records."""
        lab = self._progress.lab
        if stop.abandoned and lab is not None and lab.number == len(self.done) and lab.users is not None:
            lab.interrupted = True
            replication = lab.finish(perf_counter() - self._started)
            self.done.append(replication if self.folder is None else self.folder.keep(replication))

    # -- several processes -------------------------------------------------------------------------------------

    def elsewhere(self, workers: Workers) -> None:
        """Replications where the workers are; results arrive in order, so stopping does not depend on speed."""
        self._progress.number = -1
        for batch in self._batches():
            tasks = [(self.scenario, number, self.folder) for number in batch]
            running = in_order(replicated, tasks, workers, self._tick)
            try:
                for replication in running:
                    self._add(replication)
                    self._tick()
            except KeyboardInterrupt:  # while it was added or shown
                raise SimulationInterrupted("interrupted") from None
            finally:
                running.close()


def _show(partial: Result) -> None:
    """In a notebook the exception would hide the result: show it first."""
    from llmsim.report.notebook import in_notebook

    if in_notebook():
        from IPython.display import display

        display(partial)  # type: ignore[no-untyped-call]


def _farewell(partial: Result, stop: SimulationInterrupted) -> str:
    whole = sum(not replication.partial for replication in partial.replications)
    text = f"stopped after {counted(whole, 'whole replication')}; the result so far is in .partial of this error"
    return f"{text}. {stop.abandoned}" if stop.abandoned else text
