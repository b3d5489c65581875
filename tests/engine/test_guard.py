# ruff: noqa: DTZ002, DTZ003, DTZ005, DTZ006, DTZ011 - clocks without a time zone are what is tested
"""Inside a simulation the wall clock is virtual, and the real world is refused, by name of the user's line."""

import asyncio
import calendar
import concurrent.futures
import datetime as dt
import functools
import inspect
import logging
import multiprocessing
import os
import queue
import random
import socket
import subprocess
import threading
import time
from time import monotonic, perf_counter_ns

import pytest

from llmsim.engine import simulate
from llmsim.engine.world import EPOCH, World
from llmsim.errors import PolicyError, VirtualTimeError


def default_argument(clock=time.monotonic):
    return clock()


class Holder:
    clock = staticmethod(time.time)
    partial = functools.partial(time.perf_counter)


def clocks():
    return {
        "time": time.time() - EPOCH,
        "time_ns": (time.time_ns() - int(EPOCH) * 10**9) / 1e9,
        "monotonic": time.monotonic(),
        "monotonic_ns": time.monotonic_ns() / 1e9,
        "perf_counter": time.perf_counter(),
        "perf_counter_ns": time.perf_counter_ns() / 1e9,
        "imported earlier": monotonic(),
        "imported earlier, ns": perf_counter_ns() / 1e9,
        "default argument": default_argument(),
        "class attribute": Holder.clock() - EPOCH,
        "partial": Holder.partial(),
        "datetime.now": dt.datetime.now(dt.UTC).timestamp() - EPOCH,
        "datetime.now, naive": dt.datetime.now().timestamp() - EPOCH,
        "datetime.utcnow": dt.datetime.utcnow().replace(tzinfo=dt.UTC).timestamp() - EPOCH,
        "time.gmtime": calendar.timegm(time.gmtime()) - EPOCH + 0.25,
        "time.localtime": time.mktime(time.localtime()) - EPOCH + 0.25,
        "time.strftime": time.mktime(time.strptime(time.strftime("%c"), "%c")) - EPOCH + 0.25,
        "time.ctime": time.mktime(time.strptime(time.ctime())) - EPOCH + 0.25,
        "datetime.today": dt.datetime.today().timestamp() - EPOCH,
    }


def test_every_clock_is_virtual_and_agrees():
    async def main(loop):
        await asyncio.sleep(90_061.25)
        return clocks(), dt.date.today()

    seen, today = simulate(main)
    assert seen == dict.fromkeys(seen, 90_061.25)
    assert today == dt.datetime.fromtimestamp(EPOCH + 90_061.25).date()
    assert time.time() > EPOCH + 1_000_000 or time.time() < EPOCH
    assert abs(dt.datetime.now(dt.UTC).timestamp() - time.time()) < 1


def test_calendars_of_a_given_time_are_what_they_were():
    async def main(loop):
        return time.gmtime(0)[:3], time.gmtime(None)[:3], time.strftime("%Y", time.gmtime(0)), time.ctime(0)

    assert simulate(main) == ((1970, 1, 1), (2026, 1, 1), "1970", time.ctime(0))


def test_a_subclass_of_datetime_and_an_epoch_of_ones_own():
    class Mine(dt.datetime):
        pass

    async def main(loop):
        await asyncio.sleep(1)
        return Mine.now(dt.UTC), Mine.utcnow(), time.time()

    now, utcnow, seconds = simulate(main, epoch_s=0.0)
    assert (type(now), now.isoformat(), utcnow.isoformat()) == (
        Mine,
        "1970-01-01T00:00:01+00:00",
        "1970-01-01T00:00:01",
    )
    assert seconds == 1.0


def test_other_threads_see_the_real_clock():
    seen = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            seen.append((time.time(), monotonic(), dt.datetime.now().timestamp()))
            time.sleep(0.001)

    async def main(loop):
        for _ in range(20):
            await asyncio.sleep(1000)
            with guard_off(loop):
                time.sleep(0.002)

    thread = threading.Thread(target=watch)
    began = time.time(), time.monotonic()
    thread.start()
    simulate(main)
    stop.set()
    thread.join()
    assert len(seen) > 5
    assert all(began[0] - 1 <= a <= time.time() and began[1] <= b <= time.monotonic() for a, b, _ in seen)
    assert all(abs(a - c) < 1 for a, _, c in seen)


