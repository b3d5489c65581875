"""Replications where they matter: a setting that is clearly no better than the best stops after two of them.

Settings of a batch climb rungs of 2, 4, 8, … replications. On each, all of them have met the same luck as the best so
far, so they are compared with it pair by pair (as in F-race, Birattari et al. 2002). With two pairs a variance cannot
be told; it is drawn towards that of the other comparisons, as in the moderated t of Smyth (2004, Statistical
Applications in Genetics and Molecular Biology 3). Of limits, too, what counts is the difference: with the replications
that it has not met a setting is expected to fare as the best so far, and by so much worse or better as up to there: a
control variate, weighed by how much luck turns out to be common (`llmsim.tuning.common_luck`). Two bad replications to
begin with, which all settings meet, would otherwise stop everything near a bound. A setting stops when the lower limit
of its difference says that it is not better by more than half a percent, or that it will be outside of a bound; or,
once there is one that passes, when it will break a bound too often to pass. The error of a wrong stop is shared between
the rungs. Of those that are left the best quarter of the batch goes on to the next rung, and of later rungs one
(successive halving, Jamieson & Talwalkar 2016), as long as it does not look worse than the best there is (as a
challenger in SMAC's intensification, Hutter et al. 2011): a tie costs little either way, and what was stopped for looks
alone can come back into the last race.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from llmsim.report.verdict import ERROR, looks, median
from llmsim.tuning.common_luck import CommonLuck, unlike
from llmsim.tuning.question import INDIFFERENT, Question, Reference, Standing
from llmsim.tuning.settings_runs import Entry, Luck, Stop

__all__ = ["FIRST_RUNG", "Race", "lower_limit", "rungs", "t_quantile"]

FIRST_RUNG = 2
#: Degrees of freedom that the variance of the other comparisons stands for. With 4, two replications have five, where
#: t at 1 % is 3.4 and not 31.8 as with one.
PRIOR = 4.0
#: Of a batch, one in so many goes on to the second rung, and one in so many of these to the third. With 2, tunings of
#: 60 settings of a queue, 10 replications each, took up to 40 % of the plain grid, with 4 up to 35 %; neither's winner
#: was more than 1.3 % dearer than the grid's in 20 lucks (`tests/tuning/test_racing_real.py`). It is a hard cut where
#: trials are few and limits near: what passes is given up for what is cheap, so `Stages` looks at it once more.
KEEP = 4
#: Odds at which something that does not look better stops: three to one after the first rung, where little is known and
#: most would climb; evens after the others.
DOUBTS = (0.25, 0.5)


@lru_cache(maxsize=16)
def rungs(most: int) -> tuple[int, ...]:
    """Replications after which settings are looked at: doubling, and the most there can be.

    Examples
    --------
    >>> rungs(20), rungs(2), rungs(1)
    ((2, 4, 8, 16, 20), (2,), (1,))
    """
    sizes = [FIRST_RUNG]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return (*(size for size in sizes if size < most), most)


def lower_limit(changes: Sequence[float], prior: float | None, error: float) -> float:
    """One-sided lower limit of the mean of changes.

    Parameters
    ----------
    changes
        Pair by pair. +inf in all of them is +inf; in some of them it says nothing. Nor do differences that are all
        exactly 0: nothing that differs happened yet (a rare error, say), and how much it will differ is not known.
    prior
        Variance of such changes elsewhere; None: not known.
    error
        Probability that the mean is below.

    Examples
    --------
    >>> round(lower_limit([1.0, 1.2], 0.01, 0.025), 3), lower_limit([math.inf] * 2, None, 0.01)
    (0.901, inf)
    """
    if all(change == math.inf for change in changes):
        return math.inf
    n = len(changes)
    if not any(changes) or not all(map(math.isfinite, changes)) or (n < 2 and prior is None):
        return -math.inf
    mean = math.fsum(changes) / n
    spread, freedom = math.fsum((one - mean) ** 2 for one in changes), float(n - 1)
    if prior is not None:
        spread, freedom = spread + PRIOR * prior, freedom + PRIOR
    return mean - t_quantile(1 - error, freedom) * math.sqrt(spread / freedom / n)


@lru_cache(maxsize=256)
def t_quantile(share: float, freedom: float) -> float:
    """Of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


