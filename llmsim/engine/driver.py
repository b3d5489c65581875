"""Drive one run, in this thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from llmsim.engine import closing, session
from llmsim.engine.collector import rare_collections
from llmsim.engine.guard import guard
from llmsim.engine.handles import StopRun
from llmsim.engine.loop import SimLoop
from llmsim.engine.worker import in_worker_thread
from llmsim.engine.world import EPOCH
from llmsim.errors import LlmsimError, SimulationInterrupted

__all__ = ["in_worker_thread", "simulate"]

T = TypeVar("T")


def simulate(
    main: Callable[[SimLoop], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    event_budget: int | None = None,
    on_loop: Callable[[SimLoop], None] | None = None,
    epoch_s: float = EPOCH,
) -> T:
    """Run ``main(loop)`` in virtual time, in this thread, and return what it returns.

    The end of `main` is the end of the run: what is left is cancelled and given a bounded chance to finish; a task that
    will not is left as it is. Works in a script, under pytest, and inside a running loop, which is put aside meanwhile.

    Parameters
    ----------
    main
        Gets the loop; its coroutine is the run.
    seed
        Of what the functions of `random` draw from during the run; their state outside of it is not touched.
    event_budget
        Events after which the run ends with `EventBudgetError`.
    on_loop
        Told the loop before the run begins, to watch it (``loop.events``, ``loop.time()``) or to stop it.
    epoch_s
        What `time.time` says at the virtual time 0, in seconds since 1970.

    Raises
    ------
    VirtualTimeError
        Code of the simulation asked for a thread, a socket, a process or a blocking sleep, even if it hid the error.
    DeadlockError
        Nothing is left to happen and `main` is not done.
    EventBudgetError
        More events than allowed.
    SimulationInterrupted
        The user stopped the run (see `in_worker_thread`), and `main` did not make a result of it.

    Examples
    --------
    >>> async def main(loop):
    ...     await asyncio.sleep(3600)
    ...     return loop.time()
    >>> simulate(main)
    3600.0
    """
    session.check()
    loop = SimLoop(event_budget=event_budget)
    if on_loop is not None:
        on_loop(loop)
    with rare_collections(), guard(loop, seed, epoch_s=epoch_s) as guarding:
        try:
            result: T = _run(loop, main)
        except BaseException as error:
            hidden = guarding.violation
            if hidden is None or error is hidden or (isinstance(error, LlmsimError) and hidden in _chain(error)):
                raise
            raise hidden from error
    if guarding.violation is not None:
        raise guarding.violation
    return result


def _run(loop: SimLoop, main: Callable[[SimLoop], Coroutine[Any, Any, T]]) -> T:
    try:
        try:
            loop.main_task = asyncio.Task(main(loop), loop=loop, name="main")
            session.check()
            result: T = loop.run_until_complete(loop.main_task)
        except StopRun:
            raise
        except BaseException:
            closing.close(loop)
            raise
        closing.close(loop)
    except asyncio.CancelledError:
        if not session.stopping():
            raise
        raise SimulationInterrupted("the simulation was interrupted") from None
    except StopRun:
        # Someone who would not go had to be thrown out: no more chances, and nothing of it may run again.
        closing.abandon_tasks(loop)
        raise SimulationInterrupted("the simulation was stopped") from None
    return result


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it came from."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions
