"""An open loop of requests, each in a task of its own: what the benchmarks of providers and policies measure."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from time import process_time
from typing import Any

from llmsim.engine.driver import simulate
from llmsim.engine.loop import SimLoop

__all__ = ["per_request_us"]


def per_request_us(
    start: Callable[[SimLoop, Callable[[], None]], Callable[[int], Coroutine[Any, Any, None]]],
    requests: int,
    *,
    rate_per_s: float,
    during: AbstractContextManager[Any] | None = None,
) -> float:
    """CPU microseconds a request.

    Parameters
    ----------
    start
        Sets the scene on a loop; returns what the n-th user does. The last thing is to call what else it was given: a
        coroutine around each user would be measured too, and make all ratios smaller.
    requests, rate_per_s
        How many arrive, evenly.
    during
        Entered while it is measured.
    """

    async def main(loop: SimLoop) -> None:
        done, left = loop.create_future(), requests

        def ended() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        user = start(loop, ended)

        def arrive(index: int) -> None:
            asyncio.Task(user(index), loop=loop)
            if index + 1 < requests:
                loop.at((index + 1) / rate_per_s, arrive, index + 1)

        loop.at(0.0, arrive, 0)
        await done

    gc.collect()
    with during or nullcontext():
        started = process_time()
        simulate(main)
        return (process_time() - started) / requests * 1e6
