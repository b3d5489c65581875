"""OTLP as JSON lines: metrics and traces, as the OpenTelemetry Collector's ``otlpjsonfile`` receiver reads them.

The file exporter's specification (opentelemetry-specification, protocol/file-exporter.md) asks for one JSON object a
line and one signal a file. In OTLP's JSON, ids are hex, 64-bit integers are texts, and enums are numbers
(opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.telemetry.measurements import Series, histogram
from llmsim.telemetry.otel import ATTRIBUTES, METRICS, OPERATION, SCHEMA_URL

__all__ = ["EPOCH_NS", "metric_lines", "trace_lines"]

#: Where the scenario's 0 stands, 2026-01-01T00:00:00Z: back ends refuse spans of 1970, and the true time of a
#: simulation would make equal results unequal.
EPOCH_NS = 1_767_225_600 * 10**9

EVERY_S = 10.0  #: between two points of a metric, as between two scrapes
_SPANS_A_LINE = 500  # 0.6 MB for the shipped spike; the receiver refuses lines above 1 MiB unless told otherwise
_SERVER, _CLIENT = 2, 3  # SpanKind
_CUMULATIVE = 2  # AggregationTemporality
_ERROR = 2  # StatusCode


def _ns(time_s: float) -> str:
    return str(EPOCH_NS + round(time_s * 1e9))


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes by our names; what is empty or missing is left out."""
    told = {ATTRIBUTES.get(name, name): value for name, value in values.items() if value is not None and value != ""}
    return [{"key": name, "value": _value(value)} for name, value in sorted(told.items())]


def _resource(about: Mapping[str, Any], number: int) -> dict[str, Any]:
    known = {"service.name": "llmsim", "service.instance.id": f"replication-{number}", "replication": number, **about}
    return {"attributes": _attributes(known)}


