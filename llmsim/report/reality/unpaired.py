"""The metrics of two live runs that had different requests: two samples instead of pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.report.reality.bursts import bursts_of
from llmsim.report.reality.intervals import fewest_of, interval_of_independent_shares
from llmsim.report.reality.pairs import requests_of
from llmsim.report.reality.rows import Line, errors_of, judged, mean, percentile

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Apart", "apart_of", "unpaired_lines", "values_of"]

_MEANS = ("input_tokens", "output_tokens", "cost")  #: a request
Floats = NDArray[np.float64]


class Apart(NamedTuple):
    """The measured requests of one run, in the order of arrival."""

    table: pl.DataFrame

    def values(self, measure: str, *, failures: bool = False) -> Floats:
        """A measure of the answered requests; with `failures`, of all, and what failed is +inf."""
        return self._rows(measure, failures=failures)["value"].to_numpy()

    def bursts(self, measure: str, *, failures: bool = False) -> NDArray[np.int64] | None:
        """The burst in which each of `values` came; None: they do not come in bursts."""
        return bursts_of(self._rows(measure, failures=failures)["at"].to_numpy())

    def _rows(self, measure: str, *, failures: bool) -> pl.DataFrame:
        ok, at = pl.col("outcome") == "ok", pl.col("arrival_s").cast(pl.Float64).alias("at")
        value = pl.col(measure).cast(pl.Float64)
        if not failures:
            return self.table.filter(ok).select(value.fill_nan(None).alias("value"), at).drop_nulls()
        chosen = pl.when(ok).then(value).otherwise(pl.lit(math.inf)).fill_nan(None)
        rows = self.table.select(chosen.alias("value"), at).drop_nulls()
        return rows if rows["value"].is_finite().any() else rows.clear()


def apart_of(result: Result) -> Apart:
    """The measured requests of replication 0 of which the end is known."""
    ends_s = result.replications[0].simulated_s if result.partial else math.inf
    known = (pl.col("window") == "measured") & (pl.col("outcome") != "unfinished") & (pl.col("arrival_s") < ends_s)
    return Apart(requests_of(result).filter(known).sort("arrival_s"))


def unpaired_lines(one: Apart, other: Apart, allowed: Mapping[str, float], *, miss: float) -> list[Line]:
    """Every metric of `allowed`, in its order; totals become means, since the numbers of requests differ."""
    failed = any((side.table["outcome"] != "ok").any() for side in (one, other))
    names = [name for name in allowed if failed or "_ok" not in name]
    return [_line(one, other, name, allowed[name], miss) for name in names]


def _line(one: Apart, other: Apart, name: str, tolerance: float, miss: float) -> Line:
    measure, _, aggregate = name.partition(" ")
    if aggregate:
        percent = float(aggregate[2:-1])
        which, failures = measure.removesuffix("_ok"), not measure.endswith("_ok")
        a, b = (side.values(which, failures=failures) for side in (one, other))
        bursts = [side.bursts(which, failures=failures) for side in (one, other)]
        found = errors_of(a, b, lambda values: percentile(values, percent))
        fewest = fewest_of(percent)
        return judged(name, "s", a, b, tolerance, found, miss=miss, fewest=fewest, paired=False, bursts=bursts)
    if measure in _MEANS:
        unit = "usd" if measure == "cost" else "count"
        a, b = (side.values(measure) for side in (one, other))
        return judged(f"{name} a request", unit, a, b, tolerance, errors_of(a, b, mean), miss=miss, paired=False)
    a, b = (_told(side, measure) for side in (one, other))
    constant = len(a) and len(b) and bool((a == a[0]).all()) and bool((b == a[0]).all())
    if measure == "retry_amplification" and constant:  # nothing to resample is no certainty
        ends = interval_of_independent_shares(np.zeros(len(a)), np.zeros(len(b)), miss=miss)
        return Line(name, "factor", float(a[0]), float(a[0]), 0.0, ends, tolerance, True, min(len(a), len(b)))
    if measure == "retry_amplification":
        return judged(name, "factor", a, b, tolerance, errors_of(a, b, mean), miss=miss, paired=False)
    if not (len(a) and len(b)):
        return Line(name, "ratio", math.nan, math.nan, math.nan, None, tolerance, False, 0)
    ends = interval_of_independent_shares(a, b, miss=miss)
    ours, theirs = float(mean(a)), float(mean(b))
    return Line(name, "ratio", ours, theirs, ours - theirs, ends, tolerance, False, min(len(a), len(b)))


def values_of(side: Apart, names: Iterable[str]) -> dict[str, float]:
    """Every metric of one run; NaN: nobody knows it."""
    found = {}
    for name in names:
        measure, _, aggregate = name.partition(" ")
        if aggregate:
            values = side.values(measure.removesuffix("_ok"), failures=not measure.endswith("_ok"))
            percent = float(aggregate[2:-1])
            found[name] = float(percentile(values, percent)) if len(values) >= fewest_of(percent) else math.nan
            continue
        values = side.values(measure) if measure in _MEANS else _told(side, measure)
        found[name] = float(mean(values)) if len(values) else math.nan
    return found


def _told(side: Apart, measure: str) -> Floats:
    table = side.table
    if measure == "error_rate":
        found = table["outcome"] != "ok"
    elif measure == "cache_hit_rate":
        found = table["hit"]
    else:
        table = table.filter(pl.col("sent"))
        found = table["elsewhere" if measure == "fallback_rate" else "attempts"]
    return found.cast(pl.Float64).to_numpy()
