"""The lines of a reality check: each metric simulated and live, the error, its interval, and whether that will do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.report.reality.distances import interval_of, interval_of_shares
from llmsim.report.reality.pairs import Pairs

__all__ = ["TOLERANCES", "Line", "Verdict", "lines_of", "tolerances"]

Floats = NDArray[np.float64]
Verdict = Literal["good", "off", "unsure", "not judged"]

#: What a simulation may be off by: medians of latencies 10 %, tokens and cost 2 %, retry amplification 5 %, shares of
#: requests 3 points. These are what this project holds itself to against a real model on loopback. Tails may be off by
#: 25 % (chosen: of 100 requests, five make the p95).
TOLERANCES: dict[str, float] = {
    "ttft p(50)": 0.10,
    "ttft p(95)": 0.25,
    "tpot p(50)": 0.10,
    "tpot p(95)": 0.25,
    "e2e p(50)": 0.10,
    "e2e p(95)": 0.25,
    "input_tokens": 0.02,
    "output_tokens": 0.02,
    "cost": 0.02,
    "error_rate": 0.03,
    "cache_hit_rate": 0.03,
    "fallback_rate": 0.03,
    "retry_amplification": 0.05,
}


@dataclass(frozen=True)
class Line:
    """One metric.

    Attributes
    ----------
    name, unit
        As `figure` takes it.
    sim, live
        Of the pairs.
    error
        ``sim / live - 1``; of shares, ``sim - live`` (points).
    interval
        Of the error, 95 %, from resampling the pairs; None: too few.
    tolerance
        Largest error that will do.
    relative
        Whether the error is a share of the live value.
    """

    name: str
    unit: str
    sim: float
    live: float
    error: float
    interval: tuple[float, float] | None
    tolerance: float
    relative: bool

    @property
    def verdict(self) -> Verdict:
        """``good``: the whole interval is within the tolerance; ``off``: all of it is outside; else ``unsure``."""
        if math.isnan(self.error):
            return "not judged"
        if self.interval is None:
            return "unsure"
        low, high = self.interval
        if -self.tolerance <= low and high <= self.tolerance:
            return "good"
        return "off" if low > self.tolerance or high < -self.tolerance else "unsure"


class _Kind(NamedTuple):
    unit: str
    relative: bool


def tolerances(given: Mapping[str, float] | None) -> dict[str, float]:
    """`TOLERANCES` with some of them replaced.

    Raises
    ------
    LlmsimError
        For a name that is none, or a value that is not above 0.
    """
    for name, value in (given or {}).items():
        if name not in TOLERANCES:
            raise LlmsimError(f"there is no tolerance for {name!r}; write one of {', '.join(TOLERANCES)}")
        if not value > 0:
            raise LlmsimError(f"the tolerance of {name} is {value!r}; use a share above 0, such as 0.1")
    return {**TOLERANCES, **(given or {})}


def lines_of(pairs: Pairs, allowed: Mapping[str, float]) -> list[Line]:
    """Every metric of `allowed`, in its order."""
    return [_line(pairs, name, tolerance) for name, tolerance in allowed.items()]


def _line(pairs: Pairs, name: str, tolerance: float) -> Line:
    measure, _, aggregate = name.partition(" ")
    if aggregate:
        percent = float(aggregate[2:-1])
        sim, live = pairs.values(measure)
        return _judged(name, "s", sim, live, tolerance, lambda values: _percentile(values, percent), relative=True)
    if measure in ("input_tokens", "output_tokens", "cost"):
        unit = "usd" if measure == "cost" else "count"
        sim, live = pairs.values(measure)
        return _judged(name, unit, sim, live, tolerance, lambda values: values.sum(axis=-1), relative=True)
    sim, live = _shares(pairs.table, measure)
    relative = measure == "retry_amplification"
    unit = "factor" if relative else "ratio"
    return _judged(name, unit, sim, live, tolerance, lambda values: values.mean(axis=-1), relative=relative)


def _shares(table: pl.DataFrame, measure: str) -> tuple[Floats, Floats]:
    """What is averaged, of both runs."""
    if measure == "error_rate":
        found = [(table[f"outcome_{who}"] != "ok") for who in ("sim", "live")]
    elif measure == "cache_hit_rate":
        found = [table[f"hit_{who}"] for who in ("sim", "live")]
    else:  # of requests that went upstream in both
        table = table.filter(pl.col("sent_sim") & pl.col("sent_live"))
        column = "elsewhere" if measure == "fallback_rate" else "attempts"
        found = [table[f"{column}_{who}"] for who in ("sim", "live")]
    one, other = (series.cast(pl.Float64).to_numpy() for series in found)
    return one, other


def _percentile(values: Floats, percent: float) -> Floats:
    """By nearest rank, as everywhere; along the last axis."""
    n = values.shape[-1]
    rank = max(1, math.ceil(percent / 100 * n - 1e-9))
    return np.partition(values, rank - 1, axis=-1)[..., rank - 1]


def _judged(
    name: str, unit: str, sim: Floats, live: Floats, tolerance: float, statistic: Any, *, relative: bool
) -> Line:
    if not len(sim):
        return Line(name, unit, math.nan, math.nan, math.nan, None, tolerance, relative)

    def error(ours: Floats, theirs: Floats) -> Floats:
        one, other = statistic(ours), statistic(theirs)
        if not relative:
            return np.asarray(one - other)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(one == other, 0.0, one / other - 1)

    found = error(sim[None, :], live[None, :])
    one, other = float(statistic(sim)), float(statistic(live))
    # Shares, and counts of attempts that never differed: nothing to resample is no certainty.
    shares = not relative or (name == "retry_amplification" and bool((sim == live).all()))
    interval = interval_of_shares(sim, live) if shares else interval_of(error, sim, live)
    return Line(name, unit, one, other, float(found[0]), interval, tolerance, relative)
