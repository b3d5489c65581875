"""What arrivals mean: which of them want the same answer, and how near their words are to each other's.

A *question* is one of `Topics.zipf.unique` things that are asked, some far more often than others. Somebody asks it in
its usual words, or in words of their own (a paraphrase), which no exact-match cache knows; or asks something that only
looks like it (a trap: a negation, another number, another name). Several questions can have one answer
(`Topics.meanings`).

How near a phrase is to others is luck of its words, the same whenever they are said. Drawing it anew each time
understates the hit rate of repeated traffic by 3 to 6 points: what missed once would not miss again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK
from llmsim.traffic.latents import lucks
from llmsim.traffic.similarity import similarity_tables
from llmsim.traffic.topics import Topics

__all__ = ["OWN_WORDS", "TRAP", "USUAL_WORDS", "Block", "Meaning", "Meanings"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: `Meaning.kind`. A trap of kind *i* of `llmsim.traffic.similarity.TRAP_KINDS` is ``TRAP + i``.
USUAL_WORDS, OWN_WORDS, TRAP = 0, 1, 2

#: Blocks that are kept, 56 bytes an arrival (59 MB in all). What was asked before them is drawn again when needed: it
#: is addressed, so nothing is lost but time.
_MOST_BLOCKS = 1024


class Meaning(NamedTuple):
    """What one request means."""

    answer: int  #: equal: one answer serves both
    phrase: int  #: equal: the same words
    topic: int  #: question that its words are about; for a trap not what it asks
    kind: int  #: `USUAL_WORDS`, `OWN_WORDS`, or `TRAP` and above
    same_luck: float  #: in (0, 1), of the phrase: how near it is to other phrases with its meaning
    other_luck: float  #: in (0, 1), of the phrase: how near it is to phrases with another meaning
    trap_luck: float  #: in (0, 1), of the phrase: how near it is to what it looks like, or what looks like it


# A NamedTuple's own constructor is Python code, and takes longer.
_meaning: Callable[[type[Meaning], tuple[float, ...]], Meaning] = tuple.__new__
# Blocks are kept as rows: a meaning is one look-up in them, and by columns it was seven.
_LAYOUT = np.dtype({"names": Meaning._fields, "formats": ["i8"] * 4 + ["f8"] * 3})
_row = Struct("4q3d").unpack_from


class Block(NamedTuple):
    """The meanings of `BLOCK` arrivals in a row: the fields of `Meaning` as arrays, each of shape ``(BLOCK,)``."""

    answer: Ints
    phrase: Ints
    topic: Ints
    kind: Ints
    same_luck: Floats
    other_luck: Floats
    trap_luck: Floats


class _Latents(NamedTuple):
    """Luck of phrases, in the order of `Meaning`: before the second depends on the first."""

    same: Floats
    other: Floats
    trap: Floats


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
        self.topics = topics
        self._luck = luck
        names = ("topic", "paraphrase", "trap", "same", "other", "near_trap", "trap_kind", "phrasing")
        self._series = {name: luck.series(f"workload.{name}") for name in names}
        unique = topics.zipf.unique
        whole = -(-unique // 4) * 4  # a series is drawn in fours
        tables = similarity_tables(topics.similarity)
        self._spread = tables.spread
        self._usual = _Latents(*(luck.series(f"workload.{name}.usual").array(0, whole) for name in _LATENTS))
        self._answers = np.arange(unique)
        if topics.meanings is not None:
            u = luck.series("workload.meaning").array(0, whole)[:unique]
            self._answers = np.searchsorted(_size_edges(tables.sizes, topics.meanings), u)
        whole = -(-(topics.meanings or unique) // 4) * 4
        self._common = [luck.series(f"workload.{name}.meaning").array(0, whole) for name in ("same", "other")]
        self._wordings: dict[int, _Latents] = {}
        self._blocks: dict[int, bytes] = {}

    def texts(self, first: int) -> list[str]:
        """The words of a block of arrivals."""
        block, phrasings = self.block(first // BLOCK), self.topics.phrasings
        texts = []
        columns = (block.kind.tolist(), block.phrase.tolist(), block.topic.tolist())
        for index, (kind, phrase, about) in enumerate(zip(*columns, strict=True), first):
            if kind == USUAL_WORDS:
                texts.append(f"topic {about}")
            elif kind >= TRAP:
                texts.append(f"almost topic {about}, says {index}")
            elif phrasings is not None:
                texts.append(f"topic {about} in wording {(-1 - phrase) % phrasings}")
            else:
                texts.append(f"topic {about} in the words of {index}")
        return texts

    def __call__(self, index: int) -> Meaning:
        """What arrival `index` means."""
        rows = self._blocks.get(index // BLOCK) or self._rows(index // BLOCK)
        return _meaning(Meaning, _row(rows, index % BLOCK * _LAYOUT.itemsize))

    def block(self, number: int) -> Block:
        """The meanings of arrivals ``number * BLOCK`` and on."""
        rows = np.frombuffer(self._rows(number), _LAYOUT)
        return Block(*(rows[name] for name in Meaning._fields))

    def _rows(self, number: int) -> bytes:
        rows = self._blocks.get(number)
        if rows is None:
            if len(self._blocks) >= _MOST_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            table = np.empty(BLOCK, _LAYOUT)
            for name, column in zip(Meaning._fields, self._draw(number * BLOCK), strict=True):
                table[name] = column
            rows = self._blocks[number] = table.tobytes()
        return rows

    def _uniform(self, name: str, first: int) -> Floats:
        return self._series[name].array(first, BLOCK)

    def _draw(self, first: int) -> Block:
        topics, unique = self.topics, self.topics.zipf.unique
        drawn = np.searchsorted(_zipf_edges(topics.zipf.s, unique), self._uniform("topic", first))
        trap = self._uniform("trap", first) < topics.trap_share
        own = (self._uniform("paraphrase", first) < topics.paraphrases) & ~trap
        index = np.arange(first, first + BLOCK)
        phrase = np.where(trap, unique + 2 * index + 1, np.where(own, unique + 2 * index, drawn))
        kind = np.where(own, OWN_WORDS, USUAL_WORDS)
        if topics.trap_share:
            kinds = np.searchsorted(np.cumsum(topics.trap_mix)[:-1], self._uniform("trap_kind", first), side="right")
            kind = np.where(trap, TRAP + kinds, kind)
        usual = ~trap & ~own
        latents = [
            np.where(usual, known[drawn], self._uniform(name, first))
            for name, known in zip(_LATENTS, self._usual, strict=True)
        ]
        if topics.phrasings is not None and own.any():
            said = np.minimum(
                (self._uniform("phrasing", first) * topics.phrasings).astype(np.int64), topics.phrasings - 1
            )
            phrase[own] = -1 - (drawn[own] * topics.phrasings + said[own])
            for at in np.flatnonzero(own).tolist():
                of_question = self._wording(int(drawn[at]))
                for column, known in zip(latents, of_question, strict=True):
                    column[at] = known[said[at]]
        meant, near_trap = self._answers[drawn], latents[2]
        of_meaning = self._common[0][meant], self._common[1][meant]
        same, other = lucks(self._spread, of_meaning, (latents[0], latents[1]))
        answer = np.where(trap, phrase, meant)
        return Block(answer, phrase, drawn, kind, same, other, near_trap)

    def _wording(self, question: int) -> _Latents:
        """The luck of the other wordings of a question."""
        found = self._wordings.get(question)
        if found is None:
            assert self.topics.phrasings is not None
            whole = -(-self.topics.phrasings // 4) * 4
            series = (self._luck.series(f"workload.{name}.wording", question) for name in _LATENTS)
            found = self._wordings[question] = _Latents(*(one.array(0, whole) for one in series))
        return found


_LATENTS = ("same", "other", "near_trap")


@lru_cache(maxsize=8)
def _zipf_edges(s: float, unique: int) -> Floats:
    return _edges(np.arange(1, unique + 1, dtype=np.float64) ** -s)


def _size_edges(sizes: tuple[float, ...], count: int) -> Floats:
    """Where in [0, 1] each of `count` meanings ends whose sizes are spread like these."""
    return _edges(np.quantile(sizes or (1.0,), (np.arange(count) + 0.5) / count))


def _edges(mass: Floats) -> Floats:
    edges = np.asarray(np.cumsum(mass / mass.sum()), dtype=np.float64)
    edges[-1] = 1.0
    return edges
