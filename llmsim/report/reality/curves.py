"""What pictures of two samples show: distribution functions, quantiles against quantiles, and where axes have marks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.report.figures import figure, share
from llmsim.report.reality.rows import percentile

__all__ = ["LABELS", "Axis", "Sides", "ecdf", "ecdf_told", "label_places", "qq_told", "quantiles", "tolerance_of"]

Floats = NDArray[np.float64]

LABELS = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "max_inter_token": "longest gap between tokens",
    "e2e": "time to the whole answer",
}
_POINTS = 300  #: of one curve: more are not told apart on a page
_LOG_FROM = 20.0  #: times the least value that the largest is, from which an axis is logarithmic (chosen)


class Sides(NamedTuple):
    """Two samples of each latency, s.

    Attributes
    ----------
    scenario
        Its name.
    names
        What the two are called.
    whole, answered
        By latency, of all requests (a failure is +inf), and of those that were answered in both.
    allowed
        Tolerances by metric.
    """

    scenario: str
    names: tuple[str, str]
    whole: Mapping[str, tuple[Floats, Floats]]
    answered: Mapping[str, tuple[Floats, Floats]]
    allowed: Mapping[str, float]

    def of(self, latency: str, *, answered: bool) -> tuple[Floats, Floats]:
        """The two samples.

        Raises
        ------
        LlmsimError
            For a latency that is none, or one that nobody has.
        """
        if latency not in LABELS:
            raise LlmsimError(f"there is no picture of {latency!r}; name one of {', '.join(LABELS)}")
        one, other = (self.answered if answered else self.whole)[latency]
        if not (np.isfinite(one).any() and np.isfinite(other).any()):
            raise LlmsimError(f"no request has a {latency} in both; there is nothing to draw")
        return one, other

    def has(self, latency: str) -> bool:
        """Whether there is something to draw."""
        return all(np.isfinite(one).any() for one in self.answered[latency])


class Axis(NamedTuple):
    """Where values stand: from `low` to `high`, logarithmic or not, and where the marks are."""

    low: float
    high: float
    log: bool
    marks: list[float]

    @classmethod
    def of(cls, *samples: Floats) -> Axis:
        """Room for all finite values."""
        values = np.concatenate([one[np.isfinite(one)] for one in samples])
        least, high = float(values.min()), float(values.max()) or 1.0
        if least > 0 and high / least >= _LOG_FROM:
            low, high = least / 1.15, high * 1.15
            return cls(low, high, True, _log_marks(low, high))
        step = _step(high)
        return cls(0.0, high * 1.05, False, [step * k for k in range(math.floor(high * 1.05 / step + 1e-9) + 1)])

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; NaN for what is not on the axis."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def _step(high: float) -> float:
    power = 10.0 ** math.floor(math.log10(high))
    return next((power * one for one in (0.2, 0.25, 0.5, 1.0) if high / (power * one) <= 6), power * 2)


def _log_marks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    leading = (1, 2, 5) if high / low < 500 else (1,)
    return [m * 10.0**k for k in decades for m in leading if low <= m * 10.0**k <= high]


def ecdf(values: Floats) -> tuple[Floats, Floats]:
    """Steps of the distribution function: values, and the share of all that is no larger; of all, +inf included."""
    ordered = np.sort(values)
    finite = ordered[np.isfinite(ordered)]
    at = _thinned(len(finite))
    return finite[at], (at + 1) / len(ordered)


def quantiles(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Equal quantiles of both, by nearest rank, as many as the smaller has."""
    n = min(len(one), len(other))
    at = _thinned(n)
    one, other = np.sort(one), np.sort(other)
    return tuple(values[np.floor((at + 0.5) / n * len(values)).astype(int)] for values in (one, other))


def _thinned(n: int) -> NDArray[np.int64]:
    """Positions 0 to n - 1, or as many as a picture can show, both ends among them."""
    return np.arange(n) if n <= _POINTS else np.unique(np.linspace(0, n - 1, _POINTS).round().astype(np.int64))


def label_places(both: tuple[Floats, Floats], axis: Axis) -> list[tuple[float, float, int]]:
    """Where the names of two curves stand: value, level, and the side (-1 left, 1 right) that is free.

    Both stand at the level at which the curves are furthest apart; where they never are, one above the other.
    """
    levels = np.arange(0.2, 0.76, 0.05)  # not where tails are flat, and a name would lie on its curve
    places = [[axis.place(float(percentile(values, 100 * level))) for level in levels] for values in both]
    gaps = np.array([abs(a - b) for a, b in zip(*places, strict=True)])
    if np.isnan(gaps).all() or np.nanmax(gaps) < 0.02:
        middle = [(0.62, -1), (0.38, 1)]
        reached = [float(np.isfinite(values).mean()) for values in both]
        return [(float(percentile(values, 100 * level * most)), level * most, side)
                for values, (level, side), most in zip(both, middle, reached, strict=True)]  # fmt: skip
    at = int(np.nanargmax(gaps))
    sides = (-1, 1) if places[0][at] < places[1][at] else (1, -1)
    level = float(levels[at])
    return [(float(percentile(values, 100 * level)), level, side) for values, side in zip(both, sides, strict=True)]


def ecdf_told(sides: Sides, latency: str) -> str:
    """A distribution picture in words."""
    told = []
    for name, values in zip(sides.names, sides.of(latency, answered=False), strict=True):
        p50, p95 = (figure(float(percentile(values, percent)), "s") for percent in (50.0, 95.0))
        never = float(np.isinf(values).mean())
        told.append(f"{name}: p50 {p50}, p95 {p95}{f', never {share(never)}' if never else ''}, n = {len(values)}")
    return f"Distribution of the {LABELS[latency]} of {sides.scenario}. {'; '.join(told)}."


def qq_told(sides: Sides, latency: str) -> str:
    """A quantile picture in words."""
    one, other = quantiles(*sides.of(latency, answered=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = one / other
    ratios = ratios[np.isfinite(ratios)]
    band = tolerance_of(sides, latency)
    inside = float((np.abs(ratios - 1) <= band).mean()) if len(ratios) else math.nan
    return (
        f"Quantiles of the {LABELS[latency]} of {sides.scenario}, {sides.names[0]} against {sides.names[1]}, of "
        f"answered requests: {share(inside)} of them are within {share(band)} of the diagonal, from "
        f"{ratios.min():.3g}x to {ratios.max():.3g}x."
    )


def tolerance_of(sides: Sides, latency: str) -> float:
    """What the median may be off by, as the band of a picture; of what is not judged, as of the other latencies."""
    found = sides.allowed.get(f"{latency} p(50)", math.inf)
    return found if math.isfinite(found) else sides.allowed.get("e2e p(50)", 0.1)
