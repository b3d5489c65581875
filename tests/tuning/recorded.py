"""Real simulations of every setting of a finite space, run once; tunings then race over parts of them.

Replication *r* of every setting is under the same luck. A tuning is given some of the replications, in an order of its
own; the others are luck that it has not seen, and tell what its winner is worth. What it looks at longer in the end (a
setting whose limits are undecided, `llmsim.tuning.confirming`) gets replications beyond these, which are run when they
are asked for. Beside it stands the plain grid: every setting with all replications, and the same look in the end.
"""

import dataclasses
import random
from typing import NamedTuple

from llmsim.report.verdict import median
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import centre, goals_of, limits_of, violation
from llmsim.tuning.running import Measured
from llmsim.tuning.settings_runs import Runs
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.stages import Plan, Stages


class Raced(NamedTuple):
    """What came of one tuning."""

    regret: float  #: of the winner, on unseen luck, against the best setting there
    share: float  #: of the plain grid's replications, without `confirming`
    confirming: float  #: replications of the look at undecided limits in the end, in the same share
    outside: float  #: how far the winner is outside of the limits on unseen luck


class Recorded:
    """All settings of a space, run."""

    def __init__(self, scenario, space, goal, subject_to=(), *, replications):
        self.scenario, self.count = scenario, replications
        self.space = parse_space(space, scenario)
        self.goals, self.limits = goals_of(scenario, goal, ()), limits_of(scenario, subject_to)
        self._work = Measured((self.goals[0].sum,), self.limits)
        self.rows = {}
        self.settled = [self.space.settled(scenario, settings) for settings in self.space.all()]
        for settled in self.settled:
            for number in range(replications):
                self.row(settled, number)

    def row(self, settled, number):
        """Of one replication, run if it was not."""
        key = repr(settled.gateway), number
        if key not in self.rows:
            self.rows[key] = self._work(dataclasses.replace(settled, seed=self.scenario.seed), number)
        return self.rows[key]

    def stood(self, settled, numbers):
        """How far a setting is outside of its limits, and its cost, over some replications."""
        rows = [self.row(settled, number) for number in numbers]
        over = [max(0.0, median([violation(line, row[1 + n]) for row in rows])) for n, line in enumerate(self.limits)]
        return sum(over), centre(self.goals[0], [row[0] for row in rows])

    def stages(self, seed, order, *, trials, most):
        """A tuning whose replications are those of `order`, and then others that are in no order."""

        def work(sums, lines, held):
            def one(scenario, number, progress=None):
                at = order[number] if number < most else self.count + number
                return [*self.row(scenario, at), *(() if held else (repr(scenario.gateway),))]

            return one

        runs = Runs([self.scenario], self.space, Journal(None, "study", {}), jobs=1, tick=lambda: None, work=work)
        # The seed is only that of what is proposed: which luck is met says `order`.
        return Stages(Plan(self.goals, (self.limits,), None, seed, trials, most, 6), runs, None)

    def raced(self, stages, fresh):
        """What a tuning's winner is worth."""
        outside, cost = self.stood(self.space.settled(self.scenario, stages.winner.settings), fresh)
        best = min(self.stood(settled, fresh) for settled in self.settled)[1]
        account = stages.account()
        return Raced(cost / best - 1, account.share, account.confirming / account.grid, outside)

    def race(self, seed, *, trials, most):
        """Tune on `most` of the replications, and look at the winner on the others."""
        order = self.order(seed)
        stages = self.stages(seed, order, trials=trials, most=most)
        stages._baseline()
        stages._effects()
        stages._trials()
        stages._last_race()
        stages._tuning_made = stages.tuning.made
        stages._confirm()
        return self.raced(stages, order[most:])

    def grid(self, seed, *, most):
        """The same without racing: every setting gets all replications."""
        order = self.order(seed)
        stages = self.stages(seed, order, trials=self.space.size, most=most)
        stages.tried = [stages.tuning.entry(settings) for settings in self.space.all()]
        stages.tuning.ensure([stages.current, *stages.tried], most)
        stages._tuning_made = stages.tuning.made
        stages._confirm()
        return self.raced(stages, order[most:])

    def order(self, seed):
        """Of the replications, for one tuning."""
        order = list(range(self.count))
        random.Random(seed).shuffle(order)
        return order


def told(found):
    """The figures of several tunings in a line."""
    regrets, shares = sorted(one.regret for one in found), sorted(one.share for one in found)
    lost = sum(one > 0.02 for one in regrets)
    return (
        f"{len(found)} seeds: regret > 2 % in {lost}, median {regrets[len(found) // 2]:.2%}, most {regrets[-1]:.2%}; "
        f"outside of a limit in {sum(one.outside > 0 for one in found)}; "
        f"share of the plain grid {shares[0]:.1%} to {shares[-1]:.1%}, median {shares[len(found) // 2]:.1%}, "
        f"and at most {max(one.confirming for one in found):.1%} for limits that were undecided"
    )
