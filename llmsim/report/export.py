"""A result for the tools that watch production: OTLP files, and a page that Prometheus could have scraped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.telemetry.measurements import Series, measurements
from llmsim.telemetry.otlp import metric_lines, trace_lines
from llmsim.telemetry.prometheus import prometheus_text

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["otlp_paths", "to_otlp", "to_prometheus"]


def otlp_paths(path: str | Path) -> tuple[Path, Path]:
    """Where metrics and traces go: an OTLP file holds one of them.

    Examples
    --------
    >>> [str(place) for place in otlp_paths("out/run.jsonl")]
    ['out/run.metrics.jsonl', 'out/run.traces.jsonl']
    """
    place = Path(path)
    stem = place.with_suffix("") if place.suffix in (".jsonl", ".json") else place
    return stem.with_name(f"{stem.name}.metrics.jsonl"), stem.with_name(f"{stem.name}.traces.jsonl")


def to_otlp(result: Result, path: str | Path, *, replication: int | None = 0) -> tuple[Path, Path]:
    """Write metrics and traces; see `llmsim.report.result.Result.to_otlp`."""
    known = [one.number for one in result.replications]
    if replication is not None and replication not in known:
        raise LlmsimError(f"there is no replication {replication}; this result has {_listed(known)}")
    metrics, traces = otlp_paths(path)
    about = _about(result)
    _write(metrics, metric_lines(_measured(result), about))
    wanted = known if replication is None else [replication]
    # One replication after the other: their spans need not be in memory together.
    lines = (
        line
        for number in wanted
        for line in trace_lines(
            number,
            _rows(result.requests, number),
            _rows(result.attempts, number),
            result.events.filter(pl.col("replication") == number),
            about,
            result.event_hash,
        )
    )
    _write(traces, lines)
    return metrics, traces


def to_prometheus(result: Result, path: str | Path) -> Path:
    """Write the text; see `llmsim.report.result.Result.to_prometheus`."""
    place = Path(path)
    place.write_text(prometheus_text(_measured(result)), encoding="utf-8")
    return place


def _measured(result: Result) -> dict[int, list[Series]]:
    return {
        one.number: measurements(_rows(result.requests, one.number), _rows(result.attempts, one.number))
        for one in result.replications
    }


def _rows(whole: pl.DataFrame, number: int) -> pl.DataFrame:
    return whole.filter((pl.col("replication") == number) & (pl.col("window") == "measured"))


def _about(result: Result) -> dict[str, Any]:
    return {
        "llmsim.scenario": result.scenario.name,
        "llmsim.seed": result.seed,
        "llmsim.event_hash": result.event_hash,
    }


def _listed(numbers: list[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
