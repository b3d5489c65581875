"""`llmsim.run_live`: a scenario on live providers, in real time and within a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from llmsim.errors import ScenarioError, SimulationInterrupted
from llmsim.report.result import Result
from llmsim.scenario.given import ScenarioLike, load
from llmsim.scenario.live_file import check_keys, left_out, live_scenario, load_live
from llmsim.scenario.preflight import first_choice_of, preflight
from llmsim.scenario.replicate import Progress
from llmsim.scenario.scaled import scaled
from llmsim.scenario.spec import Scenario
from llmsim.types import Usage

if TYPE_CHECKING:
    from llmsim.providers.live.spec import LiveFile

    LiveLike = str | Path | Mapping[str, Any] | LiveFile

__all__ = ["LiveProgress", "Plan", "plan_live", "run_live"]


class LiveProgress(NamedTuple):
    """Where a live run is."""

    elapsed_s: float  #: on the loop's clock, warm-up included
    total_s: float  #: the most it takes
    requests: int  #: ended
    in_flight: int
    spent_usd: float  #: of calls that ended
    reserved_usd: float  #: the most that calls under way can still cost
    budget_usd: float


class Plan(NamedTuple):
    """A live run that could begin: what it does, and what it would cost."""

    scenario: Scenario  #: with the live models and prices
    live: LiveFile
    requests: float  #: expected, warm-up included
    expected_usd: float  #: each request answered once, by the first choice, and nothing from caches
    dearest_usd: float  #: the same by the dearest of them
    seconds: float  #: at most, drain included

    def __str__(self) -> str:
        who = ", ".join(f"{name} = {spec.base_url}" for name, spec in self.live.providers.items())
        dearer = f", ${self.dearest_usd:.4f} by the dearest" if self.dearest_usd > self.expected_usd else ""
        return (
            f"{self.scenario.name} live: about {self.requests:,.0f} requests in {self.seconds:.0f}s, about "
            f"${self.expected_usd:.4f} if each is answered once by the first choice{dearer}; retries and hedges cost "
            f"more, caches less ({who})"
        )


def plan_live(
    scenario: ScenarioLike,
    providers: LiveLike,
    *,
    time_scale: float = 1.0,
    rate_scale: float = 1.0,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    without_faults: Sequence[str] = (),
) -> Plan:
    """Read and check everything a live run needs, without calling anybody.

    The parameters are those of `run_live`.

    Raises
    ------
    ScenarioError
        With all problems of one of the files, or the keys that are not in the environment.
    """
    found = load(scenario, overrides)
    if seed is not None:
        found = dataclasses.replace(found, seed=seed)
    live, document = load_live(providers)
    if without_faults:
        found = left_out(found, (without_faults,) if isinstance(without_faults, str) else without_faults)
    found = live_scenario(scaled(found, time=time_scale, rate=rate_scale), live, document)
    check_keys(live, document)
    asked = preflight(found)
    clock = found.clock
    requests = asked.expected_requests * (clock.warm_up + clock.duration) / clock.duration
    usage = Usage(round(asked.input_tokens), round(asked.output_tokens))
    costs = {name: requests * spec.price.cost(usage) for name, spec in found.providers.items()}
    first_usd = costs[first_choice_of(found)]
    seconds = clock.warm_up + clock.duration + clock.drain
    return Plan(found, live, requests, first_usd, max(costs.values()), seconds)


def run_live(
    scenario: ScenarioLike | Plan,
    providers: LiveLike | None = None,
    *,
    budget_usd: float,
    time_scale: float = 1.0,
    rate_scale: float = 1.0,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    without_faults: Sequence[str] = (),
    progress: Callable[[LiveProgress], object] | None = None,
) -> Result:
    """Run a scenario once on live providers: its arrivals, prompts, policies and faults, in real time.

    The arrivals and questions are those of replication 0 of the simulation with the same seed. It stops before a call
    that could pass the budget, with what there is until then.

    Parameters
    ----------
    scenario
        File name, mapping, `Scenario`; or a `Plan`, which has everything but the budget.
    providers
        File name of a ``live.yaml``, or a mapping or `LiveFile` of that form: whom to call for which provider.
    budget_usd
        The most that may be spent, above 0. A call whose cost the server does not report (it was cancelled, or broke)
        is counted at the most it can have cost.
    time_scale, rate_scale
        See `llmsim.scenario.scaled.scaled`.
    overrides, seed
        As for `llmsim.run`.
    without_faults
        Names of faults that are not injected; ``simulated-only`` takes from all of them what a live provider cannot
        suffer (latency, capacity, price, drift), ``all`` injects none. The result's scenario has none of these either.
    progress
        Called about ten times a second with a `LiveProgress`.

    Raises
    ------
    ScenarioError
        Something is wrong with one of the files.
    ValueError
        `budget_usd` is no amount above 0.
    SimulationInterrupted
        Ctrl-C; ``.partial`` is the `Result` so far.
    """
    from llmsim.engine.worker import in_worker_thread
    from llmsim.providers.live.spending import Budget
    from llmsim.scenario.live import LiveLab, rehearse

    budget = Budget(budget_usd)
    if not isinstance(scenario, Plan):
        if providers is None:
            raise ScenarioError("a live run needs to know whom to call; give providers='live.yaml'", "run_live")
        scenario = plan_live(
            scenario,
            providers,
            time_scale=time_scale,
            rate_scale=rate_scale,
            overrides=overrides,
            seed=seed,
            without_faults=without_faults,
        )
    plan, at = scenario, Progress()

    def tick() -> None:
        if progress is not None:
            users = at.users
            in_flight = len(users.running) if users is not None else 0
            progress(
                LiveProgress(
                    at.simulated_s,
                    at.total_s,
                    at.requests,
                    in_flight,
                    budget.spent_usd,
                    budget.reserved_usd,
                    budget.usd,
                )
            )

    started = perf_counter()
    try:
        replication = in_worker_thread(
            lambda: rehearse(plan.scenario, plan.live, budget, at), loops=lambda: at.loop, tick=tick, grace_s=0.6
        )
    except SimulationInterrupted as stop:
        wall_s = perf_counter() - started
        recorded = stop.partial
        if recorded is None and isinstance(at.lab, LiveLab):  # the run's own thread could not hand it over
            recorded = at.lab.rescue(wall_s)
        if recorded is None:
            raise
        raise SimulationInterrupted(
            "interrupted; the result so far is in .partial of this error",
            abandoned=stop.abandoned,
            partial=Result(plan.scenario, [recorded], wall_s=wall_s, requested=1, partial=True),
        ) from None
    tick()
    return Result(plan.scenario, [replication], wall_s=perf_counter() - started, requested=1)
