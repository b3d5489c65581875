"""Forked processes, which have the memory of polars' threads and not the threads: whoever needs these waits for ever.

`multiprocessing` and `concurrent.futures` fork on Linux unless told otherwise (up to Python 3.13), and polars begins
its threads with the first table. So in such a process a run would hang without a word; it is refused instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from llmsim.errors import EngineError

__all__ = ["refuse_after_fork"]

_THREADS = Path("/proc/self/task")  #: of Linux; elsewhere processes are not forked unless one insists
_POLARS = re.compile(r"polars-\d")  #: what the threads of its pool are called

_threads_seen = False  # in the parent, before the fork
_lost = False


def _before() -> None:
    global _threads_seen  # noqa: PLW0603 - of this process
    _threads_seen = _THREADS.is_dir() and any(_POLARS.match(_name(task)) for task in _THREADS.iterdir())


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just ended
        return ""


def _in_child() -> None:
    global _lost  # noqa: PLW0603 - of this process
    _lost = _lost or _threads_seen


def refuse_after_fork() -> None:
    """Raise in a process that was forked from one in which polars had been used.

    Raises
    ------
    EngineError
        Saying what to do instead.
    """
    if _lost:
        raise EngineError(
            "this process was forked from one that had used polars, whose threads a fork does not take along: the run "
            "would wait for them for ever. Let llmsim start the processes (jobs=2), or start yours afresh: "
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
