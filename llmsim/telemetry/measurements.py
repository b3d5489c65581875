"""From what was recorded to measurements of the instruments in `otel`: what, with which attributes, when, how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.telemetry.otel import ATTRIBUTES, METRICS, OPERATION

__all__ = ["Series", "histogram", "measurements"]

Floats = NDArray[np.float64]


class Series(NamedTuple):
    """All measurements of an instrument with the same attributes."""

    instrument: str  #: key of `otel.METRICS`
    attributes: tuple[tuple[str, str], ...]  #: OpenTelemetry names and values, sorted
    times_s: Floats  #: when each was made, on the scenario's clock
    values: Floats


_CALL = {"upstream": "upstream", "model": "model"}
_ERROR = {"error": "error"}


def measurements(requests: pl.DataFrame, attempts: pl.DataFrame) -> list[Series]:
    """The measurements of one replication, in the order of instruments and attributes.

    Parameters
    ----------
    requests, attempts
        Rows of ``result.requests`` and ``result.attempts``.
    """
    found = [*_of_attempts(attempts), *_of_requests(requests)]
    order = [*METRICS]
    return sorted(found, key=lambda one: (order.index(one.instrument), one.attributes))


def _of_attempts(attempts: pl.DataFrame) -> Iterator[Series]:
    ok = pl.col("outcome") == "ok"
    streamed = pl.col("first_s").is_not_null() & (pl.col("first_s") < pl.col("end_s"))
    first = pl.when(streamed).then(pl.col("first_s") - pl.col("start_s"))
    pace = pl.when(ok & streamed & (pl.col("output_tokens") > 1)).then(
        (pl.col("end_s") - pl.col("first_s")) / (pl.col("output_tokens") - 1)
    )
    rows = attempts.filter(pl.col("end_s").is_not_null()).with_columns(
        error=_error(),
        took_s=pl.col("end_s") - pl.col("start_s"),
        first_chunk_s=first,
        server_s=pl.when(ok).then(first),
        pace_s=pace,
    )
    fixed = {"operation": OPERATION}
    text = {**fixed, "modality": "text"}
    yield from _series(rows, "duration", "took_s", {**_CALL, **_ERROR}, fixed)
    yield from _series(rows, "first_chunk", "first_chunk_s", _CALL, fixed)
    for kind in ("input_tokens", "cached_input_tokens", "output_tokens"):
        yield from _series(rows, kind, kind, _CALL, text)
    for kind in ("input_tokens", "output_tokens"):
        yield from _series(rows, f"{kind}_each", kind, {**_CALL, **_ERROR}, fixed)
        yield from _series(rows, "token_usage", kind, _CALL, {**fixed, "token_type": kind.partition("_")[0]})
    yield from _series(rows, "server_first_token", "server_s", _CALL, fixed)
    yield from _series(rows, "server_per_token", "pace_s", _CALL, fixed)
    yield from _series(rows, "cost", "cost_usd", {**_CALL, "cause": "cause"}, {})


def _of_requests(requests: pl.DataFrame) -> Iterator[Series]:
    rows = requests.with_columns(
        error=_error(), one=1.0, end_s=pl.col("arrival_s") + pl.col("e2e_s").fill_null(0.0)
    )  # fmt: skip
    asked: dict[str, str] = {name: name for name in ("route", "tenant", "feature") if name in requests.columns}
    ok = rows.filter(pl.col("outcome") == "ok")
    served = {"outcome": "outcome", "served_from": "served_from", "cache_match": "cache_match"}
    yield from _series(rows, "requests", "one", {**asked, **served}, {})
    yield from _series(rows, "request_duration", "e2e_s", {**asked, **_ERROR}, {})
    yield from _series(ok, "request_first_chunk", "ttft_s", {**asked, "served_from": "served_from"}, {})
    yield from _series(rows, "fallbacks", "fallbacks", asked, {})
    yield from _series(rows, "saved", "saved_usd", asked, {})
    wrong = ok.filter(pl.col("false_hit"))
    yield from _series(wrong, "false_hits", "one", {**asked, "false_hit_reason": "false_hit_reason"}, {})
    embedded = rows.filter(pl.col("embedding_tokens") > 0)
    yield from _series(embedded, "embedding_tokens", "embedding_tokens", asked, {})


def _error() -> pl.Expr:
    word = pl.col("outcome").cast(pl.String)
    return pl.when(word != "ok").then(word)


def _series(
    rows: pl.DataFrame, instrument: str, value: str, by: Mapping[str, str], fixed: Mapping[str, str]
) -> Iterator[Series]:
    """Series of a column, one for each combination of `by` (our name → column). A missing value is no measurement."""
    keys = [pl.col(column).cast(pl.String).alias(name) for name, column in by.items()]
    told = rows.select(*keys, time_s="end_s", value=pl.col(value).cast(pl.Float64)).drop_nulls("value")
    for group, part in told.group_by([*by], maintain_order=True):
        named = {name: word for name, word in zip(by, group, strict=True) if word}  # what is empty is not known
        attributes = sorted((ATTRIBUTES[name], str(word)) for name, word in {**fixed, **named}.items())
        yield Series(instrument, tuple(attributes), part["time_s"].to_numpy(), part["value"].to_numpy())


def histogram(series: Series, ends_s: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """How many values are in each bucket by each time.

    Returns
    -------
    ndarray, shape (len(ends_s), buckets)
        Cumulative over time, not over buckets. A value on a bound is in the bucket below it.
    """
    bounds = METRICS[series.instrument].bounds
    bucket = np.searchsorted(np.asarray(bounds), series.values, side="left")
    window = np.minimum(np.searchsorted(ends_s, series.times_s, side="left"), len(ends_s) - 1)
    counts = np.zeros((len(ends_s), len(bounds) + 1), dtype=np.int64)
    np.add.at(counts, (window, bucket), 1)
    return np.cumsum(counts, axis=0)
