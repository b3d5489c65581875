"""The event loop of a simulation: asyncio's interface, SimPy's clock and queue.

One queue holds everything that waits for a time: SimPy's own ``env._queue`` of ``(when, priority, number, item)``.
An item is one of

- a C `asyncio.Future`: at `when` its result is set to None (what `asyncio.sleep` and `wake_at` wait for),
- a ``(callback, args)`` tuple: called bare (`at`),
- a `SimTimerHandle`: the general ``call_later`` / ``call_at``,
- a `simpy.Event`: its callbacks are run as SimPy would.

What can run now stands in the ready deque as ``(context, function, argument)``, run as
``context.run(function, argument)``: one shape for all, so that the hot loop does not branch.
"""

# ruff: noqa: SLF001 - the engine is built on the private parts of asyncio and SimPy, and nothing else is
from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
import weakref
from asyncio import events, futures
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from types import BuiltinFunctionType
from typing import Any, TypeVar, cast

import simpy

from llmsim.engine.env import SimEnvironment
from llmsim.engine.handles import SimHandle, SimTimerHandle, run_handle
from llmsim.engine.refused import RefusedIo
from llmsim.errors import DeadlockError, EngineError, EventBudgetError

__all__ = ["SimLoop"]

T = TypeVar("T")

_INF = float("inf")
_NORMAL = 1  #: simpy.events.NORMAL: our timers stand in line with SimPy's ordinary events
_NO_ARG: Any = object()
_SET_RESULT = futures._set_result_unless_cancelled  # type: ignore[attr-defined]  # what asyncio.sleep schedules
_Future = asyncio.Future  #: the C type: only exact instances take the fast way
_CHECK_EVERY = 4096  #: events between two looks at the budget and at the size of the queue
_INSTANT_BUDGET = 1_000_000  #: events at one instant that count as a loop that never lets time pass


