"""Work in a thread of its own, so that the caller can watch it and is never held up by it.

A policy can be anything, so stopping goes in stages, each for those whom the one before did not move: the main task is
cancelled; the loop is told to stop after the current callback; an exception that is no `Exception` is thrown into the
thread; and a thread that swallows even that (or is blocked in C) is abandoned, and said so.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, Generic, NoReturn, TypeVar

from llmsim.engine import frames
from llmsim.engine.collector import as_before
from llmsim.engine.forked import refuse_after_fork
from llmsim.engine.handles import StopRun
from llmsim.engine.loop import SimLoop
from llmsim.engine.session import Session, begin
from llmsim.errors import SimulationInterrupted

__all__ = ["in_worker_thread"]

T = TypeVar("T")

_FLAG_S = 0.1  #: time for the stop flag to be seen
_THROWS, _THROW_S = 5, 0.05  #: exceptions thrown, and the time each has
_LIMIT_S = 0.85  #: after this the thread is abandoned: the caller wants control back within a second


def in_worker_thread(
    work: Callable[[], T],
    *,
    loops: Callable[[], SimLoop | None],
    tick: Callable[[], None] | None = None,
    tick_s: float = 0.1,
    grace_s: float = 0.3,
) -> T:
    """Do `work` (which calls `simulate`, perhaps several times) in a worker thread, and wait for it here.

    Parameters
    ----------
    work
        Runs in a copy of the caller's context.
    loops
        Gives the loop that runs now (what ``on_loop`` was told), None between runs.
    tick
        Called about every `tick_s` seconds in the calling thread, to draw progress.
    grace_s
        Time for the main task to react to its cancellation.

    Raises
    ------
    SimulationInterrupted
        On KeyboardInterrupt, within a second. In the first stages the main coroutine of the run gets CancelledError, so
        that `work` can still return what there is: that is ``partial``. What had to be left running is in
        ``abandoned``.
    EngineError
        This is a forked process in which no run can end.
    BaseException
        What `work` raised, with its traceback.
    """
    refuse_after_fork()
    worker = _Worker(work)
    worker.thread.start()
    try:
        while not worker.done.wait(tick_s):
            if tick is not None:
                tick()
    except KeyboardInterrupt:
        worker.stop(loops, grace_s)
        worker.interrupted()
    except BaseException:
        worker.stop(loops, grace_s)  # a tick that failed must not leave the simulation running
        raise
    finally:
        as_before(worker.thread.ident or 0)
    if worker.error is not None:
        raise worker.error
    result: T = worker.result
    return result


class _Worker(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self.session = Session()
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._do, work), name="llmsim", daemon=True)

    def _do(self, work: Callable[[], T]) -> None:
        try:
            begin(self.session)
            self.result = work()
        except BaseException as error:
            self.error = error
        while not self.done.is_set():
            try:
                self.done.set()
            except StopRun:
                """Thrown a moment too late."""

    def stop(self, loops: Callable[[], SimLoop | None], grace_s: float) -> None:
        """Make the work end, by and by less politely; a further KeyboardInterrupt goes on to the next stage."""
        limit = perf_counter() + _LIMIT_S
        stages = [(self._cancel, grace_s), (self._flag, _FLAG_S), *[(self._throw, _THROW_S)] * _THROWS]
        for stage, seconds in stages:
            try:
                stage(loops())
                if self.done.wait(seconds):
                    return
            except KeyboardInterrupt:
                """Impatient."""
        try:
            self.done.wait(max(0.0, limit - perf_counter()))
        except KeyboardInterrupt:
            """Very impatient."""

    def _cancel(self, loop: SimLoop | None) -> None:
        self.session.stopping = True
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.cancel_main)

    def _flag(self, loop: SimLoop | None) -> None:
        if loop is not None:
            loop.request_stop()

    def _throw(self, loop: SimLoop | None) -> None:
        # Outside a run it is the caller's own code that is busy, with the partial result: that is left in peace.
        if loop is not None and loop.is_running():
            loop.request_stop()
            thread = ctypes.c_ulong(self.thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(StopRun))

    def interrupted(self) -> NoReturn:
        """Say how it ended."""
        if not self.done.is_set():
            thread = self.thread.ident or 0
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to see another thread's stack
            place = f" at {frames.where(frame)}" if frame is not None else ""
            raise SimulationInterrupted(
                "interrupted, and something of the simulation could not be stopped",
                abandoned=f"a thread goes on{place}, and ends with this process: it swallows every exception "
                "(`except:` without a class) or is blocked outside Python",
            ) from None
        if isinstance(self.error, SimulationInterrupted):
            raise self.error
        if self.error is not None and not isinstance(self.error, StopRun | asyncio.CancelledError):
            raise SimulationInterrupted("interrupted, and the simulation failed meanwhile") from self.error
        raise SimulationInterrupted("interrupted", partial=self.result) from None
