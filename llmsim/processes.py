"""Worker processes, as far as all who use them need the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event, Thread

__all__ = ["ENDED", "begin_in_worker", "end_worker_processes"]

#: Why joblib's pool broke: the system says no more than that a process is gone.
ENDED = (
    "a worker process ended without a word: memory ran out, or code in C crashed; take fewer jobs, or 1 to see which "
    "run it is"
)
_LOOK_S = 1.0  # between two looks whether the parent is there
_watching: list[Thread] = []  # of this process: one, once it began


def begin_in_worker(folder: Path) -> None:
    """What a worker does first: go where its parent is, leave Ctrl-C to it, and end when it is gone.

    Parameters
    ----------
    folder
        The parent's. Files are named from there, and a worker that was used before may have begun elsewhere.
    """
    os.chdir(folder)
    # Ctrl-C reaches the whole process group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _watching:
        _watching.append(Thread(target=_end_with, args=(os.getppid(),), daemon=True, name="llmsim-parent"))
        _watching[0].start()


def _end_with(parent: int) -> None:
    """End when the parent was killed; joblib's workers would wait five minutes for more, with all their memory."""
    pause = Event()
    while os.getppid() == parent:
        pause.wait(_LOOK_S)
    os._exit(1)


def end_worker_processes() -> None:
    """End joblib's workers at once, whatever they do."""
    from joblib.externals.loky import get_reusable_executor

    # Without `reuse` it would compare settings, find others, and wait for all that is still to do before it lets go.
    get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
