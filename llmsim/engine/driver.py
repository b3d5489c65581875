"""Drive runs: one in this thread, or in a worker thread that can be interrupted."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from llmsim.engine.guard import guard
from llmsim.engine.loop import SimLoop

__all__ = ["in_worker_thread", "simulate"]

T = TypeVar("T")


def simulate(
    main: Callable[[SimLoop], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    event_budget: int | None = None,
    on_loop: Callable[[SimLoop], None] | None = None,
) -> T:
    """Run ``main(loop)`` in virtual time, in this thread, and return what it returns."""
    loop = SimLoop(event_budget=event_budget)
    if on_loop is not None:
        on_loop(loop)
    with guard(loop, seed) as guarding:
        try:
            result: T = loop.run_until_complete(main(loop))
            left = list(asyncio.all_tasks(loop))
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=3600))
        finally:
            loop.close()
    if guarding.violation is not None:
        raise guarding.violation
    return result


def in_worker_thread(
    work: Callable[[], T],
    *,
    loops: Callable[[], SimLoop | None],
    tick: Callable[[], None] | None = None,
    tick_s: float = 0.1,
    grace_s: float = 0.3,
) -> T:
    """Run `work` in a worker thread; call `tick` in this one while it goes on."""
    done = threading.Event()
    box: list[Any] = []

    def run() -> None:
        try:
            box[:] = [work(), None]
        except BaseException as error:
            box[:] = [None, error]
        finally:
            done.set()

    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="llmsim", daemon=True).start()
    while not done.wait(tick_s):
        if tick is not None:
            tick()
    if box[1] is not None:
        raise box[1]
    return box[0]  # type: ignore[no-any-return]
