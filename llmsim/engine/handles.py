"""Handles of callbacks: as light as they can be, and still `asyncio.Handle` to whoever asks."""

# ruff: noqa: SLF001 - the engine is built on the private parts of asyncio and SimPy, and nothing else is
from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["SimHandle", "SimTimerHandle", "StopRun", "run_handle"]


class StopRun(BaseException):
    """Ends the run from inside: thrown into a thread that does not look at the stop flag any more."""


class SimHandle(asyncio.Handle):
    """What `call_soon` returns. asyncio's own constructor is skipped: it asks for debug mode and a traceback."""

    __slots__ = ()

    _callback: Callable[..., object]
    _args: tuple[Any, ...]

    def __init__(  # the fields of asyncio.Handle, set without its constructor
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled else f"{self._callback!r}{self._args!r}"
        return f"<{type(self).__name__} {state}>"

    def cancel(self) -> None:
        """Do not run the callback; what it holds is let go of now."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = _nothing
            self._args = ()


class SimTimerHandle(asyncio.TimerHandle):
    """What `call_later` and `call_at` return, except for `asyncio.sleep` (see the loop)."""

    __slots__ = ()

    _callback: Callable[..., object]
    _args: tuple[Any, ...]

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._scheduled = True

    __repr__ = SimHandle.__repr__
    __hash__ = object.__hash__

    def cancel(self) -> None:
        """Do not run the callback. The entry stays in the queue, dead, until it comes up or the queue is compacted."""
        if not self._cancelled:
            self._cancelled = True
            self._callback = _nothing
            self._args = ()


def _nothing() -> None:
    """Stand in for the callback of a cancelled handle that is already on its way."""


def run_handle(handle: asyncio.Handle) -> None:
    """Call back; what the callback raises goes to the loop's exception handler, as asyncio has it."""
    try:
        handle._callback(*handle._args)  # type: ignore[attr-defined]
    except (SystemExit, KeyboardInterrupt, StopRun):
        raise
    except BaseException as error:  # asyncio's rule: one failing callback does not stop the loop
        handle._loop.call_exception_handler(  # type: ignore[attr-defined]
            {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
        )
