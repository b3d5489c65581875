"""An embedder from any function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from llmsim.gateway.caching import StoreError
from llmsim.stores.embedders.base import TextEmbedder, Vectors, unit_vectors

__all__ = ["FunctionEmbedder"]

#: OpenAI's rule of thumb for English (help.openai.com, "What are tokens and how to count them?").
CHARACTERS_PER_TOKEN = 4


class FunctionEmbedder(TextEmbedder):
    """Vectors from a function of one's own.

    Parameters
    ----------
    function
        ``async def function(texts: list[str])``: one vector for each, in order; anything that numpy takes for an array
        of shape ``(len(texts), dimensions)``. They need not be of unit length.
    dimensions
        Of its vectors.
    name
        Of the model: what `DiskCache` and Redis file its vectors under, so that those of another are never compared
        with them.
    count_tokens
        Tokens that are billed for a text; default: a token for 4 characters, an estimate for English.

    Examples
    --------
    >>> import asyncio
    >>> async def letters(texts):
    ...     return [[text.count("a"), text.count("b")] for text in texts]
    >>> asyncio.run(FunctionEmbedder(letters, 2, "letters").embed(["aaabbbb"]))
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(
        self,
        function: Callable[[list[str]], Awaitable[Any]],
        dimensions: int,
        name: str,
        *,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        if dimensions < 1:
            raise ValueError(f"an embedder has at least one dimension, not {dimensions}")
        if not name:
            raise ValueError("an embedder needs the name of its model, which its vectors are filed under")
        self.name = name
        self.dimensions = dimensions
        self._function = function
        self._count_tokens = count_tokens or _estimate

    async def embed(self, texts: Sequence[str]) -> Vectors:
        try:
            found = await self._function(list(texts))
        except StoreError:
            raise
        except Exception as error:  # whatever it is, a cache that cannot embed is a cache that misses
            # Without its text: what a client says of a failed call may have the key in it.
            raise StoreError(f"embedder {self.name}: {type(error).__name__}") from error
        return unit_vectors(found, len(texts), self.dimensions, self.name)

    def count_tokens(self, text: str) -> int:
        return self._count_tokens(text)


def _estimate(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
