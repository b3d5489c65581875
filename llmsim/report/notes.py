"""What a person should know beside the numbers of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsim.report.tables import cut_off
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["notes"]

#: Why a live run of which everything was measured has no verdict, and what has one.
_NO_VERDICT = (
    "an SLO is judged over replications, and a live run is one: its lines say on which side of the bound it was, and "
    "stay undecided. For a verdict, judge the simulation (llmsim run FILE) and see with llmsim compare FILE --live how "
    "far it is off; where only errors are to stop a pipeline, add --allow-undecided and read the measured values"
)


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
    if result.live and any(line.verdict == "UNDECIDED" for line in result.slo):
        told.append(_NO_VERDICT)
    return told
