"""Readers of recorded traffic. Rows that cannot be read are reported by file and line, not skipped.

Sources of the formats: Azure/AzurePublicDataset (LLM inference traces of 2023 and 2024), HPMLL/BurstGPT,
kvcache-ai/Mooncake (FAST 2025 traces), flashserve/RAGPulse.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import Problem, ScenarioError
from llmsim.traffic.traces import Trace

__all__ = ["detect", "read"]

_MOST_TOKENS = 10**8  # as in llmsim.distributions: no model takes or gives this much
_SHOWN = 10  # bad rows that are shown

Floats = NDArray[np.float64]


class _Columns(NamedTuple):
    """What the columns of a format are called, and how much a second is."""

    time: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...]
    per_s: float = 1.0
    zero_is_failure: bool = False
    failed: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    route: tuple[str, ...] = ()


# BurstGPT: requests without response tokens are failures (its README). Its models become routes.
_FORMATS: dict[str, _Columns] = {
    "azure": _Columns(("timestamp",), ("contexttokens",), ("generatedtokens",)),
    "burstgpt": _Columns(
        ("timestamp", "t_s"),
        ("request_tokens",),
        ("response_tokens",),
        zero_is_failure=True,
        session=("session_id",),
        route=("model",),
    ),
    "mooncake": _Columns(("timestamp",), ("input_length",), ("output_length",), per_s=1000.0),
    "ragpulse": _Columns(("timestamp",), ("input_length",), ("output_length",), session=("session_id",)),
    "llmsim": _Columns(
        ("arrival_s",),
        ("input_tokens",),
        ("output_tokens",),
        failed=("failed",),
        session=("session",),
        client=("client",),
        route=("route",),
    ),
}
_JSONL = ("mooncake", "ragpulse")


@lru_cache(maxsize=256)
def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lstrip("\ufeff").lower()).strip("_")


def _stop(path: Path, message: str, hint: str, line: int | None = None) -> NoReturn:
    raise ScenarioError([Problem(message, "", line, None, hint)], str(path))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError:
        _stop(path, "this is not text in UTF-8", "Give a CSV or JSONL file, unpacked.")
    except OSError as error:
        _stop(path, f"cannot be read: {error.strerror or error}", "Check the file.")


def detect(path: Path) -> Any:
    """The name of the format, from the first line; ``servegen`` for a directory.

    Raises
    ------
    ScenarioError
        If it is none that is known.
    """
    if path.is_dir():
        return "servegen"
    first = next(_lines(path), None)
    if first is None:
        _stop(path, "the file is empty", "Give a CSV or JSONL file with one request a line.")
    if first[1].lstrip().startswith("{"):
        row = _json(path, *first)
        keys = {_plain(key) for key in row}
        if "arrival_s" in keys:
            return "llmsim"
        if {"input_length", "output_length"} <= keys:
            return "ragpulse" if "session_id" in keys or isinstance(row.get("hash_ids"), dict) else "mooncake"
    else:
        keys = {_plain(key) for key in next(csv.reader([first[1]]))}
        for name in ("azure", "burstgpt", "llmsim"):
            columns = _FORMATS[name]
            if all(keys & set(some) for some in (columns.time, columns.input, columns.output)):
                return name
    _stop(
        path,
        f"the columns {', '.join(sorted(keys))} are of no known format",
        "Name them arrival_s, input_tokens, output_tokens (and route, session, client, failed, if there are); "
        "or say the format: azure, burstgpt, mooncake, ragpulse, servegen. "
        f"`llmsim trace convert {path.name} --map …` makes one of a gateway's log.",
        first[0],
    )


def read(path: Path, format: str) -> Trace:
    """The requests in a file of this format.

    Raises
    ------
    ScenarioError
        With the bad rows.
    """
    columns = _FORMATS[format]
    if path.is_dir():
        _stop(path, f"this is a directory, and {format} is a file", "Name a file in it, or say format: servegen.")
    first = next(_lines(path), None)
    jsonl = format in _JSONL or (first is not None and first[1].lstrip().startswith("{"))
    table = _from_jsonl(path) if jsonl else _from_csv(path)
    if not table.rows:
        _stop(path, "there are no requests in it", "Give a file with one request a line.")
    bad: dict[int, Problem] = {}
    time = _Reading(path, table, columns.time, bad)
    if format == "azure":
        times_s = time.values(_timestamps, "2023-11-16 18:15:46.6805900")
    else:
        times_s = time.values(_numbers, "12.5") / columns.per_s
    tokens = [_Reading(path, table, names, bad).values(_counts, "374") for names in (columns.input, columns.output)]
    more: dict[str, Any] = {}
    if columns.failed and table.has(columns.failed):
        more["failed"] = _Reading(path, table, columns.failed, bad).values(_flags, "true").astype(np.bool_)
    _report(path, table, bad)
    inputs, outputs = (some.astype(np.int64) for some in tokens)
    if columns.zero_is_failure:
        more["failed"] = outputs == 0
    for key, names in (("session", columns.session), ("client", columns.client), ("route", columns.route)):
        if names and table.has(names):
            numbers, known = _coded(table.column(names))
            more[key] = numbers
            if key != "session":
                more[f"{key}s"] = known
    return Trace.of(times_s, inputs, outputs, **more)


class _Table(NamedTuple):
    """A file as text, by column."""

    rows: int
    columns: dict[str, list[str | None]]  #: by plain name
    written: dict[str, str]  #: the name as the file writes it
    line_of: Callable[[int], int]  #: number of the line of a row

    def has(self, names: tuple[str, ...]) -> bool:
        return any(name in self.columns for name in names)

    def column(self, names: tuple[str, ...]) -> list[str | None]:
        return next(self.columns[name] for name in names if name in self.columns)


class _Reading:
    """One column of a table on its way to numbers; what cannot be read goes to `bad`, by row."""

    def __init__(self, path: Path, table: _Table, names: tuple[str, ...], bad: dict[int, Problem]) -> None:
        self.name = next((name for name in names if name in table.columns), None)
        if self.name is None:
            have = ", ".join(table.written.values())
            _stop(
                path, f"there is no column {names[0]}; there are {have}", "Say another format:, or name the column.", 1
            )
        self._table = table
        self._bad = bad

    def values(self, convert: Callable[[list[str | None]], Floats], example: str) -> Floats:
        """Numbers, one a row."""
        assert self.name is not None
        texts = self._table.columns[self.name]
        values = convert(texts)
        for row in np.flatnonzero(np.isnan(values)).tolist():
            shown = self._table.written[self.name]
            what = "is missing" if texts[row] in (None, "") else f"is {str(texts[row])[:40]!r}"
            if row not in self._bad:
                self._bad[row] = Problem(f"{shown} {what}", hint=f"It is written like {example}.")
        return values


def _report(path: Path, table: _Table, bad: dict[int, Problem]) -> None:
    if not bad:
        return
    rows = sorted(bad)
    found = [bad[row]._replace(line=table.line_of(row)) for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        found.append(
            Problem(f"and {len(rows) - _SHOWN:,} more bad rows of {table.rows:,}", hint="Is the format right?")
        )
    raise ScenarioError(found, str(path))


def _from_csv(path: Path) -> _Table:
    import polars as pl

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    try:
        frame = pl.read_csv(path, infer_schema=False, encoding="utf8")
    except pl.exceptions.PolarsError as error:
        for number, cells in _csv_rows(path):
            if len(cells) != len(header):
                message = f"{len(cells)} cells, where the header has {len(header)}"
                _stop(path, message, "Put text with commas into quotes.", number)
        _stop(path, f"cannot be read as CSV: {str(error).splitlines()[0]}", "Give a CSV file with a header.")
    # Blank lines are no rows: with one column or none told, polars makes them rows of nothing.
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    written = {_plain(name): name for name in frame.columns}
    columns = {_plain(name): frame[name].to_list() for name in frame.columns}

    def line_of(row: int) -> int:
        return next(number for place, (number, _) in enumerate(_csv_rows(path)) if place == row)

    return _Table(frame.height, columns, written, line_of)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows after the header that are not blank, with the line they end in."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(reader, None)
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells


def _json(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        _stop(path, f"this is no JSON: {error}", "One object a line.", number)
    if not isinstance(row, dict):
        _stop(path, "this is no JSON object", 'One object a line: {"arrival_s": 0.5, "input_tokens": 900, …}.', number)
    return row


def _from_jsonl(path: Path) -> _Table:
    keep = {name for columns in _FORMATS.values() for some in columns[:3] + columns[5:] for name in some}
    columns: dict[str, list[str | None]] = {}
    written: dict[str, str] = {}
    numbers: list[int] = []
    for number, line in _lines(path):
        for key, value in _json(path, number, line).items():
            plain = _plain(key)
            if plain in keep:
                written.setdefault(plain, key)
                column = columns.setdefault(plain, [])
                column += [None] * (len(numbers) - len(column))
                column.append(value if value is None or isinstance(value, str) else json.dumps(value))
        numbers.append(number)
    for column in columns.values():
        column.extend([None] * (len(numbers) - len(column)))
    return _Table(len(numbers), columns, written, numbers.__getitem__)


def _numbers(texts: list[str | None]) -> Floats:
    """NaN for what is no finite number."""
    import polars as pl

    values = pl.Series(texts, dtype=pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    found = values.fill_null(float("nan")).to_numpy().copy()
    found[~np.isfinite(found)] = np.nan
    return found


def _counts(texts: list[str | None]) -> Floats:
    found = _numbers(texts)
    with np.errstate(invalid="ignore"):
        found[(found < 0) | (found > _MOST_TOKENS) | (found != np.floor(found))] = np.nan
    return found


def _flags(texts: list[str | None]) -> Floats:
    words = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0, "": 0.0}
    return np.array([words.get(str(text or "").strip().casefold(), np.nan) for text in texts], dtype=np.float64)


def _timestamps(texts: list[str | None]) -> Floats:
    """Seconds since 1970 of a date and time; an offset from UTC is taken off the text, they are all the same."""
    import polars as pl

    plain = pl.Series(texts, dtype=pl.String).str.strip_chars().str.replace(r"(Z|[+-]\d\d:?\d\d)$", "")
    parsed = plain.str.replace("T", " ").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns", strict=False)
    return (parsed.dt.epoch("ns").cast(pl.Float64) / 1e9).fill_null(float("nan")).to_numpy().copy()


def _coded(texts: list[str | None]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Texts as numbers in order of first appearance, −1 for none; and the texts."""
    number: dict[str, int] = {}
    codes = [-1 if text in (None, "") else number.setdefault(str(text), len(number)) for text in texts]
    return np.array(codes, dtype=np.int64), tuple(number)
