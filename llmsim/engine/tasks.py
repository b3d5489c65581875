"""Tasks in an order that does not depend on memory addresses.

asyncio keeps tasks in sets: `asyncio.wait` returns two, a TaskGroup cancels what its set holds, in the set's order, and
that is the order of memory addresses. So ``loop.create_task`` (hence TaskGroup, gather, ensure_future...) makes tasks
whose hash is their number within the run. The price is one Python call per task and set. A bare
``asyncio.Task(coro, loop=loop)`` keeps the C hash and is 10 % cheaper: right for sources that never put it in a set.
Sets of bare *futures* still iterate by address; wait for tasks, or in a list.
"""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from llmsim.engine.frames import is_plumbing
from llmsim.places import line_of

if TYPE_CHECKING:
    from llmsim.engine.loop import SimLoop

__all__ = ["SimTask", "describe", "in_order"]

_MOST_LINES = 12  #: places listed in a DeadlockError


class SimTask(asyncio.Task[Any]):
    """A task that hashes by its number within the run."""

    _sim_number: int

    def __hash__(self) -> int:
        try:
            return self._sim_number
        except AttributeError:  # asked for the first time when the task registers itself, so in order of creation
            loop: SimLoop = self.get_loop()  # type: ignore[assignment]
            number = self._sim_number = loop.next_task_number()
            return number


def in_order(tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Sort tasks by age, as far as asyncio's numbered names tell; named ones come after, by name."""
    return sorted(tasks, key=_age)


def _age(task: asyncio.Task[Any]) -> tuple[int, int, str]:
    if isinstance(task, SimTask):
        return (0, hash(task), "")
    name = task.get_name()
    prefix, _, number = name.partition("-")
    return (1, int(number), "") if prefix == "Task" and number.isdigit() else (2, 0, name)


def describe(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Say where each task waits: one line a place, ``file:line in function: source (3 tasks: Task-1, ...)``."""
    places: dict[str, list[str]] = {}
    for task in in_order(tasks):
        places.setdefault(_place(task), []).append(task.get_name())
    lines = []
    for place, names in list(places.items())[:_MOST_LINES]:
        more = ", ..." if len(names) > 3 else ""
        count = f"{len(names)} tasks: " if len(names) > 1 else ""
        lines.append(f"  {place} ({count}{', '.join(names[:3])}{more})")
    if len(places) > _MOST_LINES:
        lines.append(f"  ... and {len(places) - _MOST_LINES} more places")
    return "\n".join(lines)


def _place(task: asyncio.Task[Any]) -> str:
    best = None
    for frame in _frames(task.get_coro()):
        if best is None or not is_plumbing(frame.f_code.co_filename):
            best = frame
    if best is None:
        return "not started yet" if not task.done() else "done"
    file, line = best.f_code.co_filename, best.f_lineno
    source = linecache.getline(file, line).strip()
    return f"{line_of(file, line)} in {best.f_code.co_name}" + (f": {source}" if source else "")


def _frames(awaited: Any) -> Iterator[Any]:
    """Frames of a suspended coroutine, outermost first, through what it awaits."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, f"{kind}_await", None) or getattr(awaited, "gi_yieldfrom", None)
                break
        else:
            return
