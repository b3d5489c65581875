"""Kernel → Interrupt while no cell is executing: background runs stop.

An idle IPython kernel ignores SIGINT (ipykernel 7.4: `IPKernelApp.init_signal`). While it handles a message the signal
raises KeyboardInterrupt, and then the handler from before comes back (`Kernel.pre_handler_hook`, `post_handler_hook`).
So a handler that was put in from a cell would be gone with the cell: ours is put where the kernel keeps the one that
comes back. It stops the background runs, and hands the signal on to whatever was there before. A signal during a cell
still belongs to that cell alone.
"""

from __future__ import annotations

import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from llmsim.report.notebook import in_notebook

__all__ = ["stop_on_interrupt"]

_KEPT = "saved_sigint_handler"  # of ipykernel's `Kernel`; kernels without it are left alone


class _Stoppable(Protocol):
    def interrupt(self) -> object: ...


_running: weakref.WeakSet[Any] = weakref.WeakSet()
_installed: list[Callable[[int, FrameType | None], None]] = []


def stop_on_interrupt(run: _Stoppable) -> bool:
    """Call ``run.interrupt()`` when an idle kernel is interrupted; False where that cannot be had.

    It can be had in IPython kernels, from their main thread; once it is there, from every thread.
    """
    if not in_notebook():
        return False
    if not _installed and not _install():
        return False
    _running.add(run)
    return True


def _install() -> bool:
    kernel = getattr(sys.modules["IPython"].get_ipython(), "kernel", None)
    if threading.current_thread() is not threading.main_thread() or not hasattr(kernel, _KEPT):
        return False
    before = getattr(kernel, _KEPT)

    def stop(number: int, frame: FrameType | None) -> None:
        for run in list(_running):
            run.interrupt()
        if callable(before):
            before(number, frame)

    setattr(kernel, _KEPT, stop)
    _installed.append(stop)
    if signal.getsignal(signal.SIGINT) is before:  # no message is being handled
        signal.signal(signal.SIGINT, stop)
    return True
