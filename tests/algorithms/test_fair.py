"""Shares of what is handed out: the bound of start-time fair queueing, conservation, and forgetting."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.fair import FairQueue
from llmsim.algorithms.queues import CALLED, DROPPED, LEFT, WAITING, Ticket

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}
costs = st.floats(1.0, 100.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), costs), min_size=3, max_size=120))
def test_what_two_that_wait_are_given_differs_by_no_more_than_one_cost_of_each(program):
    """|Wf/wf - Wg/wg| <= lf/wf + lg/wg over every stretch in which both wait (Goyal et al. 1996, theorem 1)."""
    queue = FairQueue(weight=WEIGHTS.__getitem__)
    largest = dict.fromkeys(WEIGHTS, 0.0)
    for number, (key, cost) in enumerate(program):
        queue.push(Ticket(0.0, (number,), key=key, cost=cost))
        largest[key] = max(largest[key], cost)
    left = Counter(key for key, _ in program)
    history = []  # what everybody had been given, over its weight, while all of `waiting` waited
    given_s = dict.fromkeys(WEIGHTS, 0.0)
    history.append((dict(given_s), set(left)))
    while len(queue):
        ticket = queue.pop()
        left[ticket.key] -= 1
        given_s[ticket.key] += ticket.cost / WEIGHTS[ticket.key]
        history.append((dict(given_s), {key for key in left if left[key]}))
    for first, (before, _) in enumerate(history):
        waiting = history[first][1]
        for after, still in history[first:]:
            waiting = waiting & still
            for f in waiting:
                for g in waiting - {f}:
                    apart = abs((after[f] - before[f]) - (after[g] - before[g]))
                    assert apart <= largest[f] / WEIGHTS[f] + largest[g] / WEIGHTS[g] + 1e-6


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from("abcd"), costs),
        st.tuples(st.just("charge"), st.sampled_from("abcd"), costs),
        st.tuples(st.just("pop"), st.just(""), st.just(0.0)),
        st.tuples(st.just("remove"), st.just(""), st.floats(0, 30)),
        st.tuples(st.just("settle"), st.just(""), st.floats(0, 120)),
    ),
    max_size=100,
)


@given(steps, st.integers(0, 6) | st.none(), st.sampled_from(["newest", "oldest"]))
def test_everybody_leaves_by_one_door_and_nobody_is_remembered_for_ever(program, limit, drop):
    queue, made, under_way = FairQueue(limit, drop=drop), [], []
    for number, (what, key, amount) in enumerate(program):
        if what == "push":
            made.append(Ticket(float(number), (number,), key=key, cost=amount))
            before = Counter(t.key for t in made if t.inside)
            victim = queue.push(made[-1])
            if victim is not None:
                assert victim.state is DROPPED
                if before:  # one of the key with most of them, the newcomer's own if that is one
                    assert before[victim.key] == max(before.values())
        elif what == "charge":
            queue.charge(key, amount)
            under_way.append((key, amount))
        elif what == "pop":
            first = queue.first()
            ticket = queue.pop()
            assert ticket is first
            if ticket is not None:
                under_way.append((ticket.key, ticket.cost))
        elif what == "remove" and made:
            ticket = made[int(amount) % len(made)]
            was_waiting = ticket.state is WAITING
            assert queue.remove(ticket) is was_waiting
        elif what == "settle" and under_way:
            queue.settle(*under_way.pop(0), amount)
        inside = [t for t in made if t.inside]
        assert len(queue) == len(inside)
        assert {id(t) for t in inside} == {id(t) for t in made if t.state is WAITING}
        assert (queue.first() is None) == (not inside)
        assert queue._longest == max(Counter(t.key for t in inside).values(), default=0)
        for heap in (queue._waiting, queue._idle):
            assert heap.gone >= 0
    while queue.pop() is not None:
        pass
    assert all(t.state in (CALLED, DROPPED, LEFT) for t in made)


def test_one_that_was_away_has_saved_nothing_up_and_owes_nothing():
    queue = FairQueue()
    for number in range(10):
        queue.push(Ticket(float(number), (number,), key="busy", cost=10.0))
    for _ in range(5):
        queue.settle(queue.pop().key, 10.0, 10.0)
    for number in range(10, 16):
        queue.push(Ticket(float(number), (number,), key="late", cost=10.0))
    assert Counter(queue.pop().key for _ in range(6)) == {"busy": 3, "late": 3}


def test_nor_has_one_whose_only_call_takes_long():
    queue = FairQueue()
    queue.charge("long", 10.0)
    for number in range(20):
        queue.push(Ticket(float(number), (number,), key="busy", cost=10.0))
    for _ in range(10):
        queue.settle(queue.pop().key, 10.0, 10.0)
    for number in range(20, 30):
        queue.push(Ticket(float(number), (number,), key="long", cost=10.0))
    assert Counter(queue.pop().key for _ in range(10))["long"] in (4, 5, 6)
    queue.settle("long", 10.0, 0.0)  # it cost nothing, but that was before it came back: nothing to be had for it now
    assert Counter(queue.pop().key for _ in range(8))["long"] in (3, 4, 5)


def test_what_a_call_really_cost_is_what_counts():
    """`a` reserves ten times what it uses: settled, it gets as many as `b`, who says it right."""
    queue = FairQueue()
    for number in range(200):
        queue.push(Ticket(0.0, (number,), key="a", cost=100.0))
        queue.push(Ticket(0.0, (number,), key="b", cost=10.0))
    got = Counter()
    for _ in range(100):
        ticket = queue.pop()
        got[ticket.key] += 1
        queue.settle(ticket.key, ticket.cost, 10.0)
    assert abs(got["a"] - got["b"]) <= 2


def test_whoever_floods_a_bounded_queue_crowds_out_himself():
    queue = FairQueue(limit=10)
    flood = [Ticket(float(n), (n,), key="flood") for n in range(50)]
    assert sum(queue.push(t) is t for t in flood) == 40
    quiet = [Ticket(100.0 + n, (n,), key="quiet") for n in range(5)]
    victims = [queue.push(t) for t in quiet]
    assert {v.key for v in victims} == {"flood"}
    assert [v.arrived_s for v in victims] == [9.0, 8.0, 7.0, 6.0, 5.0]
    assert queue.push(Ticket(200.0, (9,), key="quiet")).key == "quiet"


def test_of_his_own_the_least_important_goes():
    queue = FairQueue(limit=2)
    tickets = [Ticket(float(n), (n,), key="a", priority=p) for n, p in enumerate((0, 3, 5))]
    assert [queue.push(t) for t in tickets] == [None, None, tickets[0]]
    assert [queue.pop().priority for _ in range(2)] == [5, 3]


def test_users_that_come_once_are_forgotten():
    queue = FairQueue()
    queue.charge("one that is under way all the time", 1.0)
    most = 0
    for number in range(3000):
        key, cost = f"u{number}", 1.0 + number % 7
        if number % 2:
            queue.charge(key, cost)
        else:
            queue.push(Ticket(0.0, (number,), key=key, cost=cost))
            assert queue.pop().key == key
        queue.settle(key, cost, cost - number % 2)
        most = max(most, queue.keys)
    assert most <= 10
    assert len(queue._idle) <= 60
    queue.settle("one that is under way all the time", 1.0, 1.0)
    assert queue.keys == 0


@pytest.mark.parametrize("limit", [0, 1])
def test_small_limits(limit):
    queue = FairQueue(limit)
    outcome = [queue.push(Ticket(float(n), (n,), key=key)) for n, key in enumerate("ab")]
    assert [ticket is not None for ticket in outcome] == [limit == 0, True]
    assert len(queue) == limit


def test_more_keys_than_can_be_remembered():
    """While somebody waits, those who had more than their share are remembered, up to a bound."""
    queue = FairQueue()
    queue.push(Ticket(0.0, (0,), key="waits"))
    for number in range(10_500):
        queue.charge(f"u{number}", 1.0)
        queue.settle(f"u{number}", 1.0, 1.0)
    assert queue.keys <= 10_001
    assert queue.pop().key == "waits"
