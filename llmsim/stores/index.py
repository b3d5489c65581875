"""What finds the nearest entry of a partition. A *probe* is what a question is compared by: a vector, or a meaning."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from llmsim.gateway.caching import Question

__all__ = ["Embedder", "Found", "Index", "Probe"]

Probe = Any  #: what an embedder makes and its index understands


class Found(NamedTuple):
    """The nearest entry."""

    id: str
    similarity: float  #: cosine


class Embedder(Protocol):
    """Makes a question comparable."""

    async def probe(self, question: Question) -> Probe:
        """What the index compares. Raises `StoreError` if it cannot be had."""

    def tokens(self, question: Question) -> int:
        """Tokens that are billed for it."""


class Index(Protocol):
    """Entries by their probes, partition by partition."""

    def add(self, partition: tuple[str, ...], entry: str, probe: Probe) -> None:
        """Enter an entry."""

    def remove(self, partition: tuple[str, ...], entry: str) -> None:
        """Take it out."""

    def nearest(self, partition: tuple[str, ...], probe: Probe) -> Found | None:
        """The nearest entry of the partition; None if it has none."""
