"""Vectors like those of sentences, where nothing real is at hand."""

import numpy as np


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def clustered(count, dimensions=32, clusters=20, spread=0.5, seed=1):
    """Unit vectors around centres, shape ``(count, dimensions)``, and which centre each is of."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((clusters, dimensions)))
    of = rng.integers(0, clusters, count)
    return unit(centres[of] + spread * rng.standard_normal((count, dimensions)) / np.sqrt(dimensions)), of


def zipf_stream(count, unique, seed, s=1.0):
    """Which of `unique` things each of `count` requests is about: Zipf popularity in a random order."""
    rng = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, unique + 1) ** s
    return rng.permutation(unique)[rng.choice(unique, count, p=shares / shares.sum())]
