"""Questions, entries and an embedder for tests of stores."""

from __future__ import annotations

import hashlib

import numpy as np

from llmsim.gateway.caching import Entry, Question, StoreSpec
from llmsim.types import Chunk, Message, Request, Usage


class ToyEmbedder:
    """A direction for every word, and for a text the sum of those of its words: equal words, cosine 1."""

    name = "toy"

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.asked = 0

    def vector(self, words: str) -> np.ndarray:
        total = np.zeros(self.dimensions)
        for word in words.split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).standard_normal(self.dimensions)
        return total

    async def probe(self, question: Question) -> np.ndarray:
        self.asked += 1
        return self.vector(question.words)

    def tokens(self, question: Question) -> int:
        return len(question.words.split())


def spec(capacity: int = 1000, **more) -> StoreSpec:
    return StoreSpec("redis", capacity, **more)


def question(words: str, partition: tuple[str, ...] = ("acme",), number: int = 0) -> Question:
    request = Request(f"r{number}", tenant=partition[0], messages=(Message("user", words),))
    return Question(request, partition, words, (words, None, 0.5))


def entry(asked: Question, name: str = "", *, stored_s: float, ttl_s: float = 3600.0, text: str = "yes") -> Entry:
    return Entry(
        name or asked.request.id, asked.partition, asked.key, asked.words, (Chunk(text, 2), Chunk("", 0)),
        Usage(10, 2, 1), "gpt", "openai", asked.request.id, stored_s, stored_s + ttl_s, 0.1 + 0.2,
    )  # fmt: skip
