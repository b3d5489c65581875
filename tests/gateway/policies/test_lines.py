"""What all policies that make callers wait have in common: whatever is cancelled when, nothing stays behind."""

import asyncio
import dataclasses

import pytest
from examples import examples
from gateway.policies.toys import Toy, World, ask, levels, outcome, run
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.errors import GatewayError, ServerError
from llmsim.gateway.policies import Bulkhead, FairQueue, LoadShedding, RateLimit, WaitingLine, WaitingRoom

LINE = WaitingLine(limit=3, timeout=1.0)
SPECS = {
    "bulkhead": Bulkhead(at_once=2, queue=LINE),
    "fair_queue": FairQueue(at_once=2, queue=LINE),
    "load_shedding": LoadShedding(at_once=3, delay=2.0, levels=levels({0: 0.2, 5: 0.7})),
    "rate_limit": RateLimit(requests=2.0, tokens=100.0, burst=1.0, queue=LINE, per="tenant", expected_output=20),
    "waiting_room": WaitingRoom(at_once=2, queue=LINE, patience={"chat": 0.5}),
    "waiting_room fifo oldest": WaitingRoom(at_once=2, queue=LINE, drop="oldest"),
    "waiting_room lifo oldest, paced": WaitingRoom(at_once=2, rate=4.0, queue=LINE, order="lifo", drop="oldest"),
    "waiting_room by priority": WaitingRoom(at_once=1, queue=LINE, order="priority", drop="oldest"),
}
callers = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.5]),  # comes
        st.sampled_from([None, None, 0.0, 0.25, 0.5, 1.0, 2.0]),  # is cancelled so much later, if at all
        st.sampled_from(["read", "close", "error", "break"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=10,
)


class Watched:
    """One handler and whatever it keeps."""

    def __init__(self, spec):
        self.world, self.spec = World(), spec
        self.handler = self.world.start(spec, "up")
        self.inside = self.most = 0

    def left(self):
        """What is still held: permits, waiters, reservations, timers."""
        handler, found = self.handler, []
        lanes = list(getattr(handler, "_lanes", {}).values())
        gates = list(getattr(handler, "_gates", {}).values()) + ([handler._gate] if hasattr(handler, "_gate") else [])
        for lane in lanes:
            found += [bucket.reserved for bucket in lane.limits.buckets if abs(bucket.reserved) > 1e-6]
            found += [behind for behind in lane.limits._behind if abs(behind) > 1e-6]
        for gate in gates:
            found += ["permits"] * gate.permits.taken
        for line in [one.line for one in (*lanes, *gates) if one.line is not None]:
            found += ["waiting"] * len(line) + (["timer"] if line._timer is not None else [])
        found += ["in flight"] * getattr(handler, "_in_flight", 0)
        if hasattr(handler, "_gates"):
            found += ["a key"] * len(handler._gates)
        if hasattr(handler, "_queue"):
            found += ["a key"] * handler._queue.keys
        return found


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=examples(40))
@given(callers)
def test_whatever_is_cancelled_when_nothing_stays_behind(name, program):
    async def main():
        watched = Watched(SPECS[name])
        provider = Toy(0.5, name="up", gap_s=0.25)
        results = []

        async def send(request, how):
            toy = Toy(ServerError(), name="up", delay_s=0.5) if how == "error" else provider
            if how == "break":
                toy = Toy(["x", ServerError()], name="up", delay_s=0.5, gap_s=0.25)
            toys.append(toy)
            response = await watched.handler(request, toy.send)
            try:
                if how == "close":
                    await anext(response)
                else:
                    await response.read()
            finally:
                response.close()

        async def caller(number, comes, cancelled, how, tenant, priority):
            await asyncio.sleep(comes)
            route = "chat" if priority % 2 else "batch"
            request = ask(number, tenant=tenant, priority=priority, route=route, input_tokens=10, max_tokens=30)
            task = asyncio.ensure_future(outcome(send(request, how)))
            if cancelled is not None:
                await asyncio.sleep(cancelled)
                task.cancel()
            await asyncio.wait([task])
            results.append("cancelled" if task.cancelled() else task.result()[0])

        toys = [provider]
        await asyncio.gather(*(caller(n, *one) for n, one in enumerate(program)))
        await asyncio.sleep(0)
        assert len(results) == len(program)  # everybody got an answer, of one kind or the other
        assert all(r is None or r == "cancelled" or isinstance(r, GatewayError) for r in results), results
        assert sum(toy.in_flight + toy.open_streams for toy in toys) == 0
        assert watched.left() == []

    run(main())


@pytest.mark.parametrize("spec", [SPECS["bulkhead"], SPECS["fair_queue"], SPECS["waiting_room"]], ids=lambda s: s.kind)
def test_the_one_that_is_called_and_cancelled_in_one_instant_gives_its_turn_to_the_next(spec):
    """When the first ends, the second is called; before it knows, its caller is gone: the third goes in its stead."""

    async def main():
        watched, provider = Watched(dataclasses.replace(spec, at_once=1)), Toy(0.5, name="up", gap_s=0.125)

        async def send(number):
            response = await watched.handler(ask(number, input_tokens=5), provider.send)
            if number == 0:
                response.on_end(lambda outcome, usage: tasks[1].cancel())  # after the policy's own
            await response.read()

        tasks = [asyncio.ensure_future(outcome(send(number))) for number in range(3)]
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        assert (provider.times, [request.id for _, request in provider.calls]) == ([0.0, 0.75], ["0/0/0", "2/0/0"])
        assert [event["waited_s"] for event in watched.world.of("queued")] == [0.75]
        assert watched.left() == []

    run(main())


@pytest.mark.parametrize(
    "spec",
    [
        RateLimit(requests=2.0, burst=0.5, queue=LINE),
        RateLimit(tokens=24.0, burst=0.5, expected_output=2, queue=LINE),
        WaitingRoom(rate=2.0, queue=LINE),
    ],
)
def test_the_same_where_turns_come_by_time(spec):
    async def main():
        watched = Watched(spec)
        provider, loop = Toy(0.125, name="up", gap_s=0.0), asyncio.get_running_loop()

        async def send(number):
            await (await watched.handler(ask(number, input_tokens=10), provider.send)).read()

        tasks = [asyncio.ensure_future(outcome(send(number))) for number in range(3)]
        await asyncio.sleep(0.25)
        loop.call_at(0.5, tasks[1].cancel)  # after the line's own timer
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        assert (provider.times, [request.id for _, request in provider.calls]) == ([0.0, 0.5], ["0/0/0", "2/0/0"])
        assert watched.left() == []

    run(main())
