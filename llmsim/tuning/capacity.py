"""The highest load that still meets the SLOs, and what stands in the way of more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from llmsim.api import RunProgress, load, run
from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.parallel import Cluster, workers_of
from llmsim.report.figures import figure, share
from llmsim.report.grid import Grid
from llmsim.report.numbers import jsonable
from llmsim.report.result import Result
from llmsim.report.verdict import ERROR
from llmsim.scenario.given import ScenarioLike
from llmsim.scenario.preflight import preflight
from llmsim.scenario.spec import Scenario
from llmsim.tuning.bracket import Bracket, Word
from llmsim.tuning.pressure import Pressure, pressures, what_binds

__all__ = ["Capacity", "CapacityProgress", "Probe", "capacity"]

_FURTHEST = 1024.0  # times the scenario's load, up or down: beyond lies another scenario
_LEAST_REQUESTS = 50  # a replication; of fewer, percentiles and shares stay undecided whatever the gateway does
_WORTH_PROCESSES = 150_000  # requests: starting workers takes seconds, as in `llmsim run`
_MOST_PROBES = 24  # ten doublings and, from a factor of 2 to 5 %, four halvings of two edges


class Probe(NamedTuple):
    """A load that was tried, and what came of it."""

    load: float  #: requests per second at 1x; virtual users in a closed loop
    multiplier: float  #: of the scenario's own
    verdict: Word
    replications: int
    broken: tuple[str, ...]  #: SLO lines that failed
    unsure: tuple[str, ...]  #: SLO lines that were not decided


class CapacityProgress(NamedTuple):
    """Where a search is, for whoever draws it."""

    probes: tuple[Probe, ...]  #: done
    load: float  #: of the one that runs
    run: RunProgress


@dataclass(frozen=True, repr=False)
class Capacity:
    """What came of a search; it shows itself as a table.

    Parameters
    ----------
    scenario
        What was loaded more and more.
    unit
        ``/s`` or ``users``.
    probes
        In the order they were made.
    passes, fails
        The highest load that passed and the lowest that failed; None: there was none.
    unsure
        Loads between them that stayed undecided.
    resolved
        Whether the two are within the tolerance of each other.
    tolerance
        That was asked for.
    contradictory
        A load passed above one that failed.
    limits
        Of the providers at the lowest load that failed (without one, at the highest that passed).
    advice
        What the result of that load says.
    partial
        It was interrupted.
    wall_s
        How long it took.
    """

    scenario: Scenario
    unit: str
    probes: tuple[Probe, ...]
    passes: Probe | None
    fails: Probe | None
    unsure: tuple[Probe, ...]
    resolved: bool
    tolerance: float
    contradictory: bool
    limits: tuple[Pressure, ...]
    advice: tuple[str, ...]
    partial: bool = False
    wall_s: float = 0.0

    @property
    def breaks_first(self) -> tuple[str, ...]:
        """The SLO lines that failed at the lowest load that failed."""
        return self.fails.broken if self.fails is not None else ()

    def shown(self, probe: Probe) -> str:
        """A load with its unit."""
        rate = figure(probe.load, "per_s") if self.unit == "/s" else f"{probe.load:,.0f} users"
        return f"{rate} ({probe.multiplier:.3g}x)"

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        name = self.scenario.name
        if self.partial and (self.passes is None or self.fails is None):
            return f"{name}: interrupted before there was an answer"
        if self.passes is None:
            lowest = min(self.probes, key=lambda probe: probe.load)
            held = "failed" if lowest.verdict == "FAIL" else "was not decided"
            return f"{name}: no load passes; {self.shown(lowest)} {held}"
        if self.fails is None:
            return f"{name}: passes at {self.shown(self.passes)}, the most that was tried"
        between = "" if self.resolved else "; what lies between is undecided"
        return f"{name}: holds up to {self.shown(self.passes)} and fails at {self.shown(self.fails)}{between}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on why, and on how sure this is."""
        told = []
        if self.breaks_first:
            told.append(f"What breaks first: {', '.join(self.breaks_first)}.")
        if self.limits or self.fails is not None:
            told.append(what_binds([*self.limits]))
        told += [f"There: {line}" for line in self.advice]
        if self.unsure:
            why = sorted({line for probe in self.unsure for line in probe.unsure})
            told.append(f"Undecided: {', '.join(why)}. More replications narrow it (--replications).")
        if self.contradictory:
            told.append(
                "A load passed above one that failed: more load is not always worse here. Look at the loads one by one."
            )
        told.append(
            f"Every load met the same luck; a verdict on one that is exactly on the edge errs with {share(ERROR)}."
        )
        return tuple(told)

    @property
    def grid(self) -> Grid:
        """The loads that were tried."""
        rows = [
            (
                self.shown(probe),
                probe.verdict,
                ", ".join(probe.broken or probe.unsure),
                f"{probe.replications}",
            )
            for probe in sorted(self.probes, key=lambda probe: probe.load)
        ]
        return Grid(self.headline, ("load", "verdict", "SLO", "replications"), rows, 3, self.notes)

    @property
    def pressure(self) -> Grid:
        """How full every limit was."""
        rows = [
            (f"{one.provider} {one.limit.replace('_', ' ')}", share(one.used), f"{one.offered:.2f}", share(one.refused))
            for one in self.limits
        ]
        where = "at the load that fails" if self.fails is not None else "at the most that was tried"
        over = ["More than 100 %: a full bucket was spent on top of its refill."] if self.limits[0].used > 1 else []
        return Grid(f"Limits {where}", ("", "used, busiest window", "ρ of preflight", "calls refused"), rows, 1, over)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a strict JSON encoder."""
        told = {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "unit": "per_s" if self.unit == "/s" else "users",
            "passes": self.passes._asdict() if self.passes else None,
            "fails": self.fails._asdict() if self.fails else None,
            "undecided": [probe._asdict() for probe in self.unsure],
            "resolved": self.resolved,
            "tolerance": self.tolerance,
            "contradictory": self.contradictory,
            "partial": self.partial,
            "breaks_first": list(self.breaks_first),
            "limits": [{**one._asdict(), "binds": one.binds} for one in self.limits],
            "binds": [f"{one.provider} {one.limit}" for one in self.limits if one.binds],
            "advice": list(self.advice),
            "probes": [probe._asdict() for probe in self.probes],
            "wall_s": self.wall_s,
        }
        plain: dict[str, Any] = jsonable(told)
        return plain

    def __repr__(self) -> str:
        return f"{self.grid}\n\n{self.pressure}" if self.limits else str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_() + (self.pressure._repr_html_() if self.limits else "")

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_() + (f"\n{self.pressure._repr_markdown_()}" if self.limits else "")


def capacity(
    scenario: ScenarioLike,
    *,
    tolerance: float = 0.05,
    start: float | None = None,
    seed: int | None = None,
    replications: int | None = None,
    jobs: int | None = None,
    overrides: Sequence[str] = (),
    progress: Callable[[CapacityProgress], object] | None = None,
    probed: Callable[[Probe], object] | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
) -> Capacity:
    """The highest load at which a scenario still meets its SLOs, by bisection with the verdict's own statistics.

    The load is the base rate, which scales the whole shape of the traffic (in a closed loop: the number of virtual
    users). Every load is run with the same seed. A verdict that stays UNDECIDED is not taken for either: the answer is
    then a bracket. It is taken for granted that more load is never better; where a run shows otherwise, the answer
    says so.

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`; it needs an SLO.
    tolerance
        How near the highest load that passes and the lowest that fails are to be: 0.05 is 5 %.
    start
        The load to try first, per second (or users); default: the scenario's own.
    seed, replications, overrides
        As for `llmsim.run`.
    jobs
        Processes; None: one per core for the loads that are worth it. The answer does not depend on it.
    progress
        Called about ten times a second. None: a notebook gets a line under the cell, everything else nothing.
    probed
        Called after each load.
    backend, scheduler
        ``"dask"`` and its scheduler's address, in place of processes here; see `llmsim.run`.

    Raises
    ------
    ScenarioError
        The scenario is wrong, replays a trace, or has no SLO.
    SimulationInterrupted
        With what is known so far in ``.partial``.
    """
    cluster = workers_of(backend, scheduler, jobs)
    base = load(scenario, overrides)
    given = {name: value for name, value in {"seed": seed, "replications": replications}.items() if value is not None}
    base = dataclasses.replace(base, **given)  # type: ignore[arg-type]
    _check(base, tolerance, start)
    return _Search(base, tolerance, start, jobs, cluster, progress, probed).all()


def _check(scenario: Scenario, tolerance: float, start: float | None) -> None:
    if not scenario.slo:
        raise ScenarioError(
            'there is no SLO, so every load is as good as any; add slo: {error_rate: ["value < 1%"]}', scenario.name
        )
    if scenario.traffic.executor == "trace":
        faster = "--set traffic.trace.rate=2x --set traffic.trace.repeat=2"
        raise ScenarioError(
            "a trace sets its own pace, so there is no base rate to search for; write executor: constant-arrival-rate "
            "with a base_rate and the arrivals that `llmsim trace describe` suggests. "
            f"Or run it faster: {faster}",
            scenario.name,
        )
    if not 0 < tolerance <= 1:
        raise ScenarioError(f"tolerance is {tolerance:g}; use a share above 0 and at most 1, e.g. 0.05", "capacity")
    if start is not None and not start > 0:
        raise ScenarioError(f"start is {start:g}; use a load above 0", "capacity")


def _jobs(scenario: Scenario) -> int:
    return -1 if preflight(scenario).expected_requests * scenario.replications > _WORTH_PROCESSES else 1


class _Search:
    """One call of `capacity`."""

    def __init__(
        self,
        scenario: Scenario,
        tolerance: float,
        start: float | None,
        jobs: int | None,
        on: Cluster | None,
        progress: Callable[[CapacityProgress], object] | None,
        probed: Callable[[Probe], object] | None,
    ) -> None:
        self.scenario, self.jobs, self._on, self._progress, self._probed = scenario, jobs, on, progress, probed
        closed = scenario.traffic.executor == "constant-vus"
        self.path = "traffic.vus" if closed else "traffic.base_rate"
        self.unit = "users" if closed else "/s"
        self.own = float(scenario.traffic.vus if closed else scenario.traffic.base_rate)
        first = start if start is not None else self.own
        few = self.own * _LEAST_REQUESTS / max(preflight(scenario).expected_requests, 1e-9)
        self.bracket = Bracket(
            tolerance,
            start=first,
            low=max(1.0, self.own / _FURTHEST) if closed else max(self.own / _FURTHEST, min(few, first)),
            high=self.own * _FURTHEST,
            most=_MOST_PROBES,
            whole=closed,
        )
        self.probes: list[Probe] = []
        self.edge: Result | None = (
            None  #: of the lowest load that failed; as long as there is none, of the highest tried
        )
        self._started = perf_counter()

    def all(self) -> Capacity:
        try:
            while (at := self.bracket.next()) is not None:
                self._try(at)
        except SimulationInterrupted as stop:
            text = f"stopped after {len(self.probes)} load(s); what is known is in .partial of this error"
            raise SimulationInterrupted(text, abandoned=stop.abandoned, partial=self._answer(partial=True)) from None
        return self._answer()

    def _try(self, at: float) -> None:
        done = tuple(self.probes)
        report = self._progress
        loaded = self.scenario.with_values({self.path: int(at) if self.unit == "users" else at})
        result = run(
            loaded,
            jobs=1 if self._on else self.jobs or _jobs(loaded),
            backend="dask" if self._on else None,
            scheduler=self._on.scheduler if self._on else None,
            progress=None if report is None else lambda where: report(CapacityProgress(done, at, where)),
        )
        verdict = result.verdict
        assert verdict != "NONE"
        lines = {word: tuple(f"{s.objective.key} {s.objective.text}" for s in result.slo if s.verdict == word)
                 for word in ("FAIL", "UNDECIDED")}  # fmt: skip
        probe = Probe(at, at / self.own, verdict, len(result.replications), lines["FAIL"], lines["UNDECIDED"])
        self.probes.append(probe)
        self.bracket.tell(at, verdict)
        # Only the result at the edge is kept: each holds all its requests.
        if self.bracket.fails == at or (self.bracket.fails is None and at == max(self.bracket.answers)):
            self.edge = result
        if self._probed is not None:
            self._probed(probe)

    def _answer(self, *, partial: bool = False) -> Capacity:
        bracket, by_load = self.bracket, {probe.load: probe for probe in self.probes}
        edge = self.edge
        failed = bracket.fails is not None
        return Capacity(
            self.scenario,
            self.unit,
            tuple(self.probes),
            by_load[bracket.passes] if bracket.passes is not None else None,
            by_load[bracket.fails] if bracket.fails is not None else None,
            tuple(by_load[at] for at in bracket.unsure),
            bracket.resolved,
            bracket.tolerance,
            bracket.contradictory,
            tuple(pressures(edge)) if edge is not None else (),
            tuple(edge.advice) if edge is not None and failed else (),
            partial,
            perf_counter() - self._started,
        )
