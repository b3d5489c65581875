"""Being told to end from outside: a build that is cancelled, ``timeout``, a closed terminal."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

__all__ = ["hear_the_end"]

_ENDS = ("SIGTERM", "SIGHUP")  # by name: Windows has no SIGHUP


def hear_the_end() -> None:
    """Take SIGTERM and SIGHUP for a Ctrl-C: what there is by then is shown and saved, and processes are ended.

    Their default ends the program without a word, and a runner that cancels a job, ``timeout`` and a pod that is moved
    send nothing else. Who has other plans for one of them (nohup ignores SIGHUP) keeps them.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours = os.getpid()

    def as_ctrl_c(number: int, frame: FrameType | None) -> None:
        if os.getpid() != ours:  # a process that was forked from this one, and is nobody's to ask
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        before = signal.getsignal(signal.SIGINT)
        # Ctrl-C may be ignored (a shell does that to what it starts in the background); the end is not.
        (before if callable(before) else signal.default_int_handler)(signal.SIGINT, frame)

    for name in _ENDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, as_ctrl_c)
