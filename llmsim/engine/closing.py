"""The end of a run: what is left of it is cancelled, and given a bounded chance to finish."""

from __future__ import annotations

import asyncio
from typing import Any

from llmsim.engine.loop import SimLoop
from llmsim.engine.tasks import in_order
from llmsim.errors import DeadlockError, EventBudgetError

__all__ = ["abandon_tasks", "close"]

_ROUNDS = 4  #: a task that swallows one cancellation often ends at the next one; the generators have one, too
_EVENTS = 10_000  #: what a round may cost, and...
_EVENTS_PER_TASK = 100  #: ...so much more for each task

#: Tasks that outlived their run, for ever. Closing their coroutines, or letting the garbage collector do it, would run
#: their `finally` blocks in the middle of a later run.
_survivors: list[Any] = []


def close(loop: SimLoop) -> None:
    """Cancel the tasks that are left, close asynchronous generators, then the loop.

    Traffic sources and providers (bare callbacks) do not take part any more; timers do, so that a ``finally`` block may
    sleep.
    """
    loop.clear_stops()
    loop.env.drop(lambda entry: type(entry) is tuple)
    left = in_order(asyncio.all_tasks(loop))  # asked no more often than needed: it looks at the tasks of all loops
    for _ in range(_ROUNDS):
        tasks = left
        if not tasks and loop.has_open_asyncgens():
            tasks = [asyncio.Task(loop.shutdown_asyncgens(), loop=loop)]
        elif not tasks:
            break
        else:
            for task in tasks:
                task.cancel()
        _finish(loop, tasks)
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {"message": "an exception while the run was closed", "exception": task.exception(), "task": task}
                )
        left = in_order(asyncio.all_tasks(loop))
    if left:
        abandon_tasks(loop)
    loop.close()


def abandon_tasks(loop: SimLoop) -> None:
    """Leave the tasks that are left as they are, for ever; they are in ``loop.survivors``."""
    loop.survivors = in_order(asyncio.all_tasks(loop))
    loop.set_exception_handler(lambda *_: None)  # of what was thrown out of them nobody needs to hear
    if loop.survivors:
        _survivors.append((loop, list(loop.env.ready), dict(loop.env.entries)))


def _finish(loop: SimLoop, tasks: list[asyncio.Task[Any]]) -> None:
    """Run until the tasks are done, or have had their chance."""
    left = len(tasks)

    def one_less(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    for task in tasks:
        task.add_done_callback(one_less)
    loop.event_budget = loop.events + _EVENTS + _EVENTS_PER_TASK * len(tasks)
    try:
        loop.run_forever()
    except (DeadlockError, EventBudgetError):
        """They are among those that are left."""
    finally:
        for task in tasks:
            task.remove_done_callback(one_less)
