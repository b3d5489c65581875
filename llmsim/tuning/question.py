"""What replications say of a setting: costs, violations, and which of two settings is to be preferred."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmsim.report.verdict import Judgement, Look, judge, look_at, median
from llmsim.scenario.objectives import Objective
from llmsim.tuning.common_luck import unlike
from llmsim.tuning.objective import Goal, centre, violation
from llmsim.tuning.settings_runs import Entry

__all__ = ["INDIFFERENT", "LONGER", "Question", "Reference", "Standing", "same"]

#: What is not better by more than this share of the best is not worth a replication. A wrong stop for that reason costs
#: as much at most; a tuning is to lose 2 % at most.
INDIFFERENT = 0.005
#: Times `Question.most`: replications of a setting of which only they can tell whether its limits hold.
LONGER = 4


class Standing(NamedTuple):
    """How a setting is placed; the smallest is the best."""

    doubt: int  #: 0: every limit has the verdict PASS; 1: each holds in the median; 2: one does not
    outside: float  #: how far limits are outside in sum, for 2
    costs: tuple[float, ...]


class Reference(NamedTuple):
    """A setting of which others are expected to be as lucky."""

    entry: Entry  #: it has all replications
    shares: tuple[float, ...]  #: by limit, how much of its luck others share (`llmsim.tuning.common_luck`)


Moved = Callable[[int, Sequence[float]], float]


def _mean(_: int, changes: Sequence[float]) -> float:
    return math.fsum(changes) / len(changes)


class Question(NamedTuple):
    """What is asked, over one scenario or several.

    Parameters
    ----------
    goals
        What is to be small.
    limits
        By scenario, what must hold there.
    most
        Replications of a setting that is run to its end, what verdicts are planned for; a few go on to `LONGER` times
        as many.
    weights
        By scenario: costs are weighted; None: the worst scenario counts.
    scales
        ``scales[scenario][goal]``: costs are shares of these; 1 where there is one scenario.
    """

    goals: tuple[Goal, ...]
    limits: tuple[tuple[Objective, ...], ...]
    most: int
    weights: tuple[float, ...] | None = None
    scales: tuple[tuple[float, ...], ...] = ((),)

    def costs(self, entry: Entry, upto: int | None = None) -> list[list[float]]:
        """By goal, one a replication."""
        return [[self._cost(goal, rows) for rows in entry.rows[:upto]] for goal in range(len(self.goals))]

    def _cost(self, goal: int, rows: list[list[float]]) -> float:
        costs = [self.goals[goal].cost(row[goal]) for row in rows]
        if len(costs) == 1:
            return costs[0]
        shares = [cost / self.scales[index][goal] for index, cost in enumerate(costs)]
        if self.weights is None:
            return max(shares)
        return math.fsum(weight * one for weight, one in zip(self.weights, shares, strict=True) if weight)

    def places(self) -> list[tuple[int, int, Objective]]:
        """Every limit: its scenario, where its value stands in a row, and itself."""
        first = len(self.goals)
        return [(s, first + n, line) for s, lines in enumerate(self.limits) for n, line in enumerate(lines)]

    def values(self, entry: Entry) -> list[list[float]]:
        """Of every limit, by replication."""
        return [[rows[s][at] for rows in entry.rows] for s, at, _ in self.places()]

    def violations(self, entry: Entry, upto: int | None = None) -> list[list[float]]:
        """The same as `violation` tells it."""
        return [[violation(line, rows[s][at]) for rows in entry.rows[:upto]] for s, at, line in self.places()]

    def expected(self, entry: Entry, reference: Reference | None, moved: Moved = _mean) -> list[list[float]]:
        """Violations over all replications that a setting can have: those it has, and what to expect of the others.

        There it is as far outside as another setting, and what the two differ by so far: whether the first replications
        were bad ones drops out, as far as they were bad for both.

        Parameters
        ----------
        entry, reference
            The setting, and the other; None: only the replications it has.
        moved
            Makes of the number of a limit and the differences so far one difference.
        """
        mine = self.violations(entry)
        if reference is None or not 0 < entry.done < min(self.most, reference.entry.done):
            return mine
        found = []
        theirs = zip(self.violations(reference.entry, self.most), reference.shares, strict=True)
        for number, (own, (other, share)) in enumerate(zip(mine, theirs, strict=True)):
            by = moved(number, unlike(own, other, share))
            found.append([*own, *(one + by for one in other[len(own) :])])
        return found

    def centres(self, entry: Entry) -> tuple[float, ...]:
        """The costs over the replications there are, but no more than any other setting can have."""
        return tuple(centre(goal, costs) for goal, costs in zip(self.goals, self.costs(entry, self.most), strict=True))

    def judged(self, entry: Entry, most: int | None = None) -> list[Judgement | None]:
        """The verdict on every limit, as far as a look allows one."""
        look = look_at(entry.done, most) if most is not None else self._look(entry)
        if look is None:
            return [None for _ in self.places()]
        return [
            judge(values, [line.holds(value) for value in values], look)
            for values, (*_, line) in zip(self.values(entry), self.places(), strict=True)
        ]

    def _look(self, entry: Entry) -> Look | None:
        return look_at(entry.done, self.most if entry.done <= self.most else LONGER * self.most)

    def outside(self, entry: Entry, reference: Reference | None = None) -> list[float]:
        """Of every limit, how far it is outside: at most 0 if and only if it holds (a verdict PASS, where one can be).

        What is compared is the replication that decides the verdict; with a reference, of all that are to be expected.
        """
        expected = self.expected(entry, reference)
        look = look_at(self.most, self.most) if expected and len(expected[0]) > entry.done else self._look(entry)
        found = []
        for values in expected:
            ordered = sorted(values[: look.replications] if look is not None and look.rank else values)
            found.append(ordered[look.needed - 1] if look is not None and look.rank else median(ordered))
        return found

    def standing(self, entry: Entry, reference: Reference | None = None) -> Standing:
        """Where a setting stands; with a reference, as is to be expected of it."""
        costs = self.centres(entry)
        judged = self.judged(entry)
        if all(one is not None and one.verdict == "PASS" for one in judged):
            return Standing(0, 0.0, costs)
        middles = [median(values) for values in self.expected(entry, reference)]
        over = math.fsum(max(0.0, one) for one in middles)
        return Standing(1 if over == 0 else 2, over, costs)

    def best(self, entries: Sequence[Entry]) -> Entry | None:
        """The one to be preferred; of several goals, the one whose costs are least in sum of ranks.

        Of those that cost the same (but for `INDIFFERENT`) rather one that passed without a longer look: what took one
        is near its bound, and on other luck it may not pass.
        """
        if not entries:
            return None
        standings = [self.standing(entry) for entry in entries]
        least = min((one.doubt, one.outside) for one in standings)
        chosen = [n for n, one in enumerate(standings) if (one.doubt, one.outside) == least]
        if len(self.goals) > 1:
            costs = [standings[n].costs for n in chosen]
            ranks = [sum(sorted(c[g] for c in costs).index(one[g]) for g in range(len(one))) for one in costs]
            return entries[chosen[ranks.index(min(ranks))]]
        cheapest = min(standings[n].costs for n in chosen)
        tied = [n for n in chosen if least[0] == 0 and same(standings[n].costs, cheapest)]
        sure = [n for n in tied if entries[n].done <= self.most]
        return entries[min(sure or chosen, key=lambda n: standings[n].costs)]

    def front(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that no other beats in every goal, among those that stand best with the limits."""
        if not entries:
            return []
        standings = [self.standing(entry) for entry in entries]
        least = min((one.doubt, one.outside) for one in standings)
        chosen = [n for n, one in enumerate(standings) if (one.doubt, one.outside) == least]
        costs = {n: standings[n].costs for n in chosen}
        kept: dict[tuple[float, ...], Entry] = {}
        for n in chosen:
            if not any(_dominates(costs[other], costs[n]) for other in chosen):
                kept.setdefault(costs[n], entries[n])
        return [kept[key] for key in sorted(kept)]


def same(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no cost is higher by more than what matters."""
    return all(a <= b + (INDIFFERENT * abs(b) if math.isfinite(b) else 0.0) for a, b in zip(one, other, strict=True))


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
