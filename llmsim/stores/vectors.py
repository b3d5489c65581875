"""The nearest of many vectors: one product of a matrix with a vector, and a graph once that takes too long."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.gateway.caching import StoreError
from llmsim.stores.graph import Graph, graph_library
from llmsim.stores.index import Found

__all__ = ["GRAPH_FROM", "VectorIndex"]

Vector = NDArray[np.float32]
Partition = tuple[str, ...]

#: Entries of a partition from which on a graph is worth it: looking at vectors of 384 dimensions takes 1.8 ms for
#: 10,000 and 17 ms for 100,000 (so 3.5 ms here, a third of what embedding the question does), a search in a graph of
#: 20,000 takes 0.7 ms, and at 30,000 0.27 of looking at all (``tests/benchmarks/bench_lookup.py``). Below, nothing
#: approximates, and nothing has to be installed.
GRAPH_FROM = 20_000

#: Entries that move into a new graph with every one that is added: each costs an insertion (about 0.5 ms), and the
#: loop waits meanwhile. The graph of 20,000 is complete after 5,000 more.
MOVED_PER_ADD = 4

#: By how much each addition of a product in single precision may be off, for unit vectors. What may be the best once
#: all of them round the same way is looked at again in double precision.
ROUNDING = 2.0**-24

#: Where a matrix begins: at a multiple of a cache line. numpy's own begin anywhere, and a product with one that begins
#: in the middle of a line took 1.2 times as long (10,000 of 384 dimensions).
LINE_BYTES = 64

#: A vector is one of unit length if its square is that near to 1.
UNIT_TOLERANCE = 1e-3


class VectorIndex:
    """Implements `Index` over unit vectors of single precision, partition by partition.

    The similarity of what it finds is exact, the product in double precision, with or without a graph: a graph only
    proposes. Without a graph the nearest is always found, and of equally near ones the one that came first.

    Parameters
    ----------
    graph_from
        Entries of a partition from which on a graph (usearch, extra ``hnsw``) proposes candidates.
    capacity
        Most entries that are expected; if a graph may be needed for so many, its library is loaded at once, and not in
        the middle of a request.
    say
        Told once, in a sentence, if a graph is needed and usearch is not installed; default: a warning.

    Examples
    --------
    >>> index = VectorIndex()
    >>> index.add((), "east", np.array([1.0, 0.0], dtype=np.float32))
    >>> index.add((), "north", np.array([0.0, 1.0], dtype=np.float32))
    >>> index.nearest((), np.array([0.6, 0.8], dtype=np.float32))
    Found(id='north', similarity=0.8...)
    """

    def __init__(
        self, *, graph_from: int = GRAPH_FROM, capacity: int = 0, say: Callable[[str], object] | None = None
    ) -> None:
        self._partitions: dict[Partition, _Rows] = {}
        self._graph_from = graph_from
        self._say = say or _warn
        self._dimensions = 0
        self._library: Any = None
        self._looked = False
        if capacity >= graph_from:
            self._load()

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._partitions.values())

    @property
    def allocated_bytes(self) -> int:
        """Held for vectors now, those that are free included; without graphs."""
        return sum(rows.allocated_bytes for rows in self._partitions.values())

    def graphs(self) -> int:
        """Partitions that are searched by a graph."""
        return sum(rows.graph is not None and not rows.waiting for rows in self._partitions.values())

    def add(self, partition: Partition, entry: str, probe: Vector) -> None:
        """Enter an entry.

        Raises
        ------
        StoreError
            If `probe` is no unit vector, or has other dimensions than those before.
        """
        vector = self._checked(probe)
        rows = self._partitions.get(partition)
        if rows is None:
            rows = self._partitions[partition] = _Rows(len(vector))
        rows.add(entry, vector)
        if len(rows) >= self._graph_from and rows.graph is None and self._load() is not None:
            rows.grow_graph(Graph(self._library, len(vector)))

    def remove(self, partition: Partition, entry: str) -> None:
        """Take it out; one that is not there is no error."""
        rows = self._partitions.get(partition)
        if rows is None:
            return
        rows.remove(entry)
        if not len(rows):
            del self._partitions[partition]
        elif len(rows) < self._graph_from // 2:
            rows.graph = None
            rows.waiting.clear()

    def nearest(self, partition: Partition, probe: Vector) -> Found | None:
        """The nearest entry; with a graph, nearly always.

        Raises
        ------
        StoreError
            As `add`.
        """
        rows = self._partitions.get(partition)
        return None if rows is None else rows.nearest(self._checked(probe))

    def _checked(self, probe: Vector) -> Vector:
        vector = np.asarray(probe, dtype=np.float32)
        if vector.ndim != 1 or (self._dimensions and len(vector) != self._dimensions):
            wanted = f"{self._dimensions} dimensions" if self._dimensions else "one row of numbers"
            raise StoreError(f"an index of {wanted} got a vector of shape {vector.shape}; is the embedder another one?")
        square = float(vector @ vector)
        if not abs(square - 1.0) <= UNIT_TOLERANCE:  # and not for NaN
            raise StoreError(f"an index of unit vectors got one of length {square**0.5:.4g}; divide it by its length")
        self._dimensions = len(vector)
        return vector

    def _load(self) -> Any:
        if not self._looked:
            self._looked, self._library = True, graph_library()
        if self._library is None and any(len(rows) >= self._graph_from for rows in self._partitions.values()):
            count, self._graph_from = self._graph_from, 2**62  # said once
            self._say(
                f"{count:,} entries, and every one is looked at in every search, for usearch is not installed; write "
                "pip install 'llmsim[hnsw]'"
            )
        return self._library


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)


class _Rows:
    """Vectors of one partition, without gaps: the last one moves to where one is taken out."""

    __slots__ = ("_ids", "_matrix", "_next", "_numbers", "_rows", "graph", "waiting")

    def __init__(self, dimensions: int) -> None:
        # Most partitions of a cache whose scope is a user or a conversation hold one entry.
        self._matrix = _room(1, dimensions)
        self._ids: list[str] = []
        self._numbers: list[int] = []  #: in the order they came, per row
        self._rows: dict[str, int] = {}
        self._next = 0
        self.graph: Graph | None = None
        self.waiting: list[str] = []  #: not yet in the graph, the next one last

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def allocated_bytes(self) -> int:
        return self._matrix.nbytes

    def add(self, entry: str, vector: Vector) -> None:
        assert entry not in self._rows, "ids of entries are unique"
        row = len(self._ids)
        if row == len(self._matrix):
            self._resize(2 * row)
        self._matrix[row] = vector
        self._ids.append(entry)
        self._numbers.append(self._next)
        self._rows[entry] = row
        if self.graph is not None:
            self.graph.add(self._next, entry, vector)
            self._move()
        self._next += 1

    def remove(self, entry: str) -> None:
        row = self._rows.pop(entry, None)
        if row is None:
            return
        if self.graph is not None:
            self.graph.remove(self._numbers[row])
        last_id, last_number = self._ids.pop(), self._numbers.pop()
        if last_id != entry:
            self._matrix[row] = self._matrix[len(self._ids)]
            self._ids[row], self._numbers[row] = last_id, last_number
            self._rows[last_id] = row
        if 4 * len(self._ids) < len(self._matrix):
            self._resize(len(self._matrix) // 2)

    def _resize(self, rows: int) -> None:
        matrix = _room(rows, self._matrix.shape[1])
        count = min(len(self._ids), rows)
        matrix[:count] = self._matrix[:count]
        self._matrix = matrix

    def grow_graph(self, graph: Graph) -> None:
        """From now on a graph grows beside the matrix, which answers until all of them are in it."""
        self.graph = graph
        self.waiting = self._ids[::-1]

    def _move(self) -> None:
        graph = self.graph
        assert graph is not None
        moved = 0
        while self.waiting and moved < MOVED_PER_ADD:
            entry = self.waiting.pop()
            row = self._rows.get(entry)  # None: it was removed meanwhile
            if row is not None and self._numbers[row] not in graph:  # it may have come again
                graph.add(self._numbers[row], entry, self._matrix[row])
                moved += 1

    def nearest(self, vector: Vector) -> Found | None:
        if self.graph is not None and not self.waiting:
            rows: Iterable[int] = [self._rows[entry] for entry in self.graph.nearest(vector)]
        else:
            # No `max`, no `flatnonzero`: those are Python around this, and after a product with a matrix that fills the
            # caches of a processor each of them has to come from memory again.
            rough = self._matrix[: len(self._ids)] @ vector
            rows = (rough >= rough[rough.argmax()] - 2 * ROUNDING * len(vector)).nonzero()[0].tolist()
        exact = vector.astype(np.float64)
        found: tuple[float, int, int] | None = None
        for row in rows:
            # One row at a time: the same two vectors make the same bits wherever they stand.
            one = (float(np.add.reduce(self._matrix[row] * exact)), -self._numbers[row], row)
            if found is None or one > found:
                found = one
        return None if found is None else Found(self._ids[found[2]], min(max(found[0], -1.0), 1.0))


def _room(rows: int, dimensions: int) -> Vector:
    """A matrix of anything, that begins with a line of the cache."""
    count, line = rows * dimensions, LINE_BYTES // 4
    numbers: Vector = np.empty(count + line, dtype=np.float32)
    start = -(numbers.ctypes.data // 4) % line
    return numbers[start : start + count].reshape(rows, dimensions)
