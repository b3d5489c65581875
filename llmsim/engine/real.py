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
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            result = runner.run(supervised())
    except BaseException as error:
        if loop.failure is not None and loop.failure is not error:
            raise loop.failure from None
        if session.stopping() and isinstance(error, asyncio.CancelledError | RuntimeError):
            raise SimulationInterrupted("the run was interrupted") from None
        raise
    if loop.failure is not None:
        raise loop.failure
    return result
