"""Real vectors of a scenario's prompts, made before the run begins: no model runs in virtual time.

Results are the same to the last bit on every machine, whatever library multiplies and with how many threads. Components
are rounded to whole multiples of 2**-24, which moves a cosine by some 1e-8 (never by
1.2e-6, for 384 of them): products of two such numbers, and
their sums over a unit vector, have no more than 53 bits, so that doubles hold them exactly and the order of adding does
not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.gateway.caching import Question, StoreError
from llmsim.stores.index import Found

__all__ = ["PromptEmbedder", "PromptIndex", "PromptVectors", "embed_prompts", "prompt_vectors"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[int, int], object]
Partition = tuple[str, ...]

_GRID = 2.0**24
#: Nearest prompts that are remembered of each. A cache that has a tenth of all prompts has one of 64 nearly always;
#: else all its entries are looked at.
_NEIGHBOURS = 64
#: More prompts than this have no lists: they take 4 s at 10,000 and grow with the square.
_MOST_LISTED = 20_000
_AT_ONCE = 512


class PromptVectors:
    """Prompts and their unit vectors.

    Parameters
    ----------
    texts
        Different ones.
    vectors
        Shape ``(texts, dimensions)``.
    """

    def __init__(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        assert len(texts) == len(vectors), "a vector for each text"
        self.number = {text: number for number, text in enumerate(texts)}
        self.vectors: Floats = np.rint(vectors.astype(np.float64) * _GRID) / _GRID
        listed = _NEIGHBOURS < len(texts) <= _MOST_LISTED
        self._near = self._lists() if listed else None

    def _lists(self) -> list[dict[int, float]]:
        """The nearest other prompts of each and their cosines, the nearest first (of equals the lower number)."""
        found = []
        for start in range(0, len(self.vectors), _AT_ONCE):
            cosines = self.vectors[start : start + _AT_ONCE] @ self.vectors.T
            rows = np.arange(len(cosines))
            cosines[rows, rows + start] = -2.0
            # One more than are kept: where the last that is kept ends in a tie, which of them it is may not matter.
            some = np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, : _NEIGHBOURS + 1]
            some.sort(axis=1)
            values = np.take_along_axis(cosines, some, axis=1)
            order = np.argsort(-values, axis=1, kind="stable")
            some, values = np.take_along_axis(some, order, axis=1), np.take_along_axis(values, order, axis=1)
            for row, near in enumerate(some.tolist()):
                last = values[row, -1]
                pairs = zip(near, values[row].tolist(), strict=True)
                found.append({number: min(value, 1.0) for number, value in pairs if value > last})
        return found

    def cosine(self, one: int, other: int) -> float:
        """Of two prompts."""
        return min(float(self.vectors[one] @ self.vectors[other]), 1.0)

    def nearest(self, prompt: int, kept: dict[int, str], rows: Callable[[], tuple[Floats, Ints]]) -> tuple[int, float]:
        """The nearest of the prompts that are kept, and its cosine.

        Parameters
        ----------
        prompt
            Whose.
        kept
            By number; not empty.
        rows
            Their vectors and numbers, in any order.
        """
        if prompt in kept:
            return prompt, self.cosine(prompt, prompt)
        if self._near is not None:
            for number, cosine in self._near[prompt].items():
                if number in kept:
                    return number, cosine
        vectors, numbers = rows()
        cosines = vectors @ self.vectors[prompt]
        most = cosines.max()
        return int(numbers[cosines == most].min()), min(float(most), 1.0)


class PromptEmbedder:
    """Looks vectors up; implements `Embedder`.

    Of words that stand in no log (later steps of a session, what a policy made up) nothing is known: they match only
    who asks the very same.
    """

    def __init__(self, prompts: PromptVectors) -> None:
        self._prompts = prompts

    async def probe(self, question: Question) -> int | None:
        return self._prompts.number.get(question.words)

    def tokens(self, question: Question) -> int:
        return question.request.input_tokens


class _Kept:
    """Prompts of a partition."""

    __slots__ = ("_at", "_numbers", "_vectors", "entries", "first", "prompt_of")

    def __init__(self, dimensions: int) -> None:
        self.entries: dict[int, dict[str, None]] = {}  #: by prompt, the oldest first
        self.first: dict[int, str] = {}
        self.prompt_of: dict[str, int] = {}
        self._at: dict[int, int] = {}
        self._numbers = np.empty(8, dtype=np.int64)
        self._vectors = np.empty((8, dimensions))

    def add(self, entry: str, prompt: int, vector: Floats) -> None:
        self.prompt_of[entry] = prompt
        entries = self.entries.setdefault(prompt, {})
        entries[entry] = None
        if len(entries) > 1:
            return
        self.first[prompt] = entry
        at = self._at[prompt] = len(self._at)
        if at == len(self._numbers):
            self._numbers = np.concatenate([self._numbers, self._numbers])
            self._vectors = np.concatenate([self._vectors, self._vectors])
        self._numbers[at] = prompt
        self._vectors[at] = vector

    def remove(self, entry: str) -> None:
        prompt = self.prompt_of.pop(entry, None)
        if prompt is None:
            return
        entries = self.entries[prompt]
        del entries[entry]
        if entries:
            self.first[prompt] = next(iter(entries))
            return
        del self.entries[prompt], self.first[prompt]
        at, last = self._at.pop(prompt), len(self._at)
        if at != last:
            moved = self._numbers[at] = self._numbers[last]
            self._vectors[at] = self._vectors[last]
            self._at[int(moved)] = at

    def rows(self) -> tuple[Floats, Ints]:
        return self._vectors[: len(self._at)], self._numbers[: len(self._at)]


class PromptIndex:
    """The nearest entry by real vectors; implements `Index`. Its probes are numbers of prompts."""

    def __init__(self, prompts: PromptVectors) -> None:
        self._prompts = prompts
        self._partitions: dict[Partition, _Kept] = {}

    def add(self, partition: Partition, entry: str, probe: int | None) -> None:
        if probe is None:
            return
        vectors = self._prompts.vectors
        kept = self._partitions.get(partition)
        if kept is None:
            kept = self._partitions[partition] = _Kept(vectors.shape[1])
        kept.add(entry, probe, vectors[probe])

    def remove(self, partition: Partition, entry: str) -> None:
        kept = self._partitions.get(partition)
        if kept is not None:
            kept.remove(entry)
            if not kept.prompt_of:
                del self._partitions[partition]

    def nearest(self, partition: Partition, probe: int | None) -> Found | None:
        kept = self._partitions.get(partition)
        if probe is None or kept is None:
            return None
        found, cosine = self._prompts.nearest(probe, kept.first, kept.rows)
        return Found(kept.first[found], cosine)


def embed_prompts(texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
    """Unit vectors of texts by all-MiniLM-L6-v2, from the cache on disk where they were embedded before.

    Raises
    ------
    LlmsimError
        Without the extra ``embeddings``.
    """
    try:
        embedders: Any = import_module("llmsim.stores.embedders")
        found: NDArray[np.float32] = embedders.embed_texts(list(texts), progress=progress)
    except (StoreError, ImportError) as error:
        raise LlmsimError(
            f"prompts cannot be compared without vectors: {error}; write pip install 'llmsim[embeddings]'"
        ) from None
    return found


_MOST_LOGS = 2
_embedding = threading.Lock()
_made: dict[tuple[str, ...], PromptVectors] = {}


def prompt_vectors(texts: tuple[str, ...], progress: Progress | None = None) -> PromptVectors:
    """The vectors of a log's prompts, made once a process.

    Raises
    ------
    LlmsimError
        Without the extra ``embeddings``.
    """
    with _embedding:
        found = _made.get(texts)
        if found is None:
            found = PromptVectors(texts, embed_prompts(texts, progress))
            while len(_made) >= _MOST_LOGS:
                del _made[next(iter(_made))]
            _made[texts] = found
        return found