def _line(page: Any) -> str:
    return json.dumps(page, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


# -- metrics -----------------------------------------------------------------------------------------------------------


def metric_lines(replications: Mapping[int, Sequence[Series]], about: Mapping[str, Any]) -> Iterator[str]:
    """``MetricsData`` objects, one for each replication and instrument, with a point every 10 s.

    Parameters
    ----------
    replications
        Number of a replication → its measurements, in the order of instruments.
    about
        Further attributes of the resource.
    """
    for number, found in sorted(replications.items()):
        last_s = max((float(series.times_s.max()) for series in found), default=0.0)
        ends = EVERY_S * np.arange(1, max(1, math.ceil(last_s / EVERY_S)) + 1)
        for key, same in groupby(found, key=lambda series: series.instrument):
            instrument = METRICS[key]
            points = [point for series in same for point in _points(series, ends)]
            metric: dict[str, Any] = {
                "name": instrument.name,
                "unit": instrument.unit,
                "description": instrument.meaning,
            }
            data: dict[str, Any] = {"dataPoints": points, "aggregationTemporality": _CUMULATIVE}
            if instrument.kind == "counter":
                metric["sum"] = {**data, "isMonotonic": True}
            else:
                metric["histogram"] = data
            scope = {"scope": {"name": "llmsim"}, "metrics": [metric], "schemaUrl": SCHEMA_URL}
            yield _line({"resourceMetrics": [{"resource": _resource(about, number), "scopeMetrics": [scope]}]})


def _points(series: Series, ends: NDArray[np.floating[Any]]) -> Iterator[dict[str, Any]]:
    """Cumulative points from the first measurement on."""
    attributes = [{"key": name, "value": {"stringValue": value}} for name, value in series.attributes]
    window = np.minimum(np.searchsorted(ends, series.times_s, side="left"), len(ends) - 1)
    sums = np.cumsum(np.bincount(window, weights=series.values, minlength=len(ends)))
    first = int(window.min())
    counts = histogram(series, ends) if METRICS[series.instrument].kind == "histogram" else None
    least, most = np.full(len(ends), math.inf), np.full(len(ends), -math.inf)
    np.minimum.at(least, window, series.values)
    np.maximum.at(most, window, series.values)
    least, most = np.minimum.accumulate(least), np.maximum.accumulate(most)
    for place in range(first, len(ends)):
        point = {"attributes": attributes, "startTimeUnixNano": _ns(0.0), "timeUnixNano": _ns(float(ends[place]))}
        if counts is None:
            yield {**point, "asDouble": float(sums[place])}
            continue
        yield {
            **point,
            "count": str(int(counts[place].sum())),
            "sum": float(sums[place]),
            "min": float(least[place]),
            "max": float(most[place]),
            "bucketCounts": [str(count) for count in counts[place].tolist()],
            "explicitBounds": [*METRICS[series.instrument].bounds],
        }


# -- traces ------------------------------------------------------------------------------------------------------------


def trace_lines(
    number: int,
    requests: pl.DataFrame,
    attempts: pl.DataFrame,
    events: pl.DataFrame,
    about: Mapping[str, Any],
    salt: str,
) -> Iterator[str]:
    """``TracesData`` objects: a span for each request with what policies reported as events, a child for each attempt.

    Parameters
    ----------
    number
        Of the replication.
    requests, attempts, events
        Its rows.
    about
        Further attributes of the resource.
    salt
        Makes the ids of this result differ from those of another: its event hash.
    """
    tries = _by_request(attempts)
    told = _by_request(events.filter(pl.col("request_id") != ""))
    spans: list[dict[str, Any]] = []
    for row in requests.iter_rows(named=True):
        trace = hashlib.sha256(f"{salt}/{number}/{row['request_id']}".encode()).hexdigest()
        spans.append(_request_span(row, trace, told.get(row["request_id"], ())))
        spans += (_attempt_span(one, trace, row) for one in tries.get(row["request_id"], ()))
        if len(spans) >= _SPANS_A_LINE:
            yield _trace_line(spans, about, number)
            spans = []
    if spans:
        yield _trace_line(spans, about, number)


def _by_request(rows: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["request_id"], []).append(row)
    return found


def _trace_line(spans: list[dict[str, Any]], about: Mapping[str, Any], number: int) -> str:
    scope = {"scope": {"name": "llmsim"}, "spans": spans, "schemaUrl": SCHEMA_URL}
    return _line({"resourceSpans": [{"resource": _resource(about, number), "scopeSpans": [scope]}]})


_OF_REQUEST = (
    "request_id", "route", "tenant", "feature", "user", "outcome", "served_by", "served_from", "first_choice",
    "replica", "input_tokens", "output_tokens", "cost_usd", "saved_usd",
)  # fmt: skip
#: Of a request that a cache was asked about; what is empty is left out.
_OF_CACHE = ("cache_match", "similarity", "false_hit_reason", "made_for", "verified", "embedding_tokens")
_OF_ATTEMPT = (
    "upstream", "model", "attempt", "cause", "won", "replica", "queue_s", "server_s", "input_tokens",
    "cached_input_tokens", "output_tokens", "cost_usd",
)  # fmt: skip


def _request_span(row: dict[str, Any], trace: str, told: Iterable[dict[str, Any]]) -> dict[str, Any]:
    values = {name: row.get(name) for name in _OF_REQUEST}
    values |= {"operation": OPERATION, "session": str(row["session"]), "first_chunk_s": row["ttft_s"]}
    values |= {name: row.get(name) or None for name in _OF_CACHE}
    span = {
        "traceId": trace[:32],
        "spanId": trace[32:48],
        "name": f"{OPERATION} {row['route']}",
        "kind": _SERVER,
        "startTimeUnixNano": _ns(row["arrival_s"]),
        "endTimeUnixNano": _ns(row["arrival_s"] + (row["e2e_s"] or 0.0)),
        "events": [
            {
                "timeUnixNano": _ns(one["time_s"]),
                "name": one["kind"],
                "attributes": _attributes({
                    "upstream": one["upstream"], "llmsim.policy": one["policy"], "llmsim.detail": one["detail"],
                }),
            }
            for one in told
        ],
    }  # fmt: skip
    return _ended(span, values, row["outcome"])


def _attempt_span(one: dict[str, Any], trace: str, request: dict[str, Any]) -> dict[str, Any]:
    values = {name: one.get(name) for name in _OF_ATTEMPT}
    values |= {"operation": OPERATION, "status": one["status"] or None, "session": str(request["session"])}
    if one["first_s"] is not None:
        values["first_chunk_s"] = one["first_s"] - one["start_s"]
        values["response_model"] = one["model"]
    end_s = one["end_s"] if one["end_s"] is not None else one["start_s"]
    span = {
        "traceId": trace[:32],
        "spanId": hashlib.sha256(f"{trace}/{one['attempt']}".encode()).hexdigest()[:16],
        "parentSpanId": trace[32:48],
        "name": f"{OPERATION} {one['model']}".strip(),
        "kind": _CLIENT,
        "startTimeUnixNano": _ns(one["start_s"]),
        "endTimeUnixNano": _ns(end_s),
    }
    return _ended(span, values, one["outcome"])


def _ended(span: dict[str, Any], values: dict[str, Any], outcome: str) -> dict[str, Any]:
    if outcome == "ok":
        return {**span, "attributes": _attributes(values)}
    failed = {"status": {"code": _ERROR, "message": outcome}, "attributes": _attributes({**values, "error": outcome})}
    return {**span, **failed}
