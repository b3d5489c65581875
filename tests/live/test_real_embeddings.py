"""`OpenAIEmbeddings` against a real model behind a real server: llama.cpp with SmolLM2-135M on loopback.

Run with ``pytest -m live``. A chat model's vectors, averaged over the tokens, are no good ones for meaning; they are
real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from live.served import MARKS, llama, served

from llmsim.gateway.caching import Question, StoreError
from llmsim.providers.live import OpenAIEmbeddings
from llmsim.types import Message, Request

pytestmark = MARKS


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The base URL of a running server, ended with the module."""
    with served("--embeddings") as line:
        yield line


def ask(url: str, use: Any, dimensions: int = llama.DIMENSIONS) -> Any:
    async def main() -> Any:
        async with OpenAIEmbeddings(
            llama.MODEL, base_url=url, dimensions=dimensions, api_key_env=None, timeout_s=30.0
        ) as embedder:
            return await use(embedder)

    return asyncio.run(main())


def question(words: str) -> Question:
    return Question(Request("r", messages=(Message("user", words),)), (), words, words)


TEXTS = ["How do I reset my password?", "How can I reset my password?", "The cat sat on the mat in the sun."]


def test_vectors_and_what_they_are_billed(url: str) -> None:
    async def use(embedder: OpenAIEmbeddings) -> tuple[Any, Any, int]:
        alone = [await embedder.probe(question(text)) for text in TEXTS]
        return np.array(alone), await embedder.embed(TEXTS), embedder.tokens(question(TEXTS[0]))

    alone, together, tokens = ask(url, use)
    assert alone.shape == (3, llama.DIMENSIONS)
    assert np.linalg.norm(alone, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert together == pytest.approx(alone, abs=0.02)  # a batch adds up in another order
    assert alone[0] @ alone[1] > alone[0] @ alone[2]
    assert 5 <= tokens <= 12
    print(f"{tokens} tokens; cosines {alone[0] @ alone[1]:.3f} and {alone[0] @ alone[2]:.3f}")


def test_too_long_and_too_few_dimensions(url: str) -> None:
    async def long(embedder: OpenAIEmbeddings) -> str:
        with pytest.raises(StoreError) as caught:
            await embedder.probe(question("word " * 2 * llama.SLOT_TOKENS))
        return str(caught.value)

    print(ask(url, long))

    async def short(embedder: OpenAIEmbeddings) -> None:
        with pytest.raises(StoreError, match=r"\(1, 576\) came"):
            await embedder.probe(question("hello"))

    ask(url, short, dimensions=384)
