"""The cyclic garbage collector during a run: it wakes up seldom."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rare_collections"]

_COLLECT_EVERY = 400_000  # new container objects between two looks of the collector; Python's own 700

_lock = threading.Lock()
_running = 0  # runs in this process
_thresholds = gc.get_threshold()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the cyclic collector look 500 times less often: a run makes few cycles and keeps many objects.

    At the default thresholds it took 40 % of a replication, walking live requests and every imported module, and of
    10,000 tasks that sleep in turn a quarter (bench_sleeps). `llmsim.engine.simulate` runs inside of one; who keeps
    something of a run for a while yet stands outside, in one of his own.
    """
    global _running, _thresholds  # noqa: PLW0603 - the collector is the process's own: runs in two threads share it
    with _lock:
        if not _running:
            _thresholds = gc.get_threshold()
            if 0 < _thresholds[0] < _COLLECT_EVERY:  # 0: never, as whoever started this process wants it
                gc.set_threshold(_COLLECT_EVERY, 20, 1000)
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                gc.set_threshold(*_thresholds)
