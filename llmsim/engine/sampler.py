"""Where a thread spends its time: its stack, looked at a few hundred times a second from another thread.

A tracing profiler would be told of every call, which makes calls dear, and coroutines, which are mostly calls, look
dearer than they are. Looking now and then costs little and changes no proportions; a share is as sure as there are
looks.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from time import sleep
from types import FrameType, TracebackType
from typing import NamedTuple

__all__ = ["Place", "Sampler", "Stack"]

#: Seconds between two looks. The interpreter hands over every 5 ms (sys.getswitchinterval): no more are to be had.
PERIOD_S = 0.005
_DEEPEST = 200  #: frames of a stack that are looked at


class Place(NamedTuple):
    """One frame of a stack."""

    file: str
    function: str
    line: int
    owner: str  #: whose function it is, where one code serves several: which provider, say


Stack = tuple[Place, ...]  #: the innermost frame first


class Sampler:
    """While it is entered, the thread that entered it is watched.

    Parameters
    ----------
    owner
        Says of a frame whose it is. It is called in the watching thread.

    Attributes
    ----------
    stacks
        How often each stack was seen.

    Examples
    --------
    >>> with Sampler() as sampler:
    ...     found = sum(number * number for number in range(1_000_000))
    >>> any(place.function == "<genexpr>" for stack in sampler.stacks for place in stack)
    True
    """

    def __init__(self, owner: Callable[[FrameType], str] | None = None) -> None:
        self.stacks: Counter[Stack] = Counter()
        self._owner = owner
        self._over = threading.Event()
        self._watched = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Sampler:
        self._watched = threading.get_ident()
        self._over.clear()
        self._thread = threading.Thread(target=self._look, name="llmsim sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - the only way to see another thread's stack
            if frame is None:
                return
            self.stacks[self._stack(frame)] += 1
            del frame  # it would keep alive what its function works on
            sleep(PERIOD_S)

    def _stack(self, frame: FrameType | None) -> Stack:
        places: list[Place] = []
        while frame is not None and len(places) < _DEEPEST:
            code = frame.f_code
            owner = self._owner(frame) if self._owner is not None else ""
            places.append(Place(code.co_filename, code.co_name, frame.f_lineno or 0, owner))
            frame = frame.f_back
        return tuple(places)
