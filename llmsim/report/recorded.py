"""Rows of one replication as it was recorded, of which a frame is made column by column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from llmsim.report.tables import frame
from llmsim.telemetry.metrics import WINDOW_S
from llmsim.telemetry.recorder import Replication, rows_of
from llmsim.telemetry.rows import PIECE_ROWS, Index

__all__ = ["LARGE_ROWS", "Recorded", "in_parts", "is_large"]

#: From so many requests or attempts of a replication on its frames are not made as a whole for its metrics. 50,000 of
#: them are 40 MB (measured: 0.8 kB a request with its attempts and texts); below that making all at once is quicker.
LARGE_ROWS = 50_000


Slice = slice  # inside of the class the name is a method's


@dataclass(frozen=True, eq=False)
class Recorded:
    """Some rows of a table of a replication; `llmsim.telemetry.rows.Rows`.

    Parameters
    ----------
    replication, table, duration_s
        As for `llmsim.report.tables.frame`.
    rows
        Which; None: all.
    """

    replication: Replication
    table: str
    duration_s: float = math.inf
    rows: Index | Slice | None = None

    @property
    def height(self) -> int:
        """How many there are."""
        if isinstance(self.rows, np.ndarray):
            return len(self.rows)
        every = rows_of(self.replication.tables[self.table])
        return every if self.rows is None else len(range(*self.rows.indices(every)))

    def frame(self, names: Sequence[str] | None = None) -> pl.DataFrame:
        """These columns of them, or all."""
        return frame([self.replication], self.table, self.duration_s, names, self.rows)

    def slice(self, first: int, last: int) -> Recorded:
        """The rows from `first` up to and without `last`."""
        if isinstance(self.rows, np.ndarray):
            return self._with(self.rows[first:last])
        start = 0 if self.rows is None else self.rows.start
        return self._with(Slice(start + first, start + last))

    def take(self, index: Index) -> Recorded:
        """The rows with these positions."""
        if isinstance(self.rows, np.ndarray):
            return self._with(self.rows[index])
        start = 0 if self.rows is None else self.rows.start
        if len(index) and len(index) == index[-1] - index[0] + 1 and (np.diff(index) == 1).all():
            return self._with(Slice(start + int(index[0]), start + int(index[-1]) + 1))
        return self._with((index + start).astype(np.uint32 if self.height < 2**32 else np.int64))

    def _with(self, rows: Index | Slice) -> Recorded:
        return Recorded(self.replication, self.table, self.duration_s, rows)


def is_large(replication: Replication) -> bool:
    """Whether its metrics are better read column by column."""
    return max(Recorded(replication, table).height for table in ("requests", "attempts")) >= LARGE_ROWS


#: What `llmsim.report.tables.windows` reads.
_OF_WINDOWS = (
    *("replication", "window", "arrival_s", "outcome", "served_from", "served_by", "first_choice", "cache_match"),
    *("false_hit", "attempts", "fallbacks", "ttft_s", "cost_usd", "saved_usd"),
)


def in_parts(replication: Replication, duration_s: float, end_s: float) -> Iterator[tuple[pl.DataFrame, float, float]]:
    """What arrived in stretches of the measured time that end with windows, each with its start and end.

    A stretch has some 130,000 requests, in the order of all, so that sums over a window are what they would be.
    """
    recorded = Recorded(replication, "requests", duration_s)
    arrivals = replication.tables["requests"]["arrival_s"].values
    count = max(1, math.ceil(end_s / WINDOW_S - 1e-9))
    number = np.clip(np.floor(arrivals / WINDOW_S), -1, count).astype(np.int32)
    until = np.cumsum(np.bincount(number[(number >= 0) & (number < count)], minlength=count))
    first = 0
    while first < count:
        done = until[first - 1] if first else 0
        last = min(count, max(first + 1, int(np.searchsorted(until, done + PIECE_ROWS, side="right"))))
        rows = np.flatnonzero((number >= first) & (number < last))
        yield recorded.take(rows).frame(_OF_WINDOWS), first * WINDOW_S, min(last * WINDOW_S, end_s)
        first = last
