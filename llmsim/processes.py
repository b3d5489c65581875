"""Worker processes, as far as all who use them need the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["ENDED", "begin_in_worker", "end_worker_processes"]

#: Why joblib's pool broke: the system says no more than that a process is gone.
ENDED = (
    "a worker process ended without a word: memory ran out, or code in C crashed; take fewer jobs, or 1 to see which "
    "run it is"
)


def begin_in_worker(folder: Path) -> None:
    """What a worker does first: go where its parent is, and leave Ctrl-C to it.

    Parameters
    ----------
    folder
        The parent's. Files are named from there, and a worker that was used before may have begun elsewhere.
    """
    os.chdir(folder)
    # Ctrl-C reaches the whole process group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_worker_processes() -> None:
    """End joblib's workers at once, whatever they do."""
    from joblib.externals.loky import get_reusable_executor

    # Without `reuse` it would compare settings, find others, and wait for all that is still to do before it lets go.
    get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
