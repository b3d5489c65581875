"""Whether a parameter changes anything that happens: one that does not cannot be tuned, and hides that nothing was."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llmsim.errors import Problem, ScenarioError
from llmsim.tuning.settings_runs import Entry, Luck
from llmsim.tuning.space import SOURCE, Dimension, Space, shown

__all__ = ["idle", "without"]

_PROBES = 2  # replications in which nothing may happen otherwise for a parameter to have no effect


def idle(space: Space, luck: Luck) -> list[Dimension]:
    """Dimensions on which nothing that happens depends, all others being as they are."""
    found = list(space.dimensions)
    entries = {one.path: [luck.entry({one.path: value}) for value in one.ends] for one in found}
    for upto in range(1, _PROBES + 1):
        for some in (_both_ends, list):  # the others only where both ends are alike
            probed = {one.path: some(entries[one.path]) for one in found}
            luck.ensure([entry for chosen in probed.values() for entry in chosen], upto)
            found = [one for one in found if len({repr(entry.rows) for entry in probed[one.path]}) == 1]
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
    named = [one for one in found if one.path not in optional or not left]
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
    return [entries[0], entries[-1]]
