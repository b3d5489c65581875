"""A serving engine behind a provider's front."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmsim.distributions import Distribution
from llmsim.providers.sim.conditions import Phase
from llmsim.providers.sim.engine_call import EngineCall
from llmsim.providers.sim.engine_server import EngineServer
from llmsim.providers.sim.outputs import Plan
from llmsim.providers.sim.serving_job import OnCancel
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.slots import lost, whole_slots
from llmsim.types import Request

if TYPE_CHECKING:
    from llmsim.providers.sim.provider import SimulatedProvider

__all__ = ["EngineSlots"]


class EngineSlots:
    """Implements `Server` (`llmsim.providers.sim.slots`) with steps that all calls in them share.

    Parameters
    ----------
    provider
        Whose it is.
    spec, on_cancel
        Of the engine.
    """

    def __init__(self, provider: SimulatedProvider, spec: Serving, on_cancel: OnCancel) -> None:
        self._provider = provider
        self._slots = spec.slots
        self.columns: dict[str, Distribution | None] = {}  # chance plays no part in it
        self._server = EngineServer(spec, provider.loop, on_cancel)

    @property
    def busy(self) -> int:
        """Calls in slots and in the queue."""
        return self._server.load

    def is_full(self, limit: int) -> bool:
        # `load` counts calls that wait for the end of a step to get their slot.
        return self._server.load >= self._server.slots + limit

    def find(self, at: Mapping[str, int]) -> None:
        pass

    def accept(
        self,
        request: Request,
        plan: Plan,
        row: tuple[float, ...],
        cached_tokens: int,
        waiter: asyncio.Future[None],
        now: float,
    ) -> EngineCall:
        return EngineCall(self._provider, self._server, request.input_tokens, plan, waiter, cached_tokens)

    def enter(self, phase: Phase, *, outage: bool) -> None:
        if outage:
            for job in self._server.clear():
                job.call.cut(lost(job.made, self._provider.name))
        slots = int(whole_slots(self._slots, phase.capacity))
        self._server.rescale(latency=phase.latency, slots=slots)
