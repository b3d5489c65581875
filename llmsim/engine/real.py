"""An ordinary asyncio loop with the few methods of `SimLoop` that a lab uses: real time, counted from its beginning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from llmsim.engine import session
from llmsim.errors import SimulationInterrupted

__all__ = ["RealLoop", "run_for_real"]

T = TypeVar("T")

_ROUNDS = 2  #: a task that swallows one cancellation often ends at the next one
_PATIENCE_S = 0.2  #: for each round; control is to be back within a second of an interrupt

#: Tasks that outlived their run, for ever: the garbage collector would run their ``finally`` blocks on a closed loop.
_survivors: list[Any] = []


class RealLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock reads 0 when it is made.

    Attributes
    ----------
    main_task
        What `cancel_main` cancels.
    failure
        What a callback given to `at` raised; it ended the run.
    events
        0: nobody counts them here.
    """

    def __init__(self) -> None:
        self._zero_s = time.monotonic()
        super().__init__()
        self.main_task: asyncio.Task[Any] | None = None
        self.failure: BaseException | None = None
        self.events = 0

    def time(self) -> float:
        """Seconds since the loop was made; every timer of asyncio goes by it."""
        return time.monotonic() - self._zero_s

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` at `when`; what it raises ends the run."""
        self.call_at(when, self._call, callback, args)

    def _call(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except BaseException as error:
            self.failure = error
            self.cancel_main()

    def cancel_main(self) -> None:
        """Let the main coroutine make an end of it."""
        if self.main_task is not None:
            self.main_task.cancel()

    def request_stop(self) -> None:
        """Let the loop stop as it is (from any thread)."""
        with suppress(RuntimeError):  # it is closed
            self.call_soon_threadsafe(self.stop)


def run_for_real(
    main: Callable[[RealLoop], Coroutine[Any, Any, T]], *, on_loop: Callable[[RealLoop], None] | None = None
) -> T:
    """Run ``main(loop)`` in real time, in this thread, and return what it returns.

    Raises
    ------
    SimulationInterrupted
        The user stopped the run (see `in_worker_thread`), and `main` did not make a result of it.
    BaseException
        What a callback of the run raised.
    """
    session.check()
    loop = RealLoop()
    if on_loop is not None:
        on_loop(loop)

    async def supervised() -> T:
        loop.main_task = asyncio.current_task()
        return await main(loop)

    try:
        try:
            result = loop.run_until_complete(supervised())
        finally:
            _close(loop)
    except BaseException as error:
        if loop.failure is not None and loop.failure is not error:
            raise loop.failure from None
        if session.stopping() and isinstance(error, asyncio.CancelledError | RuntimeError):
            raise SimulationInterrupted("the run was interrupted") from None
        raise
    if loop.failure is not None:
        raise loop.failure
    return result


def _close(loop: RealLoop) -> None:
    """Cancel what is left, wait for it a little, and leave behind what does not go.

    Not `asyncio.Runner`: that waits for ever for a task that swallows its cancellation.
    """
    try:
        for _ in range(_ROUNDS):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=_PATIENCE_S))
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), _PATIENCE_S))
    except (RuntimeError, TimeoutError):
        """Stopped by `request_stop`, or by a generator that would not close."""
    finally:
        stubborn = asyncio.all_tasks(loop)
        if stubborn:
            loop.set_exception_handler(lambda *_: None)  # of what becomes of them nobody needs to hear
            _survivors.append((loop, stubborn))
        loop.close()
