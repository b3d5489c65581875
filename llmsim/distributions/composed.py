"""Distributions made of others, and tables of measured quantiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from llmsim.distributions.plain import Constant, Distribution, Floats

__all__ = ["Contention", "Empirical", "Mixture", "Part"]

# 4001 points, 0.018 apart in logit(u) and reaching 2e-16 from both ends: the tables of a two-lognormal mixture are then
# within 1e-5 of the root of its exact cdf (tests/distributions/test_composed.py). Beyond, they hold their last value.
_LOGIT = np.linspace(-36.0, 36.0, 4001)


def _expit(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


_U = _expit(_LOGIT)


def cdf_of(distribution: Distribution) -> Callable[[Floats], Floats]:
    """Its `cdf`, or one read off its quantile function where it has none (a distribution of the user's own)."""
    known: Callable[[Floats], Floats] | None = getattr(distribution, "cdf", None)
    if known is not None:
        return known
    values = distribution.quantile(_U)
    return lambda x: np.interp(x, values, _U, left=0.0, right=1.0)


@dataclass(frozen=True)
class Part:
    """One component of a mixture; weights need not add up to 1."""

    weight: float
    of: Distribution


@dataclass(frozen=True)
class Mixture:
    """One of several distributions, chosen with their weights.

    Its quantile function is the inverse of the weighted cdf, from a table: of one uniform number, monotone, so
    common random numbers work. (Choosing a component by the same number and rescaling it would be faster and not be.)

    Parameters
    ----------
    parts
        Components; at least one weight is above 0.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if any(part.weight < 0 for part in self.parts) or sum(part.weight for part in self.parts) <= 0:
            raise ValueError("mixture: the weights add up to nothing; write a weight above 0%, e.g. weight: 80%")

    @property
    def mean(self) -> float:
        total = sum(part.weight for part in self.parts)
        return sum(part.weight * part.of.mean for part in self.parts if part.weight) / total

    def quantile(self, u: Floats) -> Floats:
        logit, values = _mixture_table(self)
        return np.asarray(np.interp(np.log(u) - np.log1p(-u), logit, values), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        total = sum(part.weight for part in self.parts)
        found = np.zeros_like(np.asarray(x, dtype=np.float64))
        for part in self.parts:
            if part.weight:
                found += part.weight / total * cdf_of(part.of)(x)
        return found


@lru_cache(maxsize=64)
def _mixture_table(mixture: Mixture) -> tuple[Floats, Floats]:
    parts = [part.of for part in mixture.parts if part.weight]
    grid = [part.quantile(_U) for part in parts] + [_nodes(part)[1] for part in parts if isinstance(part, Empirical)]
    return _inverse(np.concatenate(grid), mixture.cdf)


def _inverse(values: Floats, cdf: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """A table of values over logit(u), with both sides of every jump of the cdf in it."""
    values = np.unique(values[np.isfinite(values)])
    values = np.unique(np.concatenate([values, np.nextafter(values, -np.inf)]))
    u = np.maximum.accumulate(cdf(values))
    inside = (u > 0) & (u < 1)
    if not inside.any():  # a single value that always comes
        return np.zeros(1), values[-1:]
    values, u = _with_ends(values, u, inside)
    return np.log(u) - np.log1p(-u), values


def _with_ends(values: Floats, u: Floats, inside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Floats, Floats]:
    """What lies between 0 and 1, and the value where the cdf reaches 1, if it does so by a jump."""
    first_full = int(np.searchsorted(u, 1.0))
    kept, shares = values[inside], u[inside]
    if first_full < len(values):
        kept, shares = np.append(kept, values[first_full]), np.append(shares, shares[-1])
    return kept, shares


@dataclass(frozen=True)
class Contention:
    """A base time, and now and then an exponential delay on top: a shared queue that is usually empty.

    Epoch's fits of times to first token of August 2026 have this form: a delay with probability .15 to .44, of 0.7 to
    2.3 s on average, depending on the model.

    Parameters
    ----------
    base
        What it takes when nobody is in the way.
    probability
        Of the delay.
    extra
        Its mean.
    """

    base: Distribution
    probability: float
    extra: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.extra <= 0:
            raise ValueError(
                f"contention: need probability between 0 and 1 and extra above 0, got {self.probability:g} and "
                f"{self.extra:g}; write it like {{base: 300ms, probability: 15%, extra: 1.2s}}"
            )

    @property
    def mean(self) -> float:
        return self.base.mean + self.probability * self.extra

    def quantile(self, u: Floats) -> Floats:
        if isinstance(self.base, Constant):
            if not self.probability:
                return np.full_like(u, self.base.value)
            late = np.minimum((1 - u) / self.probability, 1.0)
            return np.asarray(self.base.value - self.extra * np.log(late), dtype=np.float64)
        logit, values = _contention_table(self)
        return np.asarray(np.interp(np.log(u) - np.log1p(-u), logit, values), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        base = cdf_of(self.base)(x)
        return np.asarray((1 - self.probability) * base + self.probability * self._delayed(x), dtype=np.float64)

    def _delayed(self, x: Floats) -> Floats:
        """Share at or below `x` of base + delay; the base spread evenly between its nodes, which is what tables do."""
        u, base = _nodes(self.base)
        masses = np.concatenate([[u[0]], np.diff(u), [1 - u[-1]]])  # the first and the last lie on a single value
        widths = np.concatenate([[0.0], np.diff(base), [0.0]]) / self.extra
        ends = np.append(base, base[-1]) / self.extra
        # Of a stretch that ends below x, exp(-(x - end)/extra) times this share is still to come. In logarithms, since
        # exp(end/extra) overflows where the base is long and the delay short.
        with np.errstate(divide="ignore", invalid="ignore"):
            late = np.where(widths > 0, -np.expm1(-widths) / widths, 1.0)
            cumulative = np.logaddexp.accumulate(np.log(masses * late) + ends)
        x = np.asarray(x, dtype=np.float64)
        count = np.searchsorted(
            base, x, side="right"
        )  # stretches that end below x; the last also ends at the last node
        whole = np.where(count == len(base), len(base) + 1, count)  # … and above the last node, what lies beyond it
        share = np.concatenate([[0.0], np.cumsum(masses)])[whole]
        still = np.where(whole > 0, cumulative[np.maximum(whole - 1, 0)] - x / self.extra, -np.inf)
        found = share - np.exp(np.minimum(still, 0.0))
        inside = (count > 0) & (count < len(base))
        at = np.clip(count, 1, len(base) - 1) if len(base) > 1 else np.zeros_like(count)
        part = np.where(inside, x - base[at - 1], 0.0) / self.extra
        with np.errstate(divide="ignore", invalid="ignore"):
            partial = masses[at] * (part + np.expm1(-part)) / widths[at]
        return np.asarray(np.clip(found + np.where(inside, partial, 0.0), 0.0, 1.0), dtype=np.float64)


def _nodes(base: Distribution) -> tuple[Floats, Floats]:
    """Shares and values between which a distribution is taken for straight; jumps have both their sides in it."""
    if isinstance(base, Mixture):
        logit, values = _mixture_table(base)
        return _expit(logit), values
    if isinstance(base, Empirical):
        return _empirical_table(base.points)
    return _U, base.quantile(_U)


@lru_cache(maxsize=64)
def _contention_table(contention: Contention) -> tuple[Floats, Floats]:
    u, base = _nodes(contention.base)
    delay = -contention.extra * np.log1p(-_U)
    # The sum can be anywhere: the delay from several places of the base, its two ends among them.
    places = base[np.minimum(np.searchsorted(u, [0.0, 0.5, 0.9, 0.99, 0.999, 1.0]), len(u) - 1)]
    grid = [base, contention.base.quantile(_U), *(place + delay for place in places)]
    return _inverse(np.concatenate(grid), contention.cdf)


@dataclass(frozen=True)
class Empirical:
    """A table of quantiles: linear in between, and nothing below the first or above the last.

    A tail that was not measured is not made up: p99.9 of a table that ends at p99 is its p99.

    Parameters
    ----------
    points
        ``(percent, value)`` in rising order, at least one; ``(50, 0.3)`` says that the median is 0.3.

    Examples
    --------
    >>> Empirical.of([3.0, 1.0, 2.0]).quantile(np.array([0.25, 0.5]))
    array([1.5, 2. ])
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("empirical: the table is empty; write it like {p0: 200ms, p50: 300ms, p100: 2s}")
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(self.points, self.points[1:], strict=False))
        if not rising or not 0 <= self.points[0][0] <= self.points[-1][0] <= 100:
            raise ValueError(
                "empirical: the quantiles must rise from p0 to at most p100; "
                "write it like {p0: 200ms, p50: 300ms, p100: 2s}"
            )

    @classmethod
    def of(cls, values: Iterable[float]) -> Empirical:
        """The table of a sample; its quantiles are those numpy gives by default (Hyndman and Fan's type 7)."""
        ordered = sorted(values)
        if len(ordered) == 1:
            return cls(((50.0, ordered[0]),))
        return cls(tuple((100 * i / (len(ordered) - 1), value) for i, value in enumerate(ordered)))

    @property
    def mean(self) -> float:
        u, values = self._table()
        inner = float(np.sum(np.diff(u) * (values[1:] + values[:-1]) / 2))
        return float(u[0] * values[0]) + inner + float((1 - u[-1]) * values[-1])

    def quantile(self, u: Floats) -> Floats:
        return np.asarray(np.interp(u, *self._table()), dtype=np.float64)

    def cdf(self, x: Floats) -> Floats:
        u, values = self._table()
        if len(u) == 1:
            return np.where(x < values[0], 0.0, 1.0)
        # The last point at or below x: where several quantiles are one value, all of them lie there.
        at = np.clip(np.searchsorted(values, x, side="right") - 1, 0, len(u) - 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = u[at] + (x - values[at]) / (values[at + 1] - values[at]) * (u[at + 1] - u[at])
        return np.where(x < values[0], 0.0, np.where(x >= values[-1], 1.0, inner))

    def _table(self) -> tuple[Floats, Floats]:
        return _empirical_table(self.points)


@lru_cache(maxsize=256)
def _empirical_table(points: tuple[tuple[float, float], ...]) -> tuple[Floats, Floats]:
    table = np.array(points)
    return table[:, 0] / 100, table[:, 1]
