"""A piece of work that has nothing to do with llmsim: how fast this machine is just now.

Seconds say little on a machine that does much else. As multiples of this work, measured beside it, they do: what is
measured here can get slower and be seen to, which it could not if its own parts were the measure.
"""

from __future__ import annotations

import heapq
import time

__all__ = ["IDLE_S", "slowness", "work"]

#: Of `work`, on an idle core of the machine on which the figures of this repository were measured (CPU time, 2026).
IDLE_S = 0.11


def work() -> None:
    """A heap and a mapping, as an event loop has them."""
    heap: list[tuple[int, int]] = []
    seen: dict[int, float] = {}
    for n in range(150_000):
        heapq.heappush(heap, (n * 7919 % 10007, n))
        if n % 3 == 0:
            at, one = heapq.heappop(heap)
            seen[one] = seen.get(at, 0.0) + 0.5 * at


def slowness() -> float:
    """How many times longer than on that idle core things take just now; 1 at least."""
    start = time.perf_counter()
    work()
    return max(1.0, (time.perf_counter() - start) / IDLE_S)
