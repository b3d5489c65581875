"""Stores in virtual time: real bookkeeping, a similarity without vectors, and the delays of a real store."""

from __future__ import annotations

from llmsim.gateway.caching import AnswerStore, Judge, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.local import LocalStore
from llmsim.stores.nearness import nearness
from llmsim.stores.prompts import PromptEmbedder, PromptIndex, PromptVectors
from llmsim.stores.synthetic import SyntheticIndex, TruthEmbedder
from llmsim.traffic.truth import World

__all__ = ["SimulatedStores"]


class SimulatedStores:
    """Implements `StoreOpener` for a replication.

    Parameters
    ----------
    world
        What its requests mean.
    prompts
        Vectors of what they ask, if that is a log of real prompts.
    """

    def __init__(self, world: World, prompts: PromptVectors | None = None) -> None:
        self._world = world
        self._prompts = prompts

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        if spec.backend == "exact":
            return LocalStore(spec)
        if self._prompts is not None:
            return LocalStore(spec, PromptEmbedder(self._prompts), PromptIndex(self._prompts))
        return LocalStore(spec, TruthEmbedder(self._world), SyntheticIndex(nearness("banking77")))

    def judge(self, run: Run) -> Judge | None:
        return None
