"""What a person should know beside the numbers of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsim.report.tables import cut_off
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["notes"]


def notes(result: Result) -> list[str]:
    """What replications noted, each once; and how many requests an interrupt cut off, which are in no rate."""
    seen: dict[str, int] = {}
    for one in result.replications:
        for note in one.notes:
            seen[note] = seen.get(note, 0) + 1
    told = [note if times == 1 else f"{note} (in {times} replications)" for note, times in seen.items()]
    gone = sum(cut_off(one, result.scenario.clock.duration).height for one in result.replications)
    if gone:
        why = "the budget was used up" if result.stopped == "budget" else "the run was interrupted"
        told.append(f"{counted(gone, 'request')} had not ended when {why}: no failures, and in no rate")
    return told
