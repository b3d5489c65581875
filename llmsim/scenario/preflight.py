"""How much of each limit a scenario asks for, worked out before anything runs.

A scenario whose sizes make no sense (a spike that exhausts nothing, a fallback that could never carry the load) is
found here in milliseconds. Everything is means and fluid: no cache, no retries, no faults, no chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution
from llmsim.providers.sim.spec import SimProvider
from llmsim.providers.sim.timing import mean_service_s
from llmsim.scenario.spec import Scenario
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Route
from llmsim.units import format_duration

__all__ = ["Load", "Preflight", "preflight"]

Limit = Literal["requests", "tokens", "input_tokens", "output_tokens", "slots"]

Floats = NDArray[np.float64]

_GRID = (np.arange(4000) + 0.5) / 4000  # for means of capped distributions
_STEP_S = 0.25


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
        Which limit.
    capacity
        Per second; for slots, how many.
    rho_base, rho_peak
        Offered load over capacity.
    empty_at_s
        Where a rate limit runs dry: when, on the scenario's clock, starting from a full bucket. Else None.
    """

    provider: str
    first_choice: bool
    limit: Limit
    capacity: float
    rho_base: float
    rho_peak: float
    empty_at_s: float | None = None

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
        Arrival rates λ.
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
    """

    base_per_s: float
    peak_per_s: float
    expected_requests: float
    closed_loop: bool
    input_tokens: float
    output_tokens: float
    loads: tuple[Load, ...]
    unlimited: tuple[str, ...]

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
    everything alone. Service time of a slot is mean TTFT + (mean output − 1) · mean gap.

    Examples
    --------
    >>> from llmsim.scenario.load import load_scenario
    >>> s = load_scenario({"version": 1, "traffic": {"base_rate": "4/s"}, "providers": {"a": {"concurrency": 10}}})
    >>> [(load.limit, round(load.rho_peak, 3)) for load in preflight(s).loads]
    [('slots', 0.992)]
    """
    mix = scenario.traffic.mix
    input_tokens = _mean(mix, [_capped(route.input_tokens, None) for route in mix])
    output_tokens = _mean(mix, [_capped(route.output_tokens, route.max_tokens) for route in mix])
    first = _first_choice(scenario)
    closed = scenario.traffic.executor == "constant-vus"
    if closed:
        cycle_s = scenario.traffic.think_time.mean + mean_service_s(
            scenario.providers[first], input_tokens, output_tokens
        )
        rate = scenario.traffic.vus / max(cycle_s, 1e-9)
        times, rates = np.array([0.0, scenario.clock.duration]), np.array([rate, rate])
    else:
        times, rates = _shape(scenario)
    offered = _Offered(times, rates, input_tokens, output_tokens)
    loads: list[Load] = []
    unlimited = []
    for name in sorted(scenario.providers, key=lambda name: name != first):
        spec = scenario.providers[name]
        found = _loads(name, spec, offered, first=name == first)
        loads += found
        if not found:
            unlimited.append(name)
    return Preflight(
        base_per_s=float(rates[0]),
        peak_per_s=float(rates.max()),
        expected_requests=float(np.sum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)),
        closed_loop=closed,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        loads=tuple(loads),
        unlimited=tuple(unlimited),
    )


class _Offered(NamedTuple):
    times: Floats
    rates: Floats
    input_tokens: float
    output_tokens: float


def _first_choice(scenario: Scenario) -> str:
    """Head of the gateway's fallback order, else the first provider."""
    for spec in scenario.gateway.policies:
        order = getattr(spec, "order", None)
        if getattr(spec, "kind", "") == "fallback" and order:
            return str(order[0])
    return next(iter(scenario.providers))


def _mean(mix: tuple[Route, ...], values: list[float]) -> float:
    return float(np.average(values, weights=[route.weight for route in mix]))


def _capped(distribution: Distribution, cap: int | None) -> float:
    """Mean number of tokens: at least one, at most `cap`."""
    if cap is None:
        return max(distribution.mean, 1.0)
    return float(np.clip(distribution.quantile(_GRID), 1, cap).mean())


def _shape(scenario: Scenario) -> tuple[Floats, Floats]:
    """Knots of the measured arrival rate, on the scenario's clock."""
    clock = scenario.clock
    shape = RateShape.of(scenario.traffic, clock.warm_up)
    times = shape.times - clock.warm_up
    inside = (times >= 0) & (times < clock.duration)
    last = float(np.interp(clock.duration, times, shape.rates))
    return np.append(times[inside], clock.duration), np.append(shape.rates[inside], last)


def _loads(name: str, spec: SimProvider, offered: _Offered, *, first: bool) -> list[Load]:
    times, rates, input_tokens, output_tokens = offered
    base, peak = float(rates[0]), float(rates.max())
    loads = []
    limits = spec.rate_limit
    demands: tuple[tuple[Limit, float | None, float], ...] = (
        ("requests", limits.requests if limits else None, 1.0),
        ("tokens", limits.tokens if limits else None, input_tokens + output_tokens),
        ("input_tokens", limits.input_tokens if limits else None, input_tokens),
        ("output_tokens", limits.output_tokens if limits else None, output_tokens),
    )
    for limit, capacity, each in demands:
        if capacity is not None and limits is not None:
            empty = _empty_at(times, rates * each / capacity, limits.window)
            loads.append(Load(name, first, limit, capacity, base * each / capacity, peak * each / capacity, empty))
    if spec.concurrency is not None:
        erlangs = mean_service_s(spec, input_tokens, output_tokens)
        slots = spec.concurrency
        loads.append(Load(name, first, "slots", float(slots), base * erlangs / slots, peak * erlangs / slots))
    return loads


def _empty_at(times: Floats, rho: Floats, window_s: float) -> float | None:
    """When a bucket of `window_s` worth of refill, full at the start, runs dry under this load (in units of refill)."""
    at = np.arange(0.0, times[-1], _STEP_S)
    drain = (np.interp(at, times, rho) - 1) * _STEP_S
    level = window_s
    for time, loss in zip(at.tolist(), drain.tolist(), strict=True):
        level = min(window_s, level - loss)
        if level <= 0:
            return float(time)
    return None
