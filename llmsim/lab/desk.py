"""Where drawing happens: in the kernel's own thread, between cells.

matplotlib is not made for several threads, and its settings are shared with whatever the user draws. So what a
background run has to show is handed to the kernel's event loop; where there is none (tests, scripts) one lock serves.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Desk"]

_DRAWING = threading.RLock()


class Desk:
    """Takes work from any thread. Made in the thread that is to do it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()

    def post(self, work: Callable[[], object]) -> None:
        """Have `work` done as soon as no cell is executing."""
        if self._loop is None:
            self.now(work)
            return
        with suppress(RuntimeError):  # the kernel is going down
            self._loop.call_soon_threadsafe(work)

    def now(self, work: Callable[[], object]) -> None:
        """Do it in this thread, and not while another one draws."""
        with _DRAWING:
            work()

    def later(self, seconds: float, work: Callable[[], object]) -> Callable[[], None]:
        """Have it done after a while; what is returned calls it off."""
        timer = threading.Timer(seconds, lambda: self.post(work))
        timer.daemon = True
        timer.start()
        return timer.cancel
