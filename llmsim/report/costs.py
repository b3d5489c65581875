"""``result.costs()``: what was paid for what, by whom, over time, as a mean of the replications or for each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.telemetry.cost_tables import cost_table, group_columns
from llmsim.units import DURATION

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["costs", "width_of"]


def width_of(window: str | float | None) -> float | None:
    """Length of a window in seconds, from ``"10s"`` or a number of seconds.

    Raises
    ------
    LlmsimError
        If it is no duration above 0.
    """
    if window is None:
        return None
    try:
        width_s = DURATION.parse(window, si=True)
    except ValueError as error:
        raise LlmsimError(f"window: {error}") from None
    if width_s <= 0:
        raise LlmsimError(f"window is {window!r}; write it like window='10s'")
    return width_s


def costs(
    result: Result,
    by: str | Sequence[str] | None = None,
    *,
    window: str | float | None = None,
    replications: bool = False,
) -> pl.DataFrame:
    """Costs of the measured requests; see `llmsim.report.result.Result.costs`."""
    names, width_s = group_columns(result.requests, by), width_of(window)
    if not result.samples:
        raise LlmsimError("this result has no replication, so nothing was paid")
    keys = [*(["start_s"] if width_s is not None else ()), *names]
    tables = [
        cost_table(sample, names, width_s).with_columns(replication=pl.lit(one.number, dtype=pl.Int32))
        for sample, one in zip(result.samples, result.replications, strict=True)
    ]
    whole = pl.concat(tables)
    amounts = [name for name in whole.columns if name not in keys and name != "replication"]
    if replications:
        return _ended(whole.select("replication", *keys, *amounts), result, width_s)
    # What did not occur in a replication was 0 there: the sum over all of them, divided by their number.
    grouped = whole.group_by(keys, maintain_order=True) if keys else whole.group_by(pl.lit(0).alias("all"))
    mean = grouped.agg(pl.col(*amounts).sum() / len(tables)).select(*keys, *amounts)
    return _ended(mean.sort(keys, nulls_last=True, maintain_order=True) if keys else mean, result, width_s)


def _ended(table: pl.DataFrame, result: Result, width_s: float | None) -> pl.DataFrame:
    """With what a success cost, and the ends of windows."""
    per_ok = pl.when(pl.col("ok") > 0).then(pl.col("total_usd") / pl.col("ok"))
    table = table.with_columns(per_ok_usd=per_ok)
    if width_s is None:
        return table
    end_s = max((sample.end_s for sample in result.samples), default=math.inf)
    ends = pl.min_horizontal(pl.col("start_s") + width_s, pl.lit(end_s))
    place = table.columns.index("start_s") + 1
    return table.insert_column(place, table.select(ends.alias("end_s"))["end_s"])
