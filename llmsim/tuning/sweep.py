"""One scenario under many settings, on the same luck: ``sweep(scenario, {"gateway.retry.max_attempts": [1, 2]})``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from llmsim.api import load
from llmsim.errors import LlmsimError, ScenarioError, SimulationInterrupted
from llmsim.parallel import Workers, workers_of
from llmsim.report.figures import clock
from llmsim.report.live_display import notebook_progress
from llmsim.report.result import Result
from llmsim.scenario.given import ScenarioLike
from llmsim.scenario.preflight import preflight
from llmsim.scenario.replicate import Progress
from llmsim.scenario.spec import Scenario
from llmsim.scenario.vectors import vectors_of
from llmsim.telemetry.recorder import Replication
from llmsim.tuning.asked import asked, digest
from llmsim.tuning.sweep_kept import Kept
from llmsim.tuning.sweep_metrics import measured_of
from llmsim.tuning.sweep_points import Design, points_of, scenarios_of
from llmsim.tuning.sweep_runs import Done, Task, as_they_come
from llmsim.tuning.sweep_space import parameters_of
from llmsim.tuning.swept import SHOWN, Sweep

__all__ = ["SweepProgress", "sweep"]

_REPLICATIONS = 6  # the fewest for an interval and a verdict
_WORTH_PROCESSES = 150_000  # requests: starting workers takes seconds, as in `llmsim run`


class SweepProgress(NamedTuple):
    """Where a sweep is, for whoever draws it."""

    done: int  #: runs finished, those that were there already included
    total: int
    resumed: int  #: that were there already
    within: float  #: share of the current run; 0 where worker processes do not say
    wall_s: float

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return min(1.0, (self.done + self.within) / self.total) if self.total else 1.0

    @property
    def left_s(self) -> float | None:
        """Seconds it will take from here; None while there is too little to tell by."""
        made = self.done + self.within - self.resumed
        return self.wall_s * (self.total - self.done - self.within) / made if made > 0 and self.wall_s > 0.5 else None

    def __str__(self) -> str:
        """``34 of 96 runs, about 0:40 left``."""
        kept = f" ({self.resumed:,} were there)" if self.resumed else ""
        left = "" if self.left_s is None else f", about {clock(self.left_s)} left"
        return f"{self.done:,} of {self.total:,} runs{kept}{left}"


def sweep(
    scenario: ScenarioLike,
    over: Mapping[str, Any],
    *,
    design: Design = "grid",
    points: int | None = None,
    replications: int | None = None,
    seed: int | None = None,
    jobs: int | None = 1,
    metrics: Sequence[str] | str | None = None,
    out: str | Path | None = None,
    keep: bool = False,
    overrides: Sequence[str] = (),
    progress: Callable[[SweepProgress], object] | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
) -> Sweep:
    """Simulate a scenario under many settings; every one meets the same luck, so differences are the settings' own.

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`.
    over
        What varies, by path. A list holds values: numbers in SI units, texts with their unit, choices, whole policies
        (``{"max_attempts": 2}``), or ``"on"`` and ``"off"`` for a policy or fault that the scenario has. A pair
        ``(0.80, 0.98)``, ``("100ms", "2s", "log")`` is a range that a design draws from; the text
        ``"100ms..2s in 5 log"`` five values of it. Settings are checked at every point before the first run.
    design
        ``grid``: every combination. ``latin-hypercube`` or ``sobol``: as many `points` as you say, spread evenly.
    points
        For a design that draws.
    replications
        Of every point, none is stopped early; default 6, the fewest for an interval and a verdict.
    seed
        In place of the scenario's. It also says which points are drawn.
    jobs
        Processes, over points and replications alike; -1: one per core, None: that if there is much to do. The tables
        do not depend on it.
    metrics
        What to measure, in the words of SLO lines without their bound: ``ttft p(95)``, ``error_rate``; or sums of such,
        as `llmsim.tune` takes them: ``cost_per_ok + 0.02*false_hit_rate``. Those named are also what is shown and
        compared. None: eleven that matter, of which four are shown.
    out
        A ``.parquet`` file. Each run is kept as it comes; after an interrupt, a crash or a kill the same call
        does only what is missing, and more `replications` add to those that are there.
    keep
        Keep all that was recorded, as ``.results``; it takes the memory of as many results, and no `out`.
    overrides
        ``path=value`` texts for all points, as for `llmsim.run`.
    progress
        Called with a `SweepProgress` about ten times a second. None: a notebook gets a line under the cell.
    backend, scheduler
        ``"dask"`` and its scheduler's address, in place of processes here; see `llmsim.run`.

    Raises
    ------
    ScenarioError
        The scenario is wrong, a path leads nowhere, or a value does not fit at some point; with all problems.
    LlmsimError
        A metric, design or `out` that cannot be; or a run that cannot go on, with its point in the error's notes.
    SimulationInterrupted
        Ctrl-C or Kernel → Interrupt; ``.partial`` is the `Sweep` so far.

    Examples
    --------
    >>> found = sweep(
    ...     {
    ...         "version": 1,
    ...         "clock": {"duration": "20s"},
    ...         "traffic": {"base_rate": "5/s"},
    ...         "providers": {"openai": {"ttft": "300ms", "errors": {"server_error": "20%"}}},
    ...         "gateway": {"policies": [{"retry": {"max_attempts": 2}}]},
    ...     },
    ...     {"gateway.retry.max_attempts": [1, 2, 3]},
    ...     metrics=["error_rate"],
    ... )
    >>> found.summary.select("gateway.retry.max_attempts", "error_rate").rows()[0][0], found.table.height
    (1, 18)
    >>> found.best("error_rate").point.settings
    ('gateway.retry.max_attempts=3',)
    """
    cluster = workers_of(backend, scheduler, jobs)
    base = load(scenario, overrides)
    count = _REPLICATIONS if replications is None else replications
    if count < 1:
        raise ScenarioError(f"replications is {count}; use 1 or more", "sweep")
    if keep and out is not None:
        raise LlmsimError("keep=True keeps everything in memory, out only numbers; take one of the two")
    base = dataclasses.replace(base, replications=count, seed=base.seed if seed is None else seed)
    parameters = parameters_of(base, over)
    chosen, alike = points_of(parameters, design, points, base.seed)
    measured = measured_of(base, [metrics] if isinstance(metrics, str) else metrics)
    shown = tuple(one for one in measured if metrics is not None or one.name in SHOWN)
    scenarios = tuple(scenarios_of(base, parameters, chosen))
    columns = [one.column for one in measured]
    tasks = [
        Task(one.number, number, scenarios[one.number], ", ".join(one.settings))
        for number in range(count)  # all points once, then all twice: what is there after an interrupt is comparable
        for one in chosen
    ]
    plain = Sweep(base, parameters, chosen, scenarios, design, count, measured, shown, (), alike=alike)
    vectors_of(base)
    wanted = (
        {} if out is None else asked([base], digest([one.settings for one in chosen]), [one.name for one in measured])
    )
    with Kept(out, wanted, columns) as kept:
        session = _Session(kept, tasks, progress, keep=keep)
        plain = dataclasses.replace(plain, out=kept.out)
        try:
            session.run(cluster or _workers(jobs, base, session.missing), plain)
            kept.finish(session.fill(plain, partial=False).table)
        except SimulationInterrupted as stop:
            raise SimulationInterrupted(
                session.farewell(), abandoned=stop.abandoned, partial=session.fill(plain, partial=True)
            ) from None
        return session.fill(plain, partial=False)


def _workers(jobs: int | None, scenario: Scenario, runs: int) -> int:
    if jobs is not None and (jobs == 0 or jobs < -1):
        raise ScenarioError(f"jobs is {jobs}; use 1 or more, or -1 for one per core", "sweep")
    if jobs is None:
        jobs = -1 if preflight(scenario).expected_requests * runs > _WORTH_PROCESSES else 1
    if jobs == -1:
        from joblib import cpu_count

        jobs = cpu_count()
    return max(1, min(jobs, runs))


class _Session:
    """One call of `sweep`: what is there, what is missing, and who is told of it."""

    def __init__(
        self,
        kept: Kept,
        tasks: Sequence[Task],
        report: Callable[[SweepProgress], object] | None,
        *,
        keep: bool,
    ) -> None:
        self._kept, self._tasks, self._keep = kept, tasks, keep
        self._todo = [task for task in tasks if (task.point, task.replication) not in kept.rows]
        self._resumed = len(tasks) - len(self._todo)
        self._display = notebook_progress(str) if report is None else None
        self._report = report or self._display
        self._whole: dict[int, list[Replication]] = {}
        self._done = self._resumed
        self._started = perf_counter()

    @property
    def missing(self) -> int:
        """Runs to make."""
        return len(self._todo)

    def run(self, workers: Workers, plain: Sweep) -> None:
        """Make the runs that are missing."""
        runs = as_they_come(self._todo, plain.metrics, workers=workers, keep=self._keep, tick=self._tick)
        try:
            self._take(runs)
        except KeyboardInterrupt:  # while a result was written; nothing is lost, it will be made again
            with suppress(StopIteration, KeyboardInterrupt, SimulationInterrupted):
                runs.throw(KeyboardInterrupt)
            raise SimulationInterrupted("interrupted") from None
        finally:
            runs.close()
            if self._display is not None:
                self._display.close()

    def _take(self, runs: Generator[Done]) -> None:
        for done in runs:
            self._kept.add(done.row)
            if done.kept is not None:
                self._whole.setdefault(done.row.point, []).append(done.kept)
            self._done += 1
            self._tick(None)

    def _tick(self, at: Progress | None) -> None:
        if self._report is not None:
            within = min(0.99, at.simulated_s / at.total_s) if at is not None and at.total_s else 0.0
            here = SweepProgress(self._done, len(self._tasks), self._resumed, within, perf_counter() - self._started)
            self._report(here)

    def fill(self, plain: Sweep, *, partial: bool) -> Sweep:
        """The sweep with what there is."""
        wanted = {(task.point, task.replication) for task in self._tasks}
        rows = tuple(self._kept.rows[key] for key in sorted(wanted & self._kept.rows.keys()))
        wall_s = perf_counter() - self._started
        results = {
            point: Result(
                plain.scenarios[point], sorted(kept, key=lambda one: one.number), requested=plain.replications
            )
            for point, kept in sorted(self._whole.items())
        }
        return dataclasses.replace(
            plain, rows=rows, partial=partial, wall_s=wall_s, resumed=self._resumed, results=results
        )

    def farewell(self) -> str:
        """What is there, and how to go on."""
        text = (
            f"stopped after {self._done:,} of {len(self._tasks):,} runs; the sweep so far is in .partial of this error"
        )
        if self._kept.out is None:
            return f'{text}. With out="sweep.parquet" the same call could go on from there'
        return f"{text}, and on disk: the same call goes on from there"
