"""Which of the tuned values it takes: each alone put back to what it is now, the others as tuned.

A search moves whatever it may move, and what does not matter ends anywhere. Who changes a gateway in production wants
to change as little as brings the gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmsim.errors import ScenarioError
from llmsim.scenario.spec import Scenario
from llmsim.tuning.held_out import sensitive
from llmsim.tuning.objective import centre
from llmsim.tuning.question import Question
from llmsim.tuning.settings_runs import Entry, Luck
from llmsim.tuning.space import Settings, Space, shown
from llmsim.tuning.tuned_figures import cost, moved
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.tuning.tuned import Change, Sensitive, Tuned

__all__ = ["Alone", "alone", "needed_note", "no_gain_note", "put_back"]

#: Of `Change.verdict`; half a percent is `llmsim.tuning.question.INDIFFERENT`.
_WORDS = {
    "worse": "worse",
    "same": "no different (within half a percent)",
    "better": "better",
    "unsure": "too near to tell",
}


def put_back(space: Space, scenarios: Sequence[Scenario], settings: Settings) -> Iterator[tuple[str, Settings]]:
    """Path and settings without the tuned value there, wherever that says something else and fits.

    Parameters
    ----------
    space, scenarios
        What was searched, and in what.
    settings
        The tuned ones; of one value nothing is told, as without it there is what there is.
    """
    for path in settings if len(settings) > 1 else ():
        without = {other: value for other, value in settings.items() if other != path}
        try:
            if any(space.settled(one, without) != space.settled(one, settings) for one in scenarios):
                yield path, without
        except ScenarioError:
            continue  # what is there now does not go with the others


class Alone(NamedTuple):
    """What is needed of the tuned values, everything else put back."""

    settings: Settings
    held_out: float  #: what it costs there
    change: Change  #: of the goal, against what there is, on held-out luck
    breaks: tuple[str, ...]  #: limits that do not hold with it, and less so than with all tuned values


def alone(question: Question, luck: Luck, best: Entry, undone: Sequence[Sensitive], upto: int) -> Alone | None:
    """Run what is needed without the rest; None: it is all of it or nothing, or does not fit.

    Parameters
    ----------
    question, luck
        What was asked, and held-out luck.
    best, undone
        The winner there, and each of its values alone put back.
    upto
        Replications.
    """
    rest = [one.path for one in undone if not _loss(one)]
    settings = {path: value for path, value in best.settings.items() if path not in rest}
    if len(question.goals) > 1 or not rest or not settings:
        return None
    try:
        luck.check(settings)
    except ScenarioError:
        return None
    entry = luck.entry(settings)
    luck.ensure([entry], upto)
    change = sensitive(question, luck.entry({}), entry, "", None).change
    costs = centre(question.goals[0], question.costs(entry, upto)[0])
    return Alone(settings, costs, change, sensitive(question, best, entry, "", None).breaks)


def needed_note(found: Tuned) -> str:
    """What to change, what it brings alone, and what can stay; empty: nothing to say of it.

    A value can stay where putting it back is surely no loss that matters (all of its interval within half a percent, or
    on the good side) and breaks no limit.
    """
    if found.partial or not found.improves or len(found.goals) > 1:
        return ""
    by = {one.path: one for one in found.undone}
    changed = [text.partition(": ")[0] for text in found.space]
    changed = [path for path in changed if path in found.settings and _differs(found, path)]
    off = tuple(f"{path}." for path, value in found.settings.items() if value is False)
    changed = [path for path in changed if not path.startswith(off)]  # there it means nothing
    stay = [path for path in changed if path in by and _no_loss(by[path])]
    unsure = [path for path in changed if path in by and path not in stay and not _loss(by[path])]
    take = [path for path in changed if path not in stay and path not in unsure]
    if not take and not unsure:
        if len(changed) < 2:
            return ""
        return "No single change is needed: put back any one of them alone, and nothing that matters is lost."
    parts = []
    if take:
        moves = (f"{path} {found.now.get(path, '–')} → {shown(found.settings[path])}" for path in take)
        parts.append(f"What to change: {', '.join(moves)}.{_alone(found)}")
    if unsure:
        told = counted(len(unsure), "other") if take else "these"
        parts.append(f"Not clear whether it takes {told}: {', '.join(unsure)}.")
    if stay:
        each = ", each by itself" if len(stay) > 1 else ""
        parts.append(f"Can stay as it is{each}: {', '.join(stay)}.")
    return " ".join(parts)


def _alone(found: Tuned) -> str:
    if found.alone is None:
        return ""
    breaks = f", but breaks {', '.join(found.alone.breaks)}" if found.alone.breaks else ""
    goal, by = found.goals[0], moved(found.goals[0], found.alone.change)
    by = f", {by}" if by != "–" else ""  # from never to a number is no share of anything
    return f" That alone makes {goal.name} {cost(found, goal, found.alone.held_out)}{by}{breaks}."


def _differs(found: Tuned, path: str) -> bool:
    return shown(found.settings[path]) != found.now.get(path)


def _loss(one: Sensitive) -> bool:
    return bool(one.breaks) or (one.change.verdict == "worse" and not _no_loss(one))


def _no_loss(one: Sensitive) -> bool:
    """Whether it breaks nothing, and costs no more by what matters: a loss can be sure and too little."""
    interval = one.change.interval
    return not one.breaks and interval is not None and interval[1] <= one.change.least


def _word(change: Change) -> str:
    """What is sure, but within half a percent, is no difference."""
    inside = change.interval is not None and max(map(abs, change.interval)) <= change.least
    return _WORDS["same" if inside else change.verdict]


def no_gain_note(found: Tuned) -> str:
    """Why nothing is gained where what there is won: what a step to either side does. Empty: it is not so."""
    if found.partial or found.best is None or found.best.settings or len(found.goals) > 1:
        return ""
    if not found.sensitivity:
        return "What you have lies outside of the space, and nothing that was tried in it is better."
    rows = found.sensitivity
    breaking = [one for one in rows if one.breaks]
    rest = [_word(one.change) for one in rows if not one.breaks]
    told = [
        f"{count} {'is' if count == 1 else 'are'} {text}" for text in _WORDS.values() if (count := rest.count(text))
    ]
    if breaking:
        lines = list(dict.fromkeys(line for one in breaking for line in one.breaks))
        told.append(f"{len(breaking)} would break {', '.join(lines)}")
    return f"Why nothing is gained: of {counted(len(rows), 'step')} to either side of it, {', '.join(told)}."
