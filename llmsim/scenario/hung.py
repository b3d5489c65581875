"""Where requests that will not end are waiting, for a note to whoever wrote the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llmsim.engine.frames import is_plumbing, place
from llmsim.scenario.users import Visit
from llmsim.units import counted

__all__ = ["hung", "places"]


def hung(visits: Sequence[Visit], drain_s: float) -> str:
    """A note on those who are still there when the drain is over."""
    they = "it waits" if len(visits) == 1 else "they wait"
    count = counted(len(visits), "request")
    return f"{count} had not ended {drain_s:g}s after the last arrival; {they}: {places(visits)}"


def places(visits: Sequence[Visit]) -> str:
    """The lines that most of them wait at."""
    lines: dict[str, int] = {}
    for visit in visits:
        where = _waits_at(visit.task)
        lines[where] = lines.get(where, 0) + 1
    return "; ".join(f"{count} at {where}" for where, count in sorted(lines.items(), key=lambda item: -item[1])[:3])


def _waits_at(task: asyncio.Task[None] | None) -> str:
    """The innermost line of the chain of awaits that is not a library's."""
    where = "?"
    awaited: object | None = task.get_coro() if task is not None else None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None and (where == "?" or not is_plumbing(frame.f_code.co_filename)):
            where = place(frame)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return where
