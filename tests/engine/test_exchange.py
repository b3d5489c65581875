"""Builtin functions are exchanged for everybody who holds them, and put back."""

import _thread
import gc
import os
import sys
import time
from functools import partial

import pytest

from llmsim.engine.exchange import Exchange

holder = partial(time.monotonic)
calls = {
    "METH_NOARGS": (time, "monotonic", (), {}),
    "METH_O": (time, "sleep", (3,), {}),
    "METH_VARARGS": (_thread, "start_new_thread", (print, ()), {}),
    "METH_FASTCALL | METH_KEYWORDS": (os, "system", (), {"command": "true"}),
}


@pytest.mark.parametrize("convention", calls)
def test_every_calling_convention(convention):
    module, name, args, kwargs = calls[convention]
    function = getattr(module, name)
    itself = function.__self__
    exchange = Exchange(module, name, lambda original: lambda *args, **kwargs: ("instead", args, kwargs))
    assert exchange.in_place
    exchange.begin()
    try:
        assert function(*args, **kwargs) == ("instead", args, kwargs)
        assert getattr(module, name) is function
    finally:
        exchange.end()
    assert function.__self__ is itself


def test_the_original_goes_on_working():
    exchange = Exchange(time, "monotonic", lambda original: lambda: -original())
    exchange.begin()
    try:
        assert holder() < 0
        assert abs(exchange.original() + holder()) < 1
    finally:
        exchange.end()
    assert holder() > 0


def test_exceptions_pass_through():
    exchange = Exchange(time, "monotonic", lambda original: lambda: 1 / 0)
    exchange.begin()
    try:
        with pytest.raises(ZeroDivisionError):
            holder()
    finally:
        exchange.end()


@pytest.mark.slow
def test_references_are_kept():
    made = []
    exchange = Exchange(time, "monotonic", lambda original: made.append(lambda: 1.0) or made[0])
    count, module_count = sys.getrefcount(made[0]), sys.getrefcount(time)
    for _ in range(3):  # each collection walks everything the suite has imported
        exchange.begin()
        gc.collect()
        assert holder() == 1.0
        exchange.end()
    assert sys.getrefcount(made[0]) <= count + 1
    assert sys.getrefcount(time) <= module_count + 1


@pytest.mark.slow
def test_a_process_may_end_in_between():
    code = (
        "import time, atexit\n"
        "from llmsim.engine.exchange import Exchange\n"
        "Exchange(time, 'monotonic', lambda original: lambda: 1.0).begin()\n"
        "atexit.register(time.monotonic)\n"
        "print(time.monotonic())\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1.0\n", "")


def test_what_is_no_builtin_function_is_replaced_by_name():
    import subprocess

    exchange = Exchange(subprocess, "list2cmdline", lambda original: lambda _: "instead")
    assert not exchange.in_place
    exchange.begin()
    try:
        assert subprocess.list2cmdline([]) == "instead"
    finally:
        exchange.end()
    assert subprocess.list2cmdline(["a"]) == "a"
