"""Rows of a table of which a column is made when somebody asks for it: what metrics read of runs of millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["PIECE_ROWS", "Index", "Rows", "columns_of", "pieces_of"]

#: Rows that are made at a time: of 20 columns of 8 bytes 20 MB, and pieces are few enough to be worth their start.
PIECE_ROWS = 1 << 17

Index = NDArray[np.integer[Any]]


class Rows(Protocol):
    """Some rows of a table, in some order."""

    @property
    def height(self) -> int:
        """How many there are."""

    def frame(self, names: Sequence[str] | None = None) -> pl.DataFrame:
        """These columns of them, or all."""

    def slice(self, first: int, last: int) -> Rows:
        """The rows from `first` up to and without `last`."""

    def take(self, index: Index) -> Rows:
        """The rows with these positions."""


def columns_of(table: pl.DataFrame | Rows, *names: str) -> pl.DataFrame:
    """These columns."""
    return table.select(names) if isinstance(table, pl.DataFrame) else table.frame(names)


def pieces_of(table: pl.DataFrame | Rows, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """These columns, `PIECE_ROWS` rows at a time, at least one piece; of a frame, all of it at once."""
    if isinstance(table, pl.DataFrame):
        yield table
        return
    for first in range(0, max(table.height, 1), PIECE_ROWS):
        yield table.slice(first, min(first + PIECE_ROWS, table.height)).frame(names)
