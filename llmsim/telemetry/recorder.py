"""Columnar recording: rows are appended as tuples and packed into columns every 512.

A row costs one ``list.append`` while the simulation runs, and some 50 bytes afterwards: categories are stored as small
codes, whole numbers as narrow as they are, and a column that has one value as that. `Recorder.tables` gives the
finished columns; polars sees them only in the report.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmsim.telemetry.columns import ADDED, ATTEMPTS, DTYPES, EVENTS, REQUESTS, TABLES, Column
from llmsim.telemetry.packed import constant, is_constant, joined, packed

__all__ = [
    "ORDER",
    "STREAMED_ROWS",
    "ColumnData",
    "Recorder",
    "Replication",
    "Sink",
    "TableData",
    "event_hash",
    "rows_of",
]

_ROWS = 512  # few enough that they are still in the processor's cache when they are packed
_BLOCK = 8 * _ROWS  # rows in a block of columns: bytes that are there from the start, so that none is ever copied
_BILLED_ROWS = 1 << 18
_HASHED_ROWS = 1 << 16  # at a time, so that a column is not there again as bytes
STREAMED_ROWS = 32 * _BLOCK  #: that are handed to a sink at once: 131,072, of about 50 bytes each
_FORMATS = {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d", "bool": "?"}  # of `struct`, by kind
_as_json = json.JSONEncoder(default=str).encode  # json.dumps(…, default=str) would make a new encoder every time


def _details(*keys_and_values: Any) -> str:
    """The fields of an event as JSON. Most events of a kind say the same few things, so texts are kept."""
    try:
        return _kept_details(*keys_and_values)
    except TypeError:  # a value that cannot be hashed, such as a list
        return _kept_details.__wrapped__(*keys_and_values)


@lru_cache(maxsize=512, typed=True)  # typed: 1, 1.0 and True are equal and look different
def _kept_details(*keys_and_values: Any) -> str:
    half = len(keys_and_values) // 2
    return _as_json(dict(zip(keys_and_values[:half], keys_and_values[half:], strict=True)))


class ColumnData(NamedTuple):
    """One finished column: values, or codes into `categories`."""

    values: NDArray[Any]
    categories: tuple[str, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # One value for all rows would travel from a worker as all rows.
        if is_constant(self.values):
            return _constant_column, (self.values[:1].copy(), len(self.values), self.categories)
        return ColumnData, (self.values, self.categories)


def _constant_column(value: NDArray[Any], rows: int, categories: tuple[str, ...] | None) -> ColumnData:
    return ColumnData(constant(value, rows), categories)


TableData = MutableMapping[str, ColumnData]


class Sink(Protocol):
    """Takes what was recorded off the recorder's hands while the run goes on."""

    def write(self, table: str, data: TableData) -> None:
        """The next rows of a table, in the order in which they were recorded."""

    def tables(self) -> dict[str, TableData]:
        """All that was written, ``requests`` and ``attempts`` in the order of their request ids."""


def rows_of(table: TableData) -> int:
    """How many rows a table has; what is in files is not read for that."""
    known = getattr(table, "rows", None)
    return int(known) if known is not None else len(next(iter(table.values())).values) if table else 0


class Replication(NamedTuple):
    """What one replication left behind; travels from worker processes to the report.

    Attributes
    ----------
    number
        Which replication, from 0.
    tables
        ``requests``, ``attempts``, ``events``.
    counters
        Scalars such as ``max_in_flight``, ``events_processed``.
    notes
        Things a person should know: requests that hung, with the line; faults outside the run.
    simulated_s
        How far the clock got, on the scenario's clock.
    wall_s
        How long it took.
    partial
        It was interrupted.
    """

    number: int
    tables: dict[str, TableData]
    counters: dict[str, float]
    notes: tuple[str, ...]
    simulated_s: float
    wall_s: float
    partial: bool = False


class _Packed:
    """A growing column of one kind of numbers."""

    __slots__ = ("_block", "_blocks", "_dtype", "_format", "_full", "_pack")

    def __init__(self, kind: str) -> None:
        self._dtype = np.dtype(kind)
        self._format = _FORMATS[kind]
        self._pack = struct.Struct(f"{_ROWS}{self._format}").pack_into
        self._full: list[NDArray[Any]] = []
        self._block = bytearray()

    def extend(self, at: int, values: Sequence[Any]) -> None:
        """Write `values` to the places from `at` on, where the column ends; whoever begins a block writes to 0."""
        if not at:
            self._block = bytearray(_BLOCK * self._dtype.itemsize)
        if len(values) == _ROWS:
            self._pack(self._block, at * self._dtype.itemsize, *values)
        else:
            struct.pack_into(f"{len(values)}{self._format}", self._block, at * self._dtype.itemsize, *values)

    def close_block(self, rows: int) -> None:
        """The block has so many rows, and gets no more."""
        self._full.append(packed(np.frombuffer(self._block, self._dtype, rows)))

    def take(self) -> NDArray[Any]:
        """All of it; here nothing is left, so that a column at a time is there twice and not the table."""
        full, self._full = self._full, []
        self._block = bytearray()
        return joined(full, self._dtype)


