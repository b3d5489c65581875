"""Callbacks and tasks run at the times and in the order that asyncio's own loop runs them in."""

import asyncio

import pytest
from engine.jumping_loop import JumpingLoop, OrderlyLoop
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.engine import SimLoop

# A program is a tree: what happens, and what it causes in turn. Delays are dyadic, so that sums are exact and many
# things fall on one instant.
delays = st.sampled_from([0.25, 0.5, 0.5, 1.0, 1.0, 2.0])
steps = st.recursive(
    st.just([]),
    lambda children: st.lists(
        st.tuples(st.sampled_from(["soon", "later", "sleep", "yield", "event", "timeout"]), delays, children),
        max_size=4,
    ),
    max_leaves=25,
)


def trace(loop, program):  # noqa: C901 - an interpreter
    seen = []

    def note(*what):
        seen.append((loop.time(), *what))

    def run(path, children):
        note(path)
        for number, (kind, delay, grandchildren) in enumerate(children):
            start(kind, delay, (*path, number), grandchildren)

    def start(kind, delay, path, children):
        if kind == "soon":
            loop.call_soon(run, path, children)
        elif kind == "later":
            loop.call_later(delay, run, path, children)
        else:
            tasks.append(asyncio.ensure_future(walk(kind, delay, path, children)))

    async def walk(kind, delay, path, children):
        note("starts", path)
        if kind == "sleep":
            await asyncio.sleep(delay)
        elif kind == "yield":
            await asyncio.sleep(0)
        elif kind == "event":
            event = asyncio.Event()
            loop.call_later(delay, event.set)
            await event.wait()
        elif kind == "timeout":
            try:
                async with asyncio.timeout(delay):
                    await asyncio.sleep(delay * 1.5 if len(path) % 2 else delay)
            except TimeoutError:
                note("timed out", path)
        run(path, children)

    tasks = []

    async def main():
        run((), program)
        await asyncio.sleep(100)
        await asyncio.gather(*tasks)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return seen


@given(steps)
@settings(max_examples=examples(150), deadline=None)
def test_programs_run_as_on_asyncios_own_loop(program):
    assert trace(SimLoop(), program) == trace(OrderlyLoop(), program)


@pytest.mark.parametrize("make", [SimLoop, JumpingLoop])
def test_nested_timeouts_of_one_instant(make):
    async def main():
        outcome = []
        try:
            async with asyncio.timeout(1):
                try:
                    async with asyncio.timeout(1):
                        await asyncio.sleep(1)
                        outcome.append("slept")
                except TimeoutError:
                    outcome.append("inner")
        except TimeoutError:
            outcome.append("outer")
        return outcome

    loop = make()
    outcome = loop.run_until_complete(main())
    loop.close()
    assert outcome == ["outer"]


def test_entries_of_one_instant_run_in_order_of_arrival():
    loop = SimLoop()
    seen = []
    future = loop.create_future()
    future.add_done_callback(lambda _: seen.append("future"))
    loop.at(1, seen.append, "first")
    loop.wake_at(1, future)
    loop.call_at(1, seen.append, "second")
    loop.env.timeout(1).callbacks.append(lambda _: seen.append("simpy"))
    loop.at(1.0, seen.append, "third")
    loop.run_until_complete(asyncio.sleep(1, None))
    # What waits for a future runs after all entries of the instant, as on asyncio's loop.
    assert seen == ["first", "second", "simpy", "third", "future"]


def test_zero_delays_take_their_turn_with_call_soon():
    loop = SimLoop()
    seen = []

    async def main():
        loop.call_soon(seen.append, "soon")
        loop.call_later(0, seen.append, "later 0")
        loop.call_at(-5, seen.append, "past")
        loop.at(-1, seen.append, "at past")
        loop.env.timeout(0).callbacks.append(lambda _: seen.append("simpy 0"))
        loop.call_soon(seen.append, "soon again")
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert seen == ["soon", "later 0", "past", "at past", "simpy 0", "soon again"]
