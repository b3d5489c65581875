"""Similarity without vectors: what the lab knows about a request's meaning, and tables of how near such things are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmsim.gateway.caching import Question
from llmsim.stores.index import Found
from llmsim.stores.nearness import Company, Nearness, nearness
from llmsim.traffic.meanings import TRAP, Meaning
from llmsim.traffic.truth import World

__all__ = ["SyntheticIndex", "TruthEmbedder", "nearness_of"]

Partition = tuple[str, ...]

# A NamedTuple's own constructor is Python code, and takes longer.
_company: Callable[[type[Company], tuple[int, ...]], Company] = tuple.__new__
_found: Callable[[type[Found], tuple[Any, ...]], Found] = tuple.__new__

_TRIES = 4  #: of finding an entry that fits by luck, before it is looked for where it must be


class TruthEmbedder:
    """Looks up what a request means, where a real embedder would make a vector.

    Of the later steps of sessions and of ids that a policy made up nothing is known: they are near nothing, and found
    only by who asks the very same.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def probe(self, question: Question) -> Meaning | None:
        meaning = self._world.meaning(question.request.id)
        return meaning if isinstance(meaning, Meaning) else None  # real prompts have vectors, and no luck

    def tokens(self, question: Question) -> int:
        return question.request.input_tokens


def nearness_of(world: World) -> Nearness:
    """The similarities that the scenario of a world asks for."""
    if world.meanings is None:
        return nearness()
    return nearness(world.meanings.topics.similarity, world.meanings.topics.trap_mix)


class _Node:
    """An entry, and its place in each of the four bags it is in."""

    __slots__ = ("id", "meaning", "places")

    def __init__(self, entry: str, meaning: Meaning) -> None:
        self.id = entry
        self.meaning = meaning
        self.places = [0, 0, 0, 0]


class _Bag(list[_Node]):
    """Nodes in no order: entering, leaving and picking one cost the same however many there are."""

    __slots__ = ()

    def enter(self, node: _Node, axis: int) -> None:
        node.places[axis] = len(self)
        self.append(node)

    def leave(self, node: _Node, axis: int) -> None:
        last = self.pop()
        if last is not node:
            at = last.places[axis] = node.places[axis]
            self[at] = last

    def pick(self, luck: int) -> _Node:
        """The one that this luck stands for (linear hashing).

        When a node enters or leaves a bag of n, few picks change: about one in n, and of those who picked the last.
        """
        size = len(self)
        mask = (1 << size.bit_length()) - 1
        at = luck & mask
        return self[at if at < size else luck & (mask >> 1)]


class _Shelves:
    """Entries of one partition."""

    __slots__ = ("all", "nodes", "phrases", "questions", "same", "traps")

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}
        self.all = _Bag()
        self.same: dict[int, _Bag] = {}  #: by answer
        self.questions: dict[int, _Bag] = {}  #: by the question they ask
        self.traps: dict[int, _Bag] = {}  #: by the question they look like
        self.phrases: dict[int, _Bag] = {}  #: by their very words

    def add(self, entry: str, meaning: Meaning) -> None:
        node = self.nodes[entry] = _Node(entry, meaning)
        self.all.enter(node, 0)
        for axis, (bags, key) in enumerate(self._keyed(meaning), 1):
            bag = bags.get(key)
            if bag is None:
                bag = bags[key] = _Bag()
            bag.enter(node, axis)

    def remove(self, entry: str) -> None:
        node = self.nodes.pop(entry, None)
        if node is None:
            return
        self.all.leave(node, 0)
        for axis, (bags, key) in enumerate(self._keyed(node.meaning), 1):
            bag = bags[key]
            bag.leave(node, axis)
            if not bag:
                del bags[key]

    def _keyed(self, meaning: Meaning) -> tuple[tuple[dict[int, _Bag], int], ...]:
        about = self.traps if meaning.kind >= TRAP else self.questions
        return (self.same, meaning.answer), (about, meaning.topic), (self.phrases, meaning.phrase)

    def company(self, meaning: Meaning) -> Company:
        """How many there are of each sort, for somebody whose own words are not among them."""
        asked = len(self.questions.get(meaning.topic, ()))
        if meaning.kind >= TRAP:
            return Company(asked, 0, len(self.all) - asked, 0)
        traps, right = len(self.traps.get(meaning.topic, ())), len(self.same.get(meaning.answer, ()))
        return _company(Company, (asked, right - asked, len(self.all) - right - traps, traps))

    def pick(self, meaning: Meaning, sort: str) -> _Node:
        """The nearest of a sort that `company` counted at least one of."""
        luck = int(meaning.trap_luck * 2.0**52)  # low bits: the high ones say how near it is to traps
        if sort == "other":
            return self._pick_other(meaning.answer, luck)
        if sort == "rephrased" or (sort == "trap" and meaning.kind >= TRAP):
            return self.questions[meaning.topic].pick(luck)
        if sort == "trap":
            return self.traps[meaning.topic].pick(luck)
        return self.same[meaning.answer].pick(luck)  # perhaps in other words of the question: that is right as well

    def _pick_other(self, answer: int, luck: int) -> _Node:
        everything = self.all
        for turn in range(_TRIES):
            node = everything.pick(luck >> turn)
            if node.meaning.answer != answer:
                return node
        return next(bag for other, bag in self.same.items() if other != answer).pick(luck)


class SyntheticIndex:
    """The nearest entry, by what is true about meanings.

    How near a phrase is to others is luck of its own (`Meaning`), the same whenever it is asked; it is nearer the more
    entries there are to be near to. Which of them is the nearest is luck of the phrase as well. Very nearest are the
    same words: their similarity is 1.

    Parameters
    ----------
    near
        Similarities, or what gives them when the first is needed.
    """

    def __init__(self, near: Nearness | Callable[[], Nearness]) -> None:
        self._near = near
        self._partitions: dict[Partition, _Shelves] = {}

    def add(self, partition: Partition, entry: str, probe: Meaning | None) -> None:
        if probe is not None:
            shelves = self._partitions.get(partition)
            if shelves is None:
                shelves = self._partitions[partition] = _Shelves()
            shelves.add(entry, probe)

    def remove(self, partition: Partition, entry: str) -> None:
        shelves = self._partitions.get(partition)
        if shelves is not None:
            shelves.remove(entry)
            if not shelves.nodes:
                del self._partitions[partition]

    def nearest(self, partition: Partition, probe: Meaning | None) -> Found | None:
        shelves = self._partitions.get(partition)
        if probe is None or shelves is None:
            return None
        identical = shelves.phrases.get(probe.phrase)
        if identical is not None:
            return Found(identical[-1].id, 1.0)
        if not isinstance(self._near, Nearness):
            self._near = self._near()
        similarity, sort, _ = self._near.similarity(probe, shelves.company(probe))
        return _found(Found, (shelves.pick(probe, sort).id, similarity))
