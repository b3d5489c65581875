"""What all embedders of texts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.gateway.caching import Incomparable, Question, StoreError

__all__ = ["TextEmbedder", "Vectors", "unit_vectors"]

Vectors = NDArray[np.float32]


class TextEmbedder(ABC):
    """Implements `Embedder` for what makes vectors of texts.

    Attributes
    ----------
    name
        Of the model, with whatever else changes its vectors: those of two names are never compared.
    dimensions
        Of its vectors.
    """

    name: str
    dimensions: int

    @abstractmethod
    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of single precision, shape ``(len(texts), dimensions)``.

        Raises
        ------
        StoreError
            If they cannot be had.
        """

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens that are billed for a text."""

    async def probe(self, question: Question) -> Vectors:
        """The unit vector of the question's words, shape ``(dimensions,)``."""
        vector: Vectors = (await self.embed([question.words]))[0]
        return vector

    def tokens(self, question: Question) -> int:
        return self.count_tokens(question.words)


def unit_vectors(found: Any, count: int, dimensions: int, name: str) -> Vectors:
    """What came from an embedder, as unit vectors of single precision.

    Raises
    ------
    StoreError
        If that is not `count` vectors of `dimensions` finite numbers; says what came.
    Incomparable
        If all numbers of a vector are 0.

    Examples
    --------
    >>> unit_vectors([[3.0, 4.0]], 1, 2, "mine")
    array([[0.6, 0.8]], dtype=float32)
    >>> unit_vectors([[3.0, 4.0]], 1, 384, "mine")
    Traceback (most recent call last):
    llmsim.gateway.caching.StoreError: embedder mine: for 1 text, an array of shape (1, 384) was expected, (1, 2) came
    """
    texts = f"{count} text{'s' if count != 1 else ''}"
    try:
        vectors = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise StoreError(
            f"embedder {name}: for {texts}, an array of shape ({count}, {dimensions}) was expected, and no array of "
            f"numbers came but {type(found).__name__}"
        ) from None
    if vectors.shape != (count, dimensions):
        raise StoreError(
            f"embedder {name}: for {texts}, an array of shape ({count}, {dimensions}) was expected, "
            f"{vectors.shape} came"
        )
    # Row by row, and by no product of matrices: a vector's bits do not depend on which others came with it.
    lengths = np.sqrt(np.square(vectors).sum(axis=1))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        row = vectors[bad[0]]
        vector = f"embedder {name}: vector {bad[0]} of {count}"
        if not row.any():  # of a text in which there is no word that it knows
            raise Incomparable(f"{vector} has only zeros")
        raise StoreError(f"{vector} has {int((~np.isfinite(row)).sum())} values that are not finite")
    unit: Vectors = (vectors / lengths[:, None]).astype(np.float32)
    return unit
