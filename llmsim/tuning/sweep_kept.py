"""Results of a sweep on disk: kept one by one as they come, whatever ends the program, and a Parquet file at the end.

While a sweep runs, ``sweep.parquet.journal`` has a line for each finished run. When all is done the Parquet file takes
the journal's place, in one rename; it says in its metadata which sweep it is of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.tuning.asked import differing
from llmsim.tuning.journal import Journal

__all__ = ["Kept", "Row"]

_METADATA = "llmsim.sweep"


class Row(NamedTuple):
    """What is kept of one run."""

    point: int
    replication: int
    values: tuple[float, ...]  #: of the metrics, in their order
    slo: tuple[float, ...]  #: of the SLO lines, in their order


class Kept:
    """The results of a sweep, in a file if one is named; to be closed.

    Parameters
    ----------
    out
        The Parquet file that is to be; None: nothing is kept.
    asked
        As `llmsim.tuning.asked.asked` gives it.
    columns
        Of the metrics, in the Parquet file.

    Raises
    ------
    LlmsimError
        If there is something else in that place, nothing can be written there, or another process does.
    """

    def __init__(self, out: str | Path | None, asked: Mapping[str, Any], columns: Sequence[str] = ()) -> None:
        self.out = Path(out) if out is not None else None
        self.rows: dict[tuple[int, int], Row] = {}
        self._asked = dict(asked)
        self._stored: frozenset[tuple[int, int]] = frozenset()  # what the Parquet file has
        if self.out is not None:
            if self.out.suffix != ".parquet":
                raise LlmsimError(f"out is {str(self.out)!r}; name a file that ends with .parquet")
            if not self.out.parent.is_dir():
                raise LlmsimError(f"out: there is no folder {self.out.parent}; make it, or name another file")
            self._read(columns)  # what is of something else is refused before anything is written beside it
        self._journal = Journal(self.path, "sweep", asked)
        if self.out is not None:
            self._read(columns)  # again: another one may have come to its end meanwhile
        for key, (values, slo) in self._journal.known.items():
            point, number = map(int, key.split("|"))
            self._take(Row(point, number, tuple(values), tuple(slo)))

    @property
    def path(self) -> Path | None:
        """Where results are kept until all are there."""
        return self.out.with_name(self.out.name + ".journal") if self.out is not None else None

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def add(self, row: Row) -> None:
        """Keep a result; when this returns it is on the disk."""
        self._take(row)
        self._journal.add(f"{row.point}|{row.replication}", [row.values, row.slo])

    def _take(self, row: Row) -> None:
        self.rows[row.point, row.replication] = row

    def finish(self, table: pl.DataFrame) -> None:
        """Put the Parquet file in the journal's place, unless it has all of this already.

        Parameters
        ----------
        table
            A row for each run, with the columns of `Row` among its own.
        """
        if self.out is None:
            return
        wanted = set(zip(table["point"].to_list(), table["replication"].to_list(), strict=True))
        if not wanted <= self._stored:
            beside = self.out.with_name(self.out.name + ".part")
            metadata = {_METADATA: json.dumps(self._asked)}
            table.rechunk().write_parquet(beside, compression="zstd", statistics=False, metadata=metadata)
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            beside.replace(self.out)
            self._stored = frozenset(wanted)
        if self.rows.keys() <= self._stored:  # else it has what was asked for at another time
            self._journal.remove()

    def _read(self, columns: Sequence[str]) -> None:
        """What the Parquet file has, if there is one."""
        assert self.out is not None
        if not self.out.exists():
            return
        begin_anew = f"name another file, or begin anew with: rm -f {self.out} {self.path}"
        asked = _asked_in(self.out)
        if asked is None:
            raise LlmsimError(f"{self.out} is no sweep of llmsim; {begin_anew}")
        if not asked.keys() >= self._asked.keys():
            raise LlmsimError(f"{self.out} was written by an earlier llmsim, in another form; {begin_anew}")
        if differ := differing(asked, self._asked):
            raise LlmsimError(f"{self.out} is of another sweep: {differ}; {begin_anew}")
        table = pl.read_parquet(self.out)
        values = table.select(columns).rows() if columns else [()] * table.height
        runs = table.select("point", "replication", "slo_values").iter_rows()
        for (point, number, slo), row in zip(runs, values, strict=True):
            self._take(Row(point, number, tuple(row), tuple(slo)))
        self._stored = frozenset(self.rows)


def _asked_in(path: Path) -> dict[str, Any] | None:
    """What a Parquet file says it is of; None: it is not of a sweep."""
    try:
        metadata = pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError):
        return None
    found = json.loads(metadata[_METADATA]) if _METADATA in metadata else None
    return found if isinstance(found, dict) else None
