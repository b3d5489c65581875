"""From a log of prompts to similarity tables, with how good they are: what ``llmsim cache fit`` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.similarity import Similarity, fit_similarity
from llmsim.calibrate.similarity_check import Check, check_similarity
from llmsim.traffic.prompts import PromptLog, read_prompts

__all__ = ["Popularity", "PromptFit", "fit_prompts", "popularity_of"]

Ints = NDArray[np.int64]
#: Called with what is being done, how many, and of how many.
Progress = Callable[[str, int, int], object]
Embed = Callable[[tuple[str, ...], Callable[[int, int], object] | None], NDArray[np.float32]]

_TWIN_LEVELS = (0.90, 0.95)
_AT_ONCE = 512


@dataclass(frozen=True)
class Popularity:
    """How unevenly prompts are asked.

    Parameters
    ----------
    s
        Zipf's exponent, by maximum likelihood over the ranks that were counted. Ranks are taken from the same counts,
        so that chance among rare prompts counts as popularity: with few repeats it is too high.
    unique_share
        Different prompts / all.
    """

    s: float
    unique_share: float


@dataclass(frozen=True, eq=False)
class PromptFit:
    """What was found out about a log.

    Parameters
    ----------
    log
        It.
    used
        Numbers of the texts that were fitted: all, or those with an intent.
    similarity
        The tables, of all of them.
    check
        Their goodness, out of sample; None if nobody asked.
    popularity
        None if the log has no repeats.
    twins
        Share of the texts with one of another intent at least that near, by cosine.
    """

    log: PromptLog
    used: Ints
    similarity: Similarity
    check: Check | None
    popularity: Popularity | None
    twins: dict[float, float]

    def to_dict(self) -> dict[str, Any]:
        """What ``topics.similarity`` reads."""
        return self.similarity.to_dict()


def fit_prompts(
    file: str | Path,
    embed: Embed,
    *,
    text: str = "",
    label: str = "",
    model: str = "",
    check: bool = True,
    streams: int = 6,
    requests: int = 8000,
    capacity: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> PromptFit:
    """Fit the similarities of a log's prompts, and check them out of sample.

    Parameters
    ----------
    file
        See `read_prompts`.
    embed
        Makes unit vectors of texts: `llmsim.stores.prompts.embed_prompts`.
    text, label
        Names of columns, if they are not the usual ones.
    model
        What made the vectors, for the file.
    check
        Whether to check; fitting alone takes a tenth of the time.
    streams, requests, capacity, seed
        See `check_similarity`.
    progress
        Called now and then.

    Raises
    ------
    ScenarioError, LlmsimError
        For a file that cannot be used, or vectors that cannot be made.
    """
    log = read_prompts(file, text=text, label=label)
    has = log.answer >= 0
    used = np.flatnonzero(has) if has.any() else np.arange(len(log.texts))
    answer = np.unique(log.answer[used], return_inverse=True)[1] if has.any() else log.answer[used]

    def told(what: str) -> Callable[[int, int], object] | None:
        return None if progress is None else lambda done, of: progress(what, done, of)

    vectors = embed(tuple(log.texts[number] for number in used.tolist()), told("embedding"))
    source = f"{log.name}: {len(used):,} different prompts, {model}" if model else log.name
    popularity = popularity_of(log)
    twins = _twins(vectors, answer) if has.any() else {}
    meta: dict[str, Any] = {"near_duplicates": {f"{level:.2f}": round(share, 5) for level, share in twins.items()}}
    if popularity is not None:
        meta |= {"zipf_s": round(popularity.s, 3), "unique_share": round(popularity.unique_share, 4)}
    similarity = fit_similarity(vectors, answer, source=source, meta=meta, seed=seed, progress=told("fitting"))
    found = None
    if check:
        found = check_similarity(
            vectors,
            answer,
            streams=streams,
            requests=requests,
            capacity=capacity,
            weights=log.count[used] if popularity is not None else None,
            seed=seed,
            progress=told("checking"),
        )
    return PromptFit(log, used, similarity, found, popularity, twins)


def popularity_of(log: PromptLog) -> Popularity | None:
    """How unevenly a log's prompts are asked; None if none is asked twice.

    Examples
    --------
    >>> log = PromptLog("", ("a", "b", "c"), (), np.zeros(3, int), np.array([600, 300, 200]), np.arange(3))
    >>> round(popularity_of(log).s, 2)
    1.0
    """
    from scipy.optimize import brentq

    counts = np.sort(log.count)[::-1].astype(np.float64)
    if counts[0] <= 1:
        return None
    logs = np.log(np.arange(1, len(counts) + 1))
    mean = float(counts @ logs / counts.sum())

    def surplus(s: float) -> float:
        mass = np.exp(-s * logs)
        return float(mass @ logs / mass.sum()) - mean

    s = 0.0 if surplus(0.0) <= 0 else float(brentq(surplus, 0.0, 10.0)) if surplus(10.0) < 0 else 10.0
    return Popularity(s, len(counts) / float(counts.sum()))


def _twins(vectors: NDArray[np.float32], answer: Ints) -> dict[float, float]:
    """Share of the prompts with a near duplicate of another intent."""
    nearest = np.empty(len(vectors))
    for start in range(0, len(vectors), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        cosines = vectors[rows] @ vectors.T
        nearest[rows] = np.where(answer[rows, None] != answer[None, :], cosines, -1.0).max(axis=1)
    return {level: float((nearest >= level).mean()) for level in _TWIN_LEVELS}


def interval(low: float, high: float) -> str:
    """In points.

    Examples
    --------
    >>> interval(-0.012, 0.004)
    '-1.2 … +0.4'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return "?"
    return f"{100 * low:+.1f} … {100 * high:+.1f}"
