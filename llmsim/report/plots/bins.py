"""Requests in bins of time, before anything is drawn: a picture costs the same for ten requests and for ten million."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.telemetry.outcomes import CLASS_OF_WORD, CLASSES, HIT, SEMANTIC_HIT
from llmsim.telemetry.percentiles import samples_needed

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = [
    "PART_LABELS",
    "Bins",
    "Latencies",
    "column_of",
    "latencies",
    "measured_end_s",
    "outcome_bins",
    "stairs",
    "time_bins",
    "told_windows",
]

Floats = NDArray[np.float64]

#: Of the parts of the time to an answer.
PART_LABELS = {
    "gateway": "in the gateway",
    "queue": "provider's queue",
    "prefill": "to a first token",
    "generation": "generation",
}

_TELEMETRY_WIDTHS_S = (10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
_MOST_WINDOWS = 60
_WIDTHS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600)


class Bins(NamedTuple):
    """Means of all replications, per second."""

    edges_s: Floats  #: one more than bins
    offered: Floats
    classes: dict[str, Floats]  #: by name of the class, in stacking order; those that occurred
    amplification: Floats  #: attempts / requests sent upstream; NaN: none was sent


class Latencies(NamedTuple):
    """Failure-aware percentiles of a latency, all replications together."""

    edges_s: Floats
    percentiles: dict[int, Floats]  #: NaN: too few requests; inf: that many failed
    requests: NDArray[np.int64]


def _edges(end_s: float, most: int) -> Floats:
    width = next((one for one in _WIDTHS_S if end_s / one <= most), 86400)
    return np.append(np.arange(0.0, end_s - 1e-9, width), end_s)


def time_bins(result: Result, most: int = 240) -> Floats:
    """Edges of bins of a round length over the measured time, `most` of them at the most."""
    return _edges(measured_end_s(result), most)


def _measured(result: Result) -> pl.DataFrame:
    wanted = ("arrival_s", "outcome", "served_from", "cache_match", "attempts", "ttft_s", "e2e_s")
    return result.requests.lazy().filter(pl.col("window") == "measured").select(wanted).collect()


def measured_end_s(result: Result) -> float:
    """End of the measured time, of the replication that got farthest."""
    reached = [sample.end_s for sample in result.samples]
    return max(reached, default=0.0) or result.scenario.clock.duration


def _numbered(requests: pl.DataFrame, edges_s: Floats) -> pl.DataFrame:
    width = edges_s[1] - edges_s[0]
    return requests.with_columns(bin=(pl.col("arrival_s") / width).floor().cast(pl.Int64).clip(0, len(edges_s) - 2))


def outcome_bins(result: Result, most: int = 240) -> Bins:
    """What arrived and what became of it."""
    edges_s = _edges(measured_end_s(result), most)
    lengths = np.diff(edges_s)
    numbered = _numbered(_measured(result), edges_s)
    word = pl.col("outcome").cast(pl.String)
    # Words become classes after counting: there are few words and many requests.
    counts = (
        numbered.group_by("bin", "outcome", HIT.alias("hit"), SEMANTIC_HIT.alias("by_meaning"))
        .agg(pl.len())
        .select(
            "bin",
            "len",
            kind=pl.when("by_meaning")
            .then(pl.lit("semantic_hits"))
            .when("hit")
            .then(pl.lit("cache_hits"))
            .otherwise(word.replace_strict(CLASS_OF_WORD, default="other_failures", return_dtype=pl.String)),
        )
        .group_by("bin", "kind")
        .agg(pl.col("len").sum())
    )
    seconds = lengths * max(1, len(result.replications))
    classes: dict[str, Floats] = {}
    for one in CLASSES:
        rows = counts.filter(pl.col("kind") == one.name)
        if rows.height:
            classes[one.name] = _placed(rows["bin"], rows["len"], len(lengths)) / seconds
    sent = (
        numbered.filter(pl.col("attempts") > 0)
        .group_by("bin")
        .agg(pl.col("attempts").cast(pl.Int64).sum(), pl.len())
    )  # fmt: skip
    attempts = _placed(sent["bin"], sent["attempts"], len(lengths))
    requests = _placed(sent["bin"], sent["len"], len(lengths))
    amplification = np.divide(attempts, requests, out=np.full(len(lengths), math.nan), where=requests > 0)
    offered = sum(classes.values(), np.zeros(len(lengths)))
    return Bins(edges_s, offered, classes, amplification)


def _placed(bins: pl.Series, values: pl.Series, length: int) -> Floats:
    whole = np.zeros(length)
    whole[bins.to_numpy()] = values.to_numpy()
    return whole


def latencies(result: Result, percents: tuple[int, ...] = (50, 90, 99), column: str = "ttft_s") -> Latencies:
    """A latency in bins wide enough for percentiles: 100 requests in most of them, where there are that many."""
    measured = _measured(result)
    edges_s = _edges(measured_end_s(result), min(60, max(12, measured.height // 120)))
    aware = pl.when(pl.col("outcome") == "ok").then(pl.col(column)).otherwise(pl.lit(math.inf))
    told = (
        _numbered(measured, edges_s)
        .group_by("bin")
        .agg(
            pl.len(),
            *(
                pl.when(pl.len() >= samples_needed(percent))
                .then(aware.quantile(percent / 100, interpolation="equiprobable"))
                .alias(str(percent))
                for percent in percents
            ),
        )
    )
    bins, length = told["bin"], len(edges_s) - 1
    columns = {}
    for percent in percents:
        columns[percent] = np.full(length, math.nan)
        columns[percent][bins.to_numpy()] = told[str(percent)].fill_null(math.nan).to_numpy()
    return Latencies(edges_s, columns, _placed(bins, told["len"], length).astype(np.int64))


def told_windows(result: Result, by: str | None = None) -> tuple[pl.DataFrame, Floats]:
    """Telemetry in windows wide enough for a picture, and their edges."""
    end_s = measured_end_s(result)
    width_s = next((one for one in _TELEMETRY_WIDTHS_S if end_s / one <= _MOST_WINDOWS), 7 * 86400)
    edges: Floats = np.append(np.arange(0.0, end_s - 1e-9, width_s), end_s)
    if not result.samples:
        return pl.DataFrame(), edges
    return result.telemetry(by, window=float(width_s)), edges


def column_of(table: pl.DataFrame, name: str, edges: Floats) -> Floats:
    """A column as numbers, one per window; NaN where it says nothing."""
    values = np.full(len(edges) - 1, np.nan)
    if not table.is_empty():
        values[: table.height] = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values


def stairs(edges_s: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Coordinates of a staircase over bins."""
    return np.repeat(edges_s, 2)[1:-1], np.repeat(values, 2)
