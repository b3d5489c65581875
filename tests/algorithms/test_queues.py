"""Who is next, who goes, and that everybody leaves by exactly one door: against a list that is sorted every time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.queues import CALLED, DROPPED, LEFT, WAITING, LazyHeap, Ticket, WaitQueue

ORDERS = {
    "fifo": lambda t: (t.arrived_s, t.place),
    "lifo": lambda t: (-t.arrived_s, t.place),
    "priority": lambda t: (-t.priority, t.arrived_s, t.place),
}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from([0.0, 0.0, 1.0]), st.integers(0, 2)),  # time passed, priority
        st.tuples(st.just("pop"), st.just(0.0), st.just(0)),
        st.tuples(st.just("remove"), st.just(0.0), st.integers(0, 40)),
    ),
    max_size=80,
)


class Model:
    """The slow way: a list."""

    def __init__(self, limit, order, drop):
        self.limit, self.order, self.drop, self.inside = limit, order, drop, []

    def push(self, ticket):
        self.inside.append(ticket)
        if len(self.inside) <= self.limit:
            return None
        least = min(t.priority for t in self.inside) if self.order == "priority" else None
        ranks = [t for t in self.inside if least is None or t.priority == least]
        if self.drop == "newest":  # `inside` is in the order of coming, also within an instant
            victim = max(ranks, key=lambda t: (t.arrived_s, self.inside.index(t)))
        else:
            victim = min(ranks, key=lambda t: (t.arrived_s, t is ticket, t.place))
        self.inside.remove(victim)
        return victim

    def first(self):
        return min(self.inside, key=ORDERS[self.order], default=None)


@given(steps, st.sampled_from(sorted(ORDERS)), st.sampled_from(["newest", "oldest"]), st.integers(0, 5))
def test_it_does_what_a_sorted_list_does(program, order, drop, limit):
    queue, model, now, made = WaitQueue(limit, order, drop), Model(limit, order, drop), 0.0, []
    for what, number, more in program:
        if what == "push":
            now += number
            # Ids of one instant come in any order: the queue goes by id.
            ticket = Ticket(now, ((len(made) * 7) % 11, len(made)), priority=more)
            made.append(ticket)
            assert queue.push(ticket) is model.push(ticket)
        elif what == "pop":
            expected = model.first()
            assert queue.pop() is expected
            if expected is not None:
                model.inside.remove(expected)
        elif more < len(made):
            assert queue.remove(made[more]) is (made[more] in model.inside)
            model.inside = [t for t in model.inside if t is not made[more]]
        assert len(queue) == len(model.inside) <= max(limit, 0)
        assert queue.first() is model.first()
    # Conservation: in the queue or out of it by one door.
    assert {id(t) for t in made if t.state is WAITING} == {id(t) for t in model.inside}
    assert all(t.state in (WAITING, CALLED, DROPPED, LEFT) for t in made)


def test_memory_is_bounded_by_those_who_wait():
    """The one at the head stays for ever; those behind it come and go."""
    queue, waiting = WaitQueue(order="priority", drop="oldest"), []
    queue.push(Ticket(0.0, (0,), priority=9))
    for number in range(1, 1000):
        waiting.append(Ticket(float(number), (number,), priority=number % 4))
        queue.push(waiting[-1])
        if number % 5:
            assert queue.remove(waiting.pop(number * 7 % len(waiting)))
        if number % 100 == 0:
            while len(waiting) > 3:
                assert queue.remove(waiting.pop())
        for heap in (queue._line, queue._victims):
            assert len(heap) <= 2 * len(queue) + 20
            assert len(heap) - heap.gone == len(queue)


def test_unlimited_and_empty():
    queue = WaitQueue()
    assert (queue.pop(), queue.first(), len(queue)) == (None, None, 0)
    tickets = [Ticket(0.0, (n,)) for n in (3, 1, 2)]
    assert [queue.push(t) for t in tickets] == [None] * 3
    assert [queue.pop().place for _ in range(3)] == [(1,), (2,), (3,)]
    assert not queue.remove(tickets[0])


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_ties_of_one_instant_go_by_place_in_every_order(order):
    queue = WaitQueue(order=order)
    for place in (3, 1, 2):
        queue.push(Ticket(5.0, (place,)))
    assert [queue.pop().place for _ in range(3)] == [(1,), (2,), (3,)]


def test_leaving_from_the_middle_of_a_long_queue_is_no_search():
    """Operations on entries, counted: those of n leavers grow like n, not like n²."""
    looks = 0

    def is_gone(key, item):
        nonlocal looks
        looks += 1
        return item in gone

    gone, heap, n = set(), LazyHeap(is_gone), 4000
    for number in range(n):
        heap.push((number,), number)
    for number in range(n - 1, 0, -1):  # the last first, and the head never
        gone.add(number)
        heap.forget()
        assert heap.first() == 0
    assert looks <= 4 * n


@pytest.mark.parametrize("drop", ["newest", "oldest"])
def test_no_place_at_all(drop):
    queue, ticket = WaitQueue(0, drop=drop), Ticket(0.0)
    assert queue.push(ticket) is ticket
    assert ticket.state is DROPPED
    assert len(queue) == 0
