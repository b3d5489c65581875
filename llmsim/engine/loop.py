# ruff: noqa: SLF001 - the loop shares SimPy's clock and asyncio's running-loop state
"""The event loop of a simulation: asyncio's interface, SimPy's clock and queue.

What runs *now* stands in ``env.ready`` in order of arrival: callbacks, task steps, SimPy's zero-delay events, timers of
zero delay. When that is empty, time moves to the next entry of the queue (`llmsim.engine.env`), all entries of that
instant become ready, in order of arrival, and so on. Nothing ever waits for the real world.

A callback that only schedules itself again (anyio does this while it waits for a shielded scope to end) would keep
``ready`` full for ever and time would stand still. Such callbacks are *polls*: they run again once everything else of
the instant is done, and when nothing else happened since, time goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import events
from collections.abc import Callable
from heapq import heappop
from itertools import repeat
from types import MethodType
from typing import Any, NoReturn

import simpy

from llmsim.engine import fast, inside_asyncio
from llmsim.engine.env import Ready, SimEnvironment, run_event
from llmsim.engine.handles import SimHandle, SimTimerHandle, StopRun, run_handle
from llmsim.engine.plain import PlainLoop
from llmsim.engine.tasks import describe
from llmsim.errors import DeadlockError, EventBudgetError

__all__ = ["SimLoop"]


_CHECK_EVERY = 4096  #: events between two looks at the budgets and at the size of the queue
_INSTANT_BUDGET = 300_000  #: events without time passing that make a loop which never lets it pass...
_INSTANT_BUDGET_PER_TASK = 50  #: ...unless that many tasks have something to do at this instant
_FRUITLESS_POLLS = 100  #: rounds of polling with nothing left to wait for


class _Stop(StopRun):
    """A stop that was asked for, with the error it is to end with, if any."""


class SimLoop(PlainLoop):
    """An asyncio event loop in virtual time.

    Parameters
    ----------
    event_budget
        Events (timers and callbacks) after which the run ends with `EventBudgetError`. None: no limit.

    Examples
    --------
    >>> import asyncio
    >>> loop = SimLoop()
    >>> loop.run_until_complete(asyncio.sleep(3600, "an hour later")), loop.time()
    ('an hour later', 3600.0)
    """

    def __init__(self, *, event_budget: int | None = None) -> None:
        super().__init__()
        self.env = SimEnvironment()
        self.event_budget = event_budget
        self.calling: Callable[..., object] | None = None  #: the callback of the handle that runs now
        self.main_task: asyncio.Task[Any] | None = None  #: the task whose end is the end of the run
        self.survivors: list[asyncio.Task[Any]] = []  #: tasks that would not end with the run
        self._ready = self.env.ready
        self._polls: list[Ready] = []
        self._polled_at = -1
        self._fruitless_polls = 0
        self._counted = 0
        self._batch = 0
        self._ticks = repeat(None, 0)
        self._checked = (-1.0, 0)  # the clock at the last check, and the events since it stands there
        self._running = False
        self._bed = fast.install(self)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def events(self) -> int:
        """Events processed so far: callbacks, task steps, timers."""
        return self._counted + self._batch - self._ticks.__length_hint__()

    def time(self) -> float:
        """Seconds of virtual time since the run began."""
        return self.env._now + 0.0  # a float even where an int was scheduled

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` at `when`: no handle, no context of its own, no way back.

        For traffic sources and simulated providers. A time in the past means now. What it raises ends the run.
        """
        now = self.env._now
        self.env.put(now if when < now else when, (callback, args))

    def wake_at(self, when: float, future: asyncio.Future[None]) -> None:
        """Give `future` the result None at `when`, if it is not done by then.

        The cheapest way to wait: ``future = loop.create_future(); loop.wake_at(when, future); await future``.
        """
        now = self.env._now
        if type(future) is asyncio.Future:
            self.env.put(now if when < now else when, future)
        else:
            self.at(when, _set_result_unless_done, future)

    # -- callbacks -----------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]  # asyncio ignores the handle of its own callbacks: they get none
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle | None:
        """Run the callback at this instant, after all that is ready already."""
        self._check_open()
        if context is None:  # `is None`: an empty Context is falsy
            context = contextvars.copy_context()
        handle = SimHandle(callback, args, self, context)
        if type(callback) is MethodType and callback == self.calling:
            self._polls.append((context, run_handle, handle))
        else:
            self._ready.append((context, run_handle, handle))
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle | None:
        """`call_soon`: the ready queue is safe to append to, and the loop never sleeps, so nobody has to wake it."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Run the callback `delay` seconds from now."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self.call_at(self.env._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Run the callback at `when`; a time in the past means now."""
        self._check_open()
        if context is None:
            context = contextvars.copy_context()
        handle = SimTimerHandle(when, callback, args, self, context)
        now = self.env._now
        self.env.put(now if when < now else when, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio's own TimerHandle, which this loop does not make."""

    # -- running -------------------------------------------------------------------------------------------------

    def _spin(self) -> NoReturn:
        """Run until something raises: `_Stop` where a stop was asked for, else what broke the run.

        A tick is an event: something that was ready, or an instant of the queue with the first that it makes ready.
        ``while True`` and ``for`` are not a matter of taste: on Python 3.11 a function that is called once becomes
        fast only through unconditional backward jumps, and ``while condition`` ends in a conditional one.
        """
        env, ready, times, polls = self.env, self._ready, self.env.times, self._polls
        next_ready, entry_at = ready.popleft, env.entries.pop
        future_type, event_type, already_done = asyncio.Future, simpy.events.Timeout, asyncio.InvalidStateError
        while True:
            for _ in self._next_ticks():
                if not ready:
                    if polls and self._poll():
                        continue
                    try:
                        when = heappop(times)
                    except IndexError:
                        raise DeadlockError(self._deadlock()) from None
                    entry = entry_at(when, None)
                    kind = type(entry)
                    if kind is future_type:
                        try:
                            entry.set_result(None)
                        except already_done:
                            continue  # cancelled: a dead timer does not move the clock
                        env._now = when
                    elif kind is tuple:
                        env._now = when
                        callback, args = entry
                        callback(*args)
                        continue
                    elif kind is event_type:
                        env._now = when
                        run_event(entry)
                        continue
                    else:
                        env.take(when, entry)
                    if not ready:
                        continue
                context, function, argument = next_ready()
                context.run(function, argument)

    def _next_ticks(self) -> repeat[None]:
        """Look at the budgets, and hand out the next batch of ticks."""
        events = self._counted = self.events
        self._batch = 0
        self._ticks = repeat(None, 0)
        batch = _CHECK_EVERY
        if self.event_budget is not None:
            batch = min(batch, self.event_budget - events)
            if batch <= 0:
                raise EventBudgetError(
                    f"more than {self.event_budget} events, at {self.time():g} s of virtual time; "
                    "raise event_budget if that is what the scenario needs"
                )
        self._check_instant(events)
        self.env.compact()
        self._batch = batch
        self._ticks = repeat(None, batch)
        return self._ticks

    def _check_instant(self, events: int) -> None:
        now, since = self._checked
        if now != self.env._now:
            self._checked = (self.env._now, events)
        elif events - since > _INSTANT_BUDGET:
            tasks = asyncio.all_tasks(self)
            if events - since > _INSTANT_BUDGET_PER_TASK * len(tasks):
                raise EventBudgetError(
                    f"{events - since} events and time still stands at {now:g} s: something never lets it pass, "
                    f"such as `while not done: await asyncio.sleep(0)`. Tasks that wait:\n{describe(tasks)}"
                )

    def _poll(self) -> bool:
        """Run the polls once more, unless nothing else happened since they last ran and time can go on."""
        events = self.events
        fruitless = events == self._polled_at
        self._fruitless_polls = self._fruitless_polls + 1 if fruitless else 0
        if fruitless and (self.env.times or self._fruitless_polls > _FRUITLESS_POLLS):
            self._polled_at = -1
            return False
        self._polled_at = events + len(self._polls) + 1
        self._ready.extend(self._polls)
        self._polls.clear()
        return True

    def _deadlock(self) -> str:
        tasks = asyncio.all_tasks(self)
        if not tasks:
            return f"nothing is left to happen at {self.time():g} s, and no task is waiting"
        return (
            f"nothing is left to happen at {self.time():g} s, and {len(tasks)} task(s) still wait, for ever:\n"
            f"{describe(tasks)}"
        )

    def run_forever(self) -> None:
        """Run until `stop`. Works inside another running loop, too: that one is put aside meanwhile."""
        self._check_open()
        if self._running:
            raise RuntimeError("This event loop is already running")
        hooks = sys.get_asyncgen_hooks()
        outer = events._get_running_loop()
        before = inside_asyncio.enter(self._bed)
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_born, finalizer=self._asyncgen_dropped)
        events._set_running_loop(None)
        events._set_running_loop(self)
        self._running = True
        try:
            self._spin()
        except _Stop as stop:
            # Its frames refer to it: a circle, in which the whole run would wait for the cyclic collector.
            stop.__traceback__ = None
            if stop.args:
                raise stop.args[0] from None
        finally:
            self._running = False
            events._set_running_loop(None)
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            inside_asyncio.leave(before)

    def run_until_complete(self, future: Any) -> Any:
        """Run until the awaitable is done, and return its result.

        Raises
        ------
        DeadlockError
            Nothing is left to happen and it is not done.
        EventBudgetError
            More events than allowed, in all or at one instant.
        """
        self._check_open()
        new = not asyncio.isfuture(future)
        task: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
        if new:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # an exception says so already
        task.add_done_callback(self._main_done)
        try:
            self.run_forever()
        except BaseException:
            if new and task.done() and not task.cancelled():
                task.exception()  # seen: asyncio need not log it
            raise
        finally:
            task.remove_done_callback(self._main_done)
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return task.result()

    def _main_done(self, task: asyncio.Future[Any]) -> None:
        if not task.cancelled() and isinstance(task.exception(), (SystemExit, KeyboardInterrupt)):
            return  # it is on its way out already
        self.stop()

    def stop(self) -> None:
        """Stop after the current callback; the others stay ready for the next run."""
        self._ready.appendleft((self.env.context, _raise, _Stop()))

    def request_stop(self, error: BaseException | None = None) -> None:
        """End the run with `error` after the current callback; may be called from any thread."""
        self._ready.appendleft((self.env.context, _raise, _Stop(error or StopRun())))

    def cancel_main(self) -> None:
        """Cancel the task that is the run; for ``call_soon_threadsafe``."""
        if self.main_task is not None:
            self.main_task.cancel()

    def clear_stops(self) -> None:
        """Forget stops that nobody has run into yet."""
        stops = [entry for entry in self._ready if entry[1] is _raise]
        for entry in stops:
            self._ready.remove(entry)

    def is_running(self) -> bool:
        """Whether the loop runs now."""
        return self._running

    def close(self) -> None:
        """Drop everything that waits."""
        if self._running:
            raise RuntimeError("Cannot close a running event loop")
        self._closed = True
        self._ready.clear()
        self._polls.clear()
        self.env.drop(lambda _: True)
        self.main_task = None
        fast.uninstall(self)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _set_result_unless_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
