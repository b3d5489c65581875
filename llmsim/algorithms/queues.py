"""Bounded waiting: who is next, who has to go when it is full, and leaving in the middle of the queue.

One engine for every queue of a gateway: a heap by a key that says the order (arrival, its reverse, or importance
first), entries that are skipped once they have gone, and a heap of those skipped keys never more than half. Nothing
here knows what is waited for; see `llmsim.algorithms.fair` for a queue of queues.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Any, Generic, Literal, TypeVar

__all__ = ["CALLED", "DROPPED", "LEFT", "WAITING", "Drop", "LazyHeap", "Order", "Place", "Ticket", "WaitQueue"]

Order = Literal["fifo", "lifo", "priority"]
Drop = Literal["newest", "oldest"]
Place = tuple[Any, ...]

#: Where a ticket is: in the queue, or out of it, by one of three doors and once only.
WAITING, CALLED, DROPPED, LEFT = "waiting", "called", "dropped", "left"

_SMALL = 16  # gone entries that are not worth a sweep


class Ticket:
    """One who waits.

    Parameters
    ----------
    arrived_s
        When it came; decides the order.
    place
        Breaks ties of one instant: anything that compares with the others' (a request's structural id).
    priority
        Higher is more important; only `WaitQueue` of order ``priority`` looks.
    key
        Whose it is, for queues by key.
    cost
        What it will take, for queues that are fair by cost.
    amounts
        What it will take of each limit, for rate limits.
    """

    __slots__ = ("amounts", "arrived_s", "cost", "held", "inside", "key", "place", "priority", "state", "waiter")

    def __init__(
        self,
        arrived_s: float,
        place: Place = (),
        *,
        priority: int = 0,
        key: Hashable = "",
        cost: float = 1.0,
        amounts: tuple[float, ...] = (),
    ) -> None:
        self.arrived_s = arrived_s
        self.place = place
        self.priority = priority
        self.key = key
        self.cost = cost
        self.amounts = amounts
        self.state = WAITING
        self.inside = False  #: in a queue
        self.held: Any = None  #: what it was given, for whoever takes it back
        self.waiter: Any = None  #: whatever wakes it, for whoever runs the queue

    def __repr__(self) -> str:
        return f"<Ticket {self.place} of {self.arrived_s:g}s, {self.state}>"


Item = TypeVar("Item")


class LazyHeap(Generic[Item]):
    """The smallest key first, where an item can be declared gone without looking for it.

    Parameters
    ----------
    is_gone
        Whether an entry (its key, its item) no longer counts.
    """

    __slots__ = ("_entries", "_is_gone", "_number", "gone")

    def __init__(self, is_gone: Callable[[Place, Item], bool]) -> None:
        self._entries: list[tuple[Place, int, Item]] = []
        self._is_gone = is_gone
        self._number = 0  # no two entries are equal, so items are never compared
        self.gone = 0  #: entries that no longer count, as far as their owner has said

    def push(self, key: Place, item: Item) -> None:
        """Add an item: O(log n)."""
        self._number += 1
        heapq.heappush(self._entries, (key, self._number, item))

    def first(self) -> Item | None:
        """The item with the smallest key that still counts; it stays. Amortised O(log n)."""
        entries = self._entries
        while entries:
            key, _, item = entries[0]
            if not self._is_gone(key, item):
                return item
            heapq.heappop(entries)
            self.gone -= 1
        return None

    def forget(self) -> None:
        """One of the entries no longer counts. Amortised O(log n): those are never more than half for long."""
        self.gone += 1
        if self.gone > _SMALL and 2 * self.gone > len(self._entries):
            self._entries = [entry for entry in self._entries if not self._is_gone(entry[0], entry[2])]
            heapq.heapify(self._entries)
            self.gone = 0

    def __len__(self) -> int:
        """Entries that are kept, gone ones included (for tests: memory)."""
        return len(self._entries)


def _has_gone(_key: Place, ticket: Ticket) -> bool:
    return ticket.state is not WAITING


_NEXT: dict[Order, Callable[[Ticket], Place]] = {
    "fifo": lambda ticket: (ticket.arrived_s, ticket.place),
    "lifo": lambda ticket: (-ticket.arrived_s, ticket.place),
    "priority": lambda ticket: (-ticket.priority, ticket.arrived_s, ticket.place),
}


class WaitQueue:
    """At most `limit` tickets in an order.

    Every ticket that was pushed leaves exactly once: it is *called* (`pop`), *dropped* for another one (`push`,
    `dismiss`), or has *left* by itself (`remove`).

    Parameters
    ----------
    limit
        Most tickets; None: no limit.
    order
        Who is next: ``fifo`` the longest waiting; ``lifo`` the newest, whose caller has most patience left;
        ``priority`` the most important, the longest waiting among equals. Ties of one instant go by `Ticket.place`.
    drop
        Who goes when one too many comes: the ``newest`` (the one that comes, unless the order is by priority and
        another one is less important) or the ``oldest`` (among the least important, if the order is by priority).

    Examples
    --------
    >>> queue = WaitQueue(limit=2, order="priority")
    >>> first, second, third = (Ticket(float(at), priority=p) for at, p in ((0, 0), (1, 5), (2, 1)))
    >>> queue.push(first), queue.push(second)
    (None, None)
    >>> queue.push(third) is first
    True
    >>> queue.pop() is second, len(queue)
    (True, 1)
    """

    __slots__ = ("_by_priority", "_drop", "_length", "_limit", "_line", "_next_key", "_pushed", "_victims")

    def __init__(self, limit: int | None = None, order: Order = "fifo", drop: Drop = "newest") -> None:
        self._limit = float("inf") if limit is None else limit
        self._next_key = _NEXT[order]
        self._drop = drop
        self._by_priority = order == "priority"
        self._line: LazyHeap[Ticket] = LazyHeap(_has_gone)
        # Who goes first when it is full, where that is neither the one who comes nor the one who is next.
        needs_other_end = self._by_priority or (drop == "oldest" and order == "lifo")
        self._victims: LazyHeap[Ticket] | None = LazyHeap(_has_gone) if needs_other_end else None
        self._pushed = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, ticket: Ticket) -> Ticket | None:
        """Queue up: None, or who had to go for it, which may be the ticket itself."""
        victim = None
        if self._length >= self._limit:
            victim = self.victim(ticket)
            self.dismiss(victim)
            if victim is ticket:
                return ticket
        self._enter(ticket)
        return victim

    def _enter(self, ticket: Ticket) -> None:
        self._line.push(self._next_key(ticket), ticket)
        if self._victims is not None:
            self._pushed += 1
            newest = self._drop == "newest"
            age = (-ticket.arrived_s, (-self._pushed,)) if newest else (ticket.arrived_s, ticket.place)
            self._victims.push((ticket.priority if self._by_priority else 0, *age), ticket)
        ticket.inside = True
        self._length += 1

    def victim(self, ticket: Ticket | None = None) -> Ticket:
        """Who would have to go if `ticket` came and there were no room; None: if one had to go anyway."""
        if ticket is not None and (not self._length or (self._drop == "newest" and not self._by_priority)):
            return ticket
        worst = self._line.first() if self._victims is None else self._victims.first()
        assert worst is not None, "nobody is in the queue"
        if ticket is not None and self._by_priority:
            stays = worst.priority >= ticket.priority if self._drop == "newest" else worst.priority > ticket.priority
            return ticket if stays else worst
        return worst

    def dismiss(self, victim: Ticket) -> None:
        """Drop it."""
        victim.state = DROPPED
        if victim.inside:
            self._out(victim)

    def _out(self, ticket: Ticket) -> None:
        ticket.inside = False
        self._length -= 1
        self._line.forget()
        if self._victims is not None:
            self._victims.forget()

    def first(self) -> Ticket | None:
        """Who is next, without calling it."""
        return self._line.first()

    def pop(self) -> Ticket | None:
        """Call the next."""
        ticket = self._line.first()
        if ticket is not None:
            ticket.state = CALLED
            self._out(ticket)
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        """`ticket` leaves, wherever it stands; False if it was called or dropped already, or has left."""
        if not ticket.inside:
            return False
        ticket.state = LEFT
        self._out(ticket)
        return True
