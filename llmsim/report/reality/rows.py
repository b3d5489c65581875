"""The lines of a reality check: each metric simulated and live, the error, its interval, and whether that will do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.report.reality.intervals import (
    FEWEST,
    bursts_needed,
    fewest_of,
    interval_of,
    interval_of_shares,
    pairs_needed,
)
from llmsim.report.reality.pairs import Pairs

__all__ = [
    "MORE_IS_WORSE",
    "TOLERANCES",
    "Line",
    "Verdict",
    "errors_of",
    "judged",
    "lines_of",
    "mean",
    "percentile",
    "tolerances",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Verdict = Literal["good", "off", "unsure", "not judged"]

#: What a simulation may be off by: medians of latencies 10 %, tokens and cost 2 %, retry amplification 5 %, shares of
#: requests 3 points. These are what this project holds itself to against a real model on loopback. Tails may be off by
#: 25 % (chosen: of 100 requests, five make the p95). The longest gap of an answer is told and not judged unless a
#: tolerance is given: it is one extreme of hundreds, which a mean gap that is right says little about.
TOLERANCES: dict[str, float] = {
    "ttft p(50)": 0.10,
    "ttft p(95)": 0.25,
    "ttft_ok p(50)": 0.10,
    "ttft_ok p(95)": 0.25,
    "tpot p(50)": 0.10,
    "tpot p(95)": 0.25,
    "tpot_ok p(50)": 0.10,
    "tpot_ok p(95)": 0.25,
    "max_inter_token p(50)": math.inf,
    "max_inter_token p(95)": math.inf,
    "e2e p(50)": 0.10,
    "e2e p(95)": 0.25,
    "e2e_ok p(50)": 0.10,
    "e2e_ok p(95)": 0.25,
    "input_tokens": 0.02,
    "output_tokens": 0.02,
    "cost": 0.02,
    "error_rate": 0.03,
    "cache_hit_rate": 0.03,
    "fallback_rate": 0.03,
    "retry_amplification": 0.05,
}

#: Whether more of it live than simulated is worse (True), better (False) or neither.
MORE_IS_WORSE: dict[str, bool | None] = {
    "input_tokens": None,
    "output_tokens": None,
    "cache_hit_rate": False,
    "fallback_rate": None,
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
        Of the error, 95 %; None: too few pairs.
    tolerance
        Largest error that will do; inf: it is told, and not judged.
    relative
        Whether the error is a share of the live value.
    pairs, fewest
        How many there are, and how many an interval needs.
    bursts
        Where they came in bursts that are too few for an interval: how many, and about how many it takes.
    """

    name: str
    unit: str
    sim: float
    live: float
    error: float
    interval: tuple[float, float] | None
    tolerance: float
    relative: bool
    pairs: int
    fewest: int = FEWEST
    bursts: tuple[int, int] | None = None

    @property
    def verdict(self) -> Verdict:
        """``good``: the whole interval is within the tolerance; ``off``: all of it is outside; else ``unsure``."""
        if math.isnan(self.error) or math.isinf(self.tolerance):
            return "not judged"
        if self.interval is None:
            return "unsure"
        low, high = self.interval
        if -self.tolerance <= low and high <= self.tolerance:
            return "good"
        return "off" if low > self.tolerance or high < -self.tolerance else "unsure"

    @property
    def needed(self) -> int | None:
        """If it is ``unsure``: about how many pairs would probably decide; None: too near the tolerance to be told."""
        if self.verdict != "unsure":
            return None
        if self.interval is None:
            return math.ceil(self.pairs * self.bursts[1] / self.bursts[0]) if self.bursts else self.fewest
        return pairs_needed(self.pairs, self.error, self.interval, self.tolerance)

    @property
    def live_is(self) -> Literal["worse", "better", ""]:
        """What live is against what was assumed, if the line is ``off``; empty: neither."""
        more_is_worse = MORE_IS_WORSE.get(self.name, True)
        if self.verdict != "off" or more_is_worse is None:
            return ""
        return "worse" if (self.error < 0) == more_is_worse else "better"


