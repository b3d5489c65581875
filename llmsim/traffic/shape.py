"""How the arrival rate moves: a piecewise linear rate, and the time at which the n-th unit of it has come.

Arrivals are gaps of mean 1 pushed through the inverse of the cumulative rate, so arrival *i* keeps its own luck
whatever the shape: doubling a spike moves arrivals in time and changes nothing else about them.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from llmsim.traffic.seasons import DAY_S, WEEK_S
from llmsim.traffic.spec import Traffic

__all__ = ["RateShape"]

Floats = NDArray[np.float64]
_Knots = tuple[Floats, Floats]

_PRODUCT_ERROR = 1e-4  # relative, of straight lines in place of a product of straight lines


class RateShape:
    """A rate over loop time, linear between knots; after the last it stays, or repeats its last period.

    Parameters
    ----------
    times_s, rates_per_s
        Knots; times increase from 0 and may repeat for a jump.
    period_s
        After the last knot the last `period_s` come again and again.
    """

    def __init__(
        self, times_s: list[float] | Floats, rates_per_s: list[float] | Floats, period_s: float | None = None
    ) -> None:
        self.times = np.array(times_s, dtype=np.float64)
        self.rates = np.array(rates_per_s, dtype=np.float64)
        width = np.diff(self.times)
        self._mass = np.concatenate([[0.0], np.cumsum(width * (self.rates[1:] + self.rates[:-1]) / 2)])
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(width > 0, np.diff(self.rates) / width, 0.0)
        self._slope = np.concatenate([slope, [0.0]])
        self._period = period_s
        if period_s is not None:
            self._from_s = float(self.times[-1]) - period_s
            self._from_mass = float(self._below(np.array([self._from_s]))[0])
            self._period_mass = float(self._mass[-1]) - self._from_mass

    @classmethod
    def of(cls, traffic: Traffic, warm_up_s: float, start_s: float = 0.0) -> RateShape:
        """The rate of an open-loop executor: stages at 1x during warm-up, times the day, the week and the crowds.

        Parameters
        ----------
        traffic
            Its rate and shapes; for a trace, what it says of every minute.
        warm_up_s
            Loop time at which the scenario's clock shows 0.
        start_s
            What is then the time of the week, in seconds after Monday 0:00 (`Clock.start_s`).
        """
        if traffic.trace is not None:
            from llmsim.traffic.replay import replayed

            return cls(*replayed(traffic.trace).rate_per_minute())
        times, rates = [0.0, warm_up_s], [traffic.base_rate, traffic.base_rate]
        for stage in traffic.stages:
            times.append(times[-1] + stage.duration)
            rates.append(stage.target * traffic.base_rate)
        factors = [(np.array(times), np.array(rates))]
        for crowd in traffic.flash_crowds:
            at, factor = crowd.knots()
            factors.append((at + warm_up_s, factor))
        season, period_s = _season(traffic)
        if season is None:
            return cls(*_product(factors))
        end_s = max(float(at[-1]) for at, _ in factors) + period_s
        factors.append(_tiled(season, period_s, (start_s - warm_up_s) % period_s, end_s))
        return cls(*_product(factors, end_s), period_s)

    @property
    def total(self) -> float:
        """Arrivals that ever come, expected; inf for a rate that does not end at 0."""
        return math.inf if self._period is not None or self.rates[-1] > 0 else float(self._mass[-1])

    def expected(self, until_s: float) -> float:
        """Expected number of arrivals up to `until_s`."""
        return float(self.masses(np.array([until_s]))[0])

    def masses(self, until_s: Floats) -> Floats:
        """Expected numbers of arrivals up to these times."""
        if self._period is None:
            return self._below(until_s)
        turns = np.maximum(np.floor((until_s - self._from_s) / self._period), 0.0)
        return self._below(until_s - turns * self._period) + turns * self._period_mass

    def _below(self, until_s: Floats) -> Floats:
        k = np.searchsorted(self.times, until_s, side="right") - 1
        step = until_s - self.times[k]
        return np.asarray(self._mass[k] + step * self.rates[k] + self._slope[k] * step**2 / 2, dtype=np.float64)

    def at(self, mass: Floats) -> Floats:
        """Times at which the cumulative rate reaches `mass`; inf where it never does."""
        turns: Floats | float = 0.0
        if self._period is not None:
            turns = np.maximum(np.floor((mass - self._from_mass) / self._period_mass), 0.0)
            mass = mass - turns * self._period_mass
        k = np.clip(np.searchsorted(self._mass, mass, side="right") - 1, 0, len(self.times) - 1)
        rest = np.minimum(mass - self._mass[k], 1e300)  # inf comes after everything, and inf times no slope is nothing
        rate, slope = self.rates[k], self._slope[k]
        root = np.sqrt(np.maximum(rate**2 + 2 * slope * rest, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(rest > 0, 2 * rest / (rate + root), 0.0)  # stable for slopes of either sign and zero
        return np.asarray(self.times[k] + step + turns * (self._period or 0.0), dtype=np.float64)

    def between(self, first_s: float, last_s: float) -> _Knots:
        """Times and rates of the knots from `first_s` to `last_s`, both included."""
        times, rates = self.times, self.rates
        if self._period is not None and last_s > times[-1]:
            once = times > self._from_s
            turns = np.arange(1, math.ceil((last_s - times[-1]) / self._period) + 1)
            more = (times[once] + turns[:, None] * self._period).ravel()
            times = np.concatenate([times, more])
            rates = np.concatenate([rates, np.tile(rates[once], len(turns))])
        inside = (times > first_s) & (times < last_s)
        # At a jump, what comes after the first moment and before the last.
        k = int(np.searchsorted(times, first_s, side="right"))
        first = np.interp(first_s, times[k - 1 : k + 1], rates[k - 1 : k + 1])
        k = int(np.searchsorted(times, last_s, side="left"))
        last = np.interp(last_s, times[max(k - 1, 0) : k + 1], rates[max(k - 1, 0) : k + 1])
        return np.concatenate([[first_s], times[inside], [last_s]]), np.concatenate([[first], rates[inside], [last]])


def _season(traffic: Traffic) -> tuple[_Knots | None, float]:
    """Factor over one day or week with a mean of 1, and how long that is."""
    day = traffic.diurnal.knots() if traffic.diurnal is not None else None
    if traffic.weekly is None:
        return day, DAY_S
    factors = [traffic.weekly.knots()]
    if day is not None:
        factors.append(_tiled(day, DAY_S, 0.0, WEEK_S))
    times, values = _product(factors)
    mean = float(np.sum(np.diff(times) * (values[1:] + values[:-1]) / 2)) / WEEK_S
    return (times, values / mean), WEEK_S


def _tiled(knots: _Knots, period_s: float, offset_s: float, end_s: float) -> _Knots:
    """Periodic knots from 0 to `end_s`, where 0 is `offset_s` into the period."""
    times, values = knots
    turns = np.arange(math.ceil((end_s + offset_s) / period_s) + 1)
    at = (times[:-1] + turns[:, None] * period_s - offset_s).ravel()
    tiled = np.tile(values[:-1], len(turns))
    inside = (at > 0) & (at < end_s)
    first, last = np.interp([0.0, end_s], at, tiled)
    return np.concatenate([[0.0], at[inside], [end_s]]), np.concatenate([[first], tiled[inside], [last]])


def _product(factors: list[_Knots], end_s: float | None = None) -> _Knots:
    """The product of piecewise linear factors, piecewise linear again to within `_PRODUCT_ERROR`."""
    if len(factors) == 1 and end_s is None:
        return factors[0]

    def value(at: Floats) -> Floats:
        return reduce(np.multiply, [np.interp(at, times, values) for times, values in factors])

    grid = np.unique(np.concatenate([times[times >= 0.0] for times, _ in factors] + [np.array([0.0])]))
    if end_s is not None:
        grid = np.append(grid[grid < end_s], end_s)
    values = value(grid)
    middle = value((grid[1:] + grid[:-1]) / 2)
    off = np.abs(middle - (values[1:] + values[:-1]) / 2) / np.maximum(middle, 1e-12 + 1e-3 * float(values.max()))
    pieces = np.clip(np.ceil(np.sqrt(off / _PRODUCT_ERROR)), 1, 64).astype(np.int64)  # the error falls as 1 / pieces²
    start = np.repeat(grid[:-1], pieces)
    number = np.arange(len(start)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    fine = np.append(start + number * np.repeat(np.diff(grid) / pieces, pieces), grid[-1])
    return fine, value(fine)
