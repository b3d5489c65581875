"""Placeholder of the guard: `random` is seeded and restored; the rest follows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from llmsim.engine.loop import SimLoop
from llmsim.errors import VirtualTimeError

__all__ = ["Guard", "guard"]


class Guard:
    """State of one guarded run."""

    def __init__(self) -> None:
        self.violation: VirtualTimeError | None = None


@contextmanager
def guard(loop: SimLoop, seed: int) -> Iterator[Guard]:
    """Guard a run in this thread."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield Guard()
    finally:
        random.setstate(state)
