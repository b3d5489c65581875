"""Where the settings as they are stand beside a front of several goals, on held-out luck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmsim.tuning.settings_runs import told
from llmsim.tuning.tuned_figures import figures, moved

if TYPE_CHECKING:
    from llmsim.tuning.tuned import Held, Tuned

__all__ = ["Place", "as_it_is", "front_note", "place_of"]

_MOST_TOLD = 3  # settings in a sentence; a table has them all

_RANK = {"PASS": 0, "UNDECIDED": 1, "FAIL": 2}


class Place(NamedTuple):
    """Those of a front that beat the settings as they are: better in one goal, and worse in none."""

    beaten_by: tuple[Held, ...]  #: surely: by the intervals of all paired differences, and limits hold as surely
    maybe_by: tuple[Held, ...]  #: it is not ruled out
    others: int  #: that are on the front at all


def place_of(front: Sequence[Held], current: Held) -> Place:
    """Compare what there is with the others of a front, goal by goal."""
    others = [one for one in front if one.settings]
    surely = [one for one in others if _beats(one, current)]
    maybe = [one for one in others if one not in surely and _may(one, current)]
    return Place(tuple(surely), tuple(maybe), len(others))


def _beats(one: Held, current: Held) -> bool:
    verdicts = [change.verdict for change in one.changes]
    better = "better" in verdicts and all(word in ("better", "same") for word in verdicts)
    return better and _RANK[one.holds] <= _RANK[current.holds]


def _may(one: Held, current: Held) -> bool:
    """No goal is surely worse, not all are the same, and no limit surely fails."""
    verdicts = {change.verdict for change in one.changes}
    limits = one.holds != "FAIL" or current.holds == "FAIL"
    return limits and "worse" not in verdicts and verdicts != {"same"}


def as_it_is(found: Tuned, current: Held) -> str:
    """What wins is what there is: of one goal the best of all, of several a point of a front."""
    of, now = f"{found.account.trials + 1} settings", figures(found, current)
    if len(found.goals) == 1:
        return f"what you have is the best of {of}: {now}"
    place = place_of(found.front, current)
    if not place.others:
        return f"what you have is the best of {of}, no other is better in any goal: {now}"
    if place.beaten_by:
        beaten = f"{len(place.beaten_by)} of the {place.others} others on the front"
        return f"what you have is beaten by {beaten}, on luck that none has seen: {now}"
    doubt = ", as far as held-out luck tells" if place.maybe_by else ""
    return f"what you have lies on the front of {of}{doubt}: {now}"


def front_note(found: Tuned, current: Held) -> str:
    """What there is beside the others of a front, with the paired differences of those that beat it."""
    place = place_of(found.front, current)
    others = f"the {place.others} {'other' if any(not one.settings for one in found.front) else 'setting'}"
    others += f"{'s' if place.others > 1 else ''} on the front"
    beats = "better in one goal and worse in none, on held-out luck"
    if place.beaten_by:
        each = _each(found, place.beaten_by)
        return f"What you have is beaten by {len(place.beaten_by)} of {others} ({beats}): {each}."
    if place.maybe_by:
        each = _each(found, place.maybe_by)
        return f"What you have may be beaten by {len(place.maybe_by)} of {others} ({beats}): {each}."
    return f"What you have is beaten by none of {others} ({beats})."


def _each(found: Tuned, chosen: Sequence[Held]) -> str:
    """The first of them."""
    parts = []
    for one in chosen[:_MOST_TOLD]:
        changes = (f"{goal.name} {moved(goal, change)}" for goal, change in zip(found.goals, one.changes, strict=True))
        parts.append(f"{told(one.settings)} ({', '.join(changes)})")
    more = len(chosen) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")
