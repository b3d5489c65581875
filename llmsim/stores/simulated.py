"""Stores in virtual time: real bookkeeping, a similarity without vectors, and the delays of a real store."""

from __future__ import annotations

from llmsim.gateway.caching import AnswerStore, Judge, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.local import LocalStore
from llmsim.stores.synthetic import SyntheticIndex, TruthEmbedder, nearness_of
from llmsim.traffic.truth import World

__all__ = ["SimulatedStores"]


class SimulatedStores:
    """Implements `StoreOpener` for a replication.

    Parameters
    ----------
    world
        What its requests mean.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        if spec.backend == "exact":
            return LocalStore(spec)
        return LocalStore(spec, TruthEmbedder(self._world), SyntheticIndex(lambda: nearness_of(self._world)))

    def judge(self, run: Run) -> Judge | None:
        return None
