"""The end of a run: what is left of it is cancelled, and given a bounded chance to finish."""

from __future__ import annotations

import asyncio
from typing import Any

from llmsim.engine.loop import SimLoop
from llmsim.engine.tasks import in_order
from llmsim.errors import DeadlockError, EventBudgetError

__all__ = ["abandon_tasks", "close"]

_ROUNDS = 3  #: a task that swallows one cancellation often ends at the next one
_EVENTS = 10_000  #: what a round may cost, and...
_EVENTS_PER_TASK = 100  #: ...so much more for each task

#: Tasks that outlived their run, for ever. Closing their coroutines, or letting the garbage collector do it, would run
#: their `finally` blocks in the middle of a later run.
_survivors: list[Any] = []


def close(loop: SimLoop) -> list[asyncio.Task[Any]]:
    """Cancel the tasks that are left, close asynchronous generators, then the loop; return the tasks that survived.

    Traffic sources and providers (bare callbacks) do not take part any more; timers do, so that a ``finally`` block may
    sleep.
    """
    loop.clear_stops()
    loop.env.drop(lambda entry: type(entry) is tuple)
    for _ in range(_ROUNDS):
        tasks = in_order(asyncio.all_tasks(loop))
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        _run(loop, asyncio.wait(tasks), _EVENTS + _EVENTS_PER_TASK * len(tasks))
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {"message": "an exception while the run was closed", "exception": task.exception(), "task": task}
                )
    if loop.has_open_asyncgens():
        _run(loop, loop.shutdown_asyncgens(), _EVENTS)
    survivors = abandon_tasks(loop) if asyncio.all_tasks(loop) else []
    loop.close()
    return survivors


def abandon_tasks(loop: SimLoop) -> list[asyncio.Task[Any]]:
    """Leave the tasks that are left as they are, for ever."""
    tasks = in_order(asyncio.all_tasks(loop))
    loop.set_exception_handler(lambda *_: None)  # of what was thrown out of them nobody needs to hear
    if tasks:
        _survivors.append((loop, tasks, list(loop.env.ready), dict(loop.env.entries)))
    return tasks


def _run(loop: SimLoop, coro: Any, events: int) -> None:
    """Run a coroutine for so many events; if it is not done by then, it is one of those that are left."""
    loop.event_budget = loop.events + events
    task = asyncio.Task(coro, loop=loop)
    try:
        loop.run_until_complete(task)
    except (DeadlockError, EventBudgetError):
        task.cancel()
