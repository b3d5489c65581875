"""Rows of logs as they stand in files, and which of them are known without being told.

LiteLLM: ``LiteLLM_SpendLogs`` of its schema.prisma, as ``/spend/logs`` and a dump of the table have it. OpenTelemetry:
the GenAI conventions as in `llmsim.telemetry.otel`, with the names that they superseded.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmsim.errors import LlmsimError
from llmsim.telemetry.otel import ATTRIBUTES

__all__ = ["LITELLM", "OTLP", "OWN_ATTEMPTS", "OWN_CALLS", "Row", "rows_of"]

_MOST_BYTES = 2_000_000_000  #: more would not fit into memory as rows

LITELLM = {
    "sent_s": "startTime",
    "ttft_s": "completionStartTime-startTime",
    "e2e_s": "endTime-startTime",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "outcome": "status",
    "cost_usd": "spend",
    "model": "model",
    "upstream": "custom_llm_provider",
}
OTLP = {
    "sent_s": "start_s",
    "ttft_s": "time_to_first_chunk",
    "e2e_s": "end_s-start_s",
    "input_tokens": "input",
    "cached_tokens": ATTRIBUTES["cached_input_tokens"],
    "output_tokens": "output",
    "outcome": "outcome",
    "cost_usd": ATTRIBUTES["cost_usd"],
    "model": "model",
    "upstream": "upstream",
    "status": ATTRIBUTES["status"],
    "server_s": ATTRIBUTES["server_s"],
    "run": "run",
}
#: ``attempts.parquet`` of a saved result, alone.
OWN_ATTEMPTS = {
    "sent_s": "start_s",
    "ttft_s": "first_s-start_s",
    "e2e_s": "end_s-start_s",
    "input_tokens": "input_tokens",
    "cached_tokens": "cached_input_tokens",
    "output_tokens": "output_tokens",
    "outcome": "outcome",
    "cost_usd": "cost_usd",
    "model": "model",
    "upstream": "upstream",
    "status": "status",
    "server_s": "server_s",
    "run": "replication",
}
#: What ``llmsim calibrate probe`` leaves behind.
OWN_CALLS = {name: name for name in (*OWN_ATTEMPTS, "retry_after_s", "connect_s") if name != "run"}

_FIRST = (ATTRIBUTES["first_chunk_s"], "gen_ai.server.time_to_first_token")
_INPUT = (ATTRIBUTES["input_tokens"], "gen_ai.usage.prompt_tokens")
_OUTPUT = (ATTRIBUTES["output_tokens"], "gen_ai.usage.completion_tokens")
_MODEL = (ATTRIBUTES["model"], ATTRIBUTES["response_model"])
_UPSTREAM = (ATTRIBUTES["upstream"], "gen_ai.system")
_CLIENT = (3, "SPAN_KIND_CLIENT")  # SpanKind; the JSON encoding wants the number, some exporters write the name

_BEYOND = "(beyond the header)"  #: the column of what a line of a CSV has more than there are names


class Row(NamedTuple):
    """One row, and its line in the file."""

    number: int
    values: Mapping[str, Any]


def rows_of(path: Path, *, cached: bool = False) -> tuple[str, list[Row]]:
    """The rows of a file, and what kind of log it is: ``litellm``, ``otlp``, ``attempts``, ``calls`` or ``table``.

    Parameters
    ----------
    path
        A file.
    cached
        Whether what LiteLLM's own cache has answered is wanted: it is traffic, but says nothing about a provider.

    Raises
    ------
    LlmsimError
        It cannot be read.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise LlmsimError(f"{path} has more than {_MOST_BYTES / 1e9:g} GB; give a part of it, such as one day")
        if path.suffix == ".parquet":
            rows = _parquet(path)
        elif path.suffix in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restkey=_BEYOND)
                rows = [Row(table.line_num, row) for row in table]
        else:
            rows = list(_json(path))
    except FileNotFoundError:
        raise LlmsimError(f"{path}: there is no such file or directory") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LlmsimError(f"{path} cannot be read: {error}") from None
    if not rows:
        raise LlmsimError(f"{path}: there is no row in it")
    if any("resourceSpans" in row.values for row in rows[:3]):
        return "otlp", _spans(rows)
    first = rows[0].values
    for kind, columns in (("litellm", LITELLM), ("calls", OWN_CALLS), ("attempts", OWN_ATTEMPTS)):
        named = [columns["model"], columns["sent_s"], columns["input_tokens"], columns["ttft_s"].partition("-")[0]]
        if all(name in first for name in named):
            hit = [str(row.values.get("cache_hit", "")).lower() == "true" for row in rows]
            return kind, [row for row, from_cache in zip(rows, hit, strict=True) if cached or not from_cache]
    return "table", rows


def _parquet(path: Path) -> list[Row]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise LlmsimError(f"{path} is damaged: {error}") from None
    return [Row(number, row) for number, row in enumerate(frame.iter_rows(named=True), 1)]


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, an object a line, or objects below ``data``."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        whole = json.loads(text)
    except ValueError:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield from _objects(path, number, line)
        return
    if isinstance(whole, Mapping) and isinstance(whole.get("data"), list):
        whole = whole["data"]
    for number, one in enumerate(whole if isinstance(whole, list) else [whole], 1):
        if not isinstance(one, Mapping):
            raise LlmsimError(f"{path}: item {number} is no object; a log has one for each call")
        yield Row(number, one)


def _objects(path: Path, number: int, line: str) -> Iterator[Row]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise LlmsimError(f"{path}:{number}: is no JSON: {error}") from None
    if not isinstance(found, Mapping):
        raise LlmsimError(f"{path}:{number}: is no object; a log has one for each call")
    yield Row(number, found)


def _spans(rows: list[Row]) -> list[Row]:
    """Client spans of calls to models, flat."""
    found = []
    for row in rows:
        for resource in row.values.get("resourceSpans", ()):
            run = _run(resource)
            for scope in resource.get("scopeSpans", ()):
                found += [one for span in scope.get("spans", ()) if (one := _span(row.number, span, run)) is not None]
    return found


def _run(resource: Mapping[str, Any]) -> Any:
    """Which replication, where llmsim wrote it: those have one clock, and never met."""
    about = {one["key"]: _value(one.get("value", {})) for one in resource.get("resource", {}).get("attributes", ())}
    return about.get(ATTRIBUTES["replication"])


def _span(number: int, span: Mapping[str, Any], run: Any) -> Row | None:
    values = {one["key"]: _value(one.get("value", {})) for one in span.get("attributes", ())}
    if span.get("kind") not in _CLIENT or not any(name in values for name in (*_MODEL, ATTRIBUTES["operation"])):
        return None

    def either(names: tuple[str, ...]) -> Any:
        return next((values[name] for name in names if name in values), None)

    failed = values.get(ATTRIBUTES["error"]) or (
        "error" if span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR") else ""
    )
    told = {
        "start_s": int(span.get("startTimeUnixNano", 0)) / 1e9,
        "end_s": int(span.get("endTimeUnixNano", 0)) / 1e9,
        "time_to_first_chunk": either(_FIRST),
        "input": either(_INPUT),
        "output": either(_OUTPUT),
        "model": either(_MODEL),
        "upstream": either(_UPSTREAM),
        "outcome": failed or "ok",
        "run": run,
    }
    return Row(number, {**values, **told})


def _value(value: Mapping[str, Any]) -> Any:
    for kind, read in (("stringValue", str), ("intValue", int), ("doubleValue", float), ("boolValue", bool)):
        if kind in value:
            return read(value[kind])
    return None