class Race:
    """Runs batches of settings against the best there is.

    Parameters
    ----------
    question
        What is asked.
    luck
        Where replications come from.
    """

    def __init__(self, question: Question, luck: Luck) -> None:
        self._question, self._luck = question, luck
        self.rungs = rungs(luck.most)
        self._error = ERROR / len(self.rungs)
        self._common = CommonLuck()

    @property
    def finished(self) -> list[Entry]:
        """Settings with all replications."""
        return [entry for entry in self._luck.entries if entry.done >= self._luck.most]

    @property
    def leaders(self) -> list[Entry]:
        """The best, or the front of several goals, among those that have all replications."""
        best = self._question.best(self.finished)
        if best is None or len(self._question.goals) == 1:
            return [best] if best is not None else []
        return self._question.front(self.finished)

    def run(self, batch: Sequence[Entry], *, halve: bool = True) -> None:
        """Race a batch to its end; those that had been halved away may be in it again."""
        for entry in batch:
            entry.stopped = ""
        leaders = self.leaders
        for step, upto in enumerate(self.rungs):
            alive = [entry for entry in batch if not entry.stopped]
            self._luck.ensure(alive, upto)
            against = leaders or self._leading(alive)
            self._learn(alive, against, upto)
            for entry in alive:
                if entry not in against and upto < self._luck.most:
                    entry.stopped = self._stop(entry, against, upto)
            if halve and upto < self._luck.most:
                self._halve(batch, max(1, len(batch) // KEEP ** (step + 1)), leaders)
                for entry in alive:
                    if not entry.stopped and any(self._behind(entry, other, upto) for other in leaders):
                        entry.stopped = "halved"

    def _leading(self, entries: Sequence[Entry]) -> list[Entry]:
        if len(self._question.goals) > 1:
            return self._question.front(entries)
        best = self._question.best(entries)
        return [best] if best is not None else []

    def _behind(self, entry: Entry, other: Entry, upto: int) -> bool:
        """Whether it looks no better than another in any goal, or further outside of the limits."""
        odds = _odds(upto)
        mine, theirs = self._outside(entry, other, odds), self._outside(other, other, odds)
        if mine != theirs:
            return mine > theirs
        for number, changes in enumerate(self._changes(entry, other, upto)):
            if all(map(math.isfinite, changes)):
                if lower_limit(changes, self._prior(number, other, upto), odds) < 0:
                    return False
            elif (min(changes) if upto <= FIRST_RUNG else median(changes)) < 0:
                return False  # +inf in one of two may be luck
        return True

    def _outside(self, entry: Entry, reference: Entry, error: float) -> float:
        """How far limits are outside in sum, in the median of what is to be expected: at least, but for an error."""
        return math.fsum(max(0.0, median(values)) for values in self._at_least(entry, reference, error))

    def _at_least(self, entry: Entry, reference: Entry, error: float) -> list[list[float]]:
        """Violations to be expected, each limit's moved by the lower limit of how much it differs so far."""
        known = self._known(reference)

        def moved(number: int, changes: Sequence[float]) -> float:
            prior = self._common.variance(f"limit {number}", known.shares[number])
            return lower_limit(changes, prior, error) if any(changes) else 0.0

        return self._question.expected(entry, known, moved)

    @property
    def reference(self) -> Reference | None:
        """A setting with all replications, of which the others are expected to be as lucky."""
        best = next(iter(self.leaders), None)
        return self._known(best) if best is not None else None

    def _known(self, entry: Entry) -> Reference:
        count = len(self._question.places())
        return Reference(entry, tuple(self._common.share(f"limit {number}") for number in range(count)))

    def cost_share(self, goal: int) -> float:
        """How much of its luck with a goal a setting shares with others, 0 to 1."""
        return self._common.share(f"goal {goal}")

    def may_hold(self, entry: Entry) -> bool:
        """Whether it is not three to one that a limit does not hold, in the median of what is to be expected."""
        best = next(iter(self.leaders), None)
        return best is not None and self._outside(entry, best, DOUBTS[0]) == 0

    def _halve(self, batch: Sequence[Entry], keep: int, leaders: Sequence[Entry]) -> None:
        alive = [entry for entry in batch if not entry.stopped]
        for entry in sorted(alive, key=lambda one: self._order(one, leaders))[keep:]:
            entry.stopped = "halved"

    def _order(self, entry: Entry, leaders: Sequence[Entry]) -> tuple[float, float, Standing]:
        """Sorts the promising first: by how far outside, then (of several goals) by how many beat it, then by cost."""
        standing = self._question.standing(entry, self._known(leaders[0]) if leaders else None)
        beaten = 0
        if len(self._question.goals) > 1:
            rivals = [self._question.centres(other) for other in leaders]
            beaten = sum(all(a <= b for a, b in zip(one, standing.costs, strict=True)) for one in rivals)
        return (standing.outside, beaten, standing)

    def _learn(self, alive: Sequence[Entry], against: Sequence[Entry], upto: int) -> None:
        """How much differences scatter, and how much luck is common."""
        question = self._question
        for entry in alive:
            for other in against:
                if entry is not other and upto > 1:
                    for number, costs in enumerate(
                        zip(question.costs(entry, upto), question.costs(other, upto), strict=True)
                    ):
                        self._common.learn(f"goal {number}", *costs)
                    for number, limits in enumerate(
                        zip(question.violations(entry, upto), question.violations(other, upto), strict=True)
                    ):
                        self._common.learn(f"limit {number}", *limits)

    def _changes(self, entry: Entry, other: Entry, upto: int) -> list[list[float]]:
        """By goal, one a replication."""
        question = self._question
        costs = zip(question.costs(entry, upto), question.costs(other, self._luck.most), strict=True)
        return [
            unlike(mine, theirs, self._goal_share(number, other, upto)) for number, (mine, theirs) in enumerate(costs)
        ]

    def _goal_share(self, number: int, other: Entry, upto: int) -> float:
        """Where the other has no more replications there is nothing to tell by how lucky it was in these.

        Nor where one of its costs is infinite: there `unlike` compares pair by pair.
        """
        told = other.done > upto and all(map(math.isfinite, self._question.costs(other, self._luck.most)[number]))
        return self.cost_share(number) if told else 1.0

    def _prior(self, number: int, other: Entry, upto: int) -> float | None:
        return self._common.variance(f"goal {number}", self._goal_share(number, other, upto))

    def _stop(self, entry: Entry, against: Sequence[Entry], upto: int) -> Stop:
        """Why a setting needs no more replications."""
        question, error = self._question, self._error
        feasible = [other for other in against if question.standing(other).doubt < 2]
        if feasible:
            passed = any(question.standing(other).doubt == 0 for other in feasible)
            least = self._at_least(entry, against[0], error)
            if any(median(values) > 0 or (passed and self._futile(values)) for values in least):
                return "infeasible"
            return "worse" if any(self._no_better(entry, other, upto) for other in feasible) else ""
        # Nothing holds yet: what is further outside is not where to look.
        worse = 0
        for other in against:
            mine, theirs = question.violations(entry, upto), question.violations(other, upto)
            changes = [
                math.fsum(max(0.0, a[r]) - max(0.0, b[r]) for a, b in zip(mine, theirs, strict=True))
                for r in range(upto)
            ]
            worse += lower_limit(changes, None, error) > 0
        return "infeasible" if worse and worse == len(against) else ""

    def _futile(self, violations: Sequence[float]) -> bool:
        """Whether a limit will be broken so often that a PASS is out of reach, and more often than not.

        What passes is preferred to it in the end, however cheap it is; with more replications the median would have to
        come inside.
        """
        broken, last = sum(one > 0 for one in violations), looks(self._luck.most)[-1]
        return broken > max(1, last.replications - last.needed) and 2 * broken > len(violations)

    def _no_better(self, entry: Entry, other: Entry, upto: int) -> bool:
        """Whether it is clear that no goal is better by more than what matters."""
        question = self._question
        centres = question.centres(other)
        for number, changes in enumerate(self._changes(entry, other, upto)):
            least = INDIFFERENT * abs(centres[number]) if math.isfinite(centres[number]) else 0.0
            if not lower_limit(changes, self._prior(number, other, upto), self._error) > -least:
                return False
        return True


def _odds(upto: int) -> float:
    return DOUBTS[0] if upto <= FIRST_RUNG else DOUBTS[1]
