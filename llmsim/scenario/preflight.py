"""How much of each limit a scenario asks for, worked out before anything runs.

A scenario whose sizes make no sense (a spike that exhausts nothing, a fallback that could never carry the load) is
found here in milliseconds. Everything is means and fluid: no cache, no retries, no faults, no chance. Only what
sessions add comes from a sample (`llmsim.scenario.steps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution
from llmsim.providers.dialects import DIALECTS
from llmsim.providers.dialects.meters import Window
from llmsim.providers.sim.spec import SimProvider
from llmsim.providers.sim.timing import mean_service_s
from llmsim.scenario.cache_notes import cache_notes
from llmsim.scenario.idle_topics import topic_notes
from llmsim.scenario.spec import Scenario
from llmsim.scenario.steps import SAMPLED, steps_of
from llmsim.traffic.clients import mixes, population
from llmsim.traffic.replay import replayed
from llmsim.traffic.seasons import DAY_S
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Route, Traffic
from llmsim.units import format_duration

__all__ = ["Load", "Preflight", "first_choice_of", "preflight"]

Floats = NDArray[np.float64]

_GRID = (np.arange(4000) + 0.5) / 4000  # for means of capped distributions
_STEP_S = 0.25
_MOST_STEPS = 200_000  # 14 hours of quarters of a second; of a longer run, longer steps


@dataclass(frozen=True)
class Load:
    """One limit of one provider under all the traffic there is.

    Parameters
    ----------
    provider
        Its name.
    first_choice
        Whether all traffic goes there first; else: what if it had to carry everything alone.
    limit
        Which limit: a word of `rate_limit`, or ``slots``.
    capacity
        Per second; for slots, how many.
    rho_base, rho_peak
        Offered load over capacity.
    empty_at_s
        Where a rate limit runs dry: when, on the scenario's clock, starting from a full bucket. Else None.
    window_s
        How much time's worth a rate limit holds when it is full.
    """

    provider: str
    first_choice: bool
    limit: str
    capacity: float
    rho_base: float
    rho_peak: float
    empty_at_s: float | None = None
    window_s: float = 0.0

    @property
    def exceeded(self) -> bool:
        """Whether the peak is more than it can carry for long."""
        return self.rho_peak > 1


@dataclass(frozen=True)
class Preflight:
    """What a scenario asks for. ``str()`` of it is a table for people.

    Parameters
    ----------
    base_per_s, peak_per_s
        Rates λ of requests.
    expected_requests
        In the measured part of one replication.
    closed_loop
        Whether the rates are an upper bound from virtual users instead of a given rate.
    input_tokens, output_tokens
        Means per request over the mix.
    loads
        The first choice, then the others; a provider without limits has none.
    unlimited
        Providers without any limit.
    requests_per_arrival
        More than 1 where arrivals begin sessions, from a sample of them. Those that begin late are cut off by the end
        of the run: `expected_requests` and the mean lengths count what comes before.
    never_fit
        Limits that a call of average size can never meet, in words.
    notes
        What the scenario says that makes no difference to it, and what is worth knowing of its caches, in words.
    """

    base_per_s: float
    peak_per_s: float
    expected_requests: float
    closed_loop: bool
    input_tokens: float
    output_tokens: float
    loads: tuple[Load, ...]
    unlimited: tuple[str, ...]
    requests_per_arrival: float = 1.0
    never_fit: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        most = "at most " if self.closed_loop else ""
        count = f"{most}{self.expected_requests:,.0f} requests a replication"
        rate = f"{most}{self.base_per_s:.3g}/s at base and {self.peak_per_s:.3g}/s at peak"
        tokens = f"{self.input_tokens:,.0f} input and {self.output_tokens:,.0f} output tokens"
        lines = [
            f"{count}, {rate}, {tokens} each on average",
            f"{'ρ without cache, retries and faults':<38}{'limit':>12}{'base':>8}{'peak':>8}",
        ]
        for load in self.loads:
            role = "first choice" if load.first_choice else "alone"
            lines.append(
                f"{f'{load.provider} ({role}) {load.limit}':<38.38}{_limit(load):>12}"
                f"{load.rho_base:>8.2f}{load.rho_peak:>8.2f}{_flag(load)}"
            )
        lines += [f"{name}: no limits" for name in self.unlimited]
        if self.requests_per_arrival != 1:
            lines.append(
                f"an arrival makes {self.requests_per_arrival:.3g} requests on average, "
                f"from a sample of {SAMPLED} sessions a route"
            )
        lines += [f"! {words}" for words in self.never_fit]
        lines += [f"note: {words}" for words in self.notes]
        return "\n".join(lines)


def _limit(load: Load) -> str:
    if load.limit == "slots":
        return f"{load.capacity:g}"
    per_minute = load.capacity * 60
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if per_minute >= scale:
            return f"{per_minute / scale:.3g}{letter}/min"
    return f"{per_minute:.3g}/min"


def _flag(load: Load) -> str:
    if load.empty_at_s is not None:
        return f"  ! runs out at {format_duration(load.empty_at_s)}"
    if not load.exceeded:
        return ""
    return "  ! queue grows" if load.limit == "slots" else "  ! above the limit, but not for long enough to run out"


def preflight(scenario: Scenario) -> Preflight:
    """Offered load over capacity for every limit of every provider.

    Assumes that every request goes to the gateway's first choice, and for each other provider that it has to carry
    everything alone. Service time of a slot is mean TTFT + (mean output − 1) · mean gap, at the load at which all slots
    are in use; of a serving engine, what all calls in its slots take of its steps then.

    Examples
    --------
    >>> from llmsim.scenario.load import load_scenario
    >>> s = load_scenario({"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {"concurrency": 10}}})
    >>> [(load.limit, round(load.rho_peak, 3)) for load in preflight(s).loads]
    [('slots', 0.992)]
    """
    first = first_choice_of(scenario)
    closed = scenario.traffic.executor == "constant-vus"
    times, rates, demand = _demand(scenario, scenario.providers[first])
    expected = float(np.sum(np.diff(times) * (rates[1:] + rates[:-1]) / 2))
    # A trace has no base rate; its mean stands for it. The day may begin above or below the base rate.
    base = scenario.traffic.base_rate * demand.each
    base = base or (float(rates[0]) if closed else expected / scenario.clock.duration)
    input_tokens, output_tokens = demand.input_tokens, demand.output_tokens
    offered = _Offered(times, rates, base, input_tokens, output_tokens, demand.max_tokens)
    loads: list[Load] = []
    unlimited = []
    for name in sorted(scenario.providers, key=lambda name: name != first):
        spec = scenario.providers[name]
        found = _loads(name, spec, offered, first=name == first)
        loads += found
        if not found:
            unlimited.append(name)
    return Preflight(
        base_per_s=base,
        peak_per_s=float(rates.max()),
        expected_requests=expected,
        closed_loop=closed,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        loads=tuple(loads),
        unlimited=tuple(unlimited),
        requests_per_arrival=demand.each,
        never_fit=tuple(
            words for name, spec in scenario.providers.items() for words in _never_fit(name, spec, offered)
        ),
        notes=(*topic_notes(scenario), *cache_notes(scenario)),
    )


class _Offered(NamedTuple):
    times: Floats
    rates: Floats
    base_per_s: float
    input_tokens: float
    output_tokens: float
    max_tokens: float | None


def first_choice_of(scenario: Scenario) -> str:
    """Head of the gateway's fallback order, else the first provider."""
    for spec in scenario.gateway.policies:
        order = getattr(spec, "order", None)
        if getattr(spec, "kind", "") == "fallback" and order:
            return str(order[0])
    return next(iter(scenario.providers))


class _Demand(NamedTuple):
    """What arrivals ask for, on average over requests."""

    input_tokens: float
    output_tokens: float
    max_tokens: float | None  #: that requests allow (None: no route says)
    each: float  #: requests an arrival


def _demand(scenario: Scenario, first: SimProvider) -> tuple[Floats, Floats, _Demand]:
    """Knots of the measured rate of requests, on the scenario's clock, and what the requests are."""
    traffic, clock = scenario.traffic, scenario.clock
    routes, shares = _shares(traffic)
    drifted = [_drift(route, clock.duration) for route in routes]
    inputs = np.array([_prompt_tokens(route) for route in routes]) * drifted
    outputs = np.array([_capped(route.output_tokens, route.max_tokens) for route in routes])
    mean = _Demand(float(shares @ inputs), float(shares @ outputs), _max_tokens(routes, shares), 1.0)
    steps = None
    if traffic.trace is None:
        steps = steps_of(
            routes,
            shares,
            (inputs, outputs),
            lambda before, answer: first.network.mean + mean_service_s(first, before, answer),
            clock.duration / 2,
        )
    else:
        trace = replayed(traffic.trace)  # what it does not say is drawn from the mix
        mean = mean._replace(
            input_tokens=float(np.where(trace.input_tokens > 0, trace.input_tokens, mean.input_tokens).mean()),
            output_tokens=float(np.where(trace.output_tokens > 0, trace.output_tokens, mean.output_tokens).mean()),
        )
    if steps is not None:
        mean = mean._replace(each=steps.each)
    if traffic.executor == "constant-vus":
        alone_s = first.network.mean + mean_service_s(first, mean[0], mean[1])
        length_s = steps.length_s if steps is not None else alone_s
        rate = mean.each * traffic.vus / max(traffic.think_time.mean + length_s, 1e-9)
        times, rates = np.array([0.0, clock.duration]), np.array([rate, rate])
    elif steps is None:
        times, rates = _shape(scenario)
    else:
        times, rates, steps = steps.load(RateShape.of(traffic, clock.warm_up, clock.start_s), clock)
    if steps is not None:
        mean = mean._replace(input_tokens=steps.mean(steps.input_tokens), output_tokens=steps.mean(steps.output_tokens))
    return times, rates, mean


def _shares(traffic: Traffic) -> tuple[tuple[Route, ...], Floats]:
    """The routes of all clients, and their shares of the arrivals."""
    table = mixes(traffic)
    weights = np.diff(table.edges, axis=1, prepend=0.0)
    shares = np.zeros(len(weights))
    for row, share in [(one.mix, one.share) for one in population(traffic)] if traffic.clients else [(0, 1.0)]:
        shares[row] += share
    return table.routes, shares @ weights


def _max_tokens(routes: tuple[Route, ...], shares: Floats) -> float | None:
    # Where some routes name no max_tokens, dialects count those as they like: the mean of the others is a guess.
    asked = np.array([route.max_tokens or 0 for route in routes])
    named = float(shares @ (asked > 0))
    return float(shares @ asked) / named if named else None


def _prompt_tokens(route: Route) -> float:
    """Mean length of the first prompt."""
    tokens = _capped(route.input_tokens, None) + route.system_tokens
    if route.documents is not None:
        each = _capped(route.documents.tokens, None)
        tokens += route.documents.template + max(route.documents.number.mean, 0.0) * each
    return tokens


def _drift(route: Route, duration_s: float) -> float:
    """What `Route.prompt_drift` multiplies prompts with, on average over the measured time."""
    grown = np.log1p(route.prompt_drift) * duration_s / DAY_S
    return float(np.expm1(grown) / grown) if grown else 1.0


def _capped(distribution: Distribution, cap: int | None) -> float:
    """Mean number of tokens: at least one, at most `cap`."""
    if cap is None:
        return max(distribution.mean, 1.0)
    return float(np.clip(distribution.quantile(_GRID), 1, cap).mean())


def _shape(scenario: Scenario) -> tuple[Floats, Floats]:
    """Knots of the measured arrival rate, on the scenario's clock."""
    clock = scenario.clock
    shape = RateShape.of(scenario.traffic, clock.warm_up, clock.start_s)
    times, rates = shape.between(clock.warm_up, clock.warm_up + clock.duration)
    return times - clock.warm_up, rates


def _loads(name: str, spec: SimProvider, offered: _Offered, *, first: bool) -> list[Load]:
    times, rates, base, input_tokens, output_tokens, max_tokens = offered
    peak = float(rates.max())
    loads = []
    longer = output_tokens * spec.output.length  # cut where a route allows no more
    output_tokens = longer if max_tokens is None else min(longer, max(output_tokens, max_tokens))
    if spec.rate_limit is not None:
        account = DIALECTS[spec.dialect].account(spec.rate_limit)
        amounts = account.expected(input_tokens, output_tokens, max_tokens)
        for meter in account.meters:
            if meter.name == "ramp":  # grows with the traffic: no limit of its own
                continue
            each, window_s = amounts[meter.draws] / meter.rate_per_s, meter.capacity / meter.rate_per_s
            empty = _empty_at(times, rates * each, window_s, at_once=isinstance(meter, Window))
            loads.append(Load(name, first, meter.name, meter.rate_per_s, base * each, peak * each, empty, window_s))
    slots = spec.serving.slots if spec.serving is not None else spec.concurrency
    if slots is not None:
        erlangs = mean_service_s(spec, input_tokens, output_tokens, full=True)
        loads.append(Load(name, first, "slots", float(slots), base * erlangs / slots, peak * erlangs / slots))
    return loads


def _never_fit(name: str, spec: SimProvider, offered: _Offered) -> list[str]:
    """What is said of a limit that is too small for a single call, be it because of what vendors reserve."""
    if spec.rate_limit is None:
        return []
    account = DIALECTS[spec.dialect].account(spec.rate_limit)
    asked = account.asked(offered.input_tokens, offered.output_tokens, offered.max_tokens)
    reserves = account.accounting.reserves_output and not account.foresees
    unset = "; give its route max_tokens" if reserves and offered.max_tokens is None else ""
    return [
        f"{name}: an average call asks for {asked[meter.draws]:,.0f} {meter.name.replace('_', ' ')} at once, and "
        f"{meter.capacity:,.0f} is all there can be{unset}"
        for meter in account.meters
        if asked[meter.draws] > meter.capacity and meter.name != "ramp"
    ]


def _empty_at(times: Floats, rho: Floats, window_s: float, *, at_once: bool) -> float | None:
    """When a limit of `window_s` worth of refill, full at the start, runs dry under this load (in units of refill).

    A bucket refills all the time; a window only `at_once`, when it ends. (Where windows begin is a guess: at time 0.)
    """
    step_s = max(_STEP_S, float(times[-1]) / _MOST_STEPS)
    at = np.arange(0.0, times[-1], step_s)
    used = np.interp(at, times, rho) * step_s
    level, window = window_s, 0.0
    for time, amount in zip(at.tolist(), used.tolist(), strict=True):
        if not at_once:
            level = min(window_s, level + step_s - amount)
        elif time // window_s > window:
            level, window = window_s - amount, time // window_s
        else:
            level -= amount
        if level <= 0:
            return float(time)
    return None
