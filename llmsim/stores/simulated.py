"""Stores in virtual time: real bookkeeping, a similarity without vectors, and the delays of a real store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from llmsim.gateway.caching import AnswerStore, Judge, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.luck import Luck
from llmsim.stores.judge import LabJudge
from llmsim.stores.meter import Meter
from llmsim.stores.prompts import PromptEmbedder, PromptIndex, PromptVectors
from llmsim.stores.slow import SlowStore, StoreFault, Surroundings
from llmsim.stores.spec import StoreModel
from llmsim.stores.synthetic import SyntheticIndex, TruthEmbedder, nearness_of
from llmsim.traffic.truth import World

if TYPE_CHECKING:
    from llmsim.stores.index import Embedder, Index

__all__ = ["SimulatedStores"]


class SimulatedStores:
    """Implements `StoreOpener` for a replication.

    Parameters
    ----------
    world
        What its requests mean.
    model
        How its stores behave.
    luck
        Of the replication.
    now
        The loop's clock.
    zero_s, end_s
        On it: the measured time.
    faults
        By the name of the store (of the policy) they are on.
    prompts
        Vectors of what they ask, if that is a log of real prompts.
    """

    def __init__(
        self,
        world: World,
        model: StoreModel | None = None,
        *,
        luck: Luck | None = None,
        now: Callable[[], float] = lambda: 0.0,
        zero_s: float = 0.0,
        end_s: float = float("inf"),
        faults: Mapping[str, Sequence[StoreFault]] | None = None,
        prompts: PromptVectors | None = None,
    ) -> None:
        self._world = world
        self.model = StoreModel() if model is None else model
        self._luck = Luck(0) if luck is None else luck
        self._faults = faults or {}
        self._prompts = prompts
        self._meter = Meter(zero_s, end_s)
        self._around = Surroundings(self._luck, now, zero_s, self._meter)
        self._stores: dict[str, list[SlowStore]] = {}

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        opened = self._stores.setdefault(spec.name, [])
        if opened and spec.backend == "redis":  # one server, whoever connects to it
            return opened[0]
        embedder: Embedder | None = None
        make_index: Callable[[], Index] | None = None
        if spec.backend != "exact":
            embedder, make_index = self.meanings()
        store = SlowStore(spec, self.model, embedder, make_index, self._faults.get(spec.name, ()), self._around)
        opened.append(store)
        return store

    def meanings(self) -> tuple[Embedder, Callable[[], Index]]:
        """What makes questions comparable, and an empty index of them."""
        world, prompts = self._world, self._prompts
        if prompts is not None:
            return PromptEmbedder(prompts), lambda: PromptIndex(prompts)
        return TruthEmbedder(world), lambda: SyntheticIndex(lambda: nearness_of(world))

    def judge(self, run: Run) -> Judge | None:
        model = self.model.judge
        return None if model is None else LabJudge(model, self._world, self._luck, run)

    def lose_state(self, name: str) -> None:
        """The stores of this name lose all they kept, in every replica."""
        for store in self._stores.get(name, ()):
            store.lose_state()

    def stored_byte_s(self, until_s: float) -> float:
        """Bytes kept in vector stores, integrated over the measured time up to this time of the loop.

        May lie ahead: a run is over once nobody asks any more, and what is kept is kept on.
        """
        return self._meter.byte_s(until_s)