class _Texts:
    """A growing column of texts."""

    __slots__ = ("_block", "_full")

    def __init__(self) -> None:
        self._full: list[NDArray[Any]] = []
        self._block: list[str] = []

    def extend(self, at: int, values: Sequence[Any]) -> None:
        """Append them; `at` is where they begin."""
        self._block.extend(values)

    def close_block(self, rows: int) -> None:
        """The block has so many rows, and gets no more."""
        self._full.append(packed(np.array(self._block, dtype=object)))
        self._block = []

    def take(self) -> NDArray[Any]:
        """All of it; here nothing is left."""
        full, self._full = self._full, []
        return joined(full, np.dtype(object))


class _Table:
    """Grows by rows, is kept by columns."""

    __slots__ = ("_codes", "_columns", "_filled", "_parts", "blocks", "rows")

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._codes: list[dict[str, int] | None] = [{} if c.kind == "category" else None for c in columns]
        kinds = ["i4" if column.kind == "category" else DTYPES.get(column.kind, column.kind) for column in columns]
        self._parts: list[_Texts | _Packed] = [_Texts() if kind == "text" else _Packed(kind) for kind in kinds]
        self._filled = 0  # rows in the block that is being filled
        self.blocks = 0  # that are full
        self.rows: list[tuple[Any, ...]] = []

    def pack(self) -> None:
        """Move the collected rows, `_ROWS` of them or the last ones, into the columns."""
        if not self.rows:
            return
        at = self._filled
        for part, codes, values in zip(self._parts, self._codes, zip(*self.rows, strict=True), strict=True):
            part.extend(at, values if codes is None else _coded(codes, values))
        self._filled = at + len(self.rows)
        if self._filled == _BLOCK:
            self._close_block()
        self.rows.clear()

    def _close_block(self) -> None:
        for part in self._parts:
            part.close_block(self._filled)
        self._filled = 0
        self.blocks += 1

    def finish(self) -> TableData:
        """What was collected since the last time; nothing of it is left here."""
        self.pack()
        if self._filled:
            self._close_block()
        self.blocks = 0
        return {
            column.name: ColumnData(part.take(), None if codes is None else tuple(codes))
            for column, codes, part in zip(self._columns, self._codes, self._parts, strict=True)
        }


def _coded(codes: dict[str, int], values: tuple[str, ...]) -> list[int]:
    try:
        return [*map(codes.__getitem__, values)]
    except KeyError:  # new ones: rare after the first rows
        for value in dict.fromkeys(values):
            codes.setdefault(value, len(codes))
        return [*map(codes.__getitem__, values)]


#: What the rows of a table are put in order by, once all are there; those of others come in order.
ORDER: dict[str, tuple[str, ...]] = {
    "requests": ("session", "step", "user_retry"),
    "attempts": ("session", "step", "user_retry", "attempt"),
}
_TIMES = {"requests": ("arrival_s",), "attempts": ("arrival_s", "start_s", "first_s", "end_s"), "events": ("time_s",)}


class Recorder:
    """Collects what one replication did; rows carry loop time, finished tables the scenario's.

    Parameters
    ----------
    zero_s
        Loop time at which the scenario's clock reads 0 (the end of warm-up).
    now
        The loop's clock.
    sink
        Gets some 100,000 rows at a time, so that no more than these are ever held. Default: all are.
    """

    def __init__(self, zero_s: float = 0.0, now: Callable[[], float] = lambda: 0.0, sink: Sink | None = None) -> None:
        self.zero_s = zero_s
        self._sink = sink
        self._now = now
        self._requests = _Table(REQUESTS)
        self._attempts = _Table(ATTEMPTS)
        self._events = _Table(EVENTS)
        self.counters: dict[str, float] = {}

    def request(self, row: tuple[Any, ...]) -> None:
        """Append a row of `columns.REQUESTS`."""
        rows = self._requests.rows
        rows.append(row)
        if len(rows) == _ROWS:
            self._requests.pack()
            if self._sink is not None and self._requests.blocks * _BLOCK >= STREAMED_ROWS:
                self._flush("requests", self._requests)

    def attempt(self, row: tuple[Any, ...]) -> None:
        """Append a row of `columns.ATTEMPTS`."""
        rows = self._attempts.rows
        rows.append(row)
        if len(rows) == _ROWS:
            self._attempts.pack()
            if self._sink is not None and self._attempts.blocks * _BLOCK >= STREAMED_ROWS:
                self._flush("attempts", self._attempts)

    def emit(
        self, kind: str, request_id: str, policy: str, upstream: str, replica: int, fields: dict[str, Any]
    ) -> None:
        """Append an event at the current time."""
        rows = self._events.rows
        detail = _details(*fields, *fields.values()) if fields else ""
        rows.append((self._now(), kind, policy, upstream, replica, request_id, detail))
        if len(rows) == _ROWS:
            self._events.pack()
            if self._sink is not None and self._events.blocks * _BLOCK >= STREAMED_ROWS:
                self._flush("events", self._events)

    def _flush(self, name: str, table: _Table) -> None:
        assert self._sink is not None
        self._sink.write(name, self._on_scenario_clock(table.finish(), _TIMES[name]))

    def tables(self) -> dict[str, TableData]:
        """The finished tables: ``requests`` and ``attempts`` in the order of their request ids, ``events`` in time."""
        kept = {"requests": self._requests, "attempts": self._attempts, "events": self._events}
        if self._sink is not None:
            for name, table in kept.items():
                self._flush(name, table)
            done = self._sink.tables()
        else:
            done = {}
            for name, table in kept.items():
                data = self._on_scenario_clock(table.finish(), _TIMES[name])
                done[name] = _sorted(data, ORDER[name]) if name in ORDER else data
        done["requests"]["cost_usd"] = _billed(done["requests"], done["attempts"])
        return done

    def _on_scenario_clock(self, table: TableData, names: tuple[str, ...]) -> TableData:
        for name in names:
            table[name] = ColumnData(table[name].values - self.zero_s, None)
        return table


