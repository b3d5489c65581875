"""How the arrival rate moves: a piecewise linear rate, and the time at which the n-th unit of it has come.

Arrivals are unit-rate gaps pushed through the inverse of the cumulative rate, so arrival *i* keeps its own luck
whatever the shape: doubling a spike moves arrivals in time and changes nothing else about them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmsim.traffic.spec import Traffic

__all__ = ["RateShape"]

Floats = NDArray[np.float64]


class RateShape:
    """A rate over loop time, linear between knots, constant after the last.

    Parameters
    ----------
    times_s, rates_per_s
        Knots; times increase from 0 and may repeat for a jump.
    """

    def __init__(self, times_s: list[float], rates_per_s: list[float]) -> None:
        self.times = np.array(times_s, dtype=np.float64)
        self.rates = np.array(rates_per_s, dtype=np.float64)
        width = np.diff(self.times)
        self._mass = np.concatenate([[0.0], np.cumsum(width * (self.rates[1:] + self.rates[:-1]) / 2)])
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(width > 0, np.diff(self.rates) / width, 0.0)
        self._slope = np.concatenate([slope, [0.0]])

    @classmethod
    def of(cls, traffic: Traffic, warm_up_s: float) -> RateShape:
        """The rate of an open-loop executor: 1x during warm-up, then its stages."""
        times, rates = [0.0, warm_up_s], [traffic.base_rate, traffic.base_rate]
        for stage in traffic.stages:
            times.append(times[-1] + stage.duration)
            rates.append(stage.target * traffic.base_rate)
        return cls(times, rates)

    def expected(self, until_s: float) -> float:
        """Expected number of arrivals up to `until_s`."""
        k = int(np.searchsorted(self.times, until_s, side="right")) - 1
        step = until_s - self.times[k]
        return float(self._mass[k] + step * self.rates[k] + self._slope[k] * step**2 / 2)

    def at(self, mass: Floats) -> Floats:
        """Times at which the cumulative rate reaches `mass`; inf where it never does."""
        k = np.clip(np.searchsorted(self._mass, mass, side="right") - 1, 0, len(self.times) - 1)
        rest, rate, slope = mass - self._mass[k], self.rates[k], self._slope[k]
        root = np.sqrt(np.maximum(rate**2 + 2 * slope * rest, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(rest > 0, 2 * rest / (rate + root), 0.0)  # stable for slopes of either sign and zero
        return np.asarray(self.times[k] + step, dtype=np.float64)
