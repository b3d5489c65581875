"""A store that has nothing and writes down what it is asked: what any cache would have met in a run."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from llmsim.gateway.caching import AnswerStore, CacheUse, Entry, Judge, Match, Question, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.index import Embedder, Probe
from llmsim.stores.simulated import SimulatedStores
from llmsim.traffic.truth import World

__all__ = ["Asked", "Kept", "RecordedStores"]


class Asked(NamedTuple):
    """A question that a policy had for its store."""

    request_id: str
    cache: int  #: number of the store: one a replica, or one for all
    partition: Hashable
    key: Hashable
    time_s: float  #: in seconds since 1970
    tokens: int  #: of the prompt
    probe: Probe  #: what an index compares
    route: str


class Kept(NamedTuple):
    """An answer that a policy had for its store."""

    stored_s: float  #: when it was complete, in seconds since 1970
    tokens: int
    bytes: int  #: of its texts
    cost_usd: float


class RecordedStores:
    """Implements `StoreOpener`: the stores of one policy never find anything, those of all others are real.

    So a run shows which questions come when and in whose name, and when the upstream's answer to each is complete;
    what a cache would have made of them is worked out afterwards, for as many caches as one likes.

    Parameters
    ----------
    world, others
        What requests mean; who opens the stores of other policies.
    policy
        Name of the policy that is to be watched.
    """

    def __init__(self, world: World, others: SimulatedStores, policy: str) -> None:
        self.world = world
        self.asked: list[Asked] = []
        self.kept: dict[str, Kept] = {}  #: by id of the request
        self.caches = 0
        self.epoch_s = 0.0  #: what the clock of these times says at loop time 0
        self.others = others
        self.embedder, self.index = others.meanings()
        self._policy = policy

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        if run.name != self._policy:
            return self.others.open(spec, run)
        self.epoch_s = run.epoch_s
        if spec.backend != "redis" or not self.caches:  # one server, whoever connects to it
            self.caches += 1
        return _RecordedStore(self, self.caches - 1)

    def judge(self, run: Run) -> Judge | None:
        return self.others.judge(run)


class _RecordedStore:
    def __init__(self, book: RecordedStores, number: int) -> None:
        self._asked = book.asked
        self._kept = book.kept
        self._embedder: Embedder = book.embedder
        self._number = number

    async def exact(self, question: Question, now_s: float) -> Entry | None:
        request, probe = question.request, await self._embedder.probe(question)
        of = request.id, self._number, question.partition, question.key, now_s, request.input_tokens
        self._asked.append(Asked(*of, probe, request.route))
        return None

    async def nearest(self, question: Question, now_s: float, use: CacheUse) -> Match | None:
        return None

    async def put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        self._kept[question.request.id] = Kept(entry.stored_s, entry.tokens, entry.bytes, entry.cost_usd)

    async def touch(self, entry: Entry, now_s: float, expires_s: float | None = None) -> None:
        """It has no entries."""

    async def drop(self, entry: Entry) -> None:
        """It has no entries."""

    async def aclose(self) -> None:
        """Nothing to let go of."""
