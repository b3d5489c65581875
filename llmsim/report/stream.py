"""Results that are written while they are made, and read a column at a time: runs that no memory holds.

A directory holds ``run.json`` (what is run), a folder for each replication, ``replication-0003``, and at the end what
`llmsim.report.save` writes beside the tables. In a replication's folder, ``requests``, ``attempts`` and ``events`` are
folders of Parquet files of 131,072 rows each, with the columns of ``result.requests`` and so on; all together are the
table, in order. ``done.json`` is written last: a folder without it was left by a run that was killed.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.report.tables import complete, frame, to_table
from llmsim.telemetry.columns import ADDED, TABLES
from llmsim.telemetry.packed import is_constant, joined, packed
from llmsim.telemetry.recorder import ORDER, STREAMED_ROWS, ColumnData, Replication, TableData, rows_of

__all__ = ["FileSink", "FileTable", "finished", "settle"]

PART_ROWS = STREAMED_ROWS
_KEPT_BYTES = 256_000_000  # of whole columns, over all tables: those that are asked for again and again
_DONE = "done.json"
#: What is known only when all rows are there; until then it is not in the files.
_LATER = ("cost_usd", "cross_scope", "cross_tenant")


class _Kept:
    """Columns that were read last."""

    def __init__(self) -> None:
        self._columns: OrderedDict[tuple[str, str], ColumnData] = OrderedDict()

    def get(self, key: tuple[str, str]) -> ColumnData | None:
        if key in self._columns:
            self._columns.move_to_end(key)
        return self._columns.get(key)

    def put(self, key: tuple[str, str], column: ColumnData) -> None:
        self._columns[key] = column
        while len(self._columns) > 1 and sum(_bytes(one) for one in self._columns.values()) > _KEPT_BYTES:
            self._columns.popitem(last=False)

    def forget(self, place: Path) -> None:
        for key in [key for key in self._columns if Path(key[0]).is_relative_to(place)]:
            del self._columns[key]


_kept = _Kept()


def _bytes(column: ColumnData) -> int:
    return 0 if is_constant(column.values) else column.values.nbytes


class FileTable(MutableMapping[str, ColumnData]):
    """A table in files; a column is read when it is asked for.

    Parameters
    ----------
    place
        Folder with the files.
    table
        Which table.
    rows
        How many rows there are.
    first, last
        Only these rows.
    """

    def __init__(self, place: Path, table: str, rows: int, first: int = 0, last: int | None = None) -> None:
        self._place, self._table, self._all = place, table, rows
        self._first, self._last = first, rows if last is None else last
        self._own: dict[str, ColumnData] = {}

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._last - self._first

    def cut(self, first: int, last: int) -> FileTable:
        """The rows from `first` up to and without `last`."""
        return FileTable(self._place, self._table, self._all, self._first + first, self._first + last)

    def __getitem__(self, name: str) -> ColumnData:
        if name in self._own:
            return self._own[name]
        key = (str(self._place), name)
        known = _kept.get(key)
        if self.rows < self._all:
            if known is None:
                return self._read(name)
            return ColumnData(known.values[self._first : self._last], known.categories)
        if known is None:
            known = self._read(name)
            _kept.put(key, known)
        return known

    def __setitem__(self, name: str, column: ColumnData) -> None:
        self._own[name] = column

    def __delitem__(self, name: str) -> None:
        raise LlmsimError(f"{name} of {self._table} is in a file, and stays there")

    def __iter__(self) -> Iterator[str]:
        return (column.name for column in TABLES[self._table])

    def __len__(self) -> int:
        return len(TABLES[self._table])

    def _read(self, name: str) -> ColumnData:
        numbers = range(self._first // PART_ROWS, -(-self._last // PART_ROWS))
        parts: list[ColumnData] = []
        for number in numbers:
            part = _column_of(self._place / f"{number:06}.parquet", self._table, name)
            at = number * PART_ROWS
            parts.append(ColumnData(part.values[max(self._first - at, 0) : self._last - at], part.categories))
        return _one_after_the_other(parts, name, self._table)


def _column_of(path: Path, table: str, name: str) -> ColumnData:
    try:
        column = pl.read_parquet(path, columns=[name])
    except pl.exceptions.ColumnNotFoundError:
        if name not in ADDED.get(table, ()):
            raise LlmsimError(f"{path} has no column {name}; run it again") from None
        column = complete(pl.read_parquet(path, columns=["attempt"]), table)
    except FileNotFoundError:
        raise LlmsimError(f"{path} is missing; the result is incomplete, run it again") from None
    except pl.exceptions.PolarsError as error:
        raise LlmsimError(f"{path} is damaged: {error}") from None
    data = to_table(column, table)[name]
    return ColumnData(packed(data.values), data.categories)


def _one_after_the_other(parts: list[ColumnData], name: str, table: str) -> ColumnData:
    kind = next(column.kind for column in TABLES[table] if column.name == name)
    if kind != "category":
        return ColumnData(joined([part.values for part in parts], np.dtype(_EMPTY.get(kind, kind))))
    codes: dict[str, int] = {}
    values: list[NDArray[Any]] = []
    for part in parts:
        here = np.array([codes.setdefault(word, len(codes)) for word in part.categories or ()] or [0], dtype=np.int32)
        values.append(packed(here[part.values]))
    return ColumnData(joined(values, np.dtype("i4")), tuple(codes))


_EMPTY = {"maybe": "i1", "text": "O"}


class FileSink:
    """Writes the rows of one replication as they come (`llmsim.telemetry.recorder.Sink`).

    Parameters
    ----------
    place
        Folder of the replication; what an earlier run left there is deleted.
    number
        Of the replication.
    duration_s
        Length of the measured time.
    """

    def __init__(self, place: Path, number: int, duration_s: float) -> None:
        self.place, self._number, self._duration_s = place, number, duration_s
        if place.exists():
            shutil.rmtree(place)
            _kept.forget(place)
        self._rows = dict.fromkeys(TABLES, 0)
        for name in TABLES:
            self._folder(name).mkdir(parents=True)

    def _folder(self, table: str) -> Path:
        # As they end, not yet in order. Events are in order.
        return self.place / (f"{table}.unsorted" if table in ORDER else table)

    def write(self, table: str, data: TableData) -> None:
        """The next rows."""
        if not rows_of(data):
            return
        part = frame([Replication(self._number, {table: data}, {}, (), 0.0, 0.0)], table, self._duration_s)
        number = self._rows[table] // PART_ROWS
        part.write_parquet(self._folder(table) / f"{number:06}.parquet", compression="lz4", statistics=False)
        self._rows[table] += part.height

    def tables(self) -> dict[str, TableData]:
        """What was written: ``requests`` and ``attempts`` are put in order as they are read."""
        kinds = {name: _Ordered if name in ORDER else FileTable for name in self._rows}
        return {name: kinds[name](self._folder(name), name, rows) for name, rows in self._rows.items()}


class _Ordered(FileTable):
    """A table of which the files are not in order."""

    def __init__(self, place: Path, table: str, rows: int) -> None:
        super().__init__(place, table, rows)
        self.order = np.lexsort([self._read(name).values for name in reversed(ORDER[table])])
        if rows < 2**31:
            self.order = self.order.astype(np.int32)

    def __getitem__(self, name: str) -> ColumnData:
        if name in self._own:
            return self._own[name]
        column = self._read(name)
        return column if is_constant(column.values) else ColumnData(column.values[self.order], column.categories)

    def cut(self, first: int, last: int) -> FileTable:
        """Not before it is in order."""
        raise NotImplementedError

    def put_in_order(self, place: Path) -> FileTable:
        """Write the files anew, in order, with what is known now."""
        place.mkdir(parents=True, exist_ok=True)
        own = {name: pl.Series(name, column.values) for name, column in self._own.items() if name in _LATER}
        for number, first in enumerate(range(0, self.rows, PART_ROWS)):
            rows = self.order[first : first + PART_ROWS]
            parts, at = np.unique(rows // PART_ROWS, return_inverse=True)
            whole = self._gathered(parts, at, rows % PART_ROWS)
            known = [series[first : first + PART_ROWS].cast(whole.schema[name]) for name, series in own.items()]
            whole.with_columns(known).write_parquet(place / f"{number:06}.parquet", row_group_size=PART_ROWS)
        shutil.rmtree(self._place)
        return FileTable(place, self._table, self.rows)

    def _gathered(self, parts: NDArray[Any], at: NDArray[Any], rows: NDArray[Any]) -> pl.DataFrame:
        """Rows of several files, of which one is held at a time."""
        found, places = [], []
        for number, part in enumerate(parts.tolist()):
            mine = np.flatnonzero(at == number)
            found.append(pl.read_parquet(self._place / f"{part:06}.parquet")[rows[mine]])
            places.append(mine)
        if len(found) == 1:
            return found[0]
        return pl.concat(found)[np.argsort(np.concatenate(places), kind="stable")]


def settle(replication: Replication, place: Path) -> Replication:
    """Put what was written in order; ``done.json`` then says that it is whole."""
    tables: dict[str, TableData] = {}
    for name, table in replication.tables.items():
        tables[name] = table.put_in_order(place / name) if isinstance(table, _Ordered) else table
    facts = {
        "number": replication.number,
        "counters": replication.counters,
        "notes": list(replication.notes),
        "simulated_s": replication.simulated_s,
        "wall_s": replication.wall_s,
        "partial": replication.partial,
        "rows": {name: rows_of(table) for name, table in tables.items()},
    }
    waiting = place / f"{_DONE}.new"
    waiting.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    waiting.replace(place / _DONE)  # all of it or nothing, whenever the run is killed
    return replication._replace(tables=tables)


def finished(place: Path) -> Replication | None:
    """The replication in this folder, if it was written to its end."""
    try:
        facts = json.loads((place / _DONE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LlmsimError(f"{place / _DONE} is damaged: {error}; delete {place}, and it is simulated again") from None
    return Replication(
        facts["number"],
        {name: FileTable(place / name, name, rows) for name, rows in facts["rows"].items()},
        facts["counters"],
        tuple(facts["notes"]),
        facts["simulated_s"],
        facts["wall_s"],
        facts["partial"],
    )
