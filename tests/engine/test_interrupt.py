"""Control comes back within a second, whatever the simulation does; what can not be stopped is said."""

import _thread
import asyncio
import contextvars
import gc
import os
import random
import signal
import sys
import threading
import time

import pytest
from stolen import Stolen

from llmsim.engine import in_worker_thread, simulate
from llmsim.errors import SimulationInterrupted

pytestmark = pytest.mark.clock

SECONDS = 1.0
variable = contextvars.ContextVar("variable", default=None)


class Lab:
    """Simulates a main, and interrupts it a little later."""

    def __init__(self, after_s=0.1, times=1):
        self.loop = None
        self.pressed_s = 0.0
        self.after_s = after_s
        self.times = times
        self.stages = 0  # of stopping that have begun

    def current(self):
        self.stages += 1
        return self.loop

    def simulate(self, main):
        return simulate(main, on_loop=lambda loop: setattr(self, "loop", loop))

    def interrupt(self, work, grace_s=0.05):
        def press():
            # Not before there is something to interrupt: on a busy machine a thread may take longer than `after_s` to
            # begin, and a signal that nobody waits for yet would end the tests.
            while self.loop is None:
                time.sleep(0.001)
            for number in range(self.times):
                # Nor again before the last one was noticed: two signals at once are one.
                while self.stages < number:
                    time.sleep(0.001)
                time.sleep(self.after_s)
                self.pressed_s = time.perf_counter()
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=press, daemon=True)
        with Stolen() as stolen:
            thread.start()
            try:
                with pytest.raises(SimulationInterrupted) as caught:
                    in_worker_thread(work, loops=self.current, grace_s=grace_s)
            finally:
                thread.join(60)
            self.took_s = time.perf_counter() - self.pressed_s - stolen.s
        return caught.value


async def polite(loop):
    while True:
        await asyncio.sleep(0.01)


async def swallows(loop):
    while True:
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass


async def spins(loop):
    await asyncio.sleep(1)
    while True:
        pass


async def spins_and_catches(loop):
    await asyncio.sleep(1)
    while True:
        try:
            for _ in range(1000):
                pass
        except Exception:
            pass


@pytest.mark.parametrize("main", [polite, swallows, spins, spins_and_catches])
def test_control_comes_back(main):
    lab = Lab()
    stop = lab.interrupt(lambda: lab.simulate(main), grace_s=0.3)  # what it is where nobody says otherwise
    assert lab.took_s < SECONDS
    assert stop.abandoned == ""


def test_a_thousand_tasks_clean_up():
    ended = []

    async def task():
        try:
            await polite(None)
        finally:
            ended.append(1)

    async def main(loop):
        async with asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(task())

    lab = Lab()
    lab.interrupt(lambda: lab.simulate(main))
    assert lab.took_s < SECONDS
    assert len(ended) == 1000


def test_what_main_makes_of_its_cancellation_is_the_partial_result():
    async def main(loop):
        try:
            await polite(loop)
        except asyncio.CancelledError:
            return "so far"

    lab = Lab()
    assert lab.interrupt(lambda: ("partial", lab.simulate(main))).partial == ("partial", "so far")


@pytest.mark.parametrize("main", [polite, swallows, spins])
def test_work_can_attach_what_there_is(main):
    def work():
        try:
            lab.simulate(main)
        except SimulationInterrupted:
            return "what was recorded"

    lab = Lab()
    stop = lab.interrupt(work)
    assert lab.took_s < SECONDS
    assert (stop.partial, stop.abandoned) == ("what was recorded", "")


def test_work_may_raise_the_interruption_itself():
    def work():
        try:
            lab.simulate(polite)
        except SimulationInterrupted:
            raise SimulationInterrupted("mine", partial="my partial") from None

    lab = Lab()
    stop = lab.interrupt(work)
    assert (str(stop), stop.partial) == ("mine", "my partial")


