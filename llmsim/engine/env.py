"""The `simpy.Environment` of a simulation: SimPy's own queue and processes, driven by the event loop."""

from __future__ import annotations

from typing import Any, NoReturn

import simpy

from llmsim.errors import EngineError

__all__ = ["SimEnvironment"]

_DRIVEN = (
    "this environment is driven by the simulation's event loop, which also holds timers that are not SimPy events; "
    "start processes with env.process(...) and wait for them with `await process`"
)


class SimEnvironment(simpy.Environment):
    """A SimPy environment whose queue is shared with the event loop.

    ``process``, ``timeout``, ``event``, ``all_of``, ``any_of``, resources, containers and stores work as ever.

    Raises
    ------
    EngineError
        By `step` and `run`: the loop is the only one that takes entries off the queue.
    """

    def __init__(self) -> None:
        super().__init__(0.0)  # a float: code that reads the clock does arithmetic and formatting with it

    def step(self) -> NoReturn:
        """Refuse: the event loop steps."""
        raise EngineError(f"env.step() does not work here: {_DRIVEN}")

    def run(self, until: Any = None) -> NoReturn:
        """Refuse: the event loop runs."""
        raise EngineError(f"env.run() does not work here: {_DRIVEN}")
