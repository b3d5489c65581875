"""The loop as an object: what it refuses, how it runs and stops, what it hands out."""

import asyncio

import pytest

from llmsim.engine import SimLoop, simulate
from llmsim.errors import VirtualTimeError


def test_asyncio_sleep_is_its_own_code_again_after_the_run():
    code = asyncio.sleep.__code__

    async def main(loop):
        await asyncio.sleep(1)
        return asyncio.sleep.__code__ is code, "set" in vars(asyncio.tasks)

    assert simulate(main) == (False, True)
    assert "set" not in vars(asyncio.tasks)
    assert asyncio.sleep.__code__ is code


def test_io_methods_refuse_clearly():
    loop = SimLoop()
    refused = [
        name for name in dir(asyncio.AbstractEventLoop) if name.startswith(("create_conn", "sock_", "sub", "add_r"))
    ]
    assert len(refused) > 8
    for name in refused:
        with pytest.raises(VirtualTimeError, match=rf"loop\.{name}\(\) inside a simulation: "):
            getattr(loop, name)()
    assert (
        not asyncio.AbstractEventLoop.__dict__.keys()
        - {"__module__", "__dict__", "__weakref__", "__doc__"}
        - {name for kind in SimLoop.__mro__[:-2] for name in kind.__dict__}
    )


def test_runner_and_asyncio_debug_mode():
    with asyncio.Runner(loop_factory=SimLoop, debug=True) as runner:
        loop = runner.get_loop()
        assert loop.get_debug()
        assert runner.run(asyncio.sleep(5, "done")) == "done"
        assert loop.time() == 5
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(loop.create_future())


def test_stop_and_run_again():
    loop = SimLoop()
    seen = []
    loop.call_later(1, loop.stop)
    loop.call_later(2, seen.append, "second run")
    loop.run_forever()
    assert (loop.time(), seen, loop.is_running()) == (1.0, [], False)
    loop.call_later(2, loop.stop)
    loop.run_forever()
    assert (loop.time(), seen) == (3.0, ["second run"])


def test_task_factory_and_handles():
    loop = SimLoop()
    made = []

    def factory(loop, coro, **kwargs):
        made.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    task = loop.create_task(asyncio.sleep(1), name="named")
    loop.run_until_complete(task)
    assert (made, task.get_name()) == (["sleep"], "named")
    with pytest.raises(TypeError):
        loop.set_task_factory("no")
    soon, later = loop.call_soon(print, 1), loop.call_later(1, print, 2)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(later, asyncio.TimerHandle)
    assert later.when() == 2.0
    assert "print" in repr(soon)
    soon.cancel()
    later.cancel()
    assert soon.cancelled()
    assert later.cancelled()
    assert repr(later) == "<SimTimerHandle cancelled>"
