"""Which faults break an SLO: searched for, made as small as they can be, judged, and told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from llmsim.chaos.found import Searched
from llmsim.chaos.hearing import Hearing
from llmsim.chaos.kinds import KINDS, STORE_KINDS, Spot, spots_of
from llmsim.chaos.named import with_named_gateway
from llmsim.chaos.runs import OutOfRuns, Runs
from llmsim.chaos.schedules import Space
from llmsim.chaos.searching import Searching, Stage
from llmsim.chaos.workers import Broke, Interrupted
from llmsim.errors import EngineError, LlmsimError, PolicyError, ScenarioError, SimulationInterrupted
from llmsim.parallel import Workers, workers_of
from llmsim.report.result import Result
from llmsim.report.verdict import MINIMUM
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.objectives import Objective, objectives_of
from llmsim.scenario.preflight import preflight
from llmsim.scenario.spec import Expect, Scenario
from llmsim.units import counted

__all__ = ["SearchProgress", "search"]

_LEAST_BUDGET = 50  # a baseline, a verdict and its parts take that; there must be something left to search with
_VERDICT = 10  # replications of a verdict, where the scenario has too few for one
_WORTH_PROCESSES = 150_000  # requests: starting workers takes seconds, as in `llmsim run`


class SearchProgress(NamedTuple):
    """Where a search is, for whoever draws it."""

    stage: Stage
    runs: int  #: done
    budget: int
    tried: int  #: schedules
    breaking: int  #: of these, such that break a line
    worst: str  #: what was found so far, in words; empty: nothing
    wall_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds it takes at most from here; None while there is too little to tell by."""
        if self.runs < 5 or self.wall_s < 0.5:
            return None
        return self.wall_s / self.runs * max(0, self.budget - self.runs)


def search(
    scenario: ScenarioLike,
    *,
    budget: int = 500,
    seed: int | None = None,
    max_faults: int = 3,
    max_fault_time: float = 0.5,
    kinds: Sequence[str] = (),
    providers: Sequence[str] = (),
    slo: Sequence[str] = (),
    replications: int = 2,
    instead: bool = False,
    gateway: str = "",
    jobs: int | None = None,
    progress: Callable[[SearchProgress], object] | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
) -> Searched:
    """Search for faults that break an SLO, make them as few, short and weak as they can be, and judge what is left.

    Schedules are drawn and shrunk by Hypothesis and tried with few replications. The smallest that breaks a line is
    then judged as `llmsim.run` would: what does not hold up is not reported as found. The answer is a pure function of
    the scenario, the gateway, `seed` and `budget` (and the version of Hypothesis).

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`; it needs an SLO, and has to hold without the faults that are searched for.
    budget
        Runs (replications) that may be simulated, for everything.
    seed
        In place of the scenario's: of the luck in the runs, and of what is drawn.
    max_faults
        In one schedule.
    max_fault_time
        Of the measured time, the most that may have a fault in it: 0.5 is half.
    kinds
        What may happen, of `llmsim.chaos.kinds`: ``latency``, ``stall``, …; empty: all of it.
    providers
        To whom: providers, and names of caches with a store; empty: all.
    slo
        Keys of the lines that count, ``ttft``; empty: all.
    replications
        Runs of a schedule until it counts as breaking a line (in all of them).
    instead
        Search in place of the scenario's own faults, not on top of them.
    gateway
        ``module:name`` of one to put in place of the scenario's.
    jobs
        Processes; None: one per core if it is worth it. The answer does not depend on it.
    progress
        Called about ten times a second with a `SearchProgress`.
    backend, scheduler
        ``"dask"`` and its scheduler's address, in place of processes here; see `llmsim.run`.

    Raises
    ------
    ScenarioError
        The scenario is wrong or has no SLO, or an argument names something it does not have.
    LlmsimError
        The scenario does not hold without the searched faults.
    PolicyError, EngineError
        The gateway broke its contract, or the simulation could not go on; the message says under which faults.
    SimulationInterrupted
        With what is known so far in ``.partial``.
    """
    cluster = workers_of(backend, scheduler, jobs)
    base = with_named_gateway(load(scenario), gateway)
    faults = () if instead else base.faults
    base = dataclasses.replace(
        base, faults=faults, expect=Expect(), seed=base.seed if seed is None else seed,
        replications=base.replications if base.replications >= MINIMUM else _VERDICT,
    )  # fmt: skip
    _check_numbers(budget, max_faults, max_fault_time, replications)
    lines = _lines(base, slo, instead=instead)
    spots = _spots(base, kinds, providers)
    taken = [fault.name for fault in faults]
    space = Space(spots, base.clock, most=max_faults, time_share=max_fault_time, taken=taken)
    one = _Search(base, space, lines, budget, replications, cluster or _workers(base, budget, jobs), progress)
    asked = _asked(budget, seed, max_faults, max_fault_time, kinds, providers, slo, replications, gateway, instead)
    source = Path(scenario) if isinstance(scenario, str | Path) else None
    return one.all(source, asked, instead=instead)


