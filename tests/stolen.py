"""Seconds in which a process could have run, and the machine was busy with others.

How long something took says how busy the machine is, too. A test that judges seconds takes those off in which threads
of its process stood in line for a core: on a quiet machine there are hardly any, and the bound is as tight as it reads.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["Stolen"]

PROC = Path("/proc")
_EVERY_S = 0.02


def _in_line_s(process: int, but: int | None = None) -> float:
    """What all threads of a process, but that one, have waited for a core; 0 where the kernel does not say.

    The second number of Linux's ``schedstat``, in nanoseconds (Documentation/scheduler/sched-stats).
    """
    total = 0
    for path in (PROC / str(process) / "task").glob("*/schedstat"):
        try:
            if path.parent.name != str(but):
                total += int(path.read_text().split()[1])
        except (OSError, IndexError, ValueError):  # it has just ended, or there is none
            continue
    return total / 1e9


class Stolen:
    """``with Stolen() as stolen: …`` and then ``took_s - stolen.s``.

    Parameters
    ----------
    process
        Of which process, if not of this one.
    """

    def __init__(self, process: int | None = None) -> None:
        self._process = os.getpid() if process is None else process
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._before_s = self._most_s = 0.0

    def __enter__(self) -> Stolen:
        self._before_s = _in_line_s(self._process)
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._sampler.join()

    @property
    def s(self) -> float:
        """Seconds so far."""
        # Without who only looks: it wakes up often, and whatever it waits holds up nobody.
        self._most_s = max(self._most_s, _in_line_s(self._process, self._sampler.native_id) - self._before_s)
        return self._most_s

    def _sample(self) -> None:
        """Again and again: what threads and processes waited that have ended is not told any more."""
        while not self._ended.wait(_EVERY_S):
            _ = self.s
