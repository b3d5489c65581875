"""Whether a parameter changes anything that happens: one that does not cannot be tuned, and hides that nothing was."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from llmsim.errors import Problem, ScenarioError
from llmsim.tuning.settings_runs import Entry, Luck
from llmsim.tuning.space import SOURCE, Dimension, Settings, Space, shown

__all__ = ["idle", "without"]

_PROBES = 2  # replications in which nothing may happen otherwise for a parameter to have no effect


def idle(space: Space, luck: Luck) -> list[Dimension]:
    """Dimensions on which nothing that happens depends, wherever the others are: as they are, at either end, between.

    With one attempt nothing depends on the pauses between attempts; with five it does. And where the first pause is as
    long as the longest nothing depends on how they grow; with one in the middle it does.
    """
    found = list(space.dimensions)
    for others in ({}, _corner(space, 0), _corner(space, -1), _middle(space)):
        found = _alike(found, others, luck)
    return found


def _corner(space: Space, end: int) -> dict[str, Any]:
    """All dimensions at one end, and policies there where they can be."""
    found = {}
    for one in space.dimensions:
        here = [value for value in one.ends if not one.off(value)]
        found[one.path] = here[end]
    return found


def _middle(space: Space) -> dict[str, Any]:
    """All dimensions half-way on their own scales; choices without order at the last, policies on."""
    last = _corner(space, -1)
    return {one.path: one.value(one.at(0.5)) if one.ordered else last[one.path] for one in space.dimensions}


def _alike(dimensions: Sequence[Dimension], others: Settings, luck: Luck) -> list[Dimension]:
    """Those at whose values the same happens, the others as they are there; all values that fit with these."""
    entries = {}
    for one in dimensions:
        settings = [{**others, one.path: value} for value in one.ends]
        entries[one.path] = [luck.entry(each) for each in settings if _fits(luck, each)]
    found = list(dimensions)
    for upto in range(1, _PROBES + 1):
        for some in (_both_ends, list):  # the others only where both ends are alike
            probed = {one.path: some(entries[one.path]) for one in found}
            luck.ensure(list(dict.fromkeys(entry for chosen in probed.values() for entry in chosen)), upto)
            found = [one for one in found if len({repr(entry.rows[:upto]) for entry in probed[one.path]}) < 2]
    return found


def without(space: Space, found: Sequence[Dimension], optional: Collection[str]) -> Space:
    """A space without dimensions that have no effect, where they may be left out and something remains.

    Parameters
    ----------
    space, found
        The space, and what `idle` found in it.
    optional
        Paths that nobody named: a recipe has them for the policies there are, whatever happens to these.

    Raises
    ------
    ScenarioError
        With those that may not.
    """
    left = tuple(one for one in space.dimensions if one not in found)
    named = [one for one in found if one.path not in optional]
    if not left and not named:
        told = " or ".join(f"{one.path} ({shown(one.ends[0])} to {shown(one.ends[-1])})" for one in found)
        raise ScenarioError(
            f"the recipe finds nothing to tune here: nothing that happens in {_PROBES} replications depends on {told}. "
            "Does what it is for happen in this scenario, and does nothing else hide it? Name a --space instead",
            SOURCE,
        )
    if named:
        problems = [
            Problem(
                f"has no effect: nothing that happens in {_PROBES} replications depends on it, be it "
                f"{' or '.join(map(shown, one.ends))}",
                one.path,
                hint="Leave it out, or look whether something else hides it.",
            )
            for one in named
        ]
        raise ScenarioError(problems, SOURCE)
    return Space(left)


def _both_ends(entries: list[Entry]) -> list[Entry]:
    return [entries[0], entries[-1]] if entries else []


def _fits(luck: Luck, settings: Settings) -> bool:
    try:
        luck.check(settings)
    except ScenarioError:
        return False
    return True