def guard_off(loop):
    return loop.refuse.__self__.real_world()


def test_logging_shows_virtual_time(caplog):
    async def main(loop):
        await asyncio.sleep(60)
        logging.getLogger("policy").warning("hello")

    simulate(main)
    assert caplog.records[0].created == EPOCH + 60


async def use(thing):
    result = thing()
    if inspect.isawaitable(result):
        await result


refused = {
    "time.sleep": (lambda: time.sleep(1), "use `await asyncio.sleep"),
    "thread": (lambda: threading.Thread(target=print).start(), "starting a thread"),
    "timer": (lambda: threading.Timer(1, print).start(), "starting a thread"),
    "executor": (lambda: concurrent.futures.ThreadPoolExecutor().submit(print), "starting a thread"),
    "to_thread": (lambda: asyncio.to_thread(print), r"loop\.run_in_executor\(\)"),
    "run_in_executor": (lambda: asyncio.get_running_loop().run_in_executor(None, print), r"loop\.run_in_executor\(\)"),
    "event": (lambda: threading.Event().wait(), "waiting for a thread"),
    "event, timed": (lambda: threading.Event().wait(5), "waiting for a thread"),
    "queue": (lambda: queue.Queue().get(), "waiting for a thread"),
    "future": (lambda: concurrent.futures.Future().result(), "waiting for a thread"),
    "socket": (socket.socket, "opening a socket"),
    "connect": (lambda: socket.create_connection(("127.0.0.1", 1)), r"socket\.getaddrinfo\(\)"),
    "getaddrinfo": (lambda: socket.getaddrinfo("localhost", 1), r"socket\.getaddrinfo\(\)"),
    "open_connection": (lambda: asyncio.open_connection("127.0.0.1", 1), r"loop\.create_connection\(\)"),
    "subprocess": (lambda: subprocess.run(["true"], check=False), "starting a process"),
    "asyncio subprocess": (lambda: asyncio.create_subprocess_exec("true"), r"loop\.subprocess_exec\(\)"),
    "system": (lambda: os.system("true"), r"os\.system\(\)"),
    "fork": (os.fork, r"os\.fork\(\)"),
    "exit": (lambda: os._exit(9), r"os\._exit\(\) .* end the whole program"),
    "abort": (os.abort, r"os\.abort\(\)"),
    "kill": (lambda: os.kill(os.getpid(), 0), r"os\.kill\(\)"),
    "exec": (lambda: os.execl("/bin/true", "true"), r"os\.execv\(\)"),
    "spawn": (lambda: multiprocessing.get_context("spawn").Process(target=print).start(), "starting a process"),
}


