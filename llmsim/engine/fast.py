# ruff: noqa: SLF001 - the private parts of asyncio that its own sleep uses, and the clock
"""The short ways through the loop: the calls that every sleep and every wake-up makes.

They are closures, not methods: asyncio's C code looks them up on the loop for every future and every task step, and a
closure needs neither a bound method nor attribute look-ups. What they do not recognise goes to the loop's own method
of the same name, which is the reference of what they mean.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from asyncio import futures
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heappush
from operator import call
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from llmsim.engine.handles import SimTimerHandle

if TYPE_CHECKING:
    from llmsim.engine.inside_asyncio import Bed
    from llmsim.engine.loop import SimLoop

__all__ = ["NO_ARG", "install", "uninstall"]

NO_ARG: Any = object()
_INF = float("inf")
_Future = asyncio.Future  #: the C type; only exact instances take a short way
_SET_RESULT: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]  # what asyncio.sleep schedules


def _type_of_task_steps() -> type:
    """Find the C type that starts a task or resumes it after a bare yield (it has no public name)."""
    seen: list[Any] = []

    class Recorder(asyncio.AbstractEventLoop):
        def get_debug(self) -> bool:
            return False

        def call_soon(self, callback: Any, *_args: Any, **_kwargs: Any) -> Any:  # type: ignore[override]
            seen.append(callback)

        def call_exception_handler(self, context: dict[str, Any]) -> None:
            """Not a word about the task below, which never runs."""

    Recorder.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]

    async def nothing() -> None:
        """Never run."""

    coroutine = nothing()
    asyncio.Task(coroutine, loop=Recorder())  # type: ignore[abstract]
    coroutine.close()
    return type(seen[0])


_TaskStep = _type_of_task_steps()


def install(loop: SimLoop) -> Bed:  # noqa: C901 - four closures
    """Put the short ways on `loop`; return what `asyncio.sleep` needs of it (see `llmsim.engine.inside_asyncio`)."""
    env = loop.env
    times, claim = env.times, env.entries.setdefault
    append = env.ready.append
    general_call_soon, general_call_at = loop.call_soon, loop.call_at

    def call_soon(
        callback: Callable[..., object], arg: Any = NO_ARG, /, *more: Any, context: Context | None = None
    ) -> asyncio.Handle | None:
        if context is not None:
            if type(callback) is BuiltinFunctionType and arg is not NO_ARG and not more:
                append((context, callback, arg))  # a C Task waking up: asyncio throws the handle away, so none is made
                return None
            if type(callback) is _TaskStep:
                append((context, call, callback))
                return None
        return general_call_soon(callback, *((arg, *more) if arg is not NO_ARG else ()), context=context)

    def call_later(
        delay: float,
        callback: Callable[..., object],
        arg: Any = NO_ARG,
        value: Any = NO_ARG,
        /,
        *more: Any,
        context: Context | None = None,
    ) -> Any:
        if callback is _SET_RESULT and value is None and type(arg) is _Future:
            # The future is its own entry and its own handle: cancel() of a done or cancelled future does nothing.
            when = (now := env._now) + delay
            if now < when < _INF:
                if (other := claim(when, arg)) is arg:
                    heappush(times, when)
                else:
                    env.tie(when, other, arg)
                return arg
        args = () if arg is NO_ARG else (arg, *more) if value is NO_ARG else (arg, value, *more)
        return call_at(env._now + delay, callback, *args, context=context)

    def call_at(when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if not env._now < when < _INF:
            return general_call_at(when, callback, *args, context=context)
        handle = SimTimerHandle(when, callback, args, loop, copy_context() if context is None else context)
        if (other := claim(when, handle)) is handle:
            heappush(times, when)
        else:
            env.tie(when, other, handle)
        return handle

    def time() -> float:
        return env._now + 0.0

    for short in (time, call_soon, call_later, call_at, *_without_handles(loop)):
        short.__doc__ = getattr(loop, short.__name__).__doc__
        setattr(loop, short.__name__, short)
    loop.create_future = functools.partial(_Future, loop=loop)  # type: ignore[method-assign]
    # From Python 3.12 on a future finds the running loop faster than its `loop` argument is parsed.
    return env, _Future if sys.version_info >= (3, 12) else loop.create_future, claim, times


def uninstall(loop: SimLoop) -> None:
    """Take the short ways away again: they refer to the loop that they stand on, and such a circle is long in going."""
    for name in ("time", "call_soon", "call_later", "call_at", "at", "wake_at", "create_future"):
        vars(loop).pop(name, None)


def _without_handles(loop: SimLoop) -> tuple[Callable[..., None], Callable[..., None]]:
    env = loop.env
    times, claim = env.times, env.entries.setdefault
    general_at, general_wake_at = loop.at, loop.wake_at

    def at(when: float, callback: Callable[..., object], *args: Any) -> None:
        if env._now < when < _INF:
            entry = (callback, args)
            if (other := claim(when, entry)) is entry:
                heappush(times, when)
            else:
                env.tie(when, other, entry)
        else:
            general_at(when, callback, *args)

    def wake_at(when: float, future: asyncio.Future[None]) -> None:
        if env._now < when < _INF and type(future) is _Future:
            if (other := claim(when, future)) is future:
                heappush(times, when)
            else:
                env.tie(when, other, future)
        else:
            general_wake_at(when, future)

    return at, wake_at
