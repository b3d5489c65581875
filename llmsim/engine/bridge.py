"""SimPy events in asyncio code: ``await wait_event(event)``, or just ``await event``."""

# ruff: noqa: SLF001 - the engine is built on the private parts of asyncio and SimPy, and nothing else is
from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import simpy

__all__ = ["wait_event"]


async def wait_event(event: simpy.Event) -> Any:
    """Wait for a SimPy event of the running simulation; return its value or raise its exception.

    Cancelling the wait does not touch the event: use ``with resource.request() as request: await request`` so that
    a cancelled wait gives its place in the queue back.
    """
    if event.callbacks is None:
        if event._ok:
            return event._value
        raise event._value
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def happened(event: simpy.Event) -> None:
        if future.done():
            return
        if event._ok:
            future.set_result(event._value)
        else:
            event.defused = True
            future.set_exception(event._value)

    event.callbacks.append(happened)
    try:
        return await future
    finally:
        if event.callbacks is not None and happened in event.callbacks:
            event.callbacks.remove(happened)


def _await(self: simpy.Event) -> Generator[Any, Any, Any]:
    return wait_event(self).__await__()


# Additive: SimPy's events have no __await__ of their own, and a requested Resource should read like asyncio.
if not hasattr(simpy.Event, "__await__"):
    simpy.Event.__await__ = _await  # type: ignore[attr-defined]
