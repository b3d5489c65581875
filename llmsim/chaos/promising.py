"""Which of many schedules to try first: those that put faults together that were not together before.

Failures that no single cause brings about mostly take two: so the faults of every two places are to meet at least once,
strongly and for long, before any do so again (pairwise coverage, as combinatorial testing has it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from llmsim.chaos.schedules import Schedule, Space

__all__ = ["promising"]

_Pair = tuple[tuple[str, str], ...]
_NEGLIGIBLE = 0.05  # of what a pair can be worth: below that nothing is new any more, and the next round begins


def promising(schedules: Sequence[Schedule], space: Space, count: int) -> list[Schedule]:
    """So many of them, the most promising first; of equally promising ones the first.

    Parameters
    ----------
    schedules
        To choose from, each once.
    space
        Where they come from.
    count
        How many.
    """
    worth = [dict(_worth(schedule, space)) for schedule in schedules]
    left = dict.fromkeys(range(len(schedules)))
    met: dict[_Pair, float] = {}
    chosen: list[Schedule] = []
    while left and len(chosen) < count:
        gains = {one: sum(max(0.0, value - met.get(pair, 0.0)) for pair, value in worth[one].items()) for one in left}
        best = max(left, key=gains.__getitem__)  # the first of the best
        if gains[best] < _NEGLIGIBLE:
            if not met:  # nothing is worth anything
                return [*chosen, *(schedules[one] for one in left)][:count]
            met = {}
            continue
        del left[best]
        chosen.append(schedules[best])
        for pair, value in worth[best].items():
            met[pair] = max(value, met.get(pair, 0.0))
    return chosen


def _worth(schedule: Schedule, space: Space) -> Iterator[tuple[_Pair, float]]:
    """Faults and pairs of them that meet, and how strongly and for how long: at most 1."""
    strong = {one: (one.level + 1) / len(space.kind(one).levels) for one in schedule}
    for one in schedule:
        long = one.steps / space.grid.longest if space.kind(one).lasts else 1.0
        yield (one[:2],), strong[one] * long
    for one, other in combinations(schedule, 2):
        lasting = [spell for spell in (one, other) if space.kind(spell).lasts]
        begin, end = max(spell.at for spell in (one, other)), min((s.at + s.steps for s in lasting), default=0)
        long = min(1.0, max(0, end - begin) / space.grid.longest) if len(lasting) == 2 else float(begin <= end)
        yield tuple(sorted((one[:2], other[:2]))), strong[one] * strong[other] * long
