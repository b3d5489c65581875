"""Waiting for one's turn: the asyncio side of `llmsim.algorithms.queues`, for every policy that makes callers wait."""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, TimerHandle, get_running_loop
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import ceil, isfinite
from operator import attrgetter
from typing import Any, ClassVar, Literal, Protocol

from llmsim.algorithms.queues import CALLED, Ticket
from llmsim.algorithms.rate_limits import INSTANT_S
from llmsim.constructors import checked_values
from llmsim.errors import GatewayError, Rejected
from llmsim.gateway.contract import Run
from llmsim.luck import request_address
from llmsim.types import Request
from llmsim.units import PositiveCount, PositiveDuration, format_duration

__all__ = [
    "FULL",
    "TOO_LONG",
    "USUAL_ANSWER",
    "WHY",
    "Line",
    "Per",
    "Queue",
    "Room",
    "WaitingLine",
    "key_of",
    "key_text",
    "place_of",
    "turned_away",
]

#: Why somebody was not called: there was no place in the queue (any more), or the wait was over.
FULL, TOO_LONG = "queue_full", "queue_timeout"
#: The same for people.
WHY = {FULL: "its queue is full", TOO_LONG: "no turn in time"}


#: Tokens of an answer until answers have been seen: the mean of Azure's conversation trace of 2023 (19,366 calls).
USUAL_ANSWER = 211.0

#: Whose share something is: a field of the request.
Per = Literal["user", "tenant", "route", "feature", "session"]


def key_of(per: Per | None) -> Callable[[Request], Hashable]:
    """Reads the key; None: all requests have the same.

    Users and sessions are those of a tenant: two tenants may each have an "alice".
    """
    if per is None:
        return lambda _: ""
    return attrgetter("tenant", per) if per in ("user", "session") else attrgetter(per)


def key_text(key: Hashable) -> str:
    """A key for people: ``alice``, or ``acme/alice`` where there are tenants."""
    return "/".join(part for part in key if part) if isinstance(key, tuple) else str(key)


