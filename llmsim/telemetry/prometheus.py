"""Prometheus text exposition format 0.0.4, with the names that OpenTelemetry's compatibility rules give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from llmsim.telemetry.measurements import Series, histogram
from llmsim.telemetry.otel import ATTRIBUTES, METRICS, Instrument

__all__ = ["prometheus_name", "prometheus_text"]

# opentelemetry-specification, compatibility/prometheus_and_openmetrics.md: units in words, {annotations} dropped,
# counters end in _total, what is no letter, digit or _ becomes _.
_UNITS = {"s": "seconds"}


def prometheus_name(instrument: Instrument) -> str:
    """The metric's name there.

    Examples
    --------
    >>> prometheus_name(METRICS["duration"]), prometheus_name(METRICS["output_tokens"])
    ('gen_ai_client_operation_duration_seconds', 'gen_ai_client_inference_usage_output_tokens_total')
    """
    unit = "" if instrument.unit.startswith("{") else _UNITS.get(instrument.unit, instrument.unit)
    parts = [_plain(instrument.name), *([unit] if unit else ()), *(["total"] if instrument.kind == "counter" else ())]
    return "_".join(parts)


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def prometheus_text(replications: Mapping[int, Iterable[Series]]) -> str:
    """All measurements of all replications, as a scrape at the end would see them.

    Parameters
    ----------
    replications
        Number of a replication → its measurements; the number becomes a label.
    """
    by_instrument: dict[str, list[tuple[int, Series]]] = {}
    for number, found in sorted(replications.items()):
        for series in found:
            by_instrument.setdefault(series.instrument, []).append((number, series))
    lines: list[str] = []
    for key, instrument in METRICS.items():
        if key not in by_instrument:
            continue
        name = prometheus_name(instrument)
        superseded = f" Superseded by {instrument.superseded}." if instrument.superseded else ""
        lines += [f"# HELP {name} {instrument.meaning}{superseded}", f"# TYPE {name} {instrument.kind}"]
        for number, series in by_instrument[key]:
            labels = [(_plain(ATTRIBUTES["replication"]), str(number))]
            labels += [(_plain(attribute), value) for attribute, value in series.attributes]
            draw = _histogram if instrument.kind == "histogram" else _counter
            lines += draw(name, labels, series)
    return "\n".join(lines) + "\n" if lines else ""


def _counter(name: str, labels: list[tuple[str, str]], series: Series) -> list[str]:
    return [f"{name}{_labelled(labels)} {_number(float(series.values.sum()))}"]


def _histogram(name: str, labels: list[tuple[str, str]], series: Series) -> list[str]:
    bounds = METRICS[series.instrument].bounds
    counts = np.cumsum(histogram(series, np.array([np.inf]))[-1]).tolist()
    ends = [*(_number(float(bound)) for bound in bounds), "+Inf"]
    buckets = [
        f"{name}_bucket{_labelled([*labels, ('le', end)])} {count}" for end, count in zip(ends, counts, strict=True)
    ]
    return [
        *buckets,
        f"{name}_sum{_labelled(labels)} {_number(float(series.values.sum()))}",
        f"{name}_count{_labelled(labels)} {counts[-1]}",
    ]


def _labelled(labels: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
