"""A queue of queues that shares what it hands out by weight, whoever asks most.

Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): each key has a counter of what it was given, divided by its
weight, and the key whose counter is lowest is next. A key that comes (back) is lifted to where the others are, so that
nobody saves up while away. That is also the Virtual Token Counter of "Fairness in Serving Large Language Models"
(Sheng et al., OSDI 2024, arXiv 2401.00588), if costs are tokens and are corrected when they are known (`settle`).

Between any two keys that wait all the time, what they were given, divided by their weights, differs by at most the
largest cost of either divided by its weight (theorem 1 of the first paper), so nobody starves. Unlike deficit
round robin it needs no quantum, and a key that is alone costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from llmsim.algorithms.queues import DROPPED, Drop, LazyHeap, Place, Ticket, WaitQueue

__all__ = ["FairQueue"]

#: Keys beyond this are forgotten although they were given more than others: the least so first. Each may gain one call.
_MOST_KEYS = 10_000


class _Flow:
    """What belongs to one key."""

    __slots__ = ("floor", "heap", "key", "place", "queue", "tag", "under_way", "weight")

    def __init__(self, key: Hashable, weight: float, tag: float, drop: Drop) -> None:
        self.key = key
        self.weight = weight
        self.tag = tag  # what it was given so far, over its weight: lowest is next
        self.floor = tag  # where it was lifted to when it last began to wait: nothing given back takes it lower
        self.queue = WaitQueue(None, "priority", drop)
        self.under_way = 0  # given and not settled
        self.heap: LazyHeap[_Flow] | None = None  # in which it is listed, under `place`
        self.place: Place = ()


def _is_stale(place: Place, flow: _Flow) -> bool:
    return place is not flow.place


class FairQueue:
    """Tickets by key, the least served key first, each key's own in the order of arrival.

    Has the methods of `WaitQueue` and two more: what is given without waiting is to be told (`charge`), and so is
    what a call cost in the end (`settle`). Keys come into being when they are first named and are forgotten when they
    wait for nothing, have nothing under way, and have no more than the others. All in O(log n), amortised.

    It is fair to keys. A thousand that ask once each are a thousand keys, and one that asks often waits for them all.

    Parameters
    ----------
    limit
        Most tickets in all; None: no limit. When one too many comes, the key with most tickets has to give one up
        (McKenney's buffer stealing, INFOCOM 1990): whoever floods the queue crowds out himself.
    weight
        Share of a key relative to the others', above 0.
    drop
        Which of that key's: its ``newest`` or its ``oldest``.

    Examples
    --------
    >>> queue = FairQueue()
    >>> for number, key in enumerate(("a", "a", "a", "b")):
    ...     _ = queue.push(Ticket(float(number), key=key))
    >>> [queue.pop().key for _ in range(4)]
    ['a', 'b', 'a', 'a']
    """

    __slots__ = (
        "_clock",
        "_drop",
        "_flows",
        "_idle",
        "_length",
        "_limit",
        "_longest",
        "_sizes",
        "_under_way",
        "_waiting",
        "_weight",
    )

    def __init__(
        self,
        limit: int | None = None,
        weight: Callable[[Hashable], float] = lambda _: 1.0,
        drop: Drop = "newest",
    ) -> None:
        self._limit = float("inf") if limit is None else limit
        self._weight = weight
        self._drop = drop
        self._flows: dict[Hashable, _Flow] = {}
        self._waiting: LazyHeap[_Flow] = LazyHeap(_is_stale)  # by tag, those that wait
        self._idle: LazyHeap[_Flow] = LazyHeap(_is_stale)  # by tag, those that are to be forgotten some time
        self._clock = 0.0  # the tag of whoever was served last
        self._length = 0
        self._under_way = 0
        # Which keys have how many tickets, and the most: moves by one at a time, so no search.
        self._sizes: dict[int, OrderedDict[Hashable, None]] = {}
        self._longest = 0

    def __len__(self) -> int:
        return self._length

    @property
    def keys(self) -> int:
        """Keys that are remembered."""
        return len(self._flows)

    def push(self, ticket: Ticket) -> Ticket | None:
        """Queue up: None, or who had to go for it, which may be the ticket itself."""
        victim = None
        if self._length >= self._limit:
            victim = self._victim(ticket)
            if victim is ticket:
                ticket.state = DROPPED
                return ticket
            flow = self._flows[victim.key]
            flow.queue.dismiss(victim)
            self._one_less(flow)
        flow = self._flow(ticket.key)
        if not flow.queue:
            least = self._waiting.first()
            flow.floor = self._clock if least is None else least.tag
            flow.tag = max(flow.tag, flow.floor)
            self._list(flow, self._waiting, (ticket.arrived_s, ticket.place))
        flow.queue.push(ticket)
        self._length += 1
        self._resize(flow, len(flow.queue) - 1)
        return victim

    def first(self) -> Ticket | None:
        """Who is next, without calling it."""
        flow = self._waiting.first()
        return None if flow is None else flow.queue.first()

    def pop(self) -> Ticket | None:
        """Call the next: its key has been given its cost, until that is settled."""
        flow = self._waiting.first()
        if flow is None:
            return None
        ticket = flow.queue.pop()
        assert ticket is not None, "a key that waits has somebody in its queue"
        self._clock = max(self._clock, flow.tag)
        self._give(flow, ticket.cost)
        self._one_less(flow)
        self._nobody_waits(flow)
        return ticket

    def remove(self, ticket: Ticket) -> bool:
        """`ticket` leaves, wherever it stands; False if it was called or dropped already, or has left."""
        if not ticket.inside:
            return False
        flow = self._flows[ticket.key]
        flow.queue.remove(ticket)
        self._one_less(flow)
        return True

    def charge(self, key: Hashable, cost: float) -> None:
        """`key` was given `cost` without having to wait, since nobody does."""
        flow = self._flow(key)
        if not flow.queue:
            flow.tag = max(flow.tag, self._clock)
        self._give(flow, cost)
        self._nobody_waits(flow)
        self._relist(flow)

    def settle(self, key: Hashable, given: float, cost: float) -> None:
        """What was `given` to `key` (by `pop` or `charge`) has ended, and cost this; to be said once for each."""
        flow = self._flows[key]
        flow.under_way -= 1
        flow.tag = max(flow.tag + (cost - given) / flow.weight, flow.floor)
        self._under_way -= 1
        if self._under_way or self._length:
            self._relist(flow)
        else:  # all have had what they wanted: a clean slate
            self._flows.clear()
            self._waiting, self._idle = LazyHeap(_is_stale), LazyHeap(_is_stale)
            self._clock = 0.0

    def _give(self, flow: _Flow, cost: float) -> None:
        flow.tag += cost / flow.weight
        flow.under_way += 1
        self._under_way += 1

    def _nobody_waits(self, flow: _Flow) -> None:
        """What was given while nobody else waited is not held against anybody: whoever comes is lifted to there."""
        if not self._length:
            self._clock = max(self._clock, flow.tag)

    def _flow(self, key: Hashable) -> _Flow:
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, self._weight(key), self._clock, self._drop)
        return flow

    def _victim(self, ticket: Ticket) -> Ticket:
        """Who goes: one of the key with most tickets; the newcomer's own, if it is one of those."""
        if not self._length:
            return ticket
        flow = self._flows.get(ticket.key)
        if flow is not None and len(flow.queue) == self._longest:
            return flow.queue.victim(ticket)
        return self._flows[next(iter(self._sizes[self._longest]))].queue.victim()

    def _one_less(self, flow: _Flow) -> None:
        self._length -= 1
        self._resize(flow, len(flow.queue) + 1)
        self._relist(flow)

    def _resize(self, flow: _Flow, before: int) -> None:
        size = len(flow.queue)
        if before:
            keys = self._sizes[before]
            del keys[flow.key]
            if not keys:
                del self._sizes[before]
        if size:
            self._sizes.setdefault(size, OrderedDict())[flow.key] = None
        if size > self._longest or (before == self._longest and before not in self._sizes):
            self._longest = size

    def _relist(self, flow: _Flow) -> None:
        """Put a key where it belongs after a change, and forget those that may be forgotten."""
        if flow.queue:
            if flow.heap is not self._waiting or flow.place[0] != flow.tag:
                self._list(flow, self._waiting, flow.place[1:])
        else:
            self._list(flow, None if flow.under_way else self._idle)
        while (idle := self._idle.first()) is not None and (idle.tag <= self._clock or len(self._flows) > _MOST_KEYS):
            self._list(idle, None)
            del self._flows[idle.key]

    def _list(self, flow: _Flow, heap: LazyHeap[_Flow] | None, ties: Place = ()) -> None:
        before, flow.heap = flow.heap, heap
        flow.place = (flow.tag, *ties)  # another object: its entry until now, if it has one, is stale from here on
        if before is not None:
            before.forget()
        if heap is not None:
            heap.push(flow.place, flow)
