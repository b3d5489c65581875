"""A gateway's log as traffic: who sent what, when. The same files from which `read_log` fits providers."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llmsim.calibrate.formulas import formula, number_of
from llmsim.calibrate.log_rows import LITELLM, OTLP, OWN_ATTEMPTS, OWN_CALLS, Row, rows_of
from llmsim.calibrate.outcome_words import outcome_of
from llmsim.errors import LlmsimError

__all__ = ["TRAFFIC_FIELDS", "Arrivals", "read_arrivals", "write_arrivals"]

#: What a mapping can say, and what each is.
TRAFFIC_FIELDS: dict[str, str] = {
    "sent_s": "when the request came: seconds on any clock, or a date with a time",
    "input_tokens": "of the prompt",
    "output_tokens": "of the answer",
    "outcome": "ok, success, true, 1 or 200; else it failed",
    "route": "what kind of request it was: a path, an application",
    "session": "requests with the same are one conversation",
    "client": "who sent it",
    "run": "which run, where several were written on one clock: the first in the file is taken",
}
_NEEDED = ("sent_s", "input_tokens", "output_tokens")
_NAMES = ("route", "session", "client")
_SHOWN = 5  # lines that are named among those left out
_MOST = 1e9  # tokens; more are a mistake
_FAR_S = 1e11  # no seconds since 1970: those would be in the year 5138


class _One(NamedTuple):
    sent_s: float
    input_tokens: int
    output_tokens: int
    failed: bool
    names: tuple[str, ...]
    run: str


class Arrivals(NamedTuple):
    """Requests in the order they came."""

    rows: tuple[_One, ...]
    kind: str  #: what the log was taken for
    names: tuple[str, ...]  #: which of route, session and client are told
    notes: tuple[str, ...]  #: what was left out, and why


def read_arrivals(path: str | Path, mapping: Mapping[str, str] | None = None) -> Arrivals:
    """The requests of a log.

    Parameters
    ----------
    path
        LiteLLM's spend logs, spans of OpenTelemetry as OTLP JSON, the calls of a probe, ``attempts.parquet``; or a CSV,
        JSON, JSONL or Parquet file of any form, with a mapping. A row is a request: what a log has of retries is
        traffic of the gateway and not of its users, and is for its owner to leave out.
    mapping
        By field of `TRAFFIC_FIELDS`, the column or sum of columns where it is.

    Raises
    ------
    LlmsimError
        It cannot be read, or tells too little; with what to write instead.
    """
    kind, rows = rows_of(Path(path), cached=True)
    known = {"litellm": LITELLM, "otlp": OTLP, "attempts": OWN_ATTEMPTS, "calls": OWN_CALLS}.get(kind, {})
    formulas = {field: text for field, text in known.items() if field in TRAFFIC_FIELDS} | dict(mapping or {})
    absent = [field for field in _NEEDED if field not in formulas]
    if absent:
        told = "; ".join(f"{field}: {TRAFFIC_FIELDS[field]}" for field in absent)
        columns = ", ".join(list(rows[0].values)[:20])
        raise LlmsimError(f"{path}: add --map {absent[0]}=COLUMN. Missing: {told}. Its columns: {columns}")
    readers = {field: formula(text) for field, text in formulas.items()}
    names = tuple(name for name in _NAMES if name in formulas)
    found, wrong = [], []
    for row in rows:
        one = _read(row, readers, names, formulas)
        if isinstance(one, _One):
            found.append(one)
        else:
            wrong.append(f"{row.number} ({one})")
    for field in ("outcome", *_NAMES):  # the others have every row left out
        if field in (mapping or {}) and all(readers[field](row.values) is None for row in rows):
            columns = ", ".join(list(rows[0].values)[:20])
            raise LlmsimError(f"{path}: --map {field}={formulas[field]}: no row has that. Its columns: {columns}")
    if not found:
        raise LlmsimError(f"{path}: no row is a request with a time and tokens: line {'; line '.join(wrong[:_SHOWN])}")
    _check_unit(found[0].sent_s, f"{path}: --map sent_s={formulas['sent_s']}")
    notes = []
    if wrong:
        more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        notes.append(f"{len(wrong):,} of {len(rows):,} rows left out: line {'; line '.join(wrong[:_SHOWN])}{more}")
    runs = len({one.run for one in found})
    if runs > 1:  # replications: each begins at 0, and together they would be many times the traffic
        found = [one for one in found if one.run == found[0].run]
        notes.append(f"{runs} runs on one clock: only the first was taken, {formulas['run']} {found[0].run}")
    return Arrivals(tuple(sorted(found, key=lambda one: one.sent_s)), kind, names, tuple(notes))


def _check_unit(sent_s: float, given: str) -> None:
    """Refuse milliseconds and the like since 1970: as seconds they would be a trace of years."""
    if sent_s > _FAR_S:
        per_s = next((per for per in (1_000, 1_000_000) if sent_s / per < _FAR_S), 1_000_000_000)
        raise LlmsimError(f"{given} is {sent_s:.0f}, which are no seconds; write {given.rpartition(' ')[2]}/{per_s}")


def _read(
    row: Row,
    readers: Mapping[str, Callable[[Mapping[str, Any]], Any]],
    names: tuple[str, ...],
    formulas: Mapping[str, str],
) -> _One | str:
    """The request of a row, or why it is none."""

    def text(field: str) -> str:  # 0 and False are something
        value = readers[field](row.values) if field in readers else None
        return "" if value is None else str(value)

    sent_s = number_of(readers["sent_s"](row.values))
    if sent_s is None or not math.isfinite(sent_s):
        return f"{formulas['sent_s']} is no time"
    said = text("outcome")
    failed = bool(said) and outcome_of(said) != "ok"
    counts = []
    for field in ("input_tokens", "output_tokens"):
        value = number_of(readers[field](row.values))
        if value is None and failed and field == "output_tokens":
            value = 0.0  # nobody counts the answer that there was none of
        if value is None or not 0 <= value < _MOST:
            return f"{formulas[field]} is {'missing' if value is None else f'{value:g}'}"
        counts.append(int(value))
    return _One(sent_s, counts[0], counts[1], failed, tuple(map(text, names)), text("run"))


def write_arrivals(found: Arrivals, path: Path) -> None:
    """As a trace of llmsim's own: seconds from the first request on.

    Raises
    ------
    LlmsimError
        The file cannot be written.
    """
    first_s = found.rows[0].sent_s
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["arrival_s", "input_tokens", "output_tokens", "failed", *found.names])
            for one in found.rows:
                came = f"{one.sent_s - first_s:.6f}"
                table.writerow([came, one.input_tokens, one.output_tokens, int(one.failed), *one.names])
    except OSError as error:
        raise LlmsimError(f"--out {path}: cannot be written: {error.strerror or error}") from error