def tolerances(given: Mapping[str, float] | None) -> dict[str, float]:
    """`TOLERANCES` with some of them replaced; those over answered requests (``ttft_ok``) follow those over all.

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
    asked = dict(given or {})
    for name in TOLERANCES:
        over_all = name.replace("_ok", "")
        if name != over_all and over_all in asked:
            asked.setdefault(name, asked[over_all])
    return {**TOLERANCES, **asked}


def lines_of(pairs: Pairs, allowed: Mapping[str, float], *, miss: float = 0.05) -> list[Line]:
    """Every metric of `allowed`, in its order; those over answered requests alone only where some failed.

    Parameters
    ----------
    pairs
        Simulated and live; or an earlier and a later live run (see `llmsim.report.reality.drift`).
    allowed
        Tolerances by metric.
    miss
        Share of the intervals that may miss the truth.
    """
    names = [name for name in allowed if pairs.failed or "_ok" not in name]
    return [_line(pairs, name, allowed[name], miss) for name in names]


def _line(pairs: Pairs, name: str, tolerance: float, miss: float) -> Line:
    measure, _, aggregate = name.partition(" ")
    if aggregate:
        percent = float(aggregate[2:-1])
        which, failures = measure.removesuffix("_ok"), not measure.endswith("_ok")
        sim, live = pairs.values(which, failures=failures)
        bursts = (pairs.bursts(which, failures=failures),) * 2
        found = errors_of(sim, live, lambda values: percentile(values, percent))
        fewest = fewest_of(percent)
        return judged(name, "s", sim, live, tolerance, found, fewest=fewest, miss=miss, bursts=bursts)
    if measure in ("input_tokens", "output_tokens", "cost"):
        # Failed requests are paid for too, as far as they got; an answer that failed has no length to compare.
        sim, live = pairs.every(measure) if measure == "cost" else pairs.values(measure)
        found = errors_of(sim, live, lambda values: values.sum(axis=-1))
        # A total that agrees request by request is exact, however few there are.
        exact = bool(len(sim)) and bool(np.isclose(sim, live, rtol=1e-9, atol=0.0).all())
        return judged(
            name, "usd" if measure == "cost" else "count", sim, live, tolerance, found, miss=miss, exact=exact
        )
    sim, live = _shares(pairs.table, measure)
    if measure == "retry_amplification" and bool((sim != live).any()):
        return judged(name, "factor", sim, live, tolerance, errors_of(sim, live, mean), miss=miss)
    # Shares, and counts of attempts that never differed: nothing to resample is no certainty.
    ends = interval_of_shares(sim, live, miss=miss)
    if measure == "retry_amplification":
        one = float(mean(sim)) if len(sim) else math.nan
        return Line(name, "factor", one, one, 0.0 if len(sim) else math.nan, ends, tolerance, True, len(sim))
    one, other = (float(mean(values)) if len(values) else math.nan for values in (sim, live))
    return Line(name, "ratio", one, other, one - other, ends, tolerance, False, len(sim))


def mean(values: Floats) -> Floats:
    """Along the last axis."""
    return np.asarray(values.mean(axis=-1))


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


def percentile(values: Floats, percent: float) -> Floats:
    """By nearest rank, as everywhere; along the last axis."""
    n = values.shape[-1]
    rank = max(1, math.ceil(percent / 100 * n - 1e-9))
    return np.asarray(np.partition(values, rank - 1, axis=-1)[..., rank - 1])


class Errors(NamedTuple):
    """A statistic of two samples, and its relative error as a function of resamples."""

    sim: float
    live: float
    of: Callable[[Floats, Floats], Floats]


def errors_of(sim: Floats, live: Floats, statistic: Callable[[Floats], Floats]) -> Errors:
    """A statistic of both, and its relative error as a function of resamples."""

    def error(ours: Floats, theirs: Floats) -> Floats:
        one, other = statistic(ours), statistic(theirs)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(one == other, 0.0, one / other - 1)

    if not (len(sim) and len(live)):
        return Errors(math.nan, math.nan, error)
    return Errors(float(statistic(sim)), float(statistic(live)), error)


def judged(
    name: str,
    unit: str,
    sim: Floats,
    live: Floats,
    tolerance: float,
    found: Errors,
    *,
    miss: float,
    fewest: int = FEWEST,
    exact: bool = False,
    paired: bool = True,
    bursts: Sequence[Ints | None] = (None, None),
) -> Line:
    """A line of which the error is relative; `exact`: there is no doubt about it."""
    if math.isnan(found.sim):
        return Line(name, unit, math.nan, math.nan, math.nan, None, tolerance, True, 0, fewest)
    error = float(found.of(sim[None, :], live[None, :])[0])
    if exact:
        interval: tuple[float, float] | None = (0.0, 0.0)
    else:
        interval = interval_of(found.of, sim, live, fewest=fewest, miss=miss, paired=paired, bursts=bursts)
    few = bursts_needed(sim, live, bursts, fewest, paired=paired) if interval is None else None
    pairs = min(len(sim), len(live))
    return Line(name, unit, found.sim, found.live, error, interval, tolerance, True, pairs, fewest, few)
