# ruff: noqa: SLF001 - the fields of asyncio.Handle are set and read without its constructor
"""Handles of callbacks: as light as they can be, and still `asyncio.Handle` to whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.engine.loop import SimLoop

__all__ = ["SimHandle", "SimTimerHandle", "StopRun", "run_handle"]


class StopRun(BaseException):
    """Ends a run from inside. Not an Exception, so that ``except Exception`` in a policy does not catch it."""


class SimHandle(asyncio.Handle):
    """What ``call_soon`` returns. asyncio's own constructor asks for debug mode and takes a traceback: skipped."""

    __slots__ = ()

    _callback: Callable[..., object]
    _args: tuple[Any, ...]

    def __init__(
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
        what = "cancelled" if self._cancelled else f"{self._callback!r}{self._args!r}"
        return f"<{type(self).__name__} {what}>"

    def cancel(self) -> None:
        """Do not run the callback, and let go of what it holds."""
        self._cancelled = True
        self._callback = _nothing
        self._args = ()


class SimTimerHandle(asyncio.TimerHandle):
    """What ``call_later`` and ``call_at`` return, except to `asyncio.sleep` (see `llmsim.engine.fast`)."""

    __slots__ = ()

    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _loop: SimLoop

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: Context,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False

    __repr__ = SimHandle.__repr__
    __hash__ = asyncio.TimerHandle.__hash__

    def cancel(self) -> None:
        """Do not run the callback, let go of what it holds, and take the entry off the queue.

        Its time stays there alone, and is passed over. Most timers are cancelled (every timeout that is kept), and
        their handles would otherwise pile up until that time comes.
        """
        self._cancelled = True
        self._callback = _nothing
        self._args = ()
        entries = self._loop.env.entries
        if entries.get(self._when) is self:
            del entries[self._when]


def _nothing() -> None:
    """Stand in for the callback of a cancelled handle that is already on its way."""


def run_handle(handle: Any) -> None:
    """Call back; what the callback raises goes to the loop's exception handler, as asyncio has it.

    The loop can see meanwhile which callback runs: one that schedules *itself* again is polling (see `SimLoop`).
    """
    loop = handle._loop
    loop.calling = handle._callback
    try:
        handle._callback(*handle._args)
    except (SystemExit, KeyboardInterrupt, StopRun):
        raise
    except BaseException as error:
        loop.call_exception_handler(
            {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
        )
    finally:
        loop.calling = None
        handle = None  # an exception that somebody keeps holds this frame: no cycle through it