@checked_values
@dataclass(frozen=True, kw_only=True)
class WaitingLine:
    """Who finds no room waits here.

    Parameters
    ----------
    limit
        Most who wait.
    timeout
        Longest wait in seconds; then it is rejected.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    limit: PositiveCount
    timeout: PositiveDuration

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"queue limit must be at least 1, not {self.limit}; leave queue out to wait for nothing")
        if not self.timeout > 0:
            raise ValueError(f"queue timeout must be above 0, not {self.timeout!r}; write it like 5s")


class Queue(Protocol):
    """`WaitQueue` or `FairQueue`."""

    def __len__(self) -> int: ...

    def push(self, ticket: Ticket) -> Ticket | None: ...

    def first(self) -> Ticket | None: ...

    def pop(self) -> Ticket | None: ...

    def remove(self, ticket: Ticket) -> bool: ...


class Room(Protocol):
    """What is waited for."""

    def wait_s(self, ticket: Ticket, now: float) -> float:
        """Seconds until `ticket` could go; 0: now (never a rounding error); inf: not before something is given back."""

    def take(self, ticket: Ticket, now: float) -> None:
        """`ticket` goes."""

    def give_back(self, ticket: Ticket, now: float) -> None:
        """`ticket` went, but its caller was gone: undo `take`."""


class Line:
    """A queue before a room. One timer for all who wait, and one for all waits of a length.

    ::

        if len(line) or permits.wait_s(None, now) > 0:
            reason = await line.wait(Ticket(now, place_of(request)), wait_s=5.0)
            if reason:
                raise turned_away(...)
        else:
            permits.take(None, now)
        ...
        permits.ended(now - began)  # when the response has ended
        line.advance()

    Parameters
    ----------
    run
        The policy's.
    queue, room
        Who is next, and whether there is room.
    """

    __slots__ = ("_armed_for", "_loop", "_now", "_queue", "_room", "_run", "_timer")

    def __init__(self, run: Run, queue: Queue, room: Room) -> None:
        self._run = run
        self._now = run.now
        self._queue = queue
        self._room = room
        self._timer: TimerHandle | None = None
        self._armed_for = 0.0
        self._loop: AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def wait(self, ticket: Ticket, wait_s: float | None) -> str:
        """Wait for one's turn, at most `wait_s` (above 0; None: for as long as it takes).

        Returns
        -------
        str
            Empty: go, the room has been taken. Else why not: `FULL`, `TOO_LONG`. Whoever is cancelled leaves the queue
            (or, called at that very instant, gives back what it was given) and nobody need do anything.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = get_running_loop()
        ticket.waiter = waiter = loop.create_future()
        victim = self._queue.push(ticket)
        if victim is ticket:
            return FULL
        if victim is not None and not victim.waiter.done():
            victim.waiter.set_result(FULL)
        self.advance()
        if waiter.done():
            return ""  # there was room after all
        if wait_s is None:
            try:
                return await waiter  # type: ignore[no-any-return]
            except BaseException:
                self._leave(ticket)
                raise
        deadlines = self._run.deadlines(wait_s, Rejected.word)
        alarm = deadlines.enter(self._now() + wait_s)
        try:
            reason: str = await waiter
        except BaseException as error:
            over = deadlines.leave(alarm) and isinstance(error, CancelledError)
            self._leave(ticket)
            if over:
                return TOO_LONG
            raise
        deadlines.leave(alarm)
        return reason

    def _leave(self, ticket: Ticket) -> None:
        if not self._queue.remove(ticket) and ticket.state is CALLED:
            self._room.give_back(ticket, self._now())
        self.advance()  # somebody else may be next now, or nobody

    def advance(self) -> None:
        """Call those for whom there is room. To be called whenever there may be more of it."""
        queue = self._queue
        if queue:
            self._call(queue, self._now())
        if self._timer is not None and not queue:
            self._timer.cancel()
            self._timer = None

    def _call(self, queue: Queue, now: float) -> None:
        room = self._room
        while (ticket := queue.first()) is not None:
            if ticket.waiter.done():  # cancelled in this very instant: it has not had the time to leave
                queue.remove(ticket)
                continue
            wait_s = room.wait_s(ticket, now)
            if wait_s > 0:
                if wait_s < float("inf"):
                    self._arm(now + wait_s)
                return
            queue.pop()
            room.take(ticket, now)
            ticket.waiter.set_result("")

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            if self._armed_for <= when + INSTANT_S:
                return  # soon enough: whoever is first then is looked at again
            self._timer.cancel()
        self._armed_for = when
        self._timer = get_running_loop().call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.advance()


def place_of(request: Request) -> tuple[int, int, int, int, str]:
    """What breaks ties of one instant: the structural id, as numbers; other ids come after those, as text."""
    address = request_address(request.id)
    return (0, *address, "") if address is not None else (1, 0, 0, 0, request.id)


def turned_away(
    run: Run,
    request: Request,
    why: str,
    reason: str,
    retry_after_s: float,
    kind: type[GatewayError] = Rejected,
    **more: Any,
) -> GatewayError:
    """The error for one that must not go, on the record, with when to come back if that is known.

    Callers' SDKs read the header (a gateway's own 429 without it: BerriAI/litellm issue 4695).

    Parameters
    ----------
    run, request
        Whose policy, and who.
    why
        For people.
    reason
        For tables, one word.
    retry_after_s
        Seconds; 0: not known, inf: never.
    kind
        Of the error.
    more
        Other fields of the event.
    """
    known = retry_after_s if retry_after_s > 0 and isfinite(retry_after_s) else None
    fields = {} if known is None else {"retry_after_s": round(known, 6)}
    run.emit("rejected", request, reason=reason, **fields, **more)
    again = "" if known is None else f"; try again in {format_duration(known)}"
    headers = None if known is None else {"retry-after": str(ceil(known))}
    return kind(f"{why}{again}", upstream=run.upstream, headers=headers, retry_after_s=known)
