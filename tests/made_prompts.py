"""Prompts with vectors that no model made: intents are directions, and what is asked lies around them."""

from __future__ import annotations

import csv

import numpy as np


def made_vectors(intents=24, each=50, dimensions=48, seed=0):
    """Unit vectors in single precision, and the number of each one's intent.

    Like real ones: intents lie in groups, some are narrower than others, and a few phrases are near duplicates.
    """
    random = np.random.default_rng(seed)
    groups = random.normal(size=(intents // 4, dimensions))
    answer = np.repeat(np.arange(intents), each)
    centers = groups[np.arange(intents) % len(groups)] + 0.9 * random.normal(size=(intents, dimensions))
    wide = random.uniform(0.5, 0.9, intents)[answer] * random.lognormal(0.0, 0.2, len(answer))
    vectors = centers[answer] + wide[:, None] * random.normal(size=(len(answer), dimensions))
    for copy, of in random.integers(0, len(answer), (len(answer) // 10, 2)):
        vectors[copy] = vectors[of] + 0.1 * random.normal(size=dimensions)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), answer


def texts_of(answer):
    """Words for each of them."""
    return [f"question {number}, said so" for number in range(len(answer))]


def write_csv(path, answer, *, labelled=True):
    """A log of them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "intent"] if labelled else ["text"])
        for text, number in zip(texts_of(answer), answer, strict=True):
            writer.writerow([text, f"intent {number}"] if labelled else [text])
    return path


def embedder_of(vectors, answer):
    """In place of a model, for `llmsim.stores.prompts.embed_prompts`."""
    number = {text: at for at, text in enumerate(texts_of(answer))}

    def embed(texts, progress=None):
        if progress is not None:
            progress(len(texts), len(texts))
        return vectors[[number[text] for text in texts]]

    return embed
