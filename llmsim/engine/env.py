# ruff: noqa: SLF001 - it is SimPy's own clock and event fields that are shared with the loop
"""The `simpy.Environment` of a simulation, and the one queue that SimPy and asyncio share.

SimPy keeps a heap of ``(time, priority, number, event)`` tuples. Comparing tuples is what a busy queue spends its time
on, so this environment keeps a heap of *plain floats*, each time once, and a dict from time to what happens then: with
2,000 waiting entries a push and a pop cost a third (bench_sleeps). Entries of one time keep the order in which they
came. What happens now never enters the heap; it goes to the end of ``ready``, the queue that asyncio's callbacks
stand in too, so that SimPy's zero-delay events and asyncio's callbacks take turns in order of arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, cast

import simpy

from llmsim.engine.handles import SimTimerHandle, run_handle
from llmsim.errors import EngineError

__all__ = ["Due", "Ready", "SimEnvironment", "run_event"]

#: What is due at a time: a C Future (gets the result None), a ``(callback, args)`` tuple, a SimTimerHandle or an Event.
Due = Any
#: What can run now: run as ``context.run(function, argument)``.
Ready = tuple[Context, Callable[[Any], object], Any]

_INF = float("inf")
_URGENT = 0  #: simpy.events.URGENT
_LOOK_AGAIN = 4096  #: entries below which a queue is not worth compacting
_DRIVEN = "the event loop of the simulation drives it; start processes with env.process(...) and `await` them"


class Ties(list[Due]):
    """Entries that share one time, in order of arrival."""


class SimEnvironment(simpy.Environment):
    """A SimPy environment whose queue is shared with the event loop.

    ``process``, ``timeout``, ``event``, ``all_of``, ``any_of``, resources, containers and stores work as ever.

    Raises
    ------
    EngineError
        By `step` and `run`: the loop is the only one that takes entries off the queue.
    """

    _now: float

    def __init__(self) -> None:
        super().__init__(0.0)  # a float: who reads the clock does arithmetic with it and formats it
        self.ready: deque[Ready] = deque()
        self.times: list[float] = []
        self.entries: dict[float, Due] = {}
        self.context = copy_context()  #: in which entries run that bring no context of their own
        self._urgent: deque[simpy.Event] = deque()
        self._compact_above = _LOOK_AGAIN

    def step(self) -> NoReturn:
        """Refuse: the event loop steps."""
        raise EngineError(f"env.step() does not work on the environment of a simulation: {_DRIVEN}")

    def run(self, until: Any = None) -> NoReturn:
        """Refuse: the event loop runs."""
        raise EngineError(f"env.run() does not work on the environment of a simulation: {_DRIVEN}")

    def schedule(self, event: simpy.Event, priority: Any = 1, delay: float = 0) -> None:
        """Queue an event. Urgent ones (starts and interrupts of processes) go before all others of the instant."""
        if delay:
            when = (now := self._now) + delay
            if not now < when < _INF:
                self.put(when, event)
            elif (other := self.entries.setdefault(when, event)) is event:
                heappush(self.times, when)
            else:
                self.tie(when, other, event)
        elif priority != _URGENT:
            self.ready.append((self.context, run_event, event))
        else:
            self._urgent.append(event)
            if len(self._urgent) == 1:
                self.ready.appendleft((self.context, _run_urgent, self._urgent))

    def put(self, when: float, entry: Due) -> None:
        """Queue an entry for a time that is not in the past."""
        if when == self._now:
            self.ready.append(self._as_ready(entry))
            return
        if not when < _INF:
            if when != when:  # noqa: PLR0124 - NaN, which would break the order of the heap
                raise ValueError("a time cannot be NaN")
            return  # never
        other = self.entries.setdefault(when, entry)
        if other is entry:
            heappush(self.times, when)
        else:
            self.tie(when, other, entry)

    def tie(self, when: float, other: Due, entry: Due) -> None:
        """Put `entry` behind the one that already stands at `when`."""
        if type(other) is Ties:
            other.append(entry)
        else:
            self.entries[when] = Ties((other, entry))

    def take(self, when: float, entry: Due) -> None:
        """Let time come to `when`, where `entry` stands, unless all of it was cancelled meanwhile."""
        alive = [one for one in _each(entry) if not _dead(one)]  # None: cancelled, or it stood there twice
        if alive:
            self._now = when
            self.ready.extend([self._as_ready(one) for one in alive])

    def peek(self) -> float:
        """Time of the next entry that is not cancelled, infinity if there is none."""
        if self.ready:
            return self._now
        while self.times and all(map(_dead, _each(self.entries.get(self.times[0])))):
            self.entries.pop(heappop(self.times), None)
        return self.times[0] if self.times else _INF

    def compact(self) -> None:
        """Forget what was cancelled, when there is much of it: it holds memory until its time comes.

        A cancelled timer takes its entry away at once and leaves only its time; a cancelled sleep leaves both.
        """
        if len(self.entries) > self._compact_above:
            self.drop(_dead)
            self._compact_above = max(_LOOK_AGAIN, 2 * len(self.entries))
        elif len(self.times) > 2 * len(self.entries) + _LOOK_AGAIN:
            self.times[:] = self.entries
            heapify(self.times)

    def drop(self, unwanted: Callable[[Due], bool]) -> None:
        """Take entries off the queue."""
        for when, entry in list(self.entries.items()):
            if type(entry) is Ties:
                entry[:] = [one for one in entry if not unwanted(one)]
                if entry:
                    continue
            elif not unwanted(entry):
                continue
            del self.entries[when]
        self.times[:] = self.entries
        heapify(self.times)

    def _as_ready(self, entry: Due) -> Ready:
        kind = type(entry)
        if kind is asyncio.Future:
            return self.context, _wake, entry
        if kind is tuple:
            return self.context, _call, entry
        if kind is SimTimerHandle:
            return entry._context, run_handle, entry
        return self.context, run_event, entry


def _each(entry: Due) -> Iterator[Due]:
    return iter(entry if type(entry) is Ties else (entry,))


def _dead(entry: Due) -> bool:
    kind = type(entry)
    if kind is asyncio.Future:
        return bool(entry.done())
    return entry is None or (kind is SimTimerHandle and bool(entry._cancelled))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(entry: tuple[Callable[..., object], tuple[Any, ...]]) -> None:
    callback, args = entry
    callback(*args)


def _run_urgent(urgent: deque[simpy.Event]) -> None:
    while urgent:
        # The event leaves the queue only when it is done: one that is added meanwhile is then run here, too.
        run_event(urgent[0])
        urgent.popleft()


def run_event(event: simpy.Event) -> None:
    """Do with one event what `simpy.Environment.step` does; a failure nobody handled ends the run."""
    callbacks, event.callbacks = event.callbacks, cast("Any", None)
    for callback in callbacks:
        callback(event)
    if not event._ok and not event.defused:
        raise event._value
