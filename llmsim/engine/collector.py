"""The cyclic garbage collector during a run: it wakes up seldom."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["as_before", "rare_collections"]

_COLLECT_EVERY = 400_000  # new container objects between two looks of the collector; Python's own 700

_lock = threading.Lock()
_running: dict[int, int] = {}  # runs in each thread of this process, within one another
_thresholds = gc.get_threshold()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the cyclic collector look 500 times less often: a run makes few cycles and keeps many objects.

    At the default thresholds it took 40 % of a replication, walking live requests and every imported module, and of
    10,000 tasks that sleep in turn a quarter (bench_sleeps). `llmsim.engine.simulate` runs inside of one; who keeps
    something of a run for a while yet stands outside, in one of his own.
    """
    global _thresholds  # noqa: PLW0603 - the collector is the process's own: runs in two threads share it
    thread = threading.get_ident()
    with _lock:
        if not _running:
            _thresholds = gc.get_threshold()
            if 0 < _thresholds[0] < _COLLECT_EVERY:  # 0: never, as whoever started this process wants it
                gc.set_threshold(_COLLECT_EVERY, 20, 1000)
        _running[thread] = _running.get(thread, 0) + 1
    try:
        yield
    finally:
        _leave(thread, 1)


def as_before(thread: int) -> None:
    """Nobody waits for this thread any more: if it was abandoned in the middle of a run, that is no reason to go on.

    Else all cycles that a notebook makes from then on (a figure is one) would stay as long as its kernel.
    """
    _leave(thread, _running.get(thread, 0))


def _leave(thread: int, runs: int) -> None:
    with _lock:
        if thread not in _running:  # abandoned, and over after all
            return
        _running[thread] -= runs
        if _running[thread] <= 0:
            del _running[thread]
        if not _running:
            gc.set_threshold(*_thresholds)
