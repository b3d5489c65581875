"""What arrivals mean: which of them want the same answer, and how near their words are to each other's.

A *question* is one of `Topics.zipf.unique` things that are asked, some far more often than others. Somebody asks it in
its usual words, or in words of their own (a paraphrase), which no exact-match cache knows; or asks something that only
looks like it (a trap: a negation, another number, another name).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK
from llmsim.traffic.spec import Topics

__all__ = ["Meaning", "Meanings"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Meaning(NamedTuple):
    """What one request means."""

    answer: int  #: equal: one answer serves both
    phrase: int  #: equal: the same words
    topic: int  #: question that its words are about; for a trap not what it asks
    same_luck: float  #: in (0, 1), of the phrase: how near it is to other phrases with its meaning
    other_luck: float  #: in (0, 1), of the phrase: how near it is to phrases with another meaning


class Meanings:
    """Meanings by arrival number; addressed, and remembered for those whose answers are still in a cache.

    Parameters
    ----------
    topics
        What people ask about.
    luck
        Where the numbers come from.
    """

    def __init__(self, topics: Topics, luck: Luck) -> None:
        self._topics = topics
        names = ("topic", "paraphrase", "trap", "same", "other")
        self._series = {name: luck.series(f"workload.{name}") for name in names}
        unique = topics.zipf.unique
        self._usual = [
            luck.series(f"workload.{name}.usual").array(0, -(-unique // 4) * 4) for name in ("same", "other")
        ]
        self._blocks: dict[int, tuple[Ints, Ints, Ints, Floats, Floats]] = {}

    def texts(self, first: int) -> list[str]:
        """The words of a block of arrivals."""
        _, phrase, topic, _, _ = self._block(first // BLOCK)
        unique = self._topics.zipf.unique
        texts = []
        for index, (words, about) in enumerate(zip(phrase.tolist(), topic.tolist(), strict=True), first):
            if words < unique:
                texts.append(f"topic {about}")
            elif (words - unique) % 2:
                texts.append(f"almost topic {about}, says {index}")
            else:
                texts.append(f"topic {about} in the words of {index}")
        return texts

    def __call__(self, index: int) -> Meaning:
        """What arrival `index` means."""
        answer, phrase, topic, same, other = self._block(index // BLOCK)
        at = index % BLOCK
        return Meaning(int(answer[at]), int(phrase[at]), int(topic[at]), float(same[at]), float(other[at]))

    def _block(self, number: int) -> tuple[Ints, Ints, Ints, Floats, Floats]:
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._draw(number * BLOCK)
        return block

    def _draw(self, first: int) -> tuple[Ints, Ints, Ints, Floats, Floats]:
        topics, unique = self._topics, self._topics.zipf.unique
        u = {name: series.array(first, BLOCK) for name, series in self._series.items()}
        drawn = np.searchsorted(_zipf_edges(topics.zipf.s, unique), u["topic"])
        trap = u["trap"] < topics.traps
        own = (u["paraphrase"] < topics.paraphrases) & ~trap
        index = np.arange(first, first + BLOCK)
        phrase = np.where(trap, unique + 2 * index + 1, np.where(own, unique + 2 * index, drawn))
        answer = np.where(trap, phrase, drawn)
        usual = ~trap & ~own
        same = np.where(usual, self._usual[0][drawn], u["same"])
        other = np.where(usual, self._usual[1][drawn], u["other"])
        return answer, phrase, drawn, same, other


@lru_cache(maxsize=8)
def _zipf_edges(s: float, unique: int) -> Floats:
    mass = np.arange(1, unique + 1, dtype=np.float64) ** -s
    edges = np.cumsum(mass / mass.sum())
    edges[-1] = 1.0
    return edges
