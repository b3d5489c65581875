"""The nearest of what is kept, among real vectors: who is near whom is worked out once, for all caches of a pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmsim.stores.index import Found

__all__ = ["Neighbours"]

Partition = tuple[str, ...]

_ROWS = 512  #: of the product at once: 512 rows against 20,000 phrases take 120 MB
_DECIMALS = 6  #: of a cosine; what lies below depends on the order in which a library adds


class Neighbours:
    """Every phrase's neighbours, nearest first.

    A product of all phrases with all is n² · d multiplications, once; what is kept of it is only what some threshold
    could want. A search in a cache then goes down a list until it meets a phrase that is kept.

    Parameters
    ----------
    vectors
        Shape ``(n, d)``: of each phrase, of length 1.
    least
        The lowest threshold: what is less similar counts as not there.

    Examples
    --------
    >>> near = Neighbours(np.eye(2)[[0, 0, 1]], least=0.5)
    >>> index = near.index()
    >>> index.add(("a",), "first", 0)
    >>> index.nearest(("a",), 1), index.nearest(("a",), 2)
    (Found(id='first', similarity=1.0), None)
    """

    def __init__(self, vectors: NDArray[np.floating], least: float) -> None:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self._lists: list[tuple[list[int], list[float]]] = []
        for first in range(0, len(vectors), _ROWS):
            block = np.round((vectors[first : first + _ROWS] @ vectors.T).astype(np.float64), _DECIMALS)
            for row, cosines in enumerate(block, first):
                near = np.flatnonzero(cosines >= least)
                near = near[near != row]  # itself comes first, whatever rounding makes of its length
                near = near[np.lexsort((near, -cosines[near]))]  # of equals the one with the lower number
                self._lists.append(([row, *near.tolist()], [1.0, *cosines[near].tolist()]))

    @property
    def most(self) -> NDArray[np.float64]:
        """Similarity of each phrase to the nearest other one, shape ``(n,)``; -1 where none is near."""
        return np.array([cosines[1] if len(cosines) > 1 else -1.0 for _, cosines in self._lists])

    def index(self) -> _NeighbourIndex:
        """An empty index of a cache; its probes are numbers of phrases."""
        return _NeighbourIndex(self._lists)


class _NeighbourIndex:
    """Implements `Index`. Of entries with the same phrase the latest is found."""

    def __init__(self, lists: Sequence[tuple[list[int], list[float]]]) -> None:
        self._lists = lists
        self._partitions: dict[Partition, dict[int, list[str]]] = {}
        self._phrases: dict[str, int] = {}

    def add(self, partition: Partition, entry: str, probe: int) -> None:
        self._partitions.setdefault(partition, {}).setdefault(probe, []).append(entry)
        self._phrases[entry] = probe

    def remove(self, partition: Partition, entry: str) -> None:
        phrase = self._phrases.pop(entry, None)
        if phrase is None:
            return
        kept = self._partitions[partition]
        kept[phrase].remove(entry)
        if not kept[phrase]:
            del kept[phrase]

    def nearest(self, partition: Partition, probe: int) -> Found | None:
        kept = self._partitions.get(partition)
        if kept:
            for phrase, cosine in zip(*self._lists[probe], strict=True):
                if phrase in kept:
                    return Found(kept[phrase][-1], cosine)
        return None
