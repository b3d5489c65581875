"""Ctrl-C that is heard wherever it finds the program.

Python raises KeyboardInterrupt in whatever the main thread is doing. Raised in a callback of the garbage collector
(Hypothesis times collections with one) or in a ``__del__``, it is printed and forgotten, and the search would go on as
if nobody had asked.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

__all__ = ["Hearing"]


class Hearing:
    """Remembers a Ctrl-C while it is entered, so that `check` can raise it once more if it was lost.

    What Python prints of a lost one is not printed: a traceback of a collector's callback tells nobody anything.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: signal.Handlers | object = None
        self._print: Any = None

    def __enter__(self) -> Hearing:
        before = signal.getsignal(signal.SIGINT)
        # Only the main thread handles signals, and who ignores Ctrl-C has a reason.
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._hear)
            self._print, sys.unraisablehook = sys.unraisablehook, self._lost
        return self

    def __exit__(self, *_: object) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)
            sys.unraisablehook = self._print

    def _lost(self, one: Any) -> None:
        if not (self._asked and issubclass(one.exc_type, KeyboardInterrupt)):
            self._print(one)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        assert callable(self._before)
        self._before(number, frame)  # which raises, as a rule

    def check(self) -> None:
        """Called now and then.

        Raises
        ------
        KeyboardInterrupt
            There was a Ctrl-C, and the work has gone on since.
        """
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt
