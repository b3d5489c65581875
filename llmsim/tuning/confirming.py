"""More replications where only they are missing: a better setting of which it is not yet known whether its limits hold.

A limit that holds is one with the verdict PASS. With ten replications that takes nine inside the bound, so a setting
near the bound can be within it and still not pass, and the winner is then one further inside than it need be: the fewer
the replications, the dearer that caution. So what would win if it passed gets up to `LONGER` times as many, looked at
on the way as in `llmsim run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llmsim.report.verdict import looks
from llmsim.tuning.question import LONGER, Question, same
from llmsim.tuning.settings_runs import Entry, Luck

__all__ = ["confirm"]

#: `Judgement.likely_needed` are those that decide with probability 0.8. Twice as many are about an even chance.
_CHANCE = 2
#: Settings that get more replications. Each takes as many as `LONGER` - 1 trials that run to their end.
_CANDIDATES = 4


def confirm(question: Question, luck: Luck, finished: Iterable[Entry]) -> None:
    """Look longer at those that would win, one after another, until one of them passes or none is left.

    Parameters
    ----------
    question
        What is asked.
    luck
        Where replications come from.
    finished
        Settings with all the replications that a trial can have.
    """
    entries, steps = list(finished), [look.replications for look in looks(LONGER * question.most)]
    tried: list[Entry] = []
    while len(tried) < _CANDIDATES:
        candidate = next((one for one in _hopeful(question, entries) if one not in tried), None)
        if candidate is None:
            return
        tried.append(candidate)
        for upto in steps:
            if upto > candidate.done and _open(question, candidate):
                luck.ensure([candidate], upto)


def _hopeful(question: Question, entries: Sequence[Entry]) -> list[Entry]:
    """Settings that would be preferred to all that pass, the cheapest first."""
    costs = [question.centres(entry) for entry in entries]
    passed = [cost for entry, cost in zip(entries, costs, strict=True) if question.standing(entry).doubt == 0]
    found = [
        (cost, number)
        for number, (entry, cost) in enumerate(zip(entries, costs, strict=True))
        if _open(question, entry) and not any(same(other, cost) for other in passed)
    ]
    return [entries[number] for _, number in sorted(found)]


def _open(question: Question, entry: Entry) -> bool:
    """Whether every limit holds in the median, and those without a verdict have a fair chance to pass in time."""
    if question.standing(entry).doubt != 1:
        return False
    most = _CHANCE * LONGER * question.most
    undecided = [one for one in question.judged(entry) if one is not None and one.verdict != "PASS"]
    return all(
        one.verdict == "UNDECIDED"
        and one.inside > one.replications - one.inside - one.missing
        and one.likely_needed is not None
        and one.likely_needed <= most
        for one in undecided
    )
