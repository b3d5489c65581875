"""What keeps the real world out of a simulation, in the simulation's own thread.

While a guard is active in a thread, code of that thread

- reads the virtual clock from `time.time`, `monotonic`, `perf_counter`, their ``_ns`` variants, ``datetime.now``,
  ``utcnow`` and ``today``, however it got hold of them (see `llmsim.engine.exchange`). Without this, third-party code
  fails *silently*: tenacity's ``stop_after_delay(10)`` made 201 attempts over 200 virtual seconds;
- is refused threads, sockets, processes, `time.sleep`, waiting for another thread and ending the program
  (``os._exit``, ``os.kill``), with the line that asked;
- draws from generators of its own, seeded for the run, where it uses the functions of `random` or asks the system for
  randomness (`os.urandom`, and through it `uuid.uuid4`, `secrets`, numpy's ``default_rng()``; ``random.Random()``).
  Generators that were made outside go on where they stand, numpy's global one too: no run repeats what another has
  drawn from them.

Other threads see no difference, and without an active guard in any thread nothing is exchanged at all.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from llmsim.engine import frames
from llmsim.engine.loop import SimLoop
from llmsim.engine.world import EPOCH, World
from llmsim.errors import VirtualTimeError

__all__ = ["Guard", "guard"]

_PATIENCE_S = 1.0  #: virtual seconds a run may go on after it swallowed a violation

_guards: dict[int, Guard] = {}  #: by thread, the innermost one
_lock = threading.Lock()
_world: World | None = None
os.register_at_fork(after_in_child=_guards.clear)  # the threads of the parent are not there, their numbers come again


class Guard:
    """One guarded run.

    Attributes
    ----------
    violation
        The first thing that was refused. Policies swallow errors and libraries wrap them; this one stays.
    """

    def __init__(self, loop: SimLoop, seed: int, epoch_s: float, outer: Guard | None) -> None:
        self.loop = loop
        self.epoch_s = epoch_s
        self.outer = outer
        self.violation: VirtualTimeError | None = None
        self.suspended = 0
        self.random = random.Random(seed)  # noqa: S311 - a simulation keeps no secrets
        # Apart, so that a library that asks for some when it is first used shifts nothing for `random`.
        self.entropy = random.Random(f"entropy {seed}")  # noqa: S311

    def now(self) -> float:
        """Seconds of virtual time."""
        return self.loop.time()

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise `VirtualTimeError` with the user's line, remember it, and end the run soon even if it is swallowed."""
        error = VirtualTimeError(f"{what} inside a simulation, at {frames.where()}: {instead}")
        if self.violation is None:
            self.violation = error
            self.loop.at(self.now() + _PATIENCE_S, _raise, error)
        raise error

    @contextmanager
    def real_world(self) -> Iterator[None]:
        """Let code of this thread see the real clock and use threads and sockets; for the laboratory's own needs.

        Virtual time stands still meanwhile. There must be no ``await`` inside.
        """
        self.suspended += 1
        try:
            yield
        finally:
            self.suspended -= 1


@contextmanager
def guard(loop: SimLoop, seed: int, *, epoch_s: float = EPOCH) -> Iterator[Guard]:
    """Guard what runs in this thread.

    Parameters
    ----------
    loop
        Whose clock the wall clocks show.
    seed
        Of what the functions of `random` draw from.
    epoch_s
        What `time.time` says at the virtual time 0, seconds since 1970. `time.monotonic` and `time.perf_counter` start
        at 0, so that they agree with ``loop.time()`` as they do on asyncio's own loop.
    """
    thread = get_ident()
    with _lock:
        guarding = Guard(loop, seed, epoch_s, _guards.get(thread))
        _the_world().enter()
        _guards[thread] = guarding
    loop.refuse = guarding.refuse  # type: ignore[method-assign]  # loop.run_in_executor() and the like
    try:
        yield guarding
    finally:
        with _lock:
            if guarding.outer is not None:
                _guards[thread] = guarding.outer
            else:
                _guards.pop(thread, None)
            _the_world().leave()


def _the_world() -> World:
    global _world  # noqa: PLW0603 - prepared once, when the first simulation starts
    if _world is None:
        _world = World(_active)
        atexit.register(_world.at_exit)
    return _world


def _active() -> Guard | None:
    guarding = _guards.get(get_ident())
    return None if guarding is None or guarding.suspended else guarding


def _raise(error: BaseException) -> NoReturn:
    raise error
