"""The simulated world: an asyncio loop on SimPy's clock, the guard around it, and what drives it."""

from llmsim.engine.bridge import wait_event
from llmsim.engine.driver import in_worker_thread, simulate
from llmsim.engine.guard import Guard, guard
from llmsim.engine.loop import SimLoop

__all__ = ["Guard", "SimLoop", "guard", "in_worker_thread", "simulate", "wait_event"]