class _Search:
    """One call of `search`."""

    def __init__(
        self,
        base: Scenario,
        space: Space,
        lines: Sequence[Objective],
        budget: int,
        replications: int,
        jobs: Workers,
        progress: Callable[[SearchProgress], object] | None,
    ) -> None:
        self._base, self._space = base, space
        self._report, self._started = progress, perf_counter()
        self.runs = Runs(base, space, lines, budget=budget, replications=replications, jobs=jobs, tick=self._moved)
        self._hearing = Hearing()
        self.searching = Searching(self.runs, base.seed, base.replications, self._moved, self._hearing.check)
        self._left_out: tuple[str, ...] = ()

    def all(self, source: Path | None, asked: tuple[str, ...], *, instead: bool) -> Searched:
        """Every stage; or as far as it got."""
        partial, abandoned = False, ""
        try:
            with self._hearing:
                self._stages()
        except OutOfRuns:  # of the smallest of budgets: what is known is the answer
            pass
        except (Interrupted, KeyboardInterrupt) as stop:
            partial, abandoned = True, getattr(stop, "abandoned", "")
        except Broke as broke:
            raise _told(broke, self._space) from broke.error
        found = Searched.of(
            self.searching, self._left_out, source=source, asked=asked, instead=instead, partial=partial,
            wall_s=perf_counter() - self._started,
        )  # fmt: skip
        if partial:
            text = f"stopped after {counted(self.runs.done, 'run')}; what was found is in .partial of this error"
            raise SimulationInterrupted(text, abandoned=abandoned, partial=found)
        return found

    def _stages(self) -> None:
        searching = self.searching
        self._calm(searching.baseline())
        searching.explore()
        if searching.best is None:
            return
        searching.settle()
        if searching.result is not None:
            searching.look_at_parts()

    def _calm(self, result: Result) -> None:
        """That there is something to break: lines that do not hold anyway are left out, or there is nothing to do."""
        chosen = {(line.key, line.text) for line in self.runs.lines}
        told = [one for one in result.slo if (one.objective.key, one.objective.text) in chosen]
        calm = [one for one in result.slo if one.objective.key.startswith("steady_state ")]
        red = [one for one in (*told, *calm) if one.verdict == "FAIL"]
        if red:
            shown = ", ".join(f"{one.objective.key} {one.objective.text} ({one.shown})" for one in red)
            raise LlmsimError(
                f"{self._base.name} fails without any searched fault, so there is nothing to search for: {shown}. Mend "
                "that first (llmsim run says why), or choose lines that hold with --slo, or search --instead of its "
                "own faults"
            )
        # What can only be told with faults cannot be told yet, and is no reason to leave it out.
        unsure = [one for one in told if one.verdict == "UNDECIDED" and not all(map(math.isnan, one.values))]
        self._left_out = tuple(f"{one.objective.key} {one.objective.text}" for one in unsure)
        self.runs.ignore({self.runs.index(one) for one in unsure})
        if len(unsure) == len(self.runs.lines):
            raise LlmsimError(
                f"{self._base.name} is undecided without any searched fault ({', '.join(self._left_out)}), so nothing "
                "can be said to break it; choose bounds that are clearly met"
            )

    def _moved(self) -> None:
        self._hearing.check()
        if self._report is None:
            return
        searching = self.searching
        self._report(
            SearchProgress(
                searching.stage, self.runs.done, self.runs.budget, len(searching.tried), len(searching.broken),
                searching.worst(), perf_counter() - self._started,
            )
        )  # fmt: skip


