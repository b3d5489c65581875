"""The shared deadline against asyncio.timeout: whatever a program does, both must do the same to it."""

import asyncio
import contextlib

import pytest
from examples import examples
from gateway.policies.toys import JumpingLoop, run
from hypothesis import given, settings
from hypothesis import strategies as st
from stolen import Stolen

from llmsim.gateway.deadlines import Deadlines, cancelled_by


class Ours:
    def __init__(self):
        self.lanes = {}

    @contextlib.asynccontextmanager
    async def timeout(self, seconds):
        now = asyncio.get_running_loop().time
        lane = self.lanes.setdefault(seconds, Deadlines(now))
        alarm = lane.enter(now() + seconds)
        try:
            yield
        except BaseException as error:
            if lane.leave(alarm) and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error
            raise
        lane.leave(alarm)


class OneQueue(Ours):
    """Different durations through one queue: most do not fit in and get a timer of their own."""

    def __init__(self):
        self.lane = None
        self.lanes = {}

    def timeout(self, seconds):
        self.lane = self.lane or Deadlines(asyncio.get_running_loop().time)
        self.lanes = {seconds: self.lane}
        return super().timeout(seconds)


class Standard:
    timeout = staticmethod(asyncio.timeout)


durations = st.integers(0, 12).map(lambda n: n / 4)
limits = st.integers(1, 12).map(lambda n: n / 4)
programs = st.recursive(
    st.one_of(
        st.tuples(st.just("sleep"), durations),
        st.tuples(st.just("fail"), durations),
        st.tuples(st.just("swallow"), durations),
        st.tuples(st.just("child"), durations),
    ),
    lambda inner: st.one_of(
        st.tuples(st.just("scope"), limits, st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("catching"), limits, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


async def play(step, clock, log):
    kind, seconds, *rest = step
    if kind == "sleep":
        await asyncio.sleep(seconds)
    elif kind == "fail":
        await asyncio.sleep(seconds)
        raise KeyError("planned")
    elif kind == "swallow":
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)
    elif kind == "child":
        await asyncio.create_task(asyncio.sleep(seconds))
    elif kind == "scope":
        async with clock.timeout(seconds):
            for inner in rest[0]:
                await play(inner, clock, log)
    else:
        try:
            await play(("scope", seconds, rest[0]), clock, log)
        except TimeoutError:
            log.append(("timed out", asyncio.get_running_loop().time(), asyncio.current_task().cancelling()))


def history(program, cancels, clock):
    """What happens to each task: how it ended, when, and how often it still thinks it is cancelled."""
    log = []

    async def watched(steps):
        outcome = "done"
        try:
            for step in steps:
                await play(step, clock, log)
        except BaseException as error:
            outcome = type(error).__name__
        log.append((outcome, asyncio.get_running_loop().time(), asyncio.current_task().cancelling()))

    async def main():
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(watched(steps)) for steps in program]
        for number, when in cancels:
            loop.call_at(when, lambda number=number: tasks[number % len(tasks)].cancel())
        await asyncio.wait(tasks)

    run(main())
    return sorted(log)


situations = given(
    st.lists(st.lists(programs, min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), durations), max_size=3),
)


def _ends_alike(implementation, program, cancels):
    clock = implementation()
    assert history(program, cancels, clock) == history(program, cancels, Standard())
    for lane in clock.lanes.values():
        assert not lane._queue


@settings(max_examples=examples(40), deadline=None)
@situations
@pytest.mark.parametrize("implementation", [Ours, OneQueue])
def test_any_program_ends_as_it_does_under_asyncio_timeout(implementation, program, cancels):
    _ends_alike(implementation, program, cancels)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@situations
@pytest.mark.parametrize("implementation", [Ours, OneQueue])
def test_any_program_ends_as_it_does_under_asyncio_timeout_in_many_cases(implementation, program, cancels):
    _ends_alike(implementation, program, cancels)


def test_one_timer_for_many_and_none_once_it_finds_nobody():
    async def main():
        loop = asyncio.get_running_loop()
        lane = Deadlines(loop.time)
        armed = []
        real, loop.call_at = loop.call_at, lambda *a, **k: armed.append(a) or real(*a, **k)

        async def one(duration):
            alarm = lane.enter(loop.time() + 5.0)
            await asyncio.sleep(duration)
            lane.leave(alarm)

        await asyncio.gather(*(one(1 + number / 100) for number in range(100)))
        assert not lane._queue
        assert len([args for args in armed if args[1] == lane._fire]) == 1
        assert len(lane) == 0
        await asyncio.sleep(10)
        assert not lane.armed
        assert len([args for args in armed if args[1] == lane._fire]) == 1

    run(main())


def test_an_armed_timer_does_not_move_the_clock_past_the_end():
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:

        async def main():
            lane = Deadlines(asyncio.get_running_loop().time)
            alarm = lane.enter(100.0)
            await asyncio.sleep(1.0)
            lane.leave(alarm)

        runner.run(main())
        assert runner.get_loop().time() == 1.0


def test_dead_entries_behind_a_long_one_go_when_it_goes():
    async def main():
        loop = asyncio.get_running_loop()
        lane = Deadlines(loop.time)
        hung = lane.enter(loop.time() + 5.0)
        for _ in range(50):
            lane.leave(lane.enter(loop.time() + 5.0))
        assert lane.armed
        lane.leave(hung)
        assert len(lane._queue) == 0
        assert not lane._queue

    run(main())


def test_a_tighter_limit_than_the_idle_timer_is_kept():
    async def main():
        loop = asyncio.get_running_loop()
        lane = Deadlines(loop.time)
        lane.leave(lane.enter(5.0))
        alarm = lane.enter(2.0)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        assert loop.time() == 2.0
        assert lane.leave(alarm)

    run(main())


def test_those_inside_learn_which_limit_it_was():
    seen = []

    async def inside(error_from):
        try:
            await error_from
        except asyncio.CancelledError as error:
            seen.append(cancelled_by(error))
            raise

    async def main():
        loop = asyncio.get_running_loop()
        lane = Deadlines(loop.time, "ttft_timeout")
        alarm = lane.enter(1.0)
        with contextlib.suppress(asyncio.CancelledError):
            await inside(asyncio.create_task(inside(asyncio.sleep(10))))
        assert lane.leave(alarm)
        task = asyncio.create_task(inside(asyncio.sleep(10)))
        await asyncio.sleep(0)
        task.cancel("ttft_timeout")
        with contextlib.suppress(asyncio.CancelledError):
            await task

    run(main())
    assert seen == ["ttft_timeout", "ttft_timeout", ""]
    assert cancelled_by(ValueError()) == ""


@pytest.mark.clock
def test_on_the_ordinary_loop():
    async def main():
        loop = asyncio.get_running_loop()
        lane = Deadlines(loop.time)
        with Stolen() as stolen:
            begin = loop.time()
            alarm = lane.enter(begin + 0.03)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(10)
            assert lane.leave(alarm)
            assert 0.029 < loop.time() - begin < 0.5 + stolen.s
        assert asyncio.current_task().cancelling() == 0
        assert not lane._queue

    asyncio.run(main())
