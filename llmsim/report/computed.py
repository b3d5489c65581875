"""What was computed when a result was written, so that whoever opens it need not read millions of rows again."""

from __future__ import annotations

import math
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
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
    return {_BY: _this(), "values": values, **result.to_dict()}


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
    if page.get(_BY) != _this():
        return
    values = [tuple(_number(value) for value in line) for line in page["values"]]
    result.remember(
        metrics=_number(page["metrics"]), **frames, event_hash=page["event_hash"], advice=page["advice"],
        measured=list(zip(*values, strict=True)) if values else [() for _ in result.replications],
    )  # fmt: skip


def _this() -> str:
    """Which llmsim; between two releases, by the code that counts: the version is the same."""
    return f"{version('llmsim')} {_code()}"


@cache
def _code() -> str:
    root, digest = Path(__file__).parents[1], sha256()
    for path in sorted(path for package in ("report", "telemetry") for path in (root / package).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _number(value: Any) -> Any:
    """Back from `jsonable`."""
    if isinstance(value, dict):
        return {key: _number(one) for key, one in value.items()}
    infinite = {"Infinity": math.inf, "-Infinity": -math.inf}
    return math.nan if value is None else infinite.get(value, value) if isinstance(value, str) else value