def _sorted(table: TableData, by: tuple[str, ...]) -> TableData:
    """Rows in the order of `by`, which does not depend on what finished first. `table` is used up."""
    order = np.lexsort([table[name].values for name in reversed(by)])
    names, done = [*table], {}
    for name in names:
        column = table.pop(name)
        done[name] = column if is_constant(column.values) else ColumnData(column.values[order], column.categories)
    return done


def _billed(requests: TableData, attempts: TableData) -> ColumnData:
    """Cost of each request: of all its attempts, those too that ended after it did."""
    steps = 1 + max((int(table["step"].values.max(initial=0)) for table in (requests, attempts)), default=0)
    retries = 1 + max((int(table["user_retry"].values.max(initial=0)) for table in (requests, attempts)), default=0)

    def place(table: TableData, rows: slice) -> NDArray[np.int64]:
        session, step, again = (table[name].values[rows] for name in ORDER["requests"])
        return np.asarray((session.astype(np.int64) * steps + step) * retries + again, dtype=np.int64)

    known = place(requests, slice(None))
    if not len(known):
        return requests["cost_usd"]
    paid = np.zeros(len(known))
    costs = attempts["cost_usd"].values
    for first in range(0, len(costs), _BILLED_ROWS):
        rows = slice(first, first + _BILLED_ROWS)
        wanted = place(attempts, rows)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        np.add.at(paid, at, np.where(known[at] == wanted, costs[rows], 0.0))
    return ColumnData(packed(paid))


def event_hash(tables: list[dict[str, TableData]]) -> str:
    """SHA-256 over the canonical tables of all replications, in order: equal if and only if the runs were.

    Category codes are replaced by the categories' names in sorted order, so that the order in which names were
    first seen does not count; nor does in how many bytes a column happens to be kept. A column in which only live
    servers tell something counts where one did.
    """
    digest = hashlib.sha256()
    for replication in tables:
        for table_name in sorted(replication):
            kinds = {column.name: column.kind for column in TABLES.get(table_name, ())}
            for column_name in sorted(replication[table_name]):
                column = replication[table_name][column_name]
                if column_name in ADDED.get(table_name, ()) and np.isnan(column.values).all():
                    continue
                digest.update(f"{table_name}.{column_name}:{len(column.values)}\n".encode())
                kind = kinds.get(column_name, "")
                for part in _canonical(column, DTYPES.get(kind, kind)):
                    digest.update(part)
    return digest.hexdigest()


def _canonical(column: ColumnData, kind: str) -> Iterator[bytes]:
    """The bytes of a column, a piece at a time."""
    values = column.values
    pieces = (values[at : at + _HASHED_ROWS] for at in range(0, len(values), _HASHED_ROWS))
    if column.categories is not None:
        used = sorted(column.categories)
        rank = {name: number for number, name in enumerate(used)}
        recode = np.array([rank[name] for name in column.categories] or [0], dtype="<i4")
        yield "\x1f".join(used).encode()
        yield from (recode[piece].tobytes() for piece in pieces)
    elif values.dtype == object:
        for number, piece in enumerate(pieces):
            yield ("\x1f" if number else "").encode() + "\x1f".join(piece.tolist()).encode()
    else:
        dtype = np.dtype(kind) if kind and kind != "category" else values.dtype
        yield from (piece.astype(dtype.newbyteorder("<")).tobytes() for piece in pieces)
