"""A graph over vectors (HNSW): it proposes a few entries that are likely to be the nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Graph", "graph_library"]

#: Neighbours of a vertex, and candidates looked at when one is added: the defaults of usearch, and of the paper (M=16).
CONNECTIVITY = 16
ADD_EXPANSION = 128
#: Candidates looked at in a search. Among 20,000 clustered vectors that had all been replaced once, usearch's default
#: of 64 found the nearest for 0.984 of 500 questions (0.998 of those that are as near as a cache's hits), 128 for 0.998
#: (1.0) in 1.6 times the time, 256 for no more in 3.5 times.
SEARCH_EXPANSION = 128
#: Proposals, of which the caller takes the nearest by exact similarity: half precision may have put them out of order.
PROPOSALS = 8


def graph_library() -> Any:
    """The class ``usearch.index.Index``; None if usearch is not installed.

    usearch and no other, for a cache removes as often as it adds: faiss's HNSW cannot remove; hnswlib can, but an
    insertion in place of a removed entry took 4.0 ms where usearch's took 0.5 (8,000 of 384 dimensions, each replaced
    three times), and it has no wheels.
    """
    try:
        from usearch.index import Index
    except ImportError:
        return None
    return Index


class Graph:
    """Entries by number.

    Parameters
    ----------
    library
        What `graph_library` gave.
    dimensions
        Of the vectors.
    """

    __slots__ = ("_entries", "_index")

    def __init__(self, library: Any, dimensions: int) -> None:
        # Half precision: half the memory and two thirds of the time of single precision, for the same recall.
        self._index = library(
            ndim=dimensions,
            metric="ip",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=ADD_EXPANSION,
            expansion_search=SEARCH_EXPANSION,
        )
        self._entries: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def add(self, number: int, entry: str, vector: NDArray[np.float32]) -> None:
        """Enter an entry under a number of its own."""
        self._entries[number] = entry
        self._index.add(number, vector, threads=1)

    def remove(self, number: int) -> None:
        """Take it out, if it is in."""
        if self._entries.pop(number, None) is not None:
            self._index.remove(number, threads=1)

    def nearest(self, vector: NDArray[np.float32]) -> list[str]:
        """Entries that are likely to be the nearest ones."""
        found = self._index.search(vector, PROPOSALS, threads=1)
        return [self._entries[number] for number in found.keys.tolist()]
