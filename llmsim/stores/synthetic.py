"""Similarity without vectors: what the lab knows about a request's meaning, and tables of how near such things are."""

from __future__ import annotations

from llmsim.gateway.caching import Question
from llmsim.stores.index import Found
from llmsim.stores.nearness import Nearness
from llmsim.traffic.meanings import Meaning
from llmsim.traffic.truth import World

__all__ = ["SyntheticIndex", "TruthEmbedder"]

Partition = tuple[str, ...]


class TruthEmbedder:
    """Looks up what a request means, where a real embedder would make a vector."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def probe(self, question: Question) -> Meaning | None:
        meaning = self._world.meaning(question.request.id)
        return meaning if isinstance(meaning, Meaning) else None  # real prompts have vectors, and no luck

    def tokens(self, question: Question) -> int:
        return question.request.input_tokens


class _Shelves:
    """Entries of one partition."""

    __slots__ = ("all", "by_answer", "meanings")

    def __init__(self) -> None:
        self.all: list[str] = []
        self.by_answer: dict[int, list[str]] = {}
        self.meanings: dict[str, Meaning] = {}


class SyntheticIndex:
    """The nearest entry, by what is true about meanings.

    How near a phrase is to others is luck of its own (`Meaning.same_luck`), the same whenever it is asked; it is nearer
    the more entries there are to be near to.

    Parameters
    ----------
    nearness
        Tables of similarities.
    """

    def __init__(self, nearness: Nearness) -> None:
        self._nearness = nearness
        self._partitions: dict[Partition, _Shelves] = {}

    def add(self, partition: Partition, entry: str, probe: Meaning | None) -> None:
        if probe is None:
            return
        shelves = self._partitions.setdefault(partition, _Shelves())
        shelves.all.append(entry)
        shelves.by_answer.setdefault(probe.answer, []).append(entry)
        shelves.meanings[entry] = probe

    def remove(self, partition: Partition, entry: str) -> None:
        shelves = self._partitions.get(partition)
        if shelves is None or entry not in shelves.meanings:
            return
        shelves.all.remove(entry)
        shelves.by_answer[shelves.meanings.pop(entry).answer].remove(entry)

    def nearest(self, partition: Partition, probe: Meaning | None) -> Found | None:
        shelves = self._partitions.get(partition)
        if probe is None or shelves is None or not shelves.all:
            return None
        same = shelves.by_answer.get(probe.answer, [])
        others = len(shelves.all) - len(same)
        to_same = self._nearness.same(len(same), probe.same_luck)
        to_other = self._nearness.other(others, probe.other_luck)
        if to_same >= to_other:
            return Found(same[-1], to_same)
        for entry in reversed(shelves.all):
            if shelves.meanings[entry].answer != probe.answer:
                return Found(entry, to_other)
        return None
