"""Settings that hold up on luck they have not seen: proposed, raced, held out, and compared with what there is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from llmsim.constructors import whole_given
from llmsim.errors import LlmsimError, ScenarioError, SimulationInterrupted
from llmsim.parallel import Workers, workers_of
from llmsim.report.verdict import MINIMUM
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.preflight import preflight
from llmsim.scenario.spec import Scenario
from llmsim.tuning.asked import asked
from llmsim.tuning.held_out import HELD_OUT
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import goals_of, limits_of
from llmsim.tuning.optuna_study import check_place, write_study
from llmsim.tuning.recipes import check_bounded
from llmsim.tuning.recipes import recipe as ready
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space import Space
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages, TuneProgress
from llmsim.tuning.tuned import Tuned
from llmsim.units import counted

__all__ = ["TuneProgress", "tune"]

_WORTH_PROCESSES = 150_000  # requests: starting workers takes seconds, as in `llmsim run`


def tune(
    scenario: ScenarioLike | Sequence[ScenarioLike],
    space: Mapping[str, Any] | None = None,
    *,
    minimize: str | Sequence[str] = (),
    maximize: str | Sequence[str] = (),
    subject_to: Sequence[str] | None = None,
    trials: int = 200,
    recipe: str | None = None,
    weights: Sequence[float] | None = None,
    seed: int | None = None,
    replications: int | None = None,
    held_out: int | None = None,
    study: str | Path | None = None,
    optuna: str | Path | None = None,
    within_s: float | None = None,
    jobs: int | None = None,
    progress: Callable[[TuneProgress], object] | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
    overrides: Sequence[str] = (),
) -> Tuned:
    """Search settings that make a number small (or large) while limits hold, and say how sure that is.

    Optuna proposes settings; of one goal half of them are steps from the best so far, once 16 have answered. All of
    them meet the same luck, and most stop after two replications: what is clearly worse, and of each eight all but the
    two that look best. The winner is then run on *held-out* luck and compared with the settings as they are, pair by
    pair.
    The answer is a pure function of what is asked (and of the versions of Optuna and numpy): neither the number of
    processes nor being killed and resumed changes it.

    Parameters
    ----------
    scenario
        File name, mapping, or `Scenario`; several: one setting for all of them.
    space
        Paths to values: ``{"gateway.retry.max_attempts": [1, 2], "gateway.semantic_cache.threshold": (0.80, 0.98)}``.
        A list is choices, a pair a range, a third ``"log"`` makes it even in the logarithm; both ends whole: whole
        numbers. Texts carry their unit, ``("50ms", "2s", "log")``. ``[True, False]`` for a whole policy: on or off.
    minimize, maximize
        ``cost_per_ok``, ``ttft p(95)``; several: a front of those that no other beats. Or a sum, which weighs one
        number against another in the unit of the one without a weight: in ``cost_per_ok + 0.02*false_hit_rate`` a
        wrong answer from the cache costs $0.02 (`llmsim.scenario.sum_text` says how sums are written). Neither: what
        the recipe is about.
    subject_to
        Lines that must hold, ``["ttft p(95) < 2s"]``; None: the scenario's own SLOs.
    trials
        Settings to try at most; all of a space that has no more.
    recipe
        In place of or besides `space`: ``backoff``, ``cache-threshold``, ``timeouts``, ``breaker`` or ``limits``.
        What of it has no effect is left out, and said.
    weights
        Of several scenarios, by which their costs (shares of what they are now) are averaged; None: the worst counts.
    seed
        In place of the scenario's: of the luck that settings are chosen on, and of what is proposed.
    replications
        Of a setting at most; None: the scenario's.
    held_out
        Replications of held-out luck at most, for the winner and for what there is; a front's others get half of it.
        They are looked at after 10, 20, 40, …, and end when it is decided whether the limits hold and which is better.
        None: 40, or as many as `replications`.
    study
        A file (JSON lines) in which finished replications are kept: with it, what was killed goes on where it was.
    optuna
        A file that ``optuna.load_study`` and optuna-dashboard read: the trials, written at the end or when interrupted
        (`llmsim.tuning.optuna_study` says what is in it).
    within_s
        About how long it may take: beyond the first eight no trials are begun once what follows them (held-out luck,
        the neighbourhood) would need the rest. The answer then depends on the machine; with `study`, the same call
        without it goes on.
    jobs
        Processes; None: one per core if it is worth it. The answer does not depend on it.
    progress
        Called about ten times a second with a `TuneProgress`.
    backend, scheduler
        ``"dask"`` and its scheduler's address, in place of processes here; see `llmsim.run`.
    overrides
        ``path=value`` texts, checked against the schema: what every scenario is before it is tuned.

    Raises
    ------
    ScenarioError
        The scenario, the space, a goal or a limit is wrong, or a dimension that was named has no effect.
    LlmsimError
        What is asked cannot be told, or the study is of something else.
    PolicyError, EngineError
        The gateway broke its contract, or the simulation could not go on; the message says with which settings.
    SimulationInterrupted
        With what is known so far in ``.partial``.
    """
    whole_given("tune", trials=trials, seed=seed, replications=replications, held_out=held_out, jobs=jobs)
    cluster = workers_of(backend, scheduler, jobs)
    given = [scenario] if isinstance(scenario, Scenario | str | Path | Mapping) else list(scenario)
    if not given:
        raise LlmsimError("there is no scenario to tune")
    bases = [load(one, overrides) for one in given]
    bases = [dataclasses.replace(base, seed=bases[0].seed if seed is None else seed) for base in bases]
    wanted, about = dict(space or {}), ""
    if recipe is not None:
        found = ready(recipe, bases[0])
        wanted, about = {**found.space, **wanted}, found.about
        if not minimize and not maximize:
            minimize, about = found.minimize, f"{about} {found.reason}"
    parsed = parse_space(wanted, bases[0])
    for base in bases[1:]:
        parsed.check(base)
    plan = _plan(bases, minimize, maximize, subject_to, weights, trials, replications, held_out)
    if within_s is not None and not within_s > 0:
        raise ScenarioError(f"within_s is {within_s:g}; use a time above 0", "tune")
    plan = plan._replace(
        optional=frozenset(wanted) - frozenset(space or {}), within_s=math.inf if within_s is None else within_s
    )
    if recipe is not None:
        check_bounded(recipe, plan.goals, plan.limits)
    source = Path(given[0]) if isinstance(given[0], str | Path) else None
    written = Path(optuna) if optuna is not None else None
    if written is not None:
        check_place(written, Path(study) if study is not None else None)
    one = _Tune(bases, parsed, plan, cluster or _jobs(bases, plan, jobs), study, progress)
    one.written, one.overrides = written, tuple(overrides)
    return one.all(source, wanted, about)


def _plan(
    bases: Sequence[Scenario],
    minimize: str | Sequence[str],
    maximize: str | Sequence[str],
    subject_to: Sequence[str] | None,
    weights: Sequence[float] | None,
    trials: int,
    replications: int | None,
    held_out: int | None,
) -> Plan:
    goals = goals_of(bases[0], minimize, maximize)
    limits = tuple(limits_of(base, subject_to) for base in bases)
    most = replications if replications is not None else bases[0].replications
    fresh = held_out if held_out is not None else max(most, HELD_OUT)
    if trials < 1:
        raise ScenarioError(f"trials is {trials}; use 1 or more", "tune")
    if most < 2:
        raise ScenarioError(f"replications is {most}; use 2 or more: one alone cannot tell luck from settings", "tune")
    if fresh < MINIMUM:
        raise ScenarioError(f"held_out is {fresh}; use {MINIMUM} or more, as for a verdict", "tune")
    if weights is not None:
        weights = tuple(map(float, weights))
        if len(weights) != len(bases) or min(weights) < 0 or not sum(weights) > 0:
            raise ScenarioError(f"weights are {len(bases)} numbers, one a scenario, not below 0 and not all 0", "tune")
        weights = tuple(one / sum(weights) for one in weights)
    return Plan(goals, limits, weights, bases[0].seed, trials, most, fresh)


def _jobs(bases: Sequence[Scenario], plan: Plan, jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise ScenarioError(f"jobs is {jobs}; use 1 or more", "tune")
    if jobs is not None:
        return jobs
    # A trial takes a third of its replications as a rule; a third of a rule of thumb is as good as it.
    requests = sum(preflight(base).expected_requests for base in bases) * plan.trials * plan.most / 3
    if requests < _WORTH_PROCESSES:
        return 1
    from joblib import cpu_count

    return int(cpu_count())


def _asked(bases: Sequence[Scenario], space: Space, plan: Plan) -> dict[str, Any]:
    """What a study is of. More trials of the same are the same study, gone on with."""
    goals = [f"{goal.verb} {goal.name}" for goal in plan.goals]
    limits = [f"{line.key} {line.text}" for lines in plan.limits for line in lines]
    return asked(bases, [str(one) for one in space.dimensions], [*goals, *limits])


class _Tune:
    """One call of `tune`."""

    def __init__(
        self,
        bases: Sequence[Scenario],
        space: Space,
        plan: Plan,
        jobs: Workers,
        study: str | Path | None,
        progress: Callable[[TuneProgress], object] | None,
    ) -> None:
        self._started = perf_counter()
        self.journal = Journal(Path(study) if study is not None else None, "study", _asked(bases, space, plan))
        self.runs = Runs(bases, space, self.journal, jobs=jobs, tick=self._tick)
        self.stages = Stages(plan, self.runs, progress)
        self.written: Path | None = None  #: as an Optuna study
        self.overrides: tuple[str, ...] = ()

    def _tick(self) -> None:
        self.stages.moved()

    def all(self, source: Path | None, given: Mapping[str, Any], about: str) -> Tuned:
        """Every stage; or as far as it got."""
        try:
            self.stages.all()
        except (SimulationInterrupted, KeyboardInterrupt) as stop:
            found = self._found(source, given, about, partial=True)
            kept = " and in the study" if self.journal.kept else ""
            tried = counted(found.account.trials, "trial")
            text = f"stopped after {tried}; what was found is in .partial of this error{kept}"
            abandoned = getattr(stop, "abandoned", "")
            raise SimulationInterrupted(text, abandoned=abandoned, partial=found) from None
        finally:
            self.journal.close()
        return self._found(source, given, about, partial=False)

    def _found(self, source: Path | None, given: Mapping[str, Any], about: str, *, partial: bool) -> Tuned:
        stages, plan, space = self.stages, self.stages.plan, self.runs.space
        if self.written is not None:
            write_study(self.written, stages)
        best, so_far = stages.best(), stages.best_so_far()
        chosen = so_far.settings if so_far is not None else {}
        return Tuned(
            scenarios=self.runs.scenarios,
            space=tuple(str(one) for one in space.dimensions),
            now=space.now(self.runs.scenarios[0]),
            goals=plan.goals,
            trials=tuple(stages.trials()),
            best=best,
            current=stages.held.get(id(stages.current)),
            front=tuple(stages.held[id(one)] for one in stages.front if id(one) in stages.held),
            differences=tuple(stages.compared()),
            sensitivity=tuple(stages.sensitivity),
            undone=tuple(stages.undone),
            alone=stages.alone,
            edges=tuple(stages.edges),
            apart=stages.apart,
            idle=tuple(one.path for one in stages.idle),
            account=stages.account(),
            most=plan.most,
            held_out=plan.held_out,
            seed=plan.seed,
            held_seed=stages.held_seed,
            given=dict(given),
            recipe=about,
            overrides=self.overrides,
            so_far=dict(chosen) if best is None else None,
            scenario=space.settled(self.runs.scenarios[0], chosen),
            source=source,
            partial=partial,
            within_s=plan.within_s if stages.cut else None,
            wall_s=perf_counter() - self._started,
            study=getattr(stages.proposer, "study", None),
        )
