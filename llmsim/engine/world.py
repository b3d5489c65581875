"""The parts of the real world that a simulation must not see, and what stands in for them."""

from __future__ import annotations

import _posixsubprocess
import _socket
import _thread
import ctypes
import datetime as dt
import functools
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, cast

from llmsim.engine import frames
from llmsim.engine.chance import Chance
from llmsim.engine.exchange import Exchange
from llmsim.engine.refused import NO_ENDING, NO_PROCESSES, NO_SOCKETS, NO_THREADS

__all__ = ["EPOCH", "World"]

EPOCH = 1_767_225_600.0  #: 2026-01-01T00:00:00Z, the virtual time 0 of a run that does not say otherwise

_NO_SLEEP = "it would stop everybody; use `await asyncio.sleep(...)`"
_NO_WAITING = "it waits for another thread in real time, while virtual time stands still; use asyncio's primitives"

Anything = Callable[..., Any]


class Warden(Protocol):
    """What the replacements need of a guard."""

    epoch_s: float
    random: Random
    entropy: Random

    def now(self) -> float:
        """Seconds of virtual time."""

    def refuse(self, what: str, instead: str) -> Any:
        """Raise."""


class World:
    """Everything that is exchanged while at least one simulation runs, in whichever thread.

    Parameters
    ----------
    active
        Gives the guard of the calling thread, None where the real world is meant.
    in_place
        See `Exchange`.
    """

    def __init__(self, active: Callable[[], Warden | None], *, in_place: bool = True) -> None:
        self._active = active
        self._in_place = in_place
        self._entered = 0
        self._builtins = [*self._clocks(), *self._refused_builtins(), *self._entropy()]
        self._attributes = [*self._refused_methods(), *self._datetime(), _Attribute(Random, "seed", self._seeding)]
        self._chance = Chance(self._generator, in_place=in_place)

    def enter(self) -> None:
        """Exchange, if this is the first simulation that runs now."""
        self._entered += 1
        if self._entered == 1:
            for builtin in self._builtins:
                builtin.begin()
            for attribute in self._attributes:
                attribute.begin()
            self._chance.begin()

    def leave(self) -> None:
        """Put everything back, if this was the last one."""
        self._entered -= 1
        if self._entered == 0:
            self._put_back()

    def at_exit(self) -> None:
        """Put everything back although a simulation still runs, in a thread that was abandoned."""
        if self._entered > 0:
            self._entered = 0
            self._put_back()

    def _put_back(self) -> None:
        self._chance.end()
        for attribute in self._attributes:
            attribute.end()
        for builtin in self._builtins:
            builtin.end()

    def _generator(self) -> Random | None:
        guard = self._active()
        return None if guard is None else guard.random

    def _entropy(self) -> list[Exchange]:
        """`os.urandom`, and with it `uuid.uuid4`, `secrets`, `random.SystemRandom` and numpy's ``default_rng()``."""
        active = self._active

        def make(real: Anything) -> Anything:
            def draw(size: int, *args: Any, **kwargs: Any) -> bytes:
                guard = active()
                return cast("bytes", real(size, *args, **kwargs) if guard is None else guard.entropy.randbytes(size))

            return draw

        names = [name for name in ("urandom", "getrandom") if hasattr(os, name)]
        return [Exchange(os, name, make, in_place=self._in_place) for name in names]

    def _seeding(self, real: Anything) -> Anything:
        """``random.Random()`` without a seed, which asks the system from C."""
        active = self._active

        @functools.wraps(real)
        def seed(self: Random, a: Any = None, version: int = 2) -> None:
            guard = active() if a is None else None
            real(self, a if guard is None else guard.entropy.getrandbits(256), version)

        return seed

    # -- clocks ------------------------------------------------------------------------------------------------

    def _clocks(self) -> list[Exchange]:
        ns = 1_000_000_000
        clocks: dict[str, Callable[[Warden], float]] = {
            "time": lambda guard: guard.epoch_s + guard.now(),
            "time_ns": lambda guard: round(guard.epoch_s) * ns + round(guard.now() * ns),
            "monotonic": lambda guard: guard.now(),
            "monotonic_ns": lambda guard: round(guard.now() * ns),
            "perf_counter": lambda guard: guard.now(),
            "perf_counter_ns": lambda guard: round(guard.now() * ns),
        }
        calendars = dict.fromkeys(("localtime", "gmtime", "ctime"), self._calendar)
        makers = {name: self._clock(read) for name, read in clocks.items()} | calendars | {"strftime": self._strftime}
        return [Exchange(time, name, make, in_place=self._in_place) for name, make in makers.items()]

    def _clock(self, read: Callable[[Warden], float]) -> Callable[[Anything], Anything]:
        active = self._active

        def make(real: Anything) -> Anything:
            def clock() -> float:
                guard = active()
                return real() if guard is None else read(guard)

            return clock

        return make

    def _calendar(self, real: Anything) -> Anything:
        """`time.localtime` and the like, which read the clock where they are given no time."""
        active = self._active

        def calendar(seconds: float | None = None) -> Any:
            guard = active()
            return real(seconds if guard is None or seconds is not None else guard.epoch_s + guard.now())

        return calendar

    def _strftime(self, real: Anything) -> Anything:
        active = self._active

        def strftime(form: str, moment: Any = None) -> Any:
            if moment is None and active() is not None:
                moment = time.localtime()
            return real(form) if moment is None else real(form, moment)

        return strftime

    def _datetime(self) -> list[_Attribute]:
        active = self._active
        real_now = vars(dt.datetime)["now"]
        real_utcnow = vars(dt.datetime)["utcnow"]

        def now(cls: Any, tz: dt.tzinfo | None = None) -> Any:
            guard = active()
            if guard is None:
                return real_now.__get__(None, cls)(tz)
            return cls.fromtimestamp(guard.epoch_s + guard.now(), tz)

        def utcnow(cls: Any) -> Any:
            guard = active()
            if guard is None:
                return real_utcnow.__get__(None, cls)()
            return cls.fromtimestamp(guard.epoch_s + guard.now(), dt.UTC).replace(tzinfo=None)

        # `today` of date and datetime asks `time.time`.
        return [
            _Attribute(dt.datetime, "now", classmethod(now)),
            _Attribute(dt.datetime, "utcnow", classmethod(utcnow)),
        ]

    # -- refusals ----------------------------------------------------------------------------------------------

    def _refused_builtins(self) -> list[Exchange]:
        refused: list[tuple[Any, str, str, str]] = [
            (time, "sleep", "time.sleep()", _NO_SLEEP),
            (_thread, "start_new_thread", "starting a thread", NO_THREADS),
            (_thread, "start_new", "starting a thread", NO_THREADS),
            (_thread, "start_joinable_thread", "starting a thread", NO_THREADS),  # Python 3.13
            (os, "system", "os.system()", NO_PROCESSES),
            (os, "fork", "os.fork()", NO_PROCESSES),
            (os, "posix_spawn", "os.posix_spawn()", NO_PROCESSES),
            (os, "posix_spawnp", "os.posix_spawnp()", NO_PROCESSES),
            (os, "_exit", "os._exit()", NO_ENDING),
            (os, "abort", "os.abort()", NO_ENDING),
            (_socket, "getaddrinfo", "socket.getaddrinfo()", NO_SOCKETS),
            (_socket, "gethostbyname", "socket.gethostbyname()", NO_SOCKETS),
            (_socket, "gethostbyaddr", "socket.gethostbyaddr()", NO_SOCKETS),
        ]
        return [
            Exchange(module, name, self._refusal(what, instead), in_place=self._in_place)
            for module, name, what, instead in refused
            if hasattr(module, name)
        ]

    def _refused_methods(self) -> list[_Attribute]:
        sockets = ("connect", "connect_ex", "recv", "recv_into", "send", "sendall")
        # Their calling convention (METH_FASTCALL alone) has no caller that could stand in; see `Exchange`.
        endings = [name for name in ("kill", "killpg", "execv", "execve") if hasattr(os, name)]
        return [
            *[_Attribute(os, name, self._refusal(f"os.{name}()", NO_ENDING)) for name in endings],
            _Attribute(subprocess.Popen, "__init__", self._refusal("starting a process", NO_PROCESSES)),
            _Attribute(_posixsubprocess, "fork_exec", self._refusal("starting a process", NO_PROCESSES)),
            _Attribute(socket.socket, "__init__", self._refusal("opening a socket", NO_SOCKETS)),
            *[_Attribute(socket.socket, name, self._refusal(f"socket.{name}()", NO_SOCKETS)) for name in sockets],
            _Attribute(threading.Condition, "wait", self._waiting("waiting for a thread", lambda _: True)),
            _Attribute(threading.Thread, "join", self._waiting("joining a thread", threading.Thread.is_alive)),
        ]

    def _refusal(self, what: str, instead: str) -> Callable[[Anything], Anything]:
        active = self._active

        def make(real: Anything) -> Anything:
            @functools.wraps(real)
            def refused(*args: Any, **kwargs: Any) -> Any:
                guard = active()
                return real(*args, **kwargs) if guard is None else guard.refuse(what, instead)

            return refused

        return make

    def _waiting(self, what: str, blocks: Callable[[Any], bool]) -> Callable[[Anything], Anything]:
        """Refuse to wait where the user's own code asks for it.

        A package may: IPython flushes its output through a thread of its own and waits some milliseconds for it.
        """
        active = self._active

        def make(real: Anything) -> Anything:
            @functools.wraps(real)
            def wait(self: Any, timeout: float | None = None) -> Any:
                guard = active()
                may_block = guard is not None and blocks(self) and (timeout is None or timeout > 0)
                if may_block and frames.called_by_user(sys._getframe(1)):  # noqa: SLF001 - there is no other way
                    cast("Warden", guard).refuse(what, _NO_WAITING)
                return real(self, timeout)

            return wait

        return make


class _Attribute:
    """An attribute of a class or module and what stands in for it; the dict of a built-in class can be reached, too."""

    def __init__(self, owner: Any, name: str, make: Any) -> None:
        self._owner = owner
        self._name = name
        self._inherited = name not in vars(owner)
        self._original = vars(owner).get(name)
        self._replacement = make if isinstance(make, classmethod) else make(getattr(owner, name))

    def begin(self) -> None:
        """Put the replacement in place."""
        self._set(self._replacement)

    def end(self) -> None:
        """Put the original back."""
        if self._inherited:
            delattr(self._owner, self._name)
        else:
            self._set(self._original)

    def _set(self, value: Any) -> None:
        try:
            setattr(self._owner, self._name, value)
        except TypeError:
            gc.get_referents(vars(self._owner))[0][self._name] = value
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(self._owner))