@pytest.mark.matrix
@pytest.mark.parametrize("swallow", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("name", refused)
def test_the_real_world_is_refused(name, swallow):
    thing, what = refused[name]

    async def main(loop):
        try:
            await use(thing)
        except Exception:
            if not swallow:
                raise
        await asyncio.sleep(3600)  # the run does not go on for long
        pytest.fail("not reached")

    with pytest.raises(VirtualTimeError, match=what) as caught:
        simulate(main)
    first = inspect.getsourcelines(use)[1]
    line = thing.__code__.co_firstlineno if inspect.isfunction(thing) and thing.__name__ == "<lambda>" else 0
    own, awaited = f"{__file__}:{line} in <lambda>", f"{__file__}:{first + 3} in use"
    called = f"{__file__}:{first + 1} in use"
    assert any(place in str(caught.value) for place in (own, awaited, called))


def test_an_existing_socket_is_refused_too():
    here, there = socket.socketpair()

    async def main(loop):
        here.send(b"hello")

    with here, there:
        with pytest.raises(VirtualTimeError, match=r"socket\.send\(\)"):
            simulate(main)
        here.send(b"hello")
        assert there.recv(5) == b"hello"
    assert "send" not in vars(socket.socket)


def test_waiting_that_does_not_wait_is_allowed():
    async def main(loop):
        event = threading.Event()
        event.set()
        thread = threading.Thread(target=print)
        return event.wait(), threading.Event().wait(0), threading.Semaphore().acquire(timeout=0), thread.is_alive()

    assert simulate(main) == (True, False, True, False)


def test_a_wrapped_violation_is_unwrapped():
    async def main(loop):
        async with asyncio.TaskGroup() as group:
            group.create_task(use(lambda: time.sleep(1)))

    with pytest.raises(VirtualTimeError, match=r"time\.sleep"):
        simulate(main)


def test_an_error_of_ours_that_came_from_a_violation_is_kept():
    async def main(loop):
        try:
            time.sleep(1)
        except VirtualTimeError as error:
            raise PolicyError("raised", policy="mine") from error

    with pytest.raises(PolicyError, match="mine") as caught:
        simulate(main)
    assert isinstance(caught.value.__cause__, VirtualTimeError)


def test_real_world_for_the_laboratory():
    async def main(loop):
        with guard_off(loop):
            began = time.perf_counter()
            time.sleep(0.01)
            thread = threading.Thread(target=seen.append, args=[1])
            thread.start()
            thread.join()
            assert time.perf_counter() - began > 0.009
        assert time.perf_counter() == loop.time() == 0

    seen = []
    simulate(main)
    assert seen == [1]


draw, bits = random.random, random.getrandbits  # bound long before a run


def draws():
    return [draw(), bits(40), random.gauss(), random.gauss(), random.randint(0, 10**9), random.choices("abc", k=3)]


def test_random_is_seeded_and_the_state_outside_is_not_touched():
    async def main(loop):
        return draws(), draws()

    async def reseeds(loop):
        random.seed(5)
        state = random.getstate()
        first = draws()
        random.setstate(state)
        return first, draws()

    random.seed(1)
    expected = draws()
    random.seed(1)
    first, again, other = simulate(main, seed=7), simulate(main, seed=7), simulate(main, seed=8)
    assert first == again != other
    assert len(set(map(str, simulate(reseeds)))) == 1
    assert draws() == expected
    generator = random.Random(7)
    assert first[0][:2] == [generator.random(), generator.getrandbits(40)]
    assert type(random._inst) is random.Random


def test_simulations_in_threads_do_not_share_their_luck():
    async def main(loop):
        seen = []
        for _ in range(300):
            seen.append(draws())
            with guard_off(loop):
                time.sleep(0)  # the other one's turn
            await asyncio.sleep(1)
        return seen

    expected = simulate(main, seed=3)
    state = random.getstate()
    found = []
    threads = [threading.Thread(target=lambda: found.append(simulate(main, seed=3))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3
    assert random.getstate() == state


def test_nothing_is_exchanged_outside_a_run():
    async def main(loop):
        return time.monotonic.__self__ is time, "patched" in repr(socket.socket.__init__), dt.datetime.__dict__["now"]

    before = socket.socket.__init__, threading.Condition.wait, dt.datetime.__dict__["now"], subprocess.Popen.__init__
    inside = simulate(main)
    after = socket.socket.__init__, threading.Condition.wait, dt.datetime.__dict__["now"], subprocess.Popen.__init__
    assert inside[0] is False
    assert inside[2] is not before[2]
    assert before == after
    assert time.monotonic.__self__ is time


@pytest.mark.slow
def test_replacing_attributes_is_the_way_out_on_other_interpreters():
    class Warden:
        epoch_s = 0.0
        random = random.Random(1)

        def now(self):
            return 42.0

        def refuse(self, what, instead):
            raise VirtualTimeError(what)

    world = World(Warden, in_place=False)
    world.enter()
    try:
        seen = time.time(), time.monotonic(), monotonic(), dt.datetime.now(dt.UTC).timestamp(), time.monotonic_ns()
        drawn = random.random(), random.gauss(), draw()
        with pytest.raises(VirtualTimeError):
            time.sleep(1)
    finally:
        world.leave()
    assert seen == (42.0, 42.0, 42.0, 42.0, 42_000_000_000)
    generator = random.Random(1)
    assert drawn == (generator.random(), generator.gauss(), generator.random())
    assert time.time() > 1e9
    assert monotonic is time.monotonic
    assert monotonic.__self__ is time
