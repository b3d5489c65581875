"""What was computed when a result was written, so that whoever opens it need not read millions of rows again."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.report.numbers import jsonable

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["computed", "recall"]

_BY = "computed_by"


def computed(result: Result) -> dict[str, Any]:
    """What ``result.json`` says of a result: `Result.to_dict`, SLO values by replication, and by which llmsim."""
    values = [jsonable(line.values) for line in result.slo]
    return {_BY: version("llmsim"), "values": values, **result.to_dict()}


def recall(result: Result, page: dict[str, Any], **frames: pl.DataFrame) -> None:
    """Let a result know what was computed of it; by another llmsim, which may count otherwise, nothing of it.

    Parameters
    ----------
    result
        Of the same tables.
    page
        What `computed` gave.
    **frames
        Tables that were made of those: ``windows``, ``sessions``.
    """
    if page.get(_BY) != version("llmsim"):
        return
    values = [tuple(_number(value) for value in line) for line in page["values"]]
    result.remember(
        metrics=_number(page["metrics"]), **frames, event_hash=page["event_hash"], advice=page["advice"],
        measured=list(zip(*values, strict=True)) if values else [() for _ in result.replications],
    )  # fmt: skip


def _number(value: Any) -> Any:
    """Back from `jsonable`."""
    if isinstance(value, dict):
        return {key: _number(one) for key, one in value.items()}
    infinite = {"Infinity": math.inf, "-Infinity": -math.inf}
    return math.nan if value is None else infinite.get(value, value) if isinstance(value, str) else value
