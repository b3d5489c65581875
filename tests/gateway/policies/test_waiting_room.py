import asyncio

import pytest
from gateway.policies.toys import Toy, World, ask, run

from llmsim.errors import Rejected
from llmsim.gateway.policies import WaitingLine, WaitingRoom


class Room:
    """A waiting room before one toy that takes `call_s` for every call; `order` is in which requests were served."""

    def __init__(self, call_s=1.0, limit=10, timeout=60.0, **fields):
        fields = fields if {"rate", "at_once"} & set(fields) else {**fields, "at_once": 1}
        self.world = World()
        self.handler = self.world.start(WaitingRoom(queue=WaitingLine(limit=limit, timeout=timeout), **fields))
        self.toy = Toy(["x"], delay_s=call_s, gap_s=0.0)

    async def send(self, number, at=0.0, **fields):
        await asyncio.sleep(at)
        try:
            await (await self.handler(ask(number, **fields), self.toy.send)).read()
        except Exception as error:
            return error

    async def all(self, *requests):
        return await asyncio.gather(*(self.send(n, **fields) for n, fields in enumerate(requests)))

    @property
    def order(self):
        return [int(request.id.partition("/")[0]) for _, request in self.toy.calls]


@pytest.mark.parametrize(
    ("order", "served"),
    [("fifo", [0, 1, 2, 3, 4]), ("lifo", [0, 4, 3, 2, 1]), ("priority", [0, 3, 1, 4, 2])],
)
def test_who_is_next(order, served):
    async def main():
        room = Room(order=order)
        await room.all(
            {}, {"at": 0.1, "priority": 1}, {"at": 0.2}, {"at": 0.3, "priority": 7}, {"at": 0.4, "priority": 1}
        )
        assert room.order == served
        assert room.toy.times == [0.0, 1.0, 2.0, 3.0, 4.0]

    run(main())


def test_ties_of_one_instant_go_by_request_id():
    async def main():
        room = Room()
        first = asyncio.ensure_future(room.send(99))
        await asyncio.sleep(0)
        await asyncio.gather(first, *(room.send(number) for number in (7, 10, 2)))
        assert room.order == [99, 2, 7, 10]  # as numbers: 10 is after 7

    run(main())


@pytest.mark.parametrize(
    ("order", "drop", "lost"),
    [
        ("fifo", "newest", 3),
        ("fifo", "oldest", 1),
        ("lifo", "newest", 3),
        ("lifo", "oldest", 1),
        ("priority", "newest", 2),
        ("priority", "oldest", 1),
    ],
)
def test_who_goes_when_it_is_full(order, drop, lost):
    """1 and 2 wait, both of priority 0, when 3 comes, of priority 1."""

    async def main():
        room = Room(limit=2, order=order, drop=drop)
        errors = await room.all({}, {"at": 0.1}, {"at": 0.2}, {"at": 0.3, "priority": 1})
        assert [number for number, error in enumerate(errors) if error is not None] == [lost]
        assert isinstance(errors[lost], Rejected)
        (event,) = room.world.of("rejected")
        assert event["reason"] == "queue_full"

    run(main())


def test_patience_by_class():
    """The room serves nobody for a minute: each class goes when its own patience ends, at its own moment."""

    async def main():
        room = Room(call_s=60.0, timeout=3.0, patience={"chat": 1.0, "batch": 20.0, "nightly": 10.0})
        loop = asyncio.get_running_loop()
        ended = {}

        async def one(number, **fields):
            error = await room.send(number, **fields)
            ended[number] = (loop.time(), getattr(error, "word", None))

        first = asyncio.ensure_future(one(0))
        await asyncio.sleep(0)
        waiting = [
            one(1, route="chat"),
            one(2, route="rag"),
            one(3, route="batch"),
            one(4, route="rag", feature="nightly"),
            one(5, route="chat", feature="nightly"),  # the route is looked up first
        ]
        await asyncio.gather(first, *waiting)
        assert {n: at for n, (at, _) in ended.items()} == {0: 60.0, 1: 1.0, 2: 3.0, 3: 20.0, 4: 10.0, 5: 1.0}
        assert [ended[n][1] for n in range(6)] == [None] + ["rejected"] * 5
        assert {event["reason"] for event in room.world.of("rejected")} == {"queue_timeout"}

    run(main())


def test_a_rate_drains_it_evenly():
    async def main():
        room = Room(rate=2.0, call_s=5.0)
        await room.all(*[{} for _ in range(5)])
        assert room.toy.times == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert [event["waited_s"] for event in room.world.of("queued")] == [0.5, 1.0, 1.5, 2.0]

    run(main())


def test_the_rejected_are_told_how_long_a_newcomer_would_wait():
    """Calls take 4 s, one at a time; with three in the queue one waits for the one under way and those three."""

    async def main():
        room = Room(call_s=4.0, limit=3)
        await room.send(0)
        errors = await room.all(*[{} for _ in range(5)])
        (error,) = [error for error in errors if error is not None]
        assert error.retry_after_s == pytest.approx(16.0)
        assert error.headers["retry-after"] == "16"
        paced = Room(rate=0.5, limit=3)
        errors = await paced.all(*[{} for _ in range(5)])
        assert [error.retry_after_s for error in errors if error is not None] == [8.0]

    run(main())


def test_in_a_burst_those_who_leave_make_room():
    async def main():
        room = Room(limit=2)
        tasks = [asyncio.ensure_future(room.send(number)) for number in range(3)]
        await asyncio.sleep(0.25)
        tasks[1].cancel()
        late = asyncio.ensure_future(room.send(3))  # in the very instant: the place is free already, or becomes so
        await asyncio.wait([*tasks, late])
        assert room.order == [0, 2, 3]
        assert late.result() is None

    run(main())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "at_once: 50, rate: 20/s, or both"),
        ({"at_once": 0}, "at_once must be above 0"),
        ({"rate": -1.0}, "rate must be above 0"),
        ({"rate": 1.0, "patience": {"chat": 0.0}}, "patience of 'chat' must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        WaitingRoom(queue=WaitingLine(limit=1, timeout=1.0), **fields)