def _told(broke: Broke, space: Space) -> Exception:
    """The error, and under which faults it came."""
    error = broke.error
    under = "; ".join(space.words(spell) for spell in broke.schedule) or "its own faults alone"
    if isinstance(error, PolicyError | EngineError):
        error.args = (f"{error} (under {under})",)
    return error


def _workers(base: Scenario, budget: int, jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise ScenarioError(f"jobs is {jobs}; use 1 or more", "search")
    if jobs is not None:
        return jobs
    if preflight(base).expected_requests * budget < _WORTH_PROCESSES:
        return 1
    from joblib import cpu_count

    return int(cpu_count())


def _check_numbers(budget: int, max_faults: int, max_fault_time: float, replications: int) -> None:
    if budget < _LEAST_BUDGET:
        raise ScenarioError(
            f"a budget of {budget} runs is too small to search with; use {_LEAST_BUDGET} or more", "search"
        )
    if not 1 <= max_faults <= 10:
        raise ScenarioError(f"max_faults is {max_faults}; use 1 to 10", "search")
    if not 0 < max_fault_time <= 1:
        raise ScenarioError(f"max_fault_time is {max_fault_time:g}; use a share above 0 and at most 1", "search")
    if not 1 <= replications <= MINIMUM:
        raise ScenarioError(f"{replications} replications a schedule; use 1 to {MINIMUM}", "search")


def _lines(base: Scenario, chosen: Sequence[str], *, instead: bool) -> list[Objective]:
    lines = objectives_of(base)
    if not lines:
        raise ScenarioError('there is no SLO, so nothing can break; add slo: {error_rate: ["value < 1%"]}', base.name)
    known = dict.fromkeys(line.key for line in lines)
    for key in chosen:
        if key not in known:
            raise ScenarioError(f"there is no SLO {key!r}; it has {', '.join(known)}", "--slo")
    lines = [line for line in lines if not chosen or line.key in chosen]
    named = [line for line in lines if line.phase is not None and line.phase.fault]
    if instead and named:
        raise ScenarioError(
            f"{named[0].key} {named[0].text} is about a fault of the scenario, which is not there with --instead; "
            "choose other lines with --slo, or leave --instead out",
            base.name,
        )
    return lines


def _spots(base: Scenario, kinds: Sequence[str], providers: Sequence[str]) -> list[Spot]:
    spots = spots_of(base)
    for name in providers:
        if name not in [spot.target for spot in spots]:
            raise ScenarioError(
                f"there is no provider or store {name!r}; it has {', '.join(spot.target for spot in spots)}",
                "--providers",
            )
    every = dict.fromkeys(kind.name for kind in (*KINDS, *STORE_KINDS))
    for name in kinds:
        if name not in every:
            raise ScenarioError(f"there is no kind {name!r}; use {', '.join(every)}", "--kinds")
    spots = [
        spot._replace(kinds=tuple(kind for kind in spot.kinds if not kinds or kind.name in kinds))
        for spot in spots
        if not providers or spot.target in providers
    ]
    spots = [spot for spot in spots if spot.kinds]
    if not spots:
        raise ScenarioError(f"none of these providers can have a {' or '.join(kinds)}", "--kinds")
    return spots


def _asked(
    budget: int,
    seed: int | None,
    max_faults: int,
    max_fault_time: float,
    kinds: Sequence[str],
    providers: Sequence[str],
    slo: Sequence[str],
    replications: int,
    gateway: str,
    instead: bool,  # noqa: FBT001
) -> tuple[str, ...]:
    """The options that make the same search again."""
    words = ["--budget", str(budget)]
    for option, value, usual in (
        ("--seed", seed, None),
        ("--max-faults", max_faults, 3),
        ("--max-fault-time", f"{max_fault_time:.4g}", "0.5"),
        ("--replications", replications, 2),
        ("--gateway", gateway, ""),
    ):
        words += [option, str(value)] if value != usual else []
    for option, values in (("--kinds", kinds), ("--providers", providers), ("--slo", slo)):
        for value in values:
            words += [option, value]
    return (*words, *(["--instead"] if instead else []))