class SimLoop(RefusedIo):
    """An asyncio event loop in virtual time.

    Parameters
    ----------
    event_budget
        Events (timers and callbacks) after which the run ends with `EventBudgetError`. None: no limit.
    """

    def __init__(self, *, event_budget: int | None = None) -> None:
        self.env = SimEnvironment()
        self.events = 0
        self.event_budget = event_budget
        self._queue: list[tuple[float, int, int, Any]] = cast("Any", self.env._queue)
        self._number = self.env._eid.__next__
        self._ready: deque[tuple[contextvars.Context, Callable[[Any], object], Any]] = deque()
        self._stopping = False
        self._halt: BaseException | None = None
        self._running = False
        self._closed = False
        self._debug = False
        self._exception_handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._task_factory: Any = None
        self._asyncgens: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._compact_at = _CHECK_EVERY
        # A C callable on the instance: one frame less for every future of every sleep.
        self.create_future = functools.partial(_Future, loop=self)  # type: ignore[method-assign]
        self.set_debug(False)

    # -- time ------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds of virtual time since the run began."""
        return self.env._now + 0.0

    def wake_at(self, when: float, future: asyncio.Future[None]) -> None:
        """Give `future` the result None at `when`, if it is not done by then.

        The cheapest way to wait: ``future = loop.create_future(); loop.wake_at(t, future); await future``.
        """
        now = self.env._now
        if now <= when < _INF and type(future) is _Future:
            heappush(self._queue, (when, _NORMAL, self._number(), future))
        else:
            self.at(when, _SET_RESULT, future, None)

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` at `when`: no handle, no context, no way back. For sources and providers.

        A time in the past means now. What the callback raises ends the run.
        """
        if not when >= self.env._now:
            if when != when:  # noqa: PLR0124 - NaN, which would break the order of the queue
                raise ValueError("a time cannot be NaN")
            when = self.env._now
        if when < _INF:
            heappush(self._queue, (when, _NORMAL, self._number(), (callback, args)))

    # -- callbacks -------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]  # *args spelt out: asyncio's C code passes one at most
        self,
        callback: Callable[..., object],
        arg: Any = _NO_ARG,
        /,
        *more: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle | None:
        """Run the callback in the next round, in order of arrival."""
        if context is not None and type(callback) is BuiltinFunctionType and arg is not _NO_ARG and not more:
            # A C Task waking up: asyncio throws the handle away, so there is none.
            self._ready.append((context, callback, arg))
            return None
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if context is None:  # `is None`: an empty Context is falsy
            context = contextvars.copy_context()
        if arg is _NO_ARG:
            handle = SimHandle(callback, (), self, context)
        else:
            handle = SimHandle(callback, (arg, *more), self, context)
        self._ready.append((context, run_handle, handle))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # deque.append is atomic, and the loop never sleeps

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Run the callback `delay` seconds from now.

        `asyncio.sleep` asks for ``futures._set_result_unless_cancelled(future, None)``: then the future itself goes
        into the queue and is returned as its own handle (``cancel()`` of a done or cancelled future does nothing).
        """
        now = self.env._now
        when = now + delay
        if now < when < _INF and callback is _SET_RESULT and args[1] is None and type(args[0]) is _Future:
            future = args[0]
            heappush(self._queue, (when, _NORMAL, self._number(), future))
            return future
        return self.call_at(when, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Run the callback at `when`."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if when != when:  # noqa: PLR0124 - NaN, which would break the order of the queue
            raise ValueError("a time cannot be NaN")
        if context is None:
            context = contextvars.copy_context()
        handle = SimTimerHandle(when, callback, args, self, context)
        if when < _INF:
            heappush(self._queue, (max(when, self.env._now), _NORMAL, self._number(), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asyncio's own TimerHandle calls this; ours does not."""

    # -- running ---------------------------------------------------------------------------------------------

    def _spin(self) -> None:
        """Run until stopped: rounds of what is ready, then what is next in time."""
        env = self.env
        queue = self._queue
        ready = self._ready
        next_ready = ready.popleft
        count = 0
        invalid = asyncio.InvalidStateError
        while not self._stopping:
            todo = len(ready)
            count += todo
            while todo:
                todo -= 1
                context, function, argument = next_ready()
                context.run(function, argument)
                if self._halt is not None:
                    raise self._halt
            if count > _CHECK_EVERY:
                self._check(count)
                count = 0
            if ready and (not queue or queue[0][0] > env._now):
                continue
            if not queue:
                if self._stopping:
                    break
                self._check(count)
                raise DeadlockError("nothing left to happen")
            while queue:
                when, _, _, item = heappop(queue)
                count += 1
                kind = type(item)
                if kind is _Future:
                    try:
                        item.set_result(None)
                    except invalid:
                        continue  # cancelled: a dead timer does not move the clock
                    env._now = when
                elif kind is tuple:
                    env._now = when
                    callback, args = item
                    callback(*args)
                elif kind is SimTimerHandle:
                    if item._cancelled:
                        continue
                    env._now = when
                    item._context.run(run_handle, item)
                else:
                    env._now = when
                    _run_simpy(item)
                if not queue or queue[0][0] > when:
                    break
        self.events += count

    def _check(self, count: int) -> None:
        self.events += count
        if self.event_budget is not None and self.events > self.event_budget:
            raise EventBudgetError(f"more than {self.event_budget} events")
        if self._halt is not None:
            raise self._halt
        if len(self._queue) > self._compact_at:
            queue = self._queue
            queue[:] = [entry for entry in queue if not _dead(entry[3])]
            heapify(queue)
            self._compact_at = max(_CHECK_EVERY, 2 * len(queue))

    def request_stop(self, error: BaseException | None = None) -> None:
        """End the run after the current callback; from any thread."""
        self._halt = error or EngineError("the run was stopped")

    def run_forever(self) -> None:
        """Run until `stop`."""
        if self._running:
            raise RuntimeError("This event loop is already running")
        if self._closed:
            raise RuntimeError("Event loop is closed")
        hooks = sys.get_asyncgen_hooks()
        outer = events._get_running_loop()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_born, finalizer=self._asyncgen_dropped)
        events._set_running_loop(None)
        events._set_running_loop(self)
        self._running = True
        self._stopping = False
        try:
            self._spin()
        finally:
            self._running = False
            self._stopping = False
            events._set_running_loop(None)
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)

    def run_until_complete(self, future: Any) -> Any:
        """Run until the awaitable is done, and return its result."""
        new = not asyncio.isfuture(future)
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(self._stop_when_done)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(self._stop_when_done)
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        del new
        return task.result()

    def _stop_when_done(self, future: asyncio.Future[Any]) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop at the end of this round."""
        self._stopping = True

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Drop everything that waits."""
        if self._running:
            raise RuntimeError("Cannot close a running event loop")
        self._closed = True
        self._ready.clear()
        self._queue.clear()

    # -- the rest of asyncio's interface ---------------------------------------------------------------------

    def create_task(self, coro: Any, *, name: str | None = None, **kwargs: Any) -> Any:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._task_factory is None:
            return asyncio.Task(coro, loop=self, name=name, **kwargs)
        task = self._task_factory(self, coro, **kwargs)
        if name is not None:
            task.set_name(name)
        return task

    def set_task_factory(self, factory: Any) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        return self._task_factory

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        asyncio.BaseEventLoop.default_exception_handler(self, context)  # type: ignore[arg-type]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._exception_handler is None:
            self.default_exception_handler(context)
        else:
            self._exception_handler(self, context)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop (an instance attribute, a C callable, stands in front of this method)."""
        return _Future(loop=self)

    def get_debug(self) -> bool:
        """Whether asyncio's debug mode is on (an instance attribute stands in front of this method)."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled
        # asked for by every new future; `bool()` is False and a C call
        self.get_debug = (lambda: True) if enabled else bool  # type: ignore[method-assign]

    def _asyncgen_born(self, agen: Any) -> None:
        self._asyncgens[self._number()] = agen

    def _asyncgen_dropped(self, agen: Any) -> None:
        if not self._closed:
            self.call_soon(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that are still open, in order of birth."""
        open_ones = list(self._asyncgens.values())
        self._asyncgens.clear()
        await asyncio.gather(*[agen.aclose() for agen in open_ones], return_exceptions=True)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""


def _dead(item: Any) -> bool:
    return (type(item) is _Future and item.done()) or (type(item) is SimTimerHandle and item._cancelled)


def _run_simpy(event: simpy.Event) -> None:
    """What `simpy.Environment.step` does with one event."""
    callbacks, event.callbacks = event.callbacks, cast("Any", None)
    for callback in callbacks:
        callback(event)
    if not event._ok and not event.defused:
        raise event._value
