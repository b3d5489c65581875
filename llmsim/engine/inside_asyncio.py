# ruff: noqa: SLF001 - a sleep reads the clock of the environment
"""What is different inside asyncio itself while at least one simulation runs.

*`asyncio.sleep` takes a short way.* It is a third slower than it has to be on a loop that knows what it wants: it asks
for the running loop (on Python 3.11 with a system call), for a future, for a timer, and takes the timer back
afterwards. So the function's *code* is exchanged, which ``from asyncio import sleep`` of long ago cannot escape. In a
thread whose running loop is a `SimLoop` it awaits one future of that loop; in every other thread, and for delays that
are zero, negative, infinite or NaN, asyncio's own code runs.

*`asyncio.as_completed` and `wait` keep the order of what they are given.* They put it through ``set(...)``, and then
start coroutines, or add callbacks, in the order of memory addresses.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import math
import threading
from _thread import get_ident
from collections.abc import Callable, Iterable
from heapq import heappush
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.engine.env import SimEnvironment

__all__ = ["Bed", "enter", "leave"]

#: What a sleep needs: the environment, what makes a future, ``env.entries.setdefault`` and ``env.times``.
Bed = tuple["SimEnvironment", Callable[[], "asyncio.Future[None]"], Callable[[float, Any], Any], list[float]]

_beds: dict[int, Bed] = {}  #: by thread: the simulation that runs there
_lock = threading.Lock()
_asyncio_code = asyncio.sleep.__code__
_asyncio_sleep = FunctionType(
    _asyncio_code, asyncio.tasks.__dict__, "sleep", asyncio.sleep.__defaults__, asyncio.sleep.__closure__
)
#: The names that the exchanged code finds in the namespace of asyncio.tasks.
_names: dict[str, Any] = {
    "_llmsim_beds": _beds,
    "_llmsim_infinity": math.inf,
    "_llmsim_push": heappush,
    "_llmsim_sleep": _asyncio_sleep,
    "_llmsim_thread": get_ident,
}
_llmsim_beds, _llmsim_infinity, _llmsim_push, _llmsim_sleep, _llmsim_thread = _names.values()


def _set_in_order(*iterable: Iterable[Any]) -> Any:
    """Stand in for ``set`` in asyncio.tasks: what it makes of an argument is only ever counted and iterated over."""
    return tuple(dict.fromkeys(*iterable)) if iterable else set()


async def sleep(delay: float, result: Any = None) -> Any:
    """Coroutine that completes after a given time (in seconds)."""
    bed = _llmsim_beds.get(_llmsim_thread())
    if bed is not None:
        env, new_future, claim, times = bed
        when = (now := env._now) + delay
        if now < when < _llmsim_infinity:
            future = new_future()
            if (other := claim(when, future)) is future:
                _llmsim_push(times, when)
            else:
                env.tie(when, other, future)
            try:
                await future
            except BaseException:
                future.cancel()  # where the coroutine was closed: its entry must not move the clock
                raise
            return result
    return await _llmsim_sleep(delay, result)


def enter(bed: Bed) -> Bed | None:
    """Let `asyncio.sleep` sleep in `bed` in this thread; return where it slept before."""
    thread = get_ident()
    with _lock:
        before = _beds.get(thread)
        if not _beds:
            vars(asyncio.tasks).update(_names, set=_set_in_order)
            asyncio.sleep.__code__ = sleep.__code__
        _beds[thread] = bed
    return before


def leave(before: Bed | None) -> None:
    """Go back to what `enter` returned."""
    thread = get_ident()
    with _lock:
        if before is not None:
            _beds[thread] = before
            return
        _beds.pop(thread, None)
        if not _beds:
            asyncio.sleep.__code__ = _asyncio_code
            del vars(asyncio.tasks)["set"]
