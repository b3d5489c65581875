"""Whether the user has asked this thread's work to stop: it may be between two runs when that happens."""

from __future__ import annotations

import threading

from llmsim.errors import SimulationInterrupted

__all__ = ["Session", "begin", "check", "stopping"]


class Session:
    """One piece of work in a thread of its own."""

    def __init__(self) -> None:
        self.stopping = False


class _Here(threading.local):
    session: Session | None = None


_here = _Here()


def begin(session: Session) -> None:
    """Let `session` be that of the calling thread."""
    _here.session = session


def stopping() -> bool:
    """Whether the work of the calling thread was asked to stop."""
    return _here.session is not None and _here.session.stopping


def check() -> None:
    """Raise where the work was asked to stop: no further run begins."""
    if stopping():
        raise SimulationInterrupted("interrupted before this simulation began")