def test_no_further_run_begins():
    async def main(loop):
        begun.append(1)
        try:
            await polite(loop)
        except asyncio.CancelledError:
            return "one"

    def work():
        results = [lab.simulate(main)]
        with pytest.raises(SimulationInterrupted, match="before this simulation began"):
            lab.simulate(main)
        return results

    begun = []
    lab = Lab()
    assert lab.interrupt(work).partial == ["one"]
    assert begun == [1]


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="from 3.13 on a thrown exception that arrives at a loop's jump escapes the `try` around the loop: it stops",
)
def test_a_spin_that_catches_everything_is_abandoned_and_said():
    go_on = [True]

    def spin():
        try:
            try:
                while go_on[0]:
                    pass
            except:  # noqa: E722 - that is the point
                spin()
        except:  # noqa: E722 - that is the point
            spin()

    async def main(loop):
        await asyncio.sleep(1)
        spin()

    state, thresholds = random.getstate(), gc.get_threshold()
    lab = Lab()
    stop = lab.interrupt(lambda: lab.simulate(main))
    try:
        assert lab.took_s < SECONDS
        assert gc.get_threshold() == thresholds
        assert f"a thread goes on at {__file__}:" in stop.abandoned
        assert " in spin" in stop.abandoned
        assert random.getstate() == state
        assert simulate(one_second) == 1.0  # the next run is not disturbed by it
    finally:
        go_on[0] = False
    join()
    assert gc.get_threshold() == thresholds


async def one_second(loop):
    await asyncio.sleep(1)
    return loop.time()


def join():
    """Let abandoned threads end, so that they are not in the way of other tests."""
    deadline = time.perf_counter() + 5
    while any(thread.name == "llmsim" for thread in threading.enumerate()):
        assert time.perf_counter() < deadline
        time.sleep(0.01)


def test_a_thread_blocked_in_c_is_abandoned_and_said():
    lock = _thread.allocate_lock()
    lock.acquire()

    async def main(loop):
        await asyncio.sleep(1)
        lock.acquire()

    lab = Lab()
    stop = lab.interrupt(lambda: lab.simulate(main))
    assert lab.took_s < SECONDS
    assert "main" in stop.abandoned
    lock.release()
    join()


def test_pressing_again_goes_to_the_next_stage_at_once():
    lab = Lab(after_s=0.1, times=2)
    lab.interrupt(lambda: lab.simulate(spins), grace_s=30)
    assert lab.took_s < SECONDS


def test_survivors_do_not_run_in_a_later_run():
    ran = []

    async def stubborn(loop):
        try:
            await swallows(loop)
        finally:
            ran.append(1)

    lab = Lab()
    lab.interrupt(lambda: lab.simulate(stubborn))

    async def later(loop):
        import gc

        gc.collect()
        await asyncio.sleep(10)

    simulate(later)
    assert ran == []


def test_results_errors_and_context_pass_through():
    def fails():
        raise ValueError("mine")

    variable.set("caller's")
    assert in_worker_thread(variable.get, loops=lambda: None) == "caller's"
    assert in_worker_thread(lambda: simulate(one_second), loops=lambda: None) == 1.0
    with pytest.raises(ValueError, match="mine") as caught:
        in_worker_thread(fails, loops=lambda: None)
    assert caught.traceback[-1].name == "fails"


def test_ticks_come_while_it_runs_in_the_callers_thread():
    ticks = []

    def work():
        lab.simulate(main)

    async def main(loop):
        while len(ticks) < 3:
            await asyncio.sleep(1)

    def tick():
        ticks.append((threading.current_thread(), lab.loop.time(), lab.loop.events))

    lab = Lab()
    in_worker_thread(work, loops=lambda: lab.loop, tick=tick, tick_s=0.02)
    assert {thread for thread, _, _ in ticks} == {threading.current_thread()}
    times = [seconds for _, seconds, _ in ticks]
    assert times == sorted(times)
    assert times[-1] > times[0]
    assert ticks[-1][2] > ticks[0][2]


def test_a_failing_tick_stops_the_simulation():
    lab = Lab()
    with pytest.raises(ZeroDivisionError):
        in_worker_thread(lambda: lab.simulate(polite), loops=lambda: lab.loop, tick=lambda: 1 / 0, tick_s=0.05)
    join()


def test_keyboard_interrupt_without_a_worker():
    async def main(loop):
        with loop.refuse.__self__.real_world():
            thread = threading.Thread(target=lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGINT)))
            thread.start()
        await polite(loop)

    with pytest.raises(KeyboardInterrupt):
        simulate(main)
    assert simulate(one_second) == 1.0
