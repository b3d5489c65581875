"""What the replications of a tuning leave open: how much better than its winner another setting may be.

The winner is the best of what ran to its end, in the very replications it was chosen by. What it loses against the
true best of them is bounded all the same if the limits of all differences hold at once: whichever the best is, one of
them is about it (multiple comparisons with the best, Hsu 1984, Annals of Statistics 12). So the error of 5 % is shared
between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.report.verdict import ERROR, FIRST_LOOK
from llmsim.tuning.common_luck import differences
from llmsim.tuning.question import LONGER, Question
from llmsim.tuning.racing import lower_limit, t_quantile
from llmsim.tuning.settings_runs import Entry
from llmsim.tuning.space import Settings

__all__ = ["APART", "Apart", "Rival", "told_apart"]

#: What a tuning may lose against the best (the bound of its tests), and so how well settings have to be told apart.
APART = 0.02


class Rival(NamedTuple):
    """A setting that may be better than the winner, by more than what a tuning may lose."""

    settings: Settings
    better: float  #: at most, as a share of the winner's cost
    limits: tuple[str, ...]  #: of which it is not known whether they hold; empty: the costs alone are too near
    needed: int | None  #: replications of a setting with which it would probably be told; None: too close to tell


class Apart(NamedTuple):
    """How well the winner is told from the others that ran to their end and whose limits are no worse."""

    replications: int
    compared: int  #: the others
    most: float  #: none of them is better by more than this share of the winner's cost; error 5 % for all together
    rivals: tuple[Rival, ...]  #: the worst to miss first


def told_apart(question: Question, winner: Entry, finished: Sequence[Entry]) -> Apart | None:
    """Compare the winner with every other setting that ran to its end.

    Parameters
    ----------
    question
        What was asked: of several goals none is the best, so nothing is told.
    winner, finished
        The best, and all that have all replications.

    Returns
    -------
    Apart or None
        None: several goals, or nothing to be a share of, or a limit that does not hold even for the winner.
    """
    if len(question.goals) > 1:
        return None
    cost, doubt = question.centres(winner)[0], question.standing(winner).doubt
    if doubt > 1 or not cost or not math.isfinite(cost):
        return None
    others = [one for one in finished if one is not winner and question.standing(one).doubt <= 1]
    differences = [(one, changes) for one in others if any(changes := _changes(question, winner, one))]
    error = ERROR / max(1, len(differences))
    alike, open_, most = 0, [], 0.0
    for one, changes in differences:
        low = lower_limit(changes, None, error)
        better = min(max(0.0, -low / abs(cost)), _utmost(question, winner, one))
        undecided = _undecided(question, one) if question.standing(one).doubt > doubt else ()
        if undecided:
            if math.fsum(changes) < 0 and better > APART:  # otherwise its limits do not matter
                open_.append(Rival(one.settings, better, undecided, _needed_for_limits(question, one)))
            continue
        alike, most = alike + 1, max(most, better)
        if better > APART:
            open_.append(Rival(one.settings, better, (), _needed(changes, error, APART * abs(cost), question.most)))
    return Apart(question.most, alike, most, tuple(sorted(open_, key=lambda rival: -rival.better)))


def _changes(question: Question, winner: Entry, other: Entry) -> list[float]:
    """Pair by pair; empty where they cannot be averaged."""
    changes = differences(question.costs(other, question.most)[0], question.costs(winner, question.most)[0])
    return changes if all(map(math.isfinite, changes)) else []


def _utmost(question: Question, *entries: Entry) -> float:
    """What is never below 0 is better by all of it at most."""
    costs = [cost for entry in entries for cost in question.costs(entry, question.most)[0]]
    return 1.0 if min(costs) >= 0 else math.inf


def _undecided(question: Question, entry: Entry) -> tuple[str, ...]:
    judged = zip(question.judged(entry), question.places(), strict=True)
    return tuple(f"{line.key} {line.text}" for one, (*_, line) in judged if one is None or one.verdict != "PASS")


def _needed(changes: Sequence[float], error: float, room: float, most: int) -> int:
    """Replications that bring the limit within `room`, if the difference stays what it is; no better than 0.

    What few replications say of its scatter is too little more often than not: it is divided by the median of what such
    a variance is a share of (Wilson & Hilferty 1931).
    """
    freedom, mean = len(changes) - 1, math.fsum(changes) / len(changes)
    variance = math.fsum((one - mean) ** 2 for one in changes) / (freedom * (1 - 2 / (9 * freedom)) ** 3)
    found = _look(0, most)
    while t_quantile(1 - error, found - 1) * math.sqrt(variance / found) > room + max(0.0, mean):
        found *= 2
    return found


def _needed_for_limits(question: Question, entry: Entry) -> int | None:
    """The same for a verdict on its limits, which may be looked at `LONGER` times as long."""
    needed = [one.likely_needed for one in question.judged(entry) if one is not None and one.verdict == "UNDECIDED"]
    told = [one for one in needed if one is not None]
    return _look(max(told) / LONGER, question.most) if told and len(told) == len(needed) else None


def _look(replications: float, most: int) -> int:
    """A round number, 10, 20, 40, …: at least as many, and more than there were."""
    found = FIRST_LOOK
    while found < replications or found <= most:
        found *= 2
    return found
